/* The neck's 3x3 convolution (spec 1.2, step 5), channels last. */
#include "model/cpu/backend_cpu.h"
#include "model/cpu/linear.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

/* One output number: token (b, y, x), channel c. */
static float sum_taps(model_rows in, const model_matrix *weight, int b, int y, int x, int c, int G, int n_in)
{
    float sum = 0;

    for (int tap = 0; tap < 9; tap++) {
        const int ty = y + tap / 3 - 1, tx = x + tap % 3 - 1;
        const float *w = weight->plain + ((int64_t)c * 9 + tap) * n_in;

        if (ty < 0 || ty >= G || tx < 0 || tx >= G) continue;
        for (int k = 0; k < n_in; k++) sum += rows_get(in, ((int64_t)b * G + ty) * G + tx, k) * w[k];
    }
    return sum;
}

io_status conv3x3_forward_cpu(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, int B, int G, int n_in)
{
#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < B * G * G; m++)
        for (int c = 0; c < weight->n_out; c++) rows_set(out, m, c, sum_taps(in, weight, m / (G * G), m / G % G, m % G, c, G, n_in));
    return IO_OK;
}
