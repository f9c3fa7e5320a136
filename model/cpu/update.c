/* The optimizers (spec 5.7): torch.optim.AdamW and torch.optim.SGD on one block of weights. */
#include <math.h>

#include "model/cpu/backward.h"
#include "model/cpu/ops_cpu.h"

io_status adamw_update_cpu(model_backend *backend, float *weight, float *m, float *v, const float *gradient, size_t n,
                           const model_adamw *settings, float rate, int64_t step)
{
    const backward_kernels *kernels = backward_kernels_choose_cpu(backend);
    const update_job job = {.weight = weight,
                            .m = m,
                            .v = v,
                            .gradient = gradient,
                            .n = n,
                            .settings = *settings,
                            .rate = rate,
                            .m_scale = (float)(1 / (1 - pow(settings->beta1, (double)step))),
                            .v_scale = (float)(1 / sqrt(1 - pow(settings->beta2, (double)step)))};

#pragma omp parallel for num_threads(backend->n_threads)
    for (size_t first = 0; first < n; first += UPDATE_BLOCK) kernels->adamw(&job, first);
    return IO_OK;
}

io_status sgd_update_cpu(model_backend *backend, float *weight, float *m, const float *gradient, size_t n, float rate, float momentum,
                         float decay)
{
#pragma omp parallel for num_threads(backend->n_threads)
    for (size_t i = 0; i < n; i++) {
        m[i] = momentum * m[i] + (gradient[i] + decay * weight[i]);
        weight[i] -= rate * m[i];
    }
    return IO_OK;
}
