/* The gradient of layer norm: of its input, one warp for each row; of gamma and beta, sums over the rows in chunks of CHUNK_ROWS whatever
 * the device, the chunks then added in order. */
#include "model/cuda/cuk.h"
#include "model/cuda/norm.h"

enum { CHUNK_ROWS = 32 };

struct norm_gradient_job {
    float *din;
    const float *dout, *in, *gamma;
    int64_t din_stride, dout_stride, in_stride;
    float eps;
    int M, C;
    bool is_sum;
    float *partial; /* [chunks, 2, C]: dgamma, then dbeta */
};

/* One block for each chunk of rows: their statistics first, then column by column the sums. */
static __global__ void __launch_bounds__(THREADS) norm_weights_kernel(norm_gradient_job job)
{
    CUK_SHARED(norm_stats, stats, [CHUNK_ROWS]);
    const int first = blockIdx.x * CHUNK_ROWS, n = min(CHUNK_ROWS, job.M - first);
    float *partial = job.partial + (int64_t)blockIdx.x * 2 * job.C;

    for (int r = threadIdx.x / WARP; r < n; r += THREADS / WARP) { /* the same for all lanes of a warp */
        const norm_stats measured = norm_measure_any(job.in + (first + r) * job.in_stride, job.C, job.eps, (float)job.C);

        if (threadIdx.x % WARP == 0) stats[r] = measured;
    }
    __syncthreads();
    for (int c = threadIdx.x; c < job.C; c += THREADS) {
        float gammas = 0, betas = 0;

        for (int r = 0; r < n; r++) {
            const float dy = job.dout[(first + r) * job.dout_stride + c], x = job.in[(first + r) * job.in_stride + c];

            gammas = fmaf(dy, (x - stats[r].mean) * stats[r].factor, gammas);
            betas += dy;
        }
        partial[c] = gammas;
        partial[job.C + c] = betas;
    }
}

/* dgamma, dbeta [C] += the chunks' sums. */
static __global__ void __launch_bounds__(THREADS)
    norm_weights_join_kernel(float *dgamma, float *dbeta, const float *partial, int n_chunks, int C)
{
    const int c = blockIdx.x * THREADS + threadIdx.x;
    float gammas = 0, betas = 0;

    if (c < C) {
        for (int i = 0; i < n_chunks; i++) {
            gammas += partial[(int64_t)i * 2 * C + c];
            betas += partial[(int64_t)i * 2 * C + C + c];
        }
        dgamma[c] += gammas;
        dbeta[c] += betas;
    }
}

/* dx = factor (g - mean(g) - normed mean(g normed)), g = dy gamma. Rows of at most 128 * HELD numbers in registers. din may be dout. */
template <int HELD> static __global__ void __launch_bounds__(NORM_ROWS *WARP) norm_held_kernel(norm_gradient_job job)
{
    const int m = blockIdx.x * NORM_ROWS + threadIdx.x / WARP, lane = threadIdx.x % WARP, n_vectors = m < job.M ? job.C / 4 : 0;
    float *din = job.din + (int64_t)m * job.din_stride, plain = 0, normed = 0;
    const float C = (float)job.C;
    numbers<4> x[HELD], g[HELD];
    norm_stats stats;

    norm_load(x, job.in + (int64_t)m * job.in_stride, n_vectors);
    norm_load(g, job.dout + (int64_t)m * job.dout_stride, n_vectors);
    stats = norm_measure(x, n_vectors, job.eps, C);
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (lane + i * WARP < n_vectors) {
            const numbers<4> gamma = load<4>(job.gamma + 4 * (lane + i * WARP));
#pragma unroll
            for (int j = 0; j < 4; j++) {
                x[i].x[j] = (x[i].x[j] - stats.mean) * stats.factor;
                g[i].x[j] *= gamma.x[j];
                plain += g[i].x[j];
                normed = fmaf(g[i].x[j], x[i].x[j], normed);
            }
        }
    plain = sum_warp(plain) / C;
    normed = sum_warp(normed) / C;
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (lane + i * WARP < n_vectors) {
            numbers<4> dx = {};
            if (job.is_sum) dx = load<4>(din + 4 * (lane + i * WARP));
#pragma unroll
            for (int j = 0; j < 4; j++) dx.x[j] += stats.factor * (g[i].x[j] - plain - x[i].x[j] * normed);
            store<4>(din + 4 * (lane + i * WARP), dx);
        }
}

