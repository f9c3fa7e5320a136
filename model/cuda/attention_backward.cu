/* The gradient of the fused attention. As in FlashAttention (Dao et al. 2022, algorithm 4) no probability is kept from the forward pass:
 * p = 2^(logit - log_sum), and dlogit = p (dout . v - dout . out). Two kernels, so that every sum has one owner and a fixed order:
 *
 * dq: a block owns 64 queries of one window and head and meets all keys, 32 at a time. The tables' share of dq is a product of their rows
 * with dlogits summed over lines and over lanes of keys. Padded keys (spec 1.4) have no gradient of their own, but take part in those sums
 * in closed form. It leaves the terms and dout . out of its queries for the second kernel.
 *
 * dk, dv: a block owns 64 tokens as keys, which are the left side of the products here, and meets all queries of the window, 32 at a time.
 */
#include "model/cuda/attention_terms.h"

enum { STEP = 32 /* keys, or queries, that a block meets at once; rows of the tables too */ };

/* ---- dq */

/* Shared memory of a block, in this order. */
template <class M> struct dq_memory {
    typename M::element *q, *dout;      /* [ATTENTION_TILE][LD] */
    typename M::element *keys, *values; /* [STEP][LD] */
    attention_terms terms;              /* its lanes become sums of dlogits over lines */
    float *line_sums;                   /* [side][terms.line_stride]: of dlogits over lanes */
    size_t n_bytes;
};

template <class M> static __host__ __device__ __forceinline__ dq_memory<M> lay_out_dq(unsigned char *shared, int side, int lane_pad)
{
    dq_memory<M> memory;

    memory.q = reinterpret_cast<typename M::element *>(shared);
    memory.dout = memory.q + ATTENTION_TILE * M::LD;
    memory.keys = memory.dout + ATTENTION_TILE * M::LD;
    memory.values = memory.keys + STEP * M::LD;
    memory.terms = lay_out_terms(reinterpret_cast<float *>(memory.values + STEP * M::LD), ATTENTION_TILE, side, lane_pad);
    memory.line_sums = memory.terms.lanes + memory.terms.n_floats;
    memory.n_bytes = (2 * ATTENTION_TILE + 2 * STEP) * M::LD * sizeof(typename M::element) +
                     (memory.terms.n_floats + (size_t)(side * memory.terms.line_stride)) * sizeof(float);
    return memory;
}

static __device__ __forceinline__ float sum_warp(float x)
{
#pragma unroll
    for (int distance = 16; distance; distance /= 2) x += __shfl_xor_sync(WHOLE_WARP, x, distance);
    return x;
}

/* dout . out of a row's head, by the warp. */
static __device__ __forceinline__ float dot_outputs(const attention_backward_job &job, const attention_window &w, int row)
{
    const int column = w.head * job.forward.head_size;
    const float *dout = static_cast<const float *>(job.dout.data) + row * job.dout.stride + column;
    const float *out = static_cast<const float *>(job.forward.out.data) + row * job.forward.out.stride + column;
    float sum = 0;

    for (int d = find_lane(); d < job.forward.head_size; d += 32) sum += dout[d] * out[d];
    return sum_warp(sum);
}

/* inner: dout . out of this thread's queries g and g + 8; zero where there is none. */
static __device__ __forceinline__ void compute_inner(float (&inner)[2], const attention_backward_job &job, const attention_window &w,
                                                     int first)
{
    inner[0] = inner[1] = 0;
    for (int i = 0; i < 16; i++) {
        const int row = find_query(job.forward, w, first + i);

        if (row < 0) continue; /* the same for all lanes */
        const float dot = dot_outputs(job, w, row);

        if (i == find_lane() >> 2) inner[0] = dot;
        if (i == (find_lane() >> 2) + 8) inner[1] = dot;
        if (find_lane() == 0) job.inner[(int64_t)row * job.forward.heads + w.head] = dot;
    }
}

/* Where a query's terms lie in scratch: [2][side]. */
static __device__ __forceinline__ float *find_saved_terms(const attention_backward_job &job, const attention_window &w, int row)
{
    return job.terms + ((int64_t)row * job.forward.heads + w.head) * 2 * job.forward.side;
}

