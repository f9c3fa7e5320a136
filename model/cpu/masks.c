/* The logits of all channels: one dot product of a channel's hyper vector with each pixel's features (spec 4.2). */
#include <omp.h>

#include "model/cpu/decoder.h"
#include "model/cpu/ops_cpu.h"

io_status masks_forward_cpu(model_backend *backend, float *logits, model_rows hyper, model_rows features, int B, int K, int n, int C)
{
    const masks_job job = {logits, hyper, features, K, n, C};
    const decoder_kernels *kernels = decoder_kernels_choose_cpu(backend);
    const int n_chunks = (n + MASK_PIXELS - 1) / MASK_PIXELS;

    IO_TRY(cpu_scratch_reserve(backend, kernels->masks_scratch(&job)));
#pragma omp parallel for num_threads(backend->n_threads)
    for (int t = 0; t < B * n_chunks; t++)
        kernels->masks(&job, t / n_chunks, t % n_chunks * MASK_PIXELS, cpu_scratch(backend, omp_get_thread_num()));
    return IO_OK;
}
