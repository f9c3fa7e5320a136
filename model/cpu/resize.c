/* Bilinear upsampling of the logits and the winner of each pixel (spec 4.3). */
#include <math.h>

#include "model/cpu/decoder.h"
#include "model/cpu/ops_cpu.h"

/* Where output pixel i of S lies between low-resolution pixels, align_corners false: between *first and *first + 1 (clamped). */
static float locate_pixel(int i, int L, int S, int *first, int *second)
{
    const float at = fmaxf(((float)i + 0.5f) * ((float)L / (float)S) - 0.5f, 0);

    *first = (int)at;
    *second = *first + 1 < L ? *first + 1 : *first;
    return at - (float)*first;
}

/* The first largest channel at one pixel; logits [K,L,L]. */
static uint16_t pick_label(const float *logits, int K, int L, int S, int y, int x)
{
    int y0, y1, x0, x1, winner = 0;
    const float fy = locate_pixel(y, L, S, &y0, &y1), fx = locate_pixel(x, L, S, &x0, &x1);
    float best = -INFINITY;

    for (int k = 0; k < K; k++) {
        const float *top = logits + ((int64_t)k * L + y0) * L, *bottom = logits + ((int64_t)k * L + y1) * L;
        const float value = (1 - fy) * ((1 - fx) * top[x0] + fx * top[x1]) + fy * ((1 - fx) * bottom[x0] + fx * bottom[x1]);

        if (value > best) {
            best = value;
            winner = k;
        }
    }
    return (uint16_t)winner;
}

/* Any other ratio than a whole one, which only patches that are no multiple of four bring. */
static void label_row_plainly(const labels_job *job, int b, int y)
{
    const float *logits = job->logits + (int64_t)b * job->K * job->L * job->L;
    uint16_t *out = job->labels + ((int64_t)b * job->S + y) * job->S;

    for (int x = 0; x < job->S; x++) out[x] = pick_label(logits, job->K, job->L, job->S, y, x);
}

io_status labels_forward_cpu(model_backend *backend, uint16_t *labels, const float *logits, int B, int K, int L, int S)
{
    const labels_job job = {labels, logits, K, L, S};
    void (*const label_row)(const labels_job *, int, int) = S % L == 0 ? decoder_kernels_choose_cpu(backend)->labels : label_row_plainly;

#pragma omp parallel for num_threads(backend->n_threads)
    for (int line = 0; line < B * S; line++) label_row(&job, line / S, line % S);
    return IO_OK;
}