/* Keeps the terms of the warp's queries, and clears their sums over lanes. */
static __device__ __forceinline__ void save_terms(const attention_terms &terms, float *line_sums, const attention_backward_job &job,
                                                  const attention_window &w, int first)
{
    const int i0 = find_warp() * 16, side = job.forward.side;

    __syncwarp();
    for (int i = 0; i < 16; i++) {
        const int row = find_query(job.forward, w, first + i);

        for (int key = find_lane(); key < side; key += 32) {
            const float line = terms.lines[key * terms.line_stride + i0 + i], lane = terms.lanes[(i0 + i) * terms.lane_stride + key];

            line_sums[key * terms.line_stride + i0 + i] = 0;
            if (row >= 0) find_saved_terms(job, w, row)[key] = w.is_turned ? lane : line;
            if (row >= 0) find_saved_terms(job, w, row)[side + key] = w.is_turned ? line : lane;
        }
    }
    __syncwarp();
}

/* Logits to probabilities, then to their gradients; gradients holds dout . v. log_sum and inner are of rows g and g + 8. */
static __device__ __forceinline__ void derive_logits(float (&gradients)[1][4][4], float (&logits)[1][4][4], const float (&log_sum)[2],
                                                     const float (&inner)[2], float step)
{
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            logits[0][j][e] = cuk_exp2(logits[0][j][e] * step - log_sum[e / 2]);
            gradients[0][j][e] = logits[0][j][e] * (gradients[0][j][e] - inner[e / 2]);
        }
}

/* Adds a step's dlogits to the sums over lines, in registers, and over lanes. */
template <int NT>
static __device__ __forceinline__ void sum_dlogits(float (&lane_sums)[NT][4], float *line_sums, int line_stride,
                                                   const float (&gradients)[1][4][4], const attention_window &w, int line)
{
    const int g = find_lane() >> 2, i = find_warp() * 16 + g;

#pragma unroll
    for (int l = 0; l < 4 / NT; l++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            float sum = 0;

#pragma unroll
            for (int j = 0; j < NT; j++)
#pragma unroll
                for (int c = 2 * e; c < 2 * e + 2; c++) {
                    sum += gradients[0][l * NT + j][c];
                    lane_sums[j][c] += gradients[0][l * NT + j][c];
                }
            sum += __shfl_xor_sync(WHOLE_WARP, sum, 1);
            sum += __shfl_xor_sync(WHOLE_WARP, sum, 2);
            if (find_lane() % 4 == 0 && line + l < w.n_lines) line_sums[(line + l) * line_stride + i + 8 * e] += sum;
        }
}

/* A chunk's sums over lines go where its terms were. */
template <int NT>
static __device__ __forceinline__ void store_lane_sums(const attention_terms &terms, const float (&lane_sums)[NT][4], int lane0)
{
    const int g = find_lane() >> 2, t = find_lane() & 3;

#pragma unroll
    for (int j = 0; j < NT; j++)
#pragma unroll
        for (int e = 0; e < 4; e += 2)
            *reinterpret_cast<float2 *>(terms.lanes + (find_warp() * 16 + g + e * 4) * terms.lane_stride + lane0 + j * 8 + 2 * t) =
                make_float2(lane_sums[j][e], lane_sums[j][e + 1]);
}

