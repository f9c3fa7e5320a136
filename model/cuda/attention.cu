/* Fused attention with decomposed relative position (spec 1.4, 1.5), forward: online softmax in registers, as in FlashAttention-2
 * (Dao 2023), on what attention_tile.h and attention_math.h give. One block is MT * 64 queries of one window and head; each of its four
 * warps owns MT * 16 of them, and all what belongs to a query stays inside its warp. */
#include "model/cuda/attention_terms.h"

/* Shared memory of a block, in this order. */
template <class M> struct forward_memory {
    typename M::element *q;             /* [n_queries][LD], later bf16 outputs */
    typename M::element *keys, *values; /* [ATTENTION_TILE][LD] */
    attention_terms terms;
    size_t n_bytes;
};

template <class M>
static __host__ __device__ __forceinline__ forward_memory<M> lay_out_forward(unsigned char *shared, int n_queries, int side, int lane_pad)
{
    forward_memory<M> memory;

    memory.q = reinterpret_cast<typename M::element *>(shared);
    memory.keys = memory.q + n_queries * M::LD;
    memory.values = memory.keys + ATTENTION_TILE * M::LD;
    memory.terms = lay_out_terms(reinterpret_cast<float *>(memory.values + ATTENTION_TILE * M::LD), n_queries, side, lane_pad);
    memory.n_bytes = (n_queries + 2 * ATTENTION_TILE) * M::LD * sizeof(typename M::element) + memory.terms.n_floats * sizeof(float);
    return memory;
}

/* Sum of 2^(step * (run[i * stride] - largest)) for i in [from, to). */
static __device__ float sum_powers(const float *run, int stride, int from, int to, float step, float &largest)
{
    float sum = 0;

    largest = DEAD_LOGIT;
    for (int i = from; i < to; i++) largest = fmaxf(largest, run[i * stride]);
    for (int i = from; i < to; i++) sum += cuk_exp2(step * (run[i * stride] - largest));
    return sum;
}

/* The padded keys of query i form two rectangles, whole lines and the rest of the lines that are there; the weight of each factorises. */
static __device__ void weigh_padding(const attention_terms &terms, const attention_job &job, const attention_window &w, int i)
{
    const float *lines = terms.lines + i, *lanes = terms.lanes + i * terms.lane_stride;
    const int stride = terms.line_stride;
    const float step = job.scale * LOG2_E;
    float below, all, inside, beside;
    const float mass_below = sum_powers(lines, stride, w.n_lines, job.side, step, below);
    const float mass_all = sum_powers(lanes, 1, 0, job.side, step, all);
    const float mass_inside = sum_powers(lines, stride, 0, w.n_lines, step, inside);
    const float mass_beside = sum_powers(lanes, 1, w.n_lanes, job.side, step, beside);
    const float largest = fmaxf(below + all, inside + beside);

    terms.pads[2 * i + 1] = mass_below * mass_all * cuk_exp2(step * (below + all - largest)) +
                            mass_inside * mass_beside * cuk_exp2(step * (inside + beside - largest));
    terms.pads[2 * i] += largest;
}

/* The same for the warp's queries, from q.b_k to what start_state reads. */
template <int MT>
static __device__ __forceinline__ void weigh_all_padding(const attention_terms &terms, const attention_job &job, const attention_window &w)
{
    __syncwarp();
    if (w.is_cut)
        for (int i = find_lane(); i < MT * 16; i += 32) weigh_padding(terms, job, w, find_warp() * MT * 16 + i);
    __syncwarp();
}

/* What a warp knows of its queries: lane 4 * g + t has rows g and g + 8 of each 16. */
template <class M, int MT> struct query_state {
    float o[MT][M::HEAD / 8][4]; /* sums of weighted values */
    float largest[MT][2];        /* logit over the scale */
    float mass[MT][2];           /* this thread's share of the sum of weights */
};

