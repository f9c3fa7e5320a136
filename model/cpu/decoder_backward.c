/* Gradients of what only the decoder has: plain attention, the rows of a transposed convolution, the masks. */
#include <omp.h>
#include <string.h>

#include "model/cpu/backward.h"
#include "model/cpu/decoder.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

io_status cross_attention_backward_cpu(model_backend *backend, model_rows dq, model_rows dk, model_rows dv, model_rows dout, model_rows q,
                                       model_rows k, model_rows v, int B, int n_q, int n_k, int I, int heads)
{
    const backward_kernels *kernels = backward_kernels_choose_cpu(backend);
    const cross_gradient_job job = {dq, dk, dv, dout, q, k, v, n_q, n_k, heads, I / heads};

    IO_TRY(cpu_scratch_reserve(backend, kernels->cross_scratch(&job)));
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int t = 0; t < B * heads; t++) kernels->cross(&job, t / heads, t % heads, cpu_scratch(backend, omp_get_thread_num()));
    return IO_OK;
}

io_status unfold_backward_cpu(model_backend *backend, model_rows din, model_rows dout, int B, int G, int C)
{
    const size_t n_bytes = (size_t)C * sizeof(float);

#pragma omp parallel for num_threads(backend->n_threads)
    for (int line = 0; line < B * 2 * G; line++) {
        const int64_t to = (int64_t)(line / 2) * G, from = (int64_t)line * 2 * G;
        for (int x = 0; x < 2 * G; x++)
            memcpy(rows_at(din, to + x / 2, (int64_t)(line % 2 * 2 + x % 2) * C), rows_at(dout, from + x, 0), n_bytes);
    }
    return IO_OK;
}

io_status masks_backward_cpu(model_backend *backend, model_rows dhyper, model_rows dfeatures, const float *dlogits, model_rows hyper,
                             model_rows features, int B, int K, int n, int C)
{
    const backward_kernels *kernels = backward_kernels_choose_cpu(backend);
    const masks_gradient_job job = {dhyper, dfeatures, hyper, features, dlogits, K, n, C};
    const int n_chunks = (n + MASK_PIXELS - 1) / MASK_PIXELS;

#pragma omp parallel for num_threads(backend->n_threads)
    for (int t = 0; t < B * K; t++) kernels->hyper(&job, t / K, t % K);
#pragma omp parallel for num_threads(backend->n_threads)
    for (int t = 0; t < B * n_chunks; t++) kernels->features(&job, t / n_chunks, t % n_chunks * MASK_PIXELS);
    return IO_OK;
}