/* All keys of the window; the first step's are on their way. */
template <class M, int NT>
static __device__ __forceinline__ void meet_all_keys(float (&dq)[1][M::HEAD / 8][4], const typename M::rows (&queries)[1],
                                                     const typename M::rows (&douts)[1], const dq_memory<M> &memory,
                                                     const attention_job &job, const attention_window &w, const float (&log_sum)[2],
                                                     const float (&inner)[2])
{
    enum { LANES = NT * 8, LINES = 4 / NT };

    for (int lane0 = 0; lane0 < w.n_chunks * LANES; lane0 += LANES) {
        float lane_terms[1][NT][4], lane_sums[NT][4] = {};

        load_lane_terms<NT, 1>(lane_terms, memory.terms, lane0);
        for (int line = 0; line < w.n_lines; line += LINES) {
            float logits[1][4][4], gradients[1][4][4] = {};

            stage_keys<M>(memory.keys, STEP, job, w, 1, line, lane0, LANES);
            stage_keys<M>(memory.values, STEP, job, w, 2, line, lane0, LANES);
            cuk_cp_async_wait<0>();
            __syncthreads();
            compute_logits<M, NT, 1>(logits, lane_terms, queries, memory.keys, memory.terms, w, line);
            M::template multiply_keys<1, 4>(gradients, douts, memory.values);
            derive_logits(gradients, logits, log_sum, inner, job.scale * LOG2_E);
            sum_dlogits<NT>(lane_sums, memory.line_sums, memory.terms.line_stride, gradients, w, line);
            M::template multiply_values<1, 4>(dq, gradients, memory.keys);
            __syncthreads(); /* nobody reads these keys any more */
        }
        store_lane_sums<NT>(memory.terms, lane_sums, lane0);
    }
    __syncwarp();
}

/* Largest of run[from .. to) and the sum of 2^(step * (run[i] - largest)). */
static __device__ float weigh_run(const float *run, int from, int to, float step, float &largest)
{
    float sum = 0;

    largest = DEAD_LOGIT;
    for (int i = from; i < to; i++) largest = fmaxf(largest, run[i]);
    for (int i = from; i < to; i++) sum += cuk_exp2(step * (run[i] - largest));
    return sum;
}

/* A query with padded keys: its terms and its sums by lines and lanes, start = q.b_k and gradient = dout . b_v - dout . out. */
struct padded_query {
    const float *line_run, *lane_run;
    float *lines, *lanes;
    int line_stride;
    float step, log_sum, start, gradient;
};

/* Adds what the padded keys of lines [l0,l1) and lanes [k0,k1) bring to the query's sums; returns the sum of their dlogits. Their weight
 * factorises. */
static __device__ float add_padding(const padded_query &query, int l0, int l1, int k0, int k1)
{
    float line_largest, lane_largest;

    if (l0 == l1 || k0 == k1) return 0;
    const float line_mass = weigh_run(query.line_run, l0, l1, query.step, line_largest);
    const float lane_mass = weigh_run(query.lane_run, k0, k1, query.step, lane_largest);
    const float factor = query.gradient * cuk_exp2(query.step * (query.start + line_largest + lane_largest) - query.log_sum);

    for (int l = l0; l < l1; l++)
        query.lines[l * query.line_stride] += factor * lane_mass * cuk_exp2(query.step * (query.line_run[l] - line_largest));
    for (int k = k0; k < k1; k++) query.lanes[k] += factor * line_mass * cuk_exp2(query.step * (query.lane_run[k] - lane_largest));
    return factor * line_mass * lane_mass;
}

/* dout . b_v of a row, by the warp. */
template <class M> static __device__ __forceinline__ float dot_bias(const attention_backward_job &job, const attention_window &w, int row)
{
    const typename M::element *bias = static_cast<const typename M::element *>(job.forward.constants) +
                                      (2 * (2 * job.forward.side - 1) + 2 * job.forward.heads + w.head) * M::HEAD;
    const float *dout = static_cast<const float *>(job.dout.data) + row * job.dout.stride + w.head * job.forward.head_size;
    float sum = 0;

    for (int d = find_lane(); d < job.forward.head_size; d += 32) sum += dout[d] * widen(bias[d]);
    return sum_warp(sum);
}