/* Starts with the padded keys, whose values are all b_v. */
template <class M, int MT>
static __device__ __forceinline__ void start_state(query_state<M, MT> &state, const attention_terms &terms, const attention_job &job,
                                                   const attention_window &w)
{
    const int g = find_lane() >> 2, t = find_lane() & 3;
    const typename M::element *bias =
        static_cast<const typename M::element *>(job.constants) + (2 * (2 * job.side - 1) + 2 * job.heads + w.head) * M::HEAD;

#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int i = (find_warp() * MT + m) * 16 + g + e * 8;
            const float mass = w.is_cut ? terms.pads[2 * i + 1] : 0;

            state.largest[m][e] = w.is_cut ? terms.pads[2 * i] : DEAD_LOGIT;
            state.mass[m][e] = t == 0 ? mass : 0;
#pragma unroll
            for (int n = 0; n < M::HEAD / 8; n++)
#pragma unroll
                for (int c = 0; c < 2; c++) state.o[m][n][2 * e + c] = w.is_cut ? mass * widen(bias[n * 8 + 2 * t + c]) : 0;
        }
}

/* Logits of a step to weights relative to the largest logit so far; what is there already shrinks accordingly. */
template <class M, int MT> static __device__ __forceinline__ void weigh_keys(query_state<M, MT> &state, float (&s)[2][MT][4][4], float step)
{
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float largest = state.largest[m][e], mass = 0;

#pragma unroll
            for (int j = 0; j < 8; j++) largest = fmaxf(largest, fmaxf(s[j / 4][m][j % 4][2 * e], s[j / 4][m][j % 4][2 * e + 1]));
            largest = fmaxf(largest, __shfl_xor_sync(WHOLE_WARP, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(WHOLE_WARP, largest, 2));
            const float shrink = cuk_exp2(step * (state.largest[m][e] - largest)), shift = -step * largest;

#pragma unroll
            for (int j = 0; j < 8; j++)
#pragma unroll
                for (int c = 2 * e; c < 2 * e + 2; c++) mass += s[j / 4][m][j % 4][c] = cuk_exp2(s[j / 4][m][j % 4][c] * step + shift);
            state.mass[m][e] = state.mass[m][e] * shrink + mass;
            state.largest[m][e] = largest;
#pragma unroll
            for (int n = 0; n < M::HEAD / 8; n++) {
                state.o[m][n][2 * e] *= shrink;
                state.o[m][n][2 * e + 1] *= shrink;
            }
        }
}

/* One step: keys are on their way, and the next step's are when it returns. */
template <class M, int NT, int MT>
static __device__ __forceinline__ void meet_keys(query_state<M, MT> &state, const float (&lane_terms)[MT][NT][4],
                                                 const typename M::rows (&queries)[MT], const forward_memory<M> &memory,
                                                 const attention_job &job, const attention_window &w, int line, int lane0)
{
    float s[2][MT][4][4];
    const int is_last_of_chunk = line + 8 / NT >= w.n_lines, next_line = is_last_of_chunk ? 0 : line + 8 / NT;
    const int next_lane = is_last_of_chunk ? lane0 + NT * 8 : lane0;

    cuk_cp_async_wait<0>();
    __syncthreads(); /* the keys are there, and nobody reads the last values any more */
    stage_keys<M>(memory.values, ATTENTION_TILE, job, w, 2, line, lane0, NT * 8);
#pragma unroll
    for (int half = 0; half < 2; half++, __syncwarp()) /* or the compiler begins with both, for which registers do not suffice */
        compute_logits<M, NT, MT>(s[half], lane_terms, queries, memory.keys + half * 32 * M::LD, memory.terms, w, line + half * 4 / NT);
    weigh_keys<M, MT>(state, s, job.scale * LOG2_E);
    cuk_cp_async_wait<0>();
    __syncthreads(); /* the values are there, and nobody reads the keys any more */
    if (next_lane < w.n_chunks * NT * 8) stage_keys<M>(memory.keys, ATTENTION_TILE, job, w, 1, next_line, next_lane, NT * 8);
#pragma unroll
    for (int half = 0; half < 2; half++)
        if (line + half * 4 / NT < w.n_lines) M::template multiply_values<MT, 4>(state.o, s[half], memory.values + half * 32 * M::LD);
}

/* Sums of weighted values to outputs; log_sum. */
template <class M, int MT>
static __device__ __forceinline__ void finish_queries(query_state<M, MT> &state, const attention_job &job, const attention_window &w,
                                                      int first)
{
    const int g = find_lane() >> 2, t = find_lane() & 3;

#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            const int row = find_query(job, w, first + (find_warp() * MT + m) * 16 + g + e * 8);
            float mass = state.mass[m][e];

            mass += __shfl_xor_sync(WHOLE_WARP, mass, 1);
            mass += __shfl_xor_sync(WHOLE_WARP, mass, 2);
            const float factor = 1.0f / mass;

            if (job.log_sum && t == 0 && row >= 0)
                job.log_sum[(int64_t)row * job.heads + w.head] = job.scale * LOG2_E * state.largest[m][e] + log2f(mass);
#pragma unroll
            for (int n = 0; n < M::HEAD / 8; n++) {
                state.o[m][n][2 * e] *= factor;
                state.o[m][n][2 * e + 1] *= factor;
            }
        }
}

