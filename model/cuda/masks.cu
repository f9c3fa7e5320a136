/* The logits of all channels: one dot product of a channel's hyper vector with each pixel's features (spec 4.2); and their gradients. */
#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

struct masks_job {
    const float *hyper, *features; /* [B*K, C], [B*n, C] */
    int64_t hyper_stride, features_stride;
    int K, n, C;
};

enum { PIXELS = 128 /* of a block */, CHANNELS = 32 /* of C at once */, LOGITS = 16 /* of K at once */ };

/* ---- forward */

/* tile [PIXELS, CHANNELS] = the features of pixels first... , channels c0... ; what does not exist is 0. */
static __device__ __forceinline__ void stage_features(const masks_job &job, float (*tile)[CHANNELS + 1], int64_t row, int first, int c0)
{
    for (int i = threadIdx.x; i < PIXELS * CHANNELS; i += PIXELS) {
        const int pixel = i / CHANNELS, c = i % CHANNELS;
        const bool is_there = first + pixel < job.n && c0 + c < job.C;

        tile[pixel][c] = is_there ? job.features[(row + first + pixel) * job.features_stride + c0 + c] : 0;
    }
}

static __device__ __forceinline__ void stage_hyper(const masks_job &job, float (*tile)[CHANNELS], int64_t row, int k0, int c0)
{
    for (int i = threadIdx.x; i < LOGITS * CHANNELS; i += PIXELS) {
        const int k = i / CHANNELS, c = i % CHANNELS;
        const bool is_there = k0 + k < job.K && c0 + c < job.C;

        tile[k][c] = is_there ? job.hyper[(row + k0 + k) * job.hyper_stride + c0 + c] : 0;
    }
}

/* One thread for each pixel, blockIdx.y is the slice. */
static __global__ void __launch_bounds__(PIXELS) masks_kernel(float *logits, masks_job job)
{
    CUK_SHARED(float, features, [PIXELS][CHANNELS + 1]); /* one more: 32 pixels of a channel lie in 32 banks */
    CUK_SHARED(float, hyper, [LOGITS][CHANNELS]);
    const int first = blockIdx.x * PIXELS, pixel = threadIdx.x;
    const int64_t b = blockIdx.y;

    for (int k0 = 0; k0 < job.K; k0 += LOGITS) {
        float sums[LOGITS] = {};

        for (int c0 = 0; c0 < job.C; c0 += CHANNELS) {
            __syncthreads(); /* the last tile has been read */
            stage_features(job, features, b * job.n, first, c0);
            stage_hyper(job, hyper, b * job.K, k0, c0);
            __syncthreads();
#pragma unroll 4
            for (int c = 0; c < CHANNELS; c++) {
                const float feature = features[pixel][c];
#pragma unroll
                for (int k = 0; k < LOGITS; k++) sums[k] = fmaf(hyper[k][c], feature, sums[k]);
            }
        }
#pragma unroll
        for (int k = 0; k < LOGITS; k++)
            if (k0 + k < job.K && first + pixel < job.n) logits[(b * job.K + k0 + k) * job.n + first + pixel] = sums[k];
    }
}

io_status masks_forward_cuda(model_backend *backend, float *logits, model_rows hyper, model_rows features, int B, int K, int n, int C)
{
    const masks_job job = {(const float *)hyper.data, (const float *)features.data, hyper.stride, features.stride, K, n, C};

    CUK_LAUNCH(masks_kernel, dim3(count_blocks(n, PIXELS), (unsigned)B), PIXELS, 0, backend->stream, logits, job);
    return cuda_launch_check(backend, "masks");
}

/* ---- backward */

/* dfeatures [B*n, C] = dlogits^T . hyper: one thread for each channel of each pixel, blockIdx.y is the slice. */
static __global__ void __launch_bounds__(THREADS)
    features_gradient_kernel(float *dfeatures, int64_t stride, const float *dlogits, masks_job job)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, pixel = i / (unsigned)job.C, c = i % (unsigned)job.C;
    const int64_t b = blockIdx.y;
    float sum = 0;

    if (pixel < (unsigned)job.n) {
        for (int k = 0; k < job.K; k++)
            sum = fmaf(dlogits[(b * job.K + k) * job.n + pixel], job.hyper[(b * job.K + k) * job.hyper_stride + c], sum);
        dfeatures[(b * job.n + pixel) * stride + c] = sum;
    }
}

/* partial [B, chunks, K, C]: the sums over PIXELS pixels, whatever the device; blockIdx.y is the slice. */
static __global__ void __launch_bounds__(PIXELS) hyper_gradient_kernel(float *partial, const float *dlogits, masks_job job)
{
    const int first = blockIdx.x * PIXELS, end = min(first + PIXELS, job.n);
    const int64_t b = blockIdx.y;
    float *to = partial + (b * gridDim.x + blockIdx.x) * job.K * job.C;

    for (int i = threadIdx.x; i < job.K * job.C; i += PIXELS) {
        const float *dlogit = dlogits + (b * job.K + i / job.C) * job.n,
                    *feature = job.features + b * job.n * job.features_stride + i % job.C;
        float sum = 0;

        for (int pixel = first; pixel < end; pixel++) sum = fmaf(dlogit[pixel], feature[pixel * job.features_stride], sum);
        to[i] = sum;
    }
}

/* dhyper [B*K, C] = the chunks' sums in order; one thread for each. */
static __global__ void __launch_bounds__(THREADS)
    hyper_gradient_join_kernel(float *dhyper, int64_t stride, const float *partial, int n_rows, int n_chunks, int K, int C)
{
    const int i = blockIdx.x * THREADS + threadIdx.x, row = i / C, c = i % C;
    float sum = 0;

    if (row < n_rows) {
        for (int chunk = 0; chunk < n_chunks; chunk++) sum += partial[(((int64_t)(row / K) * n_chunks + chunk) * K + row % K) * C + c];
        dhyper[row * stride + c] = sum;
    }
}

io_status masks_backward_cuda(model_backend *backend, model_rows dhyper, model_rows dfeatures, const float *dlogits, model_rows hyper,
                              model_rows features, int B, int K, int n, int C)
{
    const masks_job job = {(const float *)hyper.data, (const float *)features.data, hyper.stride, features.stride, K, n, C};
    const unsigned n_chunks = count_blocks(n, PIXELS);
    void *partial;

    IO_TRY(cuda_scratch_reserve(backend, (size_t)B * n_chunks * (size_t)K * (size_t)C * sizeof(float), &partial));
    CUK_LAUNCH(hyper_gradient_kernel, dim3(n_chunks, (unsigned)B), PIXELS, 0, backend->stream, (float *)partial, dlogits, job);
    IO_TRY(cuda_launch_check(backend, "masks backward, sums of chunks"));
    CUK_LAUNCH(hyper_gradient_join_kernel, count_blocks((int64_t)B * K * C, THREADS), THREADS, 0, backend->stream, (float *)dhyper.data,
               dhyper.stride, (const float *)partial, B * K, (int)n_chunks, K, C);
    IO_TRY(cuda_launch_check(backend, "masks backward, sums"));
    CUK_LAUNCH(features_gradient_kernel, dim3(count_blocks((int64_t)n * C, THREADS), (unsigned)B), THREADS, 0, backend->stream,
               (float *)dfeatures.data, dfeatures.stride, dlogits, job);
    return cuda_launch_check(backend, "masks backward, features");
}