/* The padded keys of the warp's queries, a lane for each; the sum of their dlogits replaces q.b_k. */
template <class M>
static __device__ __forceinline__ void add_all_padding(const dq_memory<M> &memory, const attention_backward_job &job,
                                                       const attention_window &w, int first)
{
    const attention_terms &terms = memory.terms;
    const int lane = find_lane(), i = find_warp() * 16 + lane, side = job.forward.side;
    float gradient = 0, sum = 0;

    for (int n = 0; w.is_cut && n < 16; n++) {
        const int row = find_query(job.forward, w, first + n);
        const float dot = row >= 0 ? dot_bias<M>(job, w, row) : 0;

        if (n == lane) gradient = dot;
    }
    const int row = lane < 16 ? find_query(job.forward, w, first + lane) : -1;

    if (w.is_cut && row >= 0) {
        const int64_t at = (int64_t)row * job.forward.heads + w.head;
        const float *saved = find_saved_terms(job, w, row);
        const padded_query query = {.line_run = w.is_turned ? saved + side : saved,
                                    .lane_run = w.is_turned ? saved : saved + side,
                                    .lines = memory.line_sums + i,
                                    .lanes = terms.lanes + i * terms.lane_stride,
                                    .line_stride = terms.line_stride,
                                    .step = job.forward.scale * LOG2_E,
                                    .log_sum = job.forward.log_sum[at],
                                    .start = terms.pads[2 * i],
                                    .gradient = gradient - job.inner[at]};

        for (int k = w.n_lanes; k < side; k++) query.lanes[k] = 0;
        sum = add_padding(query, w.n_lines, side, 0, side) + add_padding(query, 0, w.n_lines, w.n_lanes, side);
    }
    if (lane < 16) terms.pads[2 * i] = sum;
    __syncwarp();
}

/* dq += the sums . the tables' rows, and the padded keys' dlogits . b_k, which is their last row; over the scale, as dq is until it is
 * stored. */
template <class M>
static __device__ __forceinline__ void multiply_tables(float (&dq)[1][M::HEAD / 8][4], const dq_memory<M> &memory, const attention_job &job,
                                                       const attention_window &w, int first)
{
    attention_terms sums = memory.terms;
    const int g = find_lane() >> 2, t = find_lane() & 3, n_rows = 2 * (2 * job.side - 1);

    sums.lines = memory.line_sums;
    for (int r0 = 0; r0 <= n_rows; r0 += STEP) {
        float weights[1][4][4];

        stage_tables<M>(memory.keys, STEP, job, w, r0);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int i = find_warp() * 16 + g + e / 2 * 8, q = min(first + g + e / 2 * 8, w.vh * w.vw - 1);

#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int r = r0 + j * 8 + 2 * t + e % 2;
                const float *from = find_term(sums, job, w, i, q / w.vw, q % w.vw, r);

                weights[0][j][e] = from ? *from * job.unscale : r == n_rows ? sums.pads[2 * i] : 0;
            }
        }
        cuk_cp_async_wait<0>();
        __syncthreads();
        M::template multiply_values<1, 4>(dq, weights, memory.keys);
        __syncthreads(); /* nobody reads these rows any more */
    }
}

template <class M, int NT>
static __device__ __forceinline__ void derive_queries(const dq_memory<M> &memory, const attention_backward_job &job,
                                                      const attention_window &w)
{
    const int first = w.tile * ATTENTION_TILE, warp_first = first + find_warp() * 16;
    typename M::rows queries[1], douts[1];
    float dq[1][M::HEAD / 8][4] = {}, inner[2], log_sum[2];

    M::load_rows(queries[0], memory.q + find_warp() * 16 * M::LD);
    M::load_rows(douts[0], memory.dout + find_warp() * 16 * M::LD);
    compute_terms<M, 1, STEP>(memory.terms, memory.keys, memory.values, job.forward, w, queries, first);
    save_terms(memory.terms, memory.line_sums, job, w, warp_first);
    bury_lanes<1>(memory.terms, w, NT * 8);
    compute_inner(inner, job, w, warp_first);
#pragma unroll
    for (int e = 0; e < 2; e++) {
        const int row = find_query(job.forward, w, warp_first + (find_lane() >> 2) + 8 * e);

        log_sum[e] = row >= 0 ? job.forward.log_sum[(int64_t)row * job.forward.heads + w.head] : 0;
    }
    __syncthreads(); /* nobody reads the tables any more */
    meet_all_keys<M, NT>(dq, queries, douts, memory, job.forward, w, log_sum, inner);
    add_all_padding<M>(memory, job, w, warp_first);
    multiply_tables<M>(dq, memory, job.forward, w, warp_first);
#pragma unroll
    for (int n = 0; n < M::HEAD / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) dq[0][n][e] *= job.forward.scale;
    store_sums<M>(dq[0], job.dqkv, find_column(job.forward, w, 0), job.forward.head_size, job.is_dqkv_aligned,
                  [&](int i) { return find_query(job.forward, w, warp_first + i); });
}