/* bf16 outputs go to where the warp's queries were first, so that they leave in whole sectors of 32 bytes. */
template <class M, int MT>
static __device__ __forceinline__ void store_narrow(const query_state<M, MT> &state, __nv_bfloat16 *tile, const attention_job &job,
                                                    const attention_window &w, int first)
{
    enum { CHUNKS = M::HEAD / 8 };
    const int g = find_lane() >> 2, t = find_lane() & 3, i0 = find_warp() * MT * 16;
    __nv_bfloat16 *out = static_cast<__nv_bfloat16 *>(job.out.data) + w.head * job.head_size;

#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int e = 0; e < 4; e += 2)
#pragma unroll
            for (int n = 0; n < M::HEAD / 8; n++)
                *reinterpret_cast<__nv_bfloat162 *>(tile + (i0 + m * 16 + g + e * 4) * M::LD + n * 8 + 2 * t) =
                    __floats2bfloat162_rn(state.o[m][n][e], state.o[m][n][e + 1]);
    __syncwarp();
    for (int i = find_lane(); job.is_out_aligned && i < MT * 16 * CHUNKS; i += 32) {
        const int row = find_query(job, w, first + i0 + i / CHUNKS), c = i % CHUNKS * 8;

        if (row >= 0 && c < job.head_size)
            *reinterpret_cast<float4 *>(out + row * job.out.stride + c) =
                *reinterpret_cast<const float4 *>(tile + (i0 + i / CHUNKS) * M::LD + c);
    }
    for (int i = find_lane(); !job.is_out_aligned && i < MT * 16 * M::HEAD; i += 32) {
        const int row = find_query(job, w, first + i0 + i / M::HEAD), c = i % M::HEAD;

        if (row >= 0 && c < job.head_size) out[row * job.out.stride + c] = tile[(i0 + i / M::HEAD) * M::LD + c];
    }
}

template <class M, int MT>
static __device__ __forceinline__ void store_queries(const query_state<M, MT> &state, const forward_memory<M> &memory,
                                                     const attention_job &job, const attention_window &w, int first)
{
    if constexpr (sizeof(typename M::element) == sizeof(__nv_bfloat16))
        if (job.out.type == MODEL_BF16) {
            store_narrow(state, memory.q, job, w, first);
            return;
        }
#pragma unroll
    for (int m = 0; m < MT; m++)
        store_sums<M>(state.o[m], job.out, w.head * job.head_size, job.head_size, job.is_out_aligned,
                      [&](int i) { return find_query(job, w, first + (find_warp() * MT + m) * 16 + i); });
}

/* Blocks of a multiprocessor that registers must allow: three where nothing spills at 168 registers a thread. */
template <class M, int MT> static constexpr int least_blocks()
{
    return MT == 2 || sizeof(typename M::element) == sizeof(float) ? 2 : 3;
}

