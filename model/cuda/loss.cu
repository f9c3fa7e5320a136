/* Cross entropy and Dice over the softmax of the logits (spec 5.5). A warp sums 32 pixels in double, and the warps' sums are added in an
 * order that depends on the number of pixels alone. */
#include <limits.h>

#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

enum { MOST_CHANNELS = 256 /* labels are bytes */, LOSS_THREADS = 128 };

struct loss_job {
    const float *logits; /* [K,n] */
    const uint8_t *labels;
    int K, n;
};

/* The softmax at a pixel is exp(logit - largest) / sum. */
struct loss_pixel {
    float largest, sum;
};

static __device__ __forceinline__ loss_pixel soften(const loss_job &job, int i)
{
    float largest = -INFINITY, sum = 0;

    for (int c = 0; c < job.K; c++) largest = fmaxf(largest, job.logits[(int64_t)c * job.n + i]);
    for (int c = 0; c < job.K; c++) sum += expf(job.logits[(int64_t)c * job.n + i] - largest);
    return {largest, sum};
}

static __device__ __forceinline__ float read_p(const loss_job &job, loss_pixel pixel, int c, int i)
{
    return expf(job.logits[(int64_t)c * job.n + i] - pixel.largest) / pixel.sum;
}

/* ---- forward */

/* partial [warps, 3K+2]: the sums of model_ops.loss_forward over the warp's pixels; then the first pixel whose label is no channel, n
 * where there is none. */
static __global__ void __launch_bounds__(LOSS_THREADS) loss_kernel(double *partial, loss_job job)
{
    const int i = blockIdx.x * LOSS_THREADS + threadIdx.x, lane = threadIdx.x % WARP, K = job.K;
    const bool is_pixel = i < job.n;
    const int label = is_pixel ? job.labels[i] : -1;
    const loss_pixel pixel = is_pixel ? soften(job, i) : loss_pixel{0, 1};
    const unsigned first_bad = __reduce_min_sync(0xffffffffu, label >= K ? (unsigned)i : (unsigned)job.n);
    double *to = partial + (int64_t)(i / WARP) * (3 * K + 2), entropy = 0;

    for (int c = 0; c < K; c++) {
        const double p = is_pixel ? (double)read_p(job, pixel, c, i) : 0;
        const double hit = sum_warp(c == label ? p : 0), squares = sum_warp(p * p), count = sum_warp(c == label ? 1.0 : 0.0);

        if (c == label) entropy = (double)(pixel.largest + logf(pixel.sum) - job.logits[(int64_t)c * job.n + i]);
        if (lane == 0) {
            to[c] = hit;
            to[K + c] = squares;
            to[2 * K + c] = count;
        }
    }
    entropy = sum_warp(entropy);
    if (lane == 0) {
        to[3 * K] = entropy;
        to[3 * K + 1] = (double)first_bad;
    }
}

/* sums [3K+2]: one warp for each, every lane the warps of 32 pixels that are 32 apart. */
static __global__ void __launch_bounds__(LOSS_THREADS) loss_join_kernel(double *sums, const double *partial, int n_warps, int n_sums)
{
    const int j = (int)(blockIdx.x * (LOSS_THREADS / WARP) + threadIdx.x / WARP), lane = threadIdx.x % WARP;
    const bool is_sum = j < n_sums - 1, is_place = j == n_sums - 1;
    double sum = 0;
    unsigned first = UINT_MAX;

    for (int w = lane; w < n_warps; w += WARP) {
        if (is_sum) sum += partial[(int64_t)w * n_sums + j];
        if (is_place) first = min(first, (unsigned)partial[(int64_t)w * n_sums + j]);
    }
    sum = sum_warp(sum);
    first = __reduce_min_sync(0xffffffffu, first);
    if (lane == 0 && j < n_sums) sums[j] = is_sum ? sum : (double)first;
}

