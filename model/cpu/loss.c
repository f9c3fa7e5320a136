/* Cross entropy and Dice over the softmax of the logits (spec 5.5). Pixels go through in fixed blocks, whose sums are added in order. */
#include <math.h>

#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"

enum { BLOCK_PIXELS = 256, MOST_CHANNELS = 256 /* labels are bytes */ };

typedef struct loss_job {
    const float *logits; /* [K,n] */
    const uint8_t *labels;
    int K, n;
} loss_job;

/* p [K]: the softmax at pixel i. Returns log of the sum of exponentials. */
static float soften_pixel(const loss_job *job, int i, float *p)
{
    float largest = -INFINITY, sum = 0;

    for (int c = 0; c < job->K; c++) largest = fmaxf(largest, job->logits[(int64_t)c * job->n + i]);
    for (int c = 0; c < job->K; c++) sum += p[c] = expf(job->logits[(int64_t)c * job->n + i] - largest);
    for (int c = 0; c < job->K; c++) p[c] /= sum;
    return largest + logf(sum);
}

/* sums [3K+1] of one block. */
static void sum_block(const loss_job *job, int first, double *sums)
{
    const int K = job->K, end = first + BLOCK_PIXELS < job->n ? first + BLOCK_PIXELS : job->n;
    float p[MOST_CHANNELS];

    for (int j = 0; j <= 3 * K; j++) sums[j] = 0;
    for (int i = first; i < end; i++) {
        const int label = job->labels[i];

        sums[3 * K] += soften_pixel(job, i, p) - job->logits[(int64_t)label * job->n + i];
        sums[label] += p[label];
        for (int c = 0; c < K; c++) sums[K + c] += (double)p[c] * p[c];
        sums[2 * K + label]++;
    }
}

io_status loss_forward_cpu(model_backend *backend, double *sums, const float *logits, const uint8_t *labels, int K, int n)
{
    const loss_job job = {logits, labels, K, n};
    const int n_blocks = (n + BLOCK_PIXELS - 1) / BLOCK_PIXELS, n_sums = 3 * K + 1;
    double *blocks;

    if (K > MOST_CHANNELS) return IO_FAIL(IO_ERR_UNSUPPORTED, "loss: %d channels; at most %d are handled", K, MOST_CHANNELS);
    for (int i = 0; i < n; i++)
        if (labels[i] >= K)
            return IO_FAIL(IO_ERR_RANGE, "loss: pixel %d has label %d, the network has the channels 0 to %d; map the labels", i, labels[i],
                           K - 1);
    IO_TRY(cpu_shared_reserve(backend, (size_t)n_blocks * (size_t)n_sums * sizeof *blocks));
    blocks = backend->shared;
#pragma omp parallel for num_threads(backend->n_threads)
    for (int b = 0; b < n_blocks; b++) sum_block(&job, b * BLOCK_PIXELS, blocks + (size_t)b * (size_t)n_sums);
    for (int j = 0; j < n_sums; j++) {
        sums[j] = 0;
        for (int b = 0; b < n_blocks; b++) sums[j] += blocks[(size_t)b * (size_t)n_sums + (size_t)j];
    }
    return IO_OK;
}

static void derive_block(const loss_job *job, int first, float *dlogits, float a, const float *factors)
{
    const int K = job->K, end = first + BLOCK_PIXELS < job->n ? first + BLOCK_PIXELS : job->n;
    float p[MOST_CHANNELS], dp[MOST_CHANNELS];

    for (int i = first; i < end; i++) {
        const int label = job->labels[i];
        float inner = 0;

        soften_pixel(job, i, p);
        for (int c = 0; c < K; c++) {
            dp[c] = factors[K + c] * p[c] + (c == label ? factors[c] : 0);
            inner += p[c] * dp[c];
        }
        for (int c = 0; c < K; c++) dlogits[(int64_t)c * job->n + i] = a * (p[c] - (c == label ? 1.0f : 0.0f)) + p[c] * (dp[c] - inner);
    }
}

io_status loss_backward_cpu(model_backend *backend, float *dlogits, const float *logits, const uint8_t *labels, float a,
                            const float *factors, int K, int n)
{
    const loss_job job = {logits, labels, K, n};

    if (K > MOST_CHANNELS) return IO_FAIL(IO_ERR_UNSUPPORTED, "loss: %d channels; at most %d are handled", K, MOST_CHANNELS);
#pragma omp parallel for num_threads(backend->n_threads)
    for (int first = 0; first < n; first += BLOCK_PIXELS) derive_block(&job, first, dlogits, a, factors);
    return IO_OK;
}