template <class M, int NT, int MT>
__global__ void __launch_bounds__(ATTENTION_THREADS, least_blocks<M, MT>()) attention_forward_kernel(attention_job job)
{
    CUK_DYN_SHARED(unsigned char, shared);
    const forward_memory<M> memory = lay_out_forward<M>(shared, MT * 64, job.side, NT * 8);
    CUK_SHARED(attention_window, w); /* not in registers, which are short */
    typename M::rows queries[MT];
    query_state<M, MT> state;
    float lane_terms[MT][NT][4];

    if (threadIdx.x == 0) w = find_window(job, MT * 64, NT * 8);
    __syncthreads();
    const int first = w.tile * MT * 64;
    stage_tile<M>(memory.q, MT * 64, find_source<typename M::element>(job, job.qkv, find_column(job, w, 0), job.is_qkv_aligned),
                  [&](int slot) { return find_query(job, w, first + slot); });
    stage_tables<M>(memory.keys, ATTENTION_TILE, job, w, 0);
    cuk_cp_async_wait<0>();
    __syncthreads();
#pragma unroll
    for (int m = 0; m < MT; m++) M::load_rows(queries[m], memory.q + (find_warp() * MT + m) * 16 * M::LD);
    compute_terms<M, MT, ATTENTION_TILE>(memory.terms, memory.keys, memory.values, job, w, queries, first);
    __syncthreads(); /* nobody reads the tables any more */
    stage_keys<M>(memory.keys, ATTENTION_TILE, job, w, 1, 0, 0, NT * 8);
    weigh_all_padding<MT>(memory.terms, job, w);
    bury_lanes<MT>(memory.terms, w, NT * 8);
    start_state<M, MT>(state, memory.terms, job, w);
    for (int lane0 = 0; lane0 < w.n_chunks * NT * 8; lane0 += NT * 8) {
        load_lane_terms<NT, MT>(lane_terms, memory.terms, lane0);
        for (int line = 0; line < w.n_lines; line += 8 / NT) meet_keys<M, NT, MT>(state, lane_terms, queries, memory, job, w, line, lane0);
    }
    finish_queries<M, MT>(state, job, w, first);
    store_queries<M, MT>(state, memory, job, w, first);
}

template <class M, int NT, int MT> static size_t count_bytes(const attention_job *job)
{
    return lay_out_forward<M>(NULL, MT * 64, job->side, NT * 8).n_bytes;
}

/* Launches, or only says in *least how much dynamic shared memory that would take, if least is not NULL. */
template <class M, int NT, int MT> static int launch(cudaStream_t stream, const attention_job *job, size_t *least)
{
    const size_t n_bytes = count_bytes<M, NT, MT>(job);

    if (least) {
        *least = n_bytes;
        return cudaSuccess;
    }
    const dim3 grid((unsigned)count_window_blocks(count_tiles(job->G, job->side, MT * 64)), (unsigned)job->heads, (unsigned)job->B);
    const cudaError_t error =
        cudaFuncSetAttribute((const void *)attention_forward_kernel<M, NT, MT>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)n_bytes);

    if (error != cudaSuccess) return error;
    CUK_LAUNCH((attention_forward_kernel<M, NT, MT>), grid, ATTENTION_THREADS, n_bytes, stream, *job);
    return cudaGetLastError();
}

/* Chunks of 32 lanes unless chunks of 16 leave fewer of them dead. With 32 keys to a line, tensor cores outrun shared memory at 16
 * queries a warp: it takes 32 where a large window leaves the memory for them. */
template <class M, int MT> static int launch_by_side(cudaStream_t stream, const attention_job *job, size_t *least)
{
    if (divide_up(job->side, 32) * 2 != divide_up(job->side, 16)) return launch<M, 2, 1>(stream, job, least);
    if (MT > 1 && (least || count_bytes<M, 4, MT>(job) > attention_shared_limit_cuda())) return launch<M, 4, 1>(stream, job, least);
    return launch<M, 4, MT>(stream, job, least);
}

template <template <int> class M, int MT> static int launch_by_head(cudaStream_t stream, const attention_job *job, size_t *least)
{
    switch (attention_head_pad(job->head_size)) {
    case 32: return launch_by_side<M<32>, 1>(stream, job, least);
    case 64: return launch_by_side<M<64>, MT>(stream, job, least);
    default: return launch_by_side<M<ATTENTION_LARGEST_HEAD>, 1>(stream, job, least);
    }
}

static int launch_by_math(cudaStream_t stream, const attention_job *job, attention_math math, size_t *least)
{
    switch (math) {
    case ATTENTION_BF16: return launch_by_head<bf16_math, 2>(stream, job, least);
    case ATTENTION_TF32: return launch_by_head<tf32_math, 1>(stream, job, least);
    default: return launch_by_head<f32_math, 1>(stream, job, least);
    }
}

extern "C" int attention_forward_launch_cuda(cudaStream_t stream, const attention_job *job, attention_math math)
{
    return launch_by_math(stream, job, math, NULL);
}

extern "C" size_t attention_forward_shared_cuda(int side, int head_size, attention_math math)
{
    attention_job job = {};
    size_t least = 0;

    job.side = side;
    job.head_size = head_size;
    (void)launch_by_math(NULL, &job, math, &least); /* only counts */
    return least;
}