/* Says which label is wrong; pixel < n. */
static io_status refuse_label(model_backend *backend, const uint8_t *labels, int pixel, int K)
{
    uint8_t label;

    IO_TRY(backend->ops.download(backend, &label, labels + pixel, 1));
    return IO_FAIL(IO_ERR_RANGE, "loss: pixel %d has label %d, the network has the channels 0 to %d; map the labels", pixel, label, K - 1);
}

io_status loss_forward_cuda(model_backend *backend, double *sums, const float *logits, const uint8_t *labels, int K, int n)
{
    const loss_job job = {logits, labels, K, n};
    const unsigned n_blocks = count_blocks(n, LOSS_THREADS);
    const int n_sums = 3 * K + 2, n_warps = (int)n_blocks * (LOSS_THREADS / WARP);
    double *partial, found[3 * MOST_CHANNELS + 2];

    if (K > MOST_CHANNELS) return IO_FAIL(IO_ERR_UNSUPPORTED, "loss: %d channels; at most %d are handled", K, MOST_CHANNELS);
    IO_TRY(cuda_scratch_reserve(backend, (size_t)(n_warps + 1) * (size_t)n_sums * sizeof *partial, (void **)&partial));
    CUK_LAUNCH(loss_kernel, n_blocks, LOSS_THREADS, 0, backend->stream, partial, job);
    IO_TRY(cuda_launch_check(backend, "loss"));
    CUK_LAUNCH(loss_join_kernel, count_blocks(n_sums, LOSS_THREADS / WARP), LOSS_THREADS, 0, backend->stream,
               partial + (size_t)n_warps * (size_t)n_sums, (const double *)partial, n_warps, n_sums);
    IO_TRY(cuda_launch_check(backend, "loss, sums"));
    IO_TRY(backend->ops.download(backend, found, partial + (size_t)n_warps * (size_t)n_sums, (size_t)n_sums * sizeof *sums));
    if (found[3 * K + 1] < n) return refuse_label(backend, labels, (int)found[3 * K + 1], K);
    memcpy(sums, found, (size_t)(3 * K + 1) * sizeof *sums);
    return IO_OK;
}

/* ---- backward */

/* By value, so that the host's array need not stay. */
struct loss_factors {
    float of[2 * MOST_CHANNELS];
};

static __global__ void __launch_bounds__(LOSS_THREADS) loss_backward_kernel(float *dlogits, float a, loss_factors factors, loss_job job)
{
    const int i = blockIdx.x * LOSS_THREADS + threadIdx.x, K = job.K;

    if (i < job.n) {
        const loss_pixel pixel = soften(job, i);
        const int label = job.labels[i];
        float inner = 0;

        for (int c = 0; c < K; c++) {
            const float p = read_p(job, pixel, c, i);

            inner = fmaf(p, factors.of[K + c] * p + (c == label ? factors.of[c] : 0), inner);
        }
        for (int c = 0; c < K; c++) {
            const float p = read_p(job, pixel, c, i), dp = factors.of[K + c] * p + (c == label ? factors.of[c] : 0);

            dlogits[(int64_t)c * job.n + i] = a * (p - (c == label ? 1.0f : 0.0f)) + p * (dp - inner);
        }
    }
}

io_status loss_backward_cuda(model_backend *backend, float *dlogits, const float *logits, const uint8_t *labels, float a,
                             const float *factors, int K, int n)
{
    const loss_job job = {logits, labels, K, n};
    loss_factors copied;

    if (K > MOST_CHANNELS) return IO_FAIL(IO_ERR_UNSUPPORTED, "loss: %d channels; at most %d are handled", K, MOST_CHANNELS);
    memset(&copied, 0, sizeof copied);
    memcpy(copied.of, factors, 2 * (size_t)K * sizeof *factors);
    CUK_LAUNCH(loss_backward_kernel, count_blocks(n, LOSS_THREADS), LOSS_THREADS, 0, backend->stream, dlogits, a, copied, job);
    return cuda_launch_check(backend, "loss backward");
}
