/* Gradients of the weights and biases of products; that of their input is a product with the transposed weight (linear.c). */
#include <omp.h>

#include "model/cpu/backward.h"
#include "model/cpu/ops_cpu.h"

const backward_kernels *backward_kernels_choose_cpu(const model_backend *backend)
{
#if defined(__x86_64__)
    if (backend->level >= CPU_AVX512_BF16) return &backward_kernels_avx512bf16;
    if (backend->level >= CPU_AVX512) return &backward_kernels_avx512;
    if (backend->level >= CPU_AVX2) return &backward_kernels_avx2;
#endif
    return &backward_kernels_generic;
}

io_status linear_backward_cpu(model_backend *backend, float *dweight, float *dbias, model_rows dout, model_rows in, int M, int n_out,
                              int n_in)
{
    const backward_kernels *kernels = backward_kernels_choose_cpu(backend);
    const weights_job job = {dweight, dbias, dout, in, M, n_out, n_in};
    const int n_rows = (n_out + kernels->rows - 1) / kernels->rows, n_columns = (n_in + kernels->columns - 1) / kernels->columns;

    if (dweight) {
        IO_TRY(cpu_scratch_reserve(backend, kernels->weights_scratch(&job)));
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
        for (int t = 0; t < n_rows * n_columns; t++)
            kernels->weights(&job, t / n_columns * kernels->rows, t % n_columns * kernels->columns,
                             cpu_scratch(backend, omp_get_thread_num()));
    }
    if (dbias) {
#pragma omp parallel for num_threads(backend->n_threads)
        for (int c = 0; c < n_out; c += kernels->lanes) kernels->columns_sum(&job, c);
    }
    return IO_OK;
}