template <class M, int NT> __global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_dq_kernel(attention_backward_job job)
{
    CUK_DYN_SHARED(unsigned char, shared);
    CUK_SHARED(attention_window, w); /* not in registers, which are short */
    const dq_memory<M> memory = lay_out_dq<M>(shared, job.forward.side, NT * 8);

    if (threadIdx.x == 0) w = find_window(job.forward, ATTENTION_TILE, NT * 8);
    __syncthreads();
    const auto row_of = [&](int slot) { return find_query(job.forward, w, w.tile * ATTENTION_TILE + slot); };

    stage_tile<M>(
        memory.q, ATTENTION_TILE,
        find_source<typename M::element>(job.forward, job.forward.qkv, find_column(job.forward, w, 0), job.forward.is_qkv_aligned), row_of);
    stage_tile<M>(memory.dout, ATTENTION_TILE,
                  find_source<float>(job.forward, job.dout, w.head * job.forward.head_size, job.is_dout_aligned), row_of);
    stage_tables<M>(memory.keys, STEP, job.forward, w, 0);
    cuk_cp_async_wait<0>();
    __syncthreads();
    derive_queries<M, NT>(memory, job, w);
}

/* ---- dk and dv */

/* Shared memory of a block, in this order. */
template <class M> struct dkv_memory {
    typename M::element *keys, *values; /* [ATTENTION_TILE][LD] */
    typename M::element *q, *dout;      /* [STEP][LD] */
    float *terms;                       /* [STEP][term_stride]: a query's terms for key rows, then for columns */
    float *stats;                       /* [STEP][2]: log_sum, dout . out */
    int term_stride;
    size_t n_bytes;
};

/* Four queries' terms of eight neighbouring keys are read together: the stride puts them in different banks. */
template <class M> static __host__ __device__ __forceinline__ dkv_memory<M> lay_out_dkv(unsigned char *shared, int side)
{
    dkv_memory<M> memory;

    memory.term_stride = divide_up(2 * side, 16) * 16 + 4;
    memory.keys = reinterpret_cast<typename M::element *>(shared);
    memory.values = memory.keys + ATTENTION_TILE * M::LD;
    memory.q = memory.values + ATTENTION_TILE * M::LD;
    memory.dout = memory.q + STEP * M::LD;
    memory.terms = reinterpret_cast<float *>(memory.dout + STEP * M::LD);
    memory.stats = memory.terms + STEP * memory.term_stride;
    memory.n_bytes = (2 * ATTENTION_TILE + 2 * STEP) * M::LD * sizeof(typename M::element) +
                     (size_t)(STEP * memory.term_stride + 2 * STEP) * sizeof(float);
    return memory;
}

/* Queries first .. first + STEP - 1 of the window with all that belongs to them; one that is not there has no weight on any key. */
template <class M>
static __device__ __forceinline__ void stage_queries(const dkv_memory<M> &memory, const attention_backward_job &job,
                                                     const attention_window &w, int first)
{
    const attention_job &forward = job.forward;
    const int n_terms = 2 * forward.side;
    const auto row_of = [&](int slot) { return find_query(forward, w, first + slot); };

    stage_tile<M>(memory.q, STEP,
                  find_source<typename M::element>(forward, forward.qkv, find_column(forward, w, 0), forward.is_qkv_aligned), row_of);
    stage_tile<M>(memory.dout, STEP, find_source<float>(forward, job.dout, w.head * forward.head_size, job.is_dout_aligned), row_of);
    for (int i = (int)threadIdx.x; i < STEP * n_terms; i += ATTENTION_THREADS) {
        const int row = row_of(i / n_terms);

        memory.terms[i / n_terms * memory.term_stride + i % n_terms] = row >= 0 ? find_saved_terms(job, w, row)[i % n_terms] : 0;
    }
    if (threadIdx.x < STEP) {
        const int row = row_of((int)threadIdx.x);
        const int64_t at = (int64_t)row * forward.heads + w.head;

        memory.stats[2 * threadIdx.x] = row >= 0 ? forward.log_sum[at] : -DEAD_LOGIT;
        memory.stats[2 * threadIdx.x + 1] = row >= 0 ? job.inner[at] : 0;
    }
}

