/* Plain multi-head attention between two sets of tokens, for the decoder (spec 4.2). */
#include <omp.h>

#include "model/cpu/decoder.h"
#include "model/cpu/ops_cpu.h"

io_status cross_attention_forward_cpu(model_backend *backend, model_rows out, model_rows q, model_rows k, model_rows v, int B, int n_q,
                                      int n_k, int I, int heads)
{
    const cross_job job = {out, q, k, v, n_q, n_k, heads, I / heads};
    const decoder_kernels *kernels = decoder_kernels_choose_cpu(backend);
    const int n_chunks = (n_q + CROSS_QUERIES - 1) / CROSS_QUERIES;

    IO_TRY(cpu_scratch_reserve(backend, kernels->cross_scratch(&job)));
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int t = 0; t < B * heads * n_chunks; t++)
        kernels->cross(&job, t / (heads * n_chunks), t / n_chunks % heads, t % n_chunks * CROSS_QUERIES,
                       cpu_scratch(backend, omp_get_thread_num()));
    return IO_OK;
}
