/* Sums of rows with a table that repeats: positions, tokens. */
#include "model/cpu/decoder.h"
#include "model/cpu/ops_cpu.h"

io_status add_forward_cpu(model_backend *backend, model_rows out, model_rows a, model_rows b, int M, int C, int period)
{
    const add_job job = {out, a, b, C, period};
    const decoder_kernels *kernels = decoder_kernels_choose_cpu(backend);

#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < M; m++) kernels->add(&job, m);
    return IO_OK;
}