/* Terms of this thread's keys, at rows y and columns x of the window, with the step's queries: where the sums of logits start. */
template <class M>
static __device__ __forceinline__ void start_logits(float (&logits)[1][4][4], const dkv_memory<M> &memory, int side, const int (&y)[2],
                                                    const int (&x)[2])
{
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const float *terms = memory.terms + (j * 8 + 2 * (find_lane() & 3) + e % 2) * memory.term_stride;

            logits[0][j][e] = terms[y[e / 2]] + terms[side + x[e / 2]];
        }
}

/* Logits to probabilities and gradients to dlogits, as derive_logits, but a query is a column. */
template <class M>
static __device__ __forceinline__ void derive_columns(float (&gradients)[1][4][4], float (&logits)[1][4][4], const dkv_memory<M> &memory,
                                                      float step)
{
#pragma unroll
    for (int j = 0; j < 4; j++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
            const float2 stats = *reinterpret_cast<const float2 *>(memory.stats + 2 * (j * 8 + 2 * (find_lane() & 3) + c));

#pragma unroll
            for (int e = c; e < 4; e += 2) {
                logits[0][j][e] = cuk_exp2(logits[0][j][e] * step - stats.x);
                gradients[0][j][e] = logits[0][j][e] * (gradients[0][j][e] - stats.y);
            }
        }
}

template <class M>
static __device__ __forceinline__ void derive_keys(const dkv_memory<M> &memory, const attention_backward_job &job,
                                                   const attention_window &w)
{
    enum { ARE_ROWS_LARGE = sizeof(typename M::rows) > 32 * sizeof(float) }; /* so that registers do not suffice to keep them */
    const attention_job &forward = job.forward;
    const int first = w.tile * ATTENTION_TILE + find_warp() * 16, n_tokens = w.vh * w.vw;
    typename M::rows keys[1], values[1];
    float dk[1][M::HEAD / 8][4] = {}, dv[1][M::HEAD / 8][4] = {};
    int y[2], x[2];

#pragma unroll
    for (int e = 0; e < 2; e++) {
        const int token = min(first + (find_lane() >> 2) + 8 * e, n_tokens - 1);

        y[e] = token / w.vw;
        x[e] = token % w.vw;
    }
    M::load_rows(keys[0], memory.keys + find_warp() * 16 * M::LD);
    M::load_rows(values[0], memory.values + find_warp() * 16 * M::LD);
#pragma unroll 1
    for (int q0 = 0; q0 < n_tokens; q0 += STEP) {
        float logits[1][4][4], gradients[1][4][4] = {};

        if (q0 > 0) __syncthreads(); /* nobody reads the last queries any more */
        stage_queries<M>(memory, job, w, q0);
        cuk_cp_async_wait<0>();
        __syncthreads();
        start_logits<M>(logits, memory, forward.side, y, x);
        if (ARE_ROWS_LARGE) M::load_rows(keys[0], memory.keys + find_warp() * 16 * M::LD);
        M::template multiply_keys<1, 4>(logits, keys, memory.q);
        if (ARE_ROWS_LARGE) M::load_rows(values[0], memory.values + find_warp() * 16 * M::LD);
        M::template multiply_keys<1, 4>(gradients, values, memory.dout);
        derive_columns<M>(gradients, logits, memory, forward.scale * LOG2_E);
        M::template multiply_values<1, 4>(dv, logits, memory.dout);
        M::template multiply_values<1, 4>(dk, gradients, memory.q);
    }
    const auto row_of = [&](int i) { return find_query(forward, w, first + i); };

#pragma unroll
    for (int n = 0; n < M::HEAD / 8; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) dk[0][n][e] *= forward.scale;
    store_sums<M>(dk[0], job.dqkv, find_column(forward, w, 1), forward.head_size, job.is_dqkv_aligned, row_of);
    store_sums<M>(dv[0], job.dqkv, find_column(forward, w, 2), forward.head_size, job.is_dqkv_aligned, row_of);
}

