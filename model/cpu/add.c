/* Adding rows, for position embeddings. */
#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

io_status add_forward_cpu(model_backend *backend, model_rows out, model_rows a, model_rows b, int M, int C, int period)
{
#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < M; m++)
        for (int c = 0; c < C; c++) rows_set(out, m, c, rows_get(a, m, c) + rows_get(b, m % period, c));
    return IO_OK;
}
