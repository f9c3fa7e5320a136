/* Plain multi-head attention between two sets of tokens, for the decoder (spec 4.2), and its gradient; f32. One side is long (an image's
 * tokens), the other has some ten.
 *
 * A row (a query, or in the gradient of keys a key) is worked on by GROUP threads, which share out the others among them: 1 where there
 * are many rows, whose threads then read the same few others through the cache, or the whole block where there are few rows and many
 * others. Sums over a group have a fixed order: a thread's own, then by halves of a warp, then by warps. */
#include "model/cuda/attention_job.h"
#include "model/cuda/cuk.h"

enum { CROSS_THREADS = 128, CROSS_WARPS = CROSS_THREADS / 32 };

#define WHOLE_WARP 0xffffffffu
#define LOG2_E 1.44269504088896341f /* exponentials are powers of two */
#define NO_LOGIT (-1e30f)

/* A head of a row, HEAD >= D registers of it, zeros after D. */
template <int HEAD>
static __device__ __forceinline__ void load_head(float (&x)[HEAD], const cross_job &job, const model_rows &rows, int row, int head)
{
    const float *from = static_cast<const float *>(rows.data) + row * rows.stride + head * job.head_size;

#pragma unroll
    for (int d = 0; d < HEAD; d += 4) {
        float4 four = make_float4(0, 0, 0, 0);

        if (job.is_aligned) {
            if (d < job.head_size) four = *reinterpret_cast<const float4 *>(from + d);
        } else {
            if (d < job.head_size) four.x = from[d];
            if (d + 1 < job.head_size) four.y = from[d + 1];
            if (d + 2 < job.head_size) four.z = from[d + 2];
            if (d + 3 < job.head_size) four.w = from[d + 3];
        }
        x[d] = four.x;
        x[d + 1] = four.y;
        x[d + 2] = four.z;
        x[d + 3] = four.w;
    }
}

template <int HEAD>
static __device__ __forceinline__ void store_head(const float (&x)[HEAD], float factor, const cross_job &job, const model_rows &rows,
                                                  int row, int head)
{
    float *to = static_cast<float *>(rows.data) + row * rows.stride + head * job.head_size;

#pragma unroll
    for (int d = 0; d < HEAD; d++)
        if (d < job.head_size) to[d] = x[d] * factor;
}

template <int HEAD> static __device__ __forceinline__ float dot_heads(const float (&a)[HEAD], const float (&b)[HEAD])
{
    float sum = 0;

#pragma unroll
    for (int d = 0; d < HEAD; d++) sum += a[d] * b[d];
    return sum;
}

template <int HEAD> static __device__ __forceinline__ void add_head(float (&to)[HEAD], float factor, const float (&x)[HEAD])
{
#pragma unroll
    for (int d = 0; d < HEAD; d++) to[d] += factor * x[d];
}

template <int HEAD> static __device__ __forceinline__ void scale_head(float (&x)[HEAD], float factor)
{
#pragma unroll
    for (int d = 0; d < HEAD; d++) x[d] *= factor;
}

/* Sums N numbers over the block, in every thread. */
template <int N> static __device__ __forceinline__ void sum_block(float (&x)[N])
{
    CUK_SHARED(float, partial, [CROSS_WARPS][N]);

#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int distance = 16; distance; distance /= 2) x[i] += __shfl_xor_sync(WHOLE_WARP, x[i], distance);
    __syncthreads(); /* the last sums have been read */
    if (threadIdx.x % 32 == 0)
        for (int i = 0; i < N; i++) partial[threadIdx.x / 32][i] = x[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++) {
        x[i] = partial[0][i];
#pragma unroll
        for (int warp = 1; warp < CROSS_WARPS; warp++) x[i] += partial[warp][i];
    }
}

/* To be called once in a kernel: nothing keeps a second call from overwriting what the first one still reads. */
static __device__ __forceinline__ float find_largest_of_block(float x)
{
    CUK_SHARED(float, partial, [CROSS_WARPS]);

#pragma unroll
    for (int distance = 16; distance; distance /= 2) x = fmaxf(x, __shfl_xor_sync(WHOLE_WARP, x, distance));
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
    __syncthreads();
    x = partial[0];
#pragma unroll
    for (int warp = 1; warp < CROSS_WARPS; warp++) x = fmaxf(x, partial[warp]);
    return x;
}

/* A query's running softmax: N sums of weights times something, the first one of weights alone. */
template <int N> struct running_sums {
    float largest; /* power of two */
    float sums[N];
};