template <class M> __global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_dkv_kernel(attention_backward_job job)
{
    CUK_DYN_SHARED(unsigned char, shared);
    CUK_SHARED(attention_window, w); /* not in registers, which are short */
    const dkv_memory<M> memory = lay_out_dkv<M>(shared, job.forward.side);

    if (threadIdx.x == 0) w = find_window(job.forward, ATTENTION_TILE, 16);
    __syncthreads();
#pragma unroll
    for (int part = 1; part < 3; part++)
        stage_tile<M>(
            part == 1 ? memory.keys : memory.values, ATTENTION_TILE,
            find_source<typename M::element>(job.forward, job.forward.qkv, find_column(job.forward, w, part), job.forward.is_qkv_aligned),
            [&](int slot) { return find_query(job.forward, w, w.tile * ATTENTION_TILE + slot); });
    cuk_cp_async_wait<0>();
    __syncthreads();
    derive_keys<M>(memory, job, w);
}

/* ---- launching */

/* Launches, or only says in *least how much dynamic shared memory that would take, if least is not NULL. */
template <class M, int NT> static int launch(cudaStream_t stream, const attention_backward_job *job, size_t *least)
{
    const attention_job *forward = &job->forward;
    const size_t dq_bytes = lay_out_dq<M>(NULL, forward->side, NT * 8).n_bytes, dkv_bytes = lay_out_dkv<M>(NULL, forward->side).n_bytes;

    if (least) {
        *least = dq_bytes > dkv_bytes ? dq_bytes : dkv_bytes;
        return cudaSuccess;
    }
    const dim3 grid((unsigned)count_window_blocks(count_tiles(forward->G, forward->side, ATTENTION_TILE)), (unsigned)forward->heads,
                    (unsigned)forward->B);
    cudaError_t error =
        cudaFuncSetAttribute((const void *)attention_dq_kernel<M, NT>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)dq_bytes);

    if (error == cudaSuccess)
        error = cudaFuncSetAttribute((const void *)attention_dkv_kernel<M>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)dkv_bytes);
    if (error != cudaSuccess) return error;
    CUK_LAUNCH((attention_dq_kernel<M, NT>), grid, ATTENTION_THREADS, dq_bytes, stream, *job);
    CUK_LAUNCH((attention_dkv_kernel<M>), grid, ATTENTION_THREADS, dkv_bytes, stream, *job);
    return cudaGetLastError();
}

/* As in the forward pass: chunks of 32 lanes unless chunks of 16 leave fewer of them dead. */
template <class M> static int launch_by_side(cudaStream_t stream, const attention_backward_job *job, size_t *least)
{
    if (divide_up(job->forward.side, 32) * 2 == divide_up(job->forward.side, 16)) return launch<M, 4>(stream, job, least);
    return launch<M, 2>(stream, job, least);
}

template <template <int> class M> static int launch_by_head(cudaStream_t stream, const attention_backward_job *job, size_t *least)
{
    switch (attention_head_pad(job->forward.head_size)) {
    case 32: return launch_by_side<M<32>>(stream, job, least);
    case 64: return launch_by_side<M<64>>(stream, job, least);
    default: return launch_by_side<M<ATTENTION_LARGEST_HEAD>>(stream, job, least);
    }
}

static int launch_by_math(cudaStream_t stream, const attention_backward_job *job, attention_math math, size_t *least)
{
    switch (math) {
    case ATTENTION_BF16: return launch_by_head<bf16_math>(stream, job, least);
    case ATTENTION_TF32: return launch_by_head<tf32_math>(stream, job, least);
    default: return launch_by_head<f32_math>(stream, job, least);
    }
}

extern "C" int attention_backward_launch_cuda(cudaStream_t stream, const attention_backward_job *job, attention_math math)
{
    return launch_by_math(stream, job, math, NULL);
}

extern "C" size_t attention_backward_shared_cuda(int side, int head_size, attention_math math)
{
    attention_backward_job job = {};
    size_t least = 0;

    job.forward.side = side;
    job.forward.head_size = head_size;
    (void)launch_by_math(NULL, &job, math, &least); /* only counts */
    return least;
}
