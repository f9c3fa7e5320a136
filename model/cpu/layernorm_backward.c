/* The gradient of layer norm: of its input row by row, of gamma and beta column by column. */
#include "model/cpu/backward.h"
#include "model/cpu/ops_cpu.h"

/* dgamma and dbeta; before the rows, because those may overwrite dout. */
static io_status sum_weights(model_backend *backend, const backward_kernels *kernels, norm_job *job)
{
    IO_TRY(cpu_shared_reserve(backend, 2 * (size_t)job->M * sizeof(float)));
    job->stats = backend->shared;
#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < job->M; m++) kernels->norm_stats(job, m);
#pragma omp parallel for num_threads(backend->n_threads)
    for (int c = 0; c < job->C; c += kernels->lanes) kernels->norm_weights(job, c);
    return IO_OK;
}

io_status layernorm_backward_cpu(model_backend *backend, model_rows din, float *dgamma, float *dbeta, model_rows dout, model_rows in,
                                 const float *gamma, float eps, int M, int C, model_epilogue epilogue)
{
    const backward_kernels *kernels = backward_kernels_choose_cpu(backend);
    norm_job job = {.din = din,
                    .dout = dout,
                    .in = in,
                    .gamma = gamma,
                    .dgamma = dgamma,
                    .dbeta = dbeta,
                    .eps = eps,
                    .M = M,
                    .C = C,
                    .epilogue = epilogue};

    if (dgamma) IO_TRY(sum_weights(backend, kernels, &job));
#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < M; m++) kernels->norm(&job, m);
    return IO_OK;
}
