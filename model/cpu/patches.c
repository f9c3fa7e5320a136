/* Cutting grey images into patches: the gather half of the 16x16 stride-16 convolution (spec 1.2). */
#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

/* row: the [P,P] patch whose upper left pixel is image[0], cut from an image of S columns. */
static void gather_patch(model_rows out, int64_t m, const float *image, int S, int P)
{
    for (int y = 0; y < P; y++) {
        const float *line = image + (int64_t)y * S;

        if (out.type == MODEL_F32) {
            memcpy(rows_at(out, m, (int64_t)y * P), line, (size_t)P * sizeof *line);
            continue;
        }
        for (int x = 0; x < P; x++) rows_set(out, m, (int64_t)y * P + x, line[x]);
    }
}

io_status patches_forward_cpu(model_backend *backend, model_rows out, const float *images, int B, int S, int P)
{
    const int G = S / P;

#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < B * G * G; m++) {
        const int b = m / (G * G), gy = m / G % G, gx = m % G;

        gather_patch(out, m, images + ((int64_t)b * S + gy * P) * S + gx * P, S, P);
    }
    return IO_OK;
}
