/* The logits of all channels: one dot product of a channel's hyper vector with each pixel's features (spec 3). */
#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

io_status masks_forward_cpu(model_backend *backend, float *logits, model_rows hyper, model_rows features, int B, int K, int n, int C)
{
#pragma omp parallel for num_threads(backend->n_threads)
    for (int64_t t = 0; t < (int64_t)B * n; t++)
        for (int k = 0; k < K; k++) {
            const int64_t b = t / n;
            float dot = 0;

            for (int c = 0; c < C; c++) dot += rows_get(hyper, b * K + k, c) * rows_get(features, t, c);
            logits[(b * K + k) * n + t % n] = dot;
        }
    return IO_OK;
}
