/* Putting the four taps of a 2x2 stride-2 transposed convolution in place. */
#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

io_status unfold_forward_cpu(model_backend *backend, model_rows out, model_rows in, int B, int G, int C)
{
#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < B * 4 * G * G; m++) {
        const int b = m / (4 * G * G), y = m / (2 * G) % (2 * G), x = m % (2 * G);
        const int64_t from = ((int64_t)b * G + y / 2) * G + x / 2, tap = y % 2 * 2 + x % 2;

        for (int c = 0; c < C; c++) rows_set(out, m, c, rows_get(in, from, tap * C + c));
    }
    return IO_OK;
}