/* Weight of the next key, once the sums are relative to the largest logit so far. */
template <int N> static __device__ __forceinline__ float weigh_key(running_sums<N> &state, float logit)
{
    if (logit > state.largest) {
        const float shrink = cuk_exp2(state.largest - logit);

        scale_head(state.sums, shrink);
        state.largest = logit;
    }
    return cuk_exp2(logit - state.largest);
}

/* Joins a group's sums, in every thread. */
template <int GROUP, int N> static __device__ __forceinline__ void join_group(running_sums<N> &state)
{
    if constexpr (GROUP > 1) {
        const float largest = find_largest_of_block(state.largest);

        scale_head(state.sums, cuk_exp2(state.largest - largest));
        state.largest = largest;
        sum_block(state.sums);
    }
}

/* This thread's row of the block's, and whether it is there. */
template <int GROUP> static __device__ __forceinline__ int find_row_of_group()
{
    return (int)blockIdx.x * (CROSS_THREADS / GROUP) + (int)threadIdx.x / GROUP;
}

template <int HEAD, int GROUP> __global__ void __launch_bounds__(CROSS_THREADS) cross_attention_forward_kernel(cross_job job)
{
    const int row = find_row_of_group<GROUP>(), head = (int)blockIdx.y, b = (int)blockIdx.z;
    const int n_keys = row < job.n_q ? job.n_k : 0;
    running_sums<HEAD + 1> state = {NO_LOGIT, {}};
    float q[HEAD] = {}, x[HEAD];

    if (row < job.n_q) load_head(q, job, job.q, b * job.n_q + row, head);
    scale_head(q, job.scale * LOG2_E);
    for (int j = (int)threadIdx.x % GROUP; j < n_keys; j += GROUP) {
        load_head(x, job, job.k, b * job.n_k + j, head);
        const float weight = weigh_key(state, dot_heads(q, x));

        load_head(x, job, job.v, b * job.n_k + j, head);
        state.sums[HEAD] += weight;
#pragma unroll
        for (int d = 0; d < HEAD; d++) state.sums[d] += weight * x[d];
    }
    join_group<GROUP>(state);
#pragma unroll
    for (int d = 0; d < HEAD; d++) x[d] = state.sums[d];
    if (row < job.n_q && threadIdx.x % GROUP == 0) store_head(x, 1.0f / state.sums[HEAD], job, job.out, b * job.n_q + row, head);
}

/* dq, and each query's statistics for the keys' kernel. dlogit = p (dout . v - dout . out), with dout . out as the mean of dout . v. */
template <int HEAD, int GROUP> __global__ void __launch_bounds__(CROSS_THREADS) cross_attention_dq_kernel(cross_job job)
{
    const int row = find_row_of_group<GROUP>(), head = (int)blockIdx.y, b = (int)blockIdx.z;
    const int is_here = row < job.n_q, n_keys = is_here ? job.n_k : 0;
    running_sums<2> state = {NO_LOGIT, {}};
    float q[HEAD] = {}, dout[HEAD] = {}, dq[HEAD] = {}, k[HEAD], v[HEAD];

    if (is_here) load_head(q, job, job.q, b * job.n_q + row, head);
    if (is_here) load_head(dout, job, job.dout, b * job.n_q + row, head);
    scale_head(q, job.scale * LOG2_E);
    for (int j = (int)threadIdx.x % GROUP; j < n_keys; j += GROUP) {
        load_head(k, job, job.k, b * job.n_k + j, head);
        load_head(v, job, job.v, b * job.n_k + j, head);
        const float weight = weigh_key(state, dot_heads(q, k));

        state.sums[0] += weight;
        state.sums[1] += weight * dot_heads(dout, v);
    }
    join_group<GROUP>(state);
    const float log_sum = state.largest + log2f(state.sums[0]), inner = state.sums[1] / state.sums[0];

    for (int j = (int)threadIdx.x % GROUP; j < n_keys; j += GROUP) {
        load_head(k, job, job.k, b * job.n_k + j, head);
        load_head(v, job, job.v, b * job.n_k + j, head);
        add_head(dq, cuk_exp2(dot_heads(q, k) - log_sum) * (dot_heads(dout, v) - inner), k);
    }
    if constexpr (GROUP > 1) sum_block(dq);
    if (!is_here || threadIdx.x % GROUP != 0) return;
    store_head(dq, job.scale, job, job.dq, b * job.n_q + row, head);
    float *stats = job.stats + 2 * (((int64_t)b * job.heads + head) * job.n_q + row);

    stats[0] = log_sum;
    stats[1] = inner;
}

