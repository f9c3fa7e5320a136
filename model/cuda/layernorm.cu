/* Layer norm over the last dimension: one warp for each row. A row of up to NORM_MOST_HELD numbers is read once and kept in registers, so
 * that the f32 residual stream is read once and what feeds the next product is written once, in its type. */
#include "model/cuda/cuk.h"
#include "model/cuda/norm.h"

struct norm_job {
    void *out;
    const float *in, *gamma, *beta;
    int64_t out_stride, in_stride;
    float eps;
    int M, C;
    bool is_gelu;
};

template <int N> static __device__ __forceinline__ void finish(numbers<N> *y, const norm_job &job, norm_stats stats, int c)
{
    const numbers<N> gamma = load<N>(job.gamma + c), beta = load<N>(job.beta + c);

#pragma unroll
    for (int j = 0; j < N; j++) {
        y->x[j] = fmaf((y->x[j] - stats.mean) * stats.factor, gamma.x[j], beta.x[j]);
        if (job.is_gelu) y->x[j] = gelu(y->x[j]);
    }
}

/* Rows of at most 128 * HELD numbers. out may be in. */
template <int HELD, class T> static __global__ void __launch_bounds__(NORM_ROWS *WARP) layernorm_held_kernel(norm_job job)
{
    const int m = blockIdx.x * NORM_ROWS + threadIdx.x / WARP, lane = threadIdx.x % WARP, n_vectors = m < job.M ? job.C / 4 : 0;
    T *out = (T *)job.out + (int64_t)m * job.out_stride;
    numbers<4> x[HELD];
    norm_stats stats;

    norm_load(x, job.in + (int64_t)m * job.in_stride, n_vectors);
    stats = norm_measure(x, n_vectors, job.eps, (float)job.C);
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (lane + i * WARP < n_vectors) {
            finish(&x[i], job, stats, 4 * (lane + i * WARP));
            store<4>(out + 4 * (lane + i * WARP), x[i]);
        }
}

/* Rows of any length and alignment, read four times. */
template <class T> static __global__ void __launch_bounds__(NORM_ROWS *WARP) layernorm_any_kernel(norm_job job)
{
    const int m = blockIdx.x * NORM_ROWS + threadIdx.x / WARP, n = m < job.M ? job.C : 0;
    const float *in = job.in + (int64_t)m * job.in_stride;
    T *out = (T *)job.out + (int64_t)m * job.out_stride;
    const norm_stats stats = norm_measure_any(in, n, job.eps, (float)job.C);

    for (int c = threadIdx.x % WARP; c < n; c += WARP) {
        numbers<1> y = load<1>(in + c);

        finish(&y, job, stats, c);
        store<1>(out + c, y);
    }
}

template <class T> static void launch(model_backend *backend, const norm_job &job, bool is_aligned)
{
    const unsigned n_blocks = count_blocks(job.M, NORM_ROWS);

    if (!is_aligned || job.C > NORM_MOST_HELD)
        CUK_LAUNCH((layernorm_any_kernel<T>), n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
    else if (job.C <= 128)
        CUK_LAUNCH((layernorm_held_kernel<1, T>), n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
    else if (job.C <= 256)
        CUK_LAUNCH((layernorm_held_kernel<2, T>), n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
    else if (job.C <= 768)
        CUK_LAUNCH((layernorm_held_kernel<6, T>), n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
    else if (job.C <= 1024)
        CUK_LAUNCH((layernorm_held_kernel<8, T>), n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
    else
        CUK_LAUNCH((layernorm_held_kernel<10, T>), n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
}

io_status layernorm_forward_cuda(model_backend *backend, model_rows out, model_rows in, const float *gamma, const float *beta, float eps,
                                 int M, int C, model_epilogue epilogue)
{
    const norm_job job = {out.data, (const float *)in.data, gamma, beta, out.stride, in.stride, eps, M, C, epilogue == MODEL_GELU};
    const bool is_aligned = cuda_rows_fit(out, C, 4) && cuda_rows_fit(in, C, 4) && (uintptr_t)gamma % 16 == 0 && (uintptr_t)beta % 16 == 0;

    if (M == 0) return IO_OK;
    if (out.type == MODEL_BF16)
        launch<bf16>(backend, job, is_aligned);
    else
        launch<float>(backend, job, is_aligned);
    return cuda_launch_check(backend, "layer norm");
}