/* Rows of any length and alignment. */
static __global__ void __launch_bounds__(NORM_ROWS *WARP) norm_any_kernel(norm_gradient_job job)
{
    const int m = blockIdx.x * NORM_ROWS + threadIdx.x / WARP, lane = threadIdx.x % WARP, n = m < job.M ? job.C : 0;
    const float *in = job.in + (int64_t)m * job.in_stride, *dout = job.dout + (int64_t)m * job.dout_stride;
    const norm_stats stats = norm_measure_any(in, n, job.eps, (float)job.C);
    float *din = job.din + (int64_t)m * job.din_stride, plain = 0, normed = 0;

    for (int c = lane; c < n; c += WARP) {
        const float g = dout[c] * job.gamma[c];

        plain += g;
        normed = fmaf(g, (in[c] - stats.mean) * stats.factor, normed);
    }
    plain = sum_warp(plain) / (float)job.C;
    normed = sum_warp(normed) / (float)job.C;
    for (int c = lane; c < n; c += WARP) {
        const float dx = stats.factor * (dout[c] * job.gamma[c] - plain - (in[c] - stats.mean) * stats.factor * normed);

        din[c] = job.is_sum ? din[c] + dx : dx;
    }
}

static void launch_rows(model_backend *backend, const norm_gradient_job &job, bool is_aligned)
{
    const unsigned n_blocks = count_blocks(job.M, NORM_ROWS);

    if (!is_aligned || job.C > NORM_MOST_HELD)
        CUK_LAUNCH(norm_any_kernel, n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
    else if (job.C <= 256)
        CUK_LAUNCH(norm_held_kernel<2>, n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
    else if (job.C <= 768)
        CUK_LAUNCH(norm_held_kernel<6>, n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
    else
        CUK_LAUNCH(norm_held_kernel<10>, n_blocks, NORM_ROWS * WARP, 0, backend->stream, job);
}

/* Before the rows, because those may overwrite dout. */
static io_status sum_weights(model_backend *backend, norm_gradient_job *job, float *dgamma, float *dbeta)
{
    const unsigned n_chunks = count_blocks(job->M, CHUNK_ROWS);

    IO_TRY(cuda_scratch_reserve(backend, (size_t)n_chunks * 2 * (size_t)job->C * sizeof(float), (void **)&job->partial));
    CUK_LAUNCH(norm_weights_kernel, n_chunks, THREADS, 0, backend->stream, *job);
    IO_TRY(cuda_launch_check(backend, "layer norm backward, sums of chunks"));
    CUK_LAUNCH(norm_weights_join_kernel, count_blocks(job->C, THREADS), THREADS, 0, backend->stream, dgamma, dbeta, job->partial,
               (int)n_chunks, job->C);
    return cuda_launch_check(backend, "layer norm backward, sums");
}

io_status layernorm_backward_cuda(model_backend *backend, model_rows din, float *dgamma, float *dbeta, model_rows dout, model_rows in,
                                  const float *gamma, float eps, int M, int C, model_epilogue epilogue)
{
    norm_gradient_job job = {(float *)din.data,
                             (const float *)dout.data,
                             (const float *)in.data,
                             gamma,
                             din.stride,
                             dout.stride,
                             in.stride,
                             eps,
                             M,
                             C,
                             epilogue == MODEL_ADD,
                             NULL};
    const bool is_aligned = cuda_rows_fit(din, C, 4) && cuda_rows_fit(dout, C, 4) && cuda_rows_fit(in, C, 4) && (uintptr_t)gamma % 16 == 0;

    if (M == 0) return IO_OK;
    if (dgamma) IO_TRY(sum_weights(backend, &job, dgamma, dbeta));
    launch_rows(backend, job, is_aligned);
    return cuda_launch_check(backend, "layer norm backward");
}