/* dk and dv: a row is a key, the others are queries. */
template <int HEAD, int GROUP> __global__ void __launch_bounds__(CROSS_THREADS) cross_attention_dkv_kernel(cross_job job)
{
    const int row = find_row_of_group<GROUP>(), head = (int)blockIdx.y, b = (int)blockIdx.z;
    const int is_here = row < job.n_k, n_queries = is_here ? job.n_q : 0;
    const float *stats = job.stats + 2 * ((int64_t)b * job.heads + head) * job.n_q;
    float k[HEAD] = {}, v[HEAD] = {}, dk[HEAD] = {}, dv[HEAD] = {}, x[HEAD], dout[HEAD];

    if (is_here) load_head(k, job, job.k, b * job.n_k + row, head);
    if (is_here) load_head(v, job, job.v, b * job.n_k + row, head);
    for (int j = (int)threadIdx.x % GROUP; j < n_queries; j += GROUP) {
        load_head(x, job, job.q, b * job.n_q + j, head);
        load_head(dout, job, job.dout, b * job.n_q + j, head);
        scale_head(x, job.scale * LOG2_E);
        const float p = cuk_exp2(dot_heads(x, k) - stats[2 * j]);

        add_head(dv, p, dout);
        add_head(dk, p * (dot_heads(dout, v) - stats[2 * j + 1]), x);
    }
    if constexpr (GROUP > 1) {
        sum_block(dk);
        sum_block(dv);
    }
    if (!is_here || threadIdx.x % GROUP != 0) return;
    store_head(dk, 1.0f / LOG2_E, job, job.dk, b * job.n_k + row, head); /* x carried the scale, and log2 e */
    store_head(dv, 1.0f, job, job.dv, b * job.n_k + row, head);
}

/* A block for each row where there are too few rows to fill a device and enough others to share out. */
static int choose_group(int n_rows, int n_others)
{
    return n_rows < 64 && n_others >= CROSS_THREADS ? CROSS_THREADS : 1;
}

static dim3 size_grid(const cross_job *job, int n_rows, int group)
{
    const int rows = CROSS_THREADS / group;

    return dim3((unsigned)((n_rows + rows - 1) / rows), (unsigned)job->heads, (unsigned)job->B);
}

template <int HEAD> static int launch_forward(cudaStream_t stream, const cross_job *job)
{
    const int group = choose_group(job->n_q, job->n_k);
    const dim3 grid = size_grid(job, job->n_q, group);

    if (group == 1)
        CUK_LAUNCH((cross_attention_forward_kernel<HEAD, 1>), grid, CROSS_THREADS, 0, stream, *job);
    else
        CUK_LAUNCH((cross_attention_forward_kernel<HEAD, CROSS_THREADS>), grid, CROSS_THREADS, 0, stream, *job);
    return cudaGetLastError();
}

template <int HEAD> static int launch_backward(cudaStream_t stream, const cross_job *job)
{
    const int q_group = choose_group(job->n_q, job->n_k), k_group = choose_group(job->n_k, job->n_q);
    const dim3 q_grid = size_grid(job, job->n_q, q_group), k_grid = size_grid(job, job->n_k, k_group);

    if (q_group == 1)
        CUK_LAUNCH((cross_attention_dq_kernel<HEAD, 1>), q_grid, CROSS_THREADS, 0, stream, *job);
    else
        CUK_LAUNCH((cross_attention_dq_kernel<HEAD, CROSS_THREADS>), q_grid, CROSS_THREADS, 0, stream, *job);
    if (k_group == 1)
        CUK_LAUNCH((cross_attention_dkv_kernel<HEAD, 1>), k_grid, CROSS_THREADS, 0, stream, *job);
    else
        CUK_LAUNCH((cross_attention_dkv_kernel<HEAD, CROSS_THREADS>), k_grid, CROSS_THREADS, 0, stream, *job);
    return cudaGetLastError();
}

extern "C" int cross_attention_forward_launch_cuda(cudaStream_t stream, const cross_job *job)
{
    if (job->head_size <= 16) return launch_forward<16>(stream, job);
    return launch_forward<CROSS_LARGEST_HEAD>(stream, job);
}

extern "C" int cross_attention_backward_launch_cuda(cudaStream_t stream, const cross_job *job)
{
    if (job->head_size <= 16) return launch_backward<16>(stream, job);
    return launch_backward<CROSS_LARGEST_HEAD>(stream, job);
}
