/* Gradients of the weights and biases of products; that of their input is a product with the transposed weight (linear.c). */
#include <omp.h>
#include <string.h>

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

/* Few inputs, as LoRA's way up has them, would leave most lanes empty: the gradient is computed turned, and added. */
static io_status add_turned(model_backend *backend, const backward_kernels *kernels, const weights_job *job)
{
    const size_t sums_bytes = (size_t)job->n_in * (size_t)job->n_out * sizeof(float);
    weights_job turned = {NULL, NULL, job->in, job->dout, job->M, job->n_in, job->n_out};
    const int n_columns = (turned.n_in + kernels->columns - 1) / kernels->columns,
              n_rows = (turned.n_out + kernels->rows - 1) / kernels->rows;

    IO_TRY(cpu_scratch_reserve(backend, kernels->weights_scratch(&turned)));
    IO_TRY(cpu_shared_reserve(backend, sums_bytes));
    memset(backend->shared, 0, sums_bytes);
    turned.dweight = backend->shared;
#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int t = 0; t < n_rows * n_columns; t++)
        kernels->weights(&turned, t / n_columns * kernels->rows, t % n_columns * kernels->columns,
                         cpu_scratch(backend, omp_get_thread_num()));
    for (int64_t i = 0; i < (int64_t)job->n_in * job->n_out; i++)
        job->dweight[i] += turned.dweight[i % job->n_in * job->n_out + i / job->n_in];
    return IO_OK;
}

io_status linear_backward_cpu(model_backend *backend, float *dweight, float *dbias, model_rows dout, model_rows in, int M, int n_out,
                              int n_in)
{
    const backward_kernels *kernels = backward_kernels_choose_cpu(backend);
    const weights_job job = {dweight, dbias, dout, in, M, n_out, n_in};
    const int n_rows = (n_out + kernels->rows - 1) / kernels->rows, n_columns = (n_in + kernels->columns - 1) / kernels->columns;

    if (dweight && n_in < kernels->lanes && n_out >= kernels->lanes) {
        IO_TRY(add_turned(backend, kernels, &job));
    } else if (dweight) {
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
