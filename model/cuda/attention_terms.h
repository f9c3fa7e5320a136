/* Relative position terms (spec 1.5): the queries' products with the tables, which are staged like keys, put where a key looks for them.
 * Everything of a query stays inside its warp. */
#ifndef MODEL_CUDA_ATTENTION_TERMS_H
#define MODEL_CUDA_ATTENTION_TERMS_H

#include "model/cuda/attention_tile.h"

/* Terms of a block's queries, divided by scale, in shared memory. */
struct attention_terms {
    float *lanes; /* [n_queries][lane_stride] */
    float *lines; /* [side][line_stride]: a line's terms for all queries */
    float *pads;  /* [n_queries][2]: q.b_k, and room for one more */
    int lane_stride, line_stride;
    size_t n_floats;
};

/* Strides: four rows of lane terms are read together, in pairs of lanes, and four lines are written together, for eight queries: all in
 * different banks. */
static __host__ __device__ __forceinline__ attention_terms lay_out_terms(float *shared, int n_queries, int side, int lane_pad)
{
    attention_terms terms;

    terms.lane_stride = divide_up(side, lane_pad) * lane_pad + 8;
    terms.line_stride = n_queries + 4;
    terms.lanes = shared;
    terms.lines = terms.lanes + n_queries * terms.lane_stride;
    terms.pads = terms.lines + side * terms.line_stride;
    terms.n_floats = (size_t)(n_queries * terms.lane_stride + side * terms.line_stride + 2 * n_queries);
    return terms;
}

/* Where the product of query i (at y, x of the window) with table row r goes or comes from: the place of its key, or NULL. */
static __device__ __forceinline__ float *find_term(const attention_terms &terms, const attention_job &job, const attention_window &w, int i,
                                                   int y, int x, int r)
{
    const int n = 2 * job.side - 1, is_h = r < n, key = (is_h ? y : x) + job.side - 1 - (is_h ? r : r - n);

    if (r >= 2 * n || key < 0 || key >= job.side) return NULL;
    return is_h == w.is_turned ? terms.lanes + i * terms.lane_stride + key : terms.lines + key * terms.line_stride + i;
}

static __device__ __forceinline__ void place_term(const attention_terms &terms, const attention_job &job, const attention_window &w, int i,
                                                  int y, int x, int r, float term)
{
    float *to = find_term(terms, job, w, i, y, x, r);

    if (to) *to = term * job.unscale;
    if (r == 2 * (2 * job.side - 1)) terms.pads[2 * i] = term;
}

/* All terms of the warp's queries, ROWS rows of the tables after the other, a tile ahead; the first one is there, in a. */
template <class M, int MT, int ROWS>
static __device__ __forceinline__ void compute_terms(const attention_terms &terms, typename M::element *a, typename M::element *b,
                                                     const attention_job &job, const attention_window &w,
                                                     const typename M::rows (&queries)[MT], int first)
{
    const int g = find_lane() >> 2, t = find_lane() & 3, n_tiles = divide_up(2 * (2 * job.side - 1) + 1, ROWS);

    for (int tile = 0; tile < n_tiles; tile++) {
        if (tile > 0) { /* the first one came with the queries */
            cuk_cp_async_wait<0>();
            __syncthreads();
        }
        if (tile + 1 < n_tiles) stage_tables<M>(tile % 2 ? a : b, ROWS, job, w, (tile + 1) * ROWS);
#pragma unroll 1
        for (int part = 0; part < ROWS; part += 32) {
            float s[MT][4][4] = {};

            M::template multiply_keys<MT, 4>(s, queries, (tile % 2 ? b : a) + part * M::LD);
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int e = 0; e < 4; e += 2) {
                    const int i = (find_warp() * MT + m) * 16 + g + e * 4, q = min(first + i, w.vh * w.vw - 1);

#pragma unroll
                    for (int j = 0; j < 4; j++)
                        for (int c = 0; c < 2; c++)
                            place_term(terms, job, w, i, q / w.vw, q % w.vw, tile * ROWS + part + j * 8 + 2 * t + c, s[m][j][e + c]);
                }
        }
    }
}

/* Makes the lanes past the last key dead, once their terms are no longer needed. */
template <int MT> static __device__ __forceinline__ void bury_lanes(const attention_terms &terms, const attention_window &w, int lane_pad)
{
    const int first = find_warp() * MT * 16, n_dead = w.n_chunks * lane_pad - w.n_lanes;

    for (int i = find_lane(); i < MT * 16 * n_dead; i += 32)
        terms.lanes[(first + i / n_dead) * terms.lane_stride + w.n_lanes + i % n_dead] = DEAD_LOGIT;
    __syncwarp();
}

/* The terms of the chunk's lanes for this thread's queries. */
template <int NT, int MT>
static __device__ __forceinline__ void load_lane_terms(float (&terms)[MT][NT][4], const attention_terms &from_terms, int lane0)
{
    const int g = find_lane() >> 2, t = find_lane() & 3;

#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int e = 0; e < 4; e += 2) {
            const float *from = from_terms.lanes + ((find_warp() * MT + m) * 16 + g + e * 4) * from_terms.lane_stride + lane0 + 2 * t;

#pragma unroll
            for (int j = 0; j < NT; j++) {
                const float2 pair = *reinterpret_cast<const float2 *>(from + j * 8);

                terms[m][j][e] = pair.x;
                terms[m][j][e + 1] = pair.y;
            }
        }
}

/* Logits of half a step, 32 keys from line on; lines past the last one are dead. */
template <class M, int NT, int MT>
static __device__ __forceinline__ void compute_logits(float (&s)[MT][4][4], const float (&lane_terms)[MT][NT][4],
                                                      const typename M::rows (&queries)[MT], const typename M::element *keys,
                                                      const attention_terms &terms, const attention_window &w, int line)
{
    const int g = find_lane() >> 2;

#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int i = (find_warp() * MT + m) * 16 + g + e / 2 * 8, at = line + j / NT;

                s[m][j][e] = at < w.n_lines ? lane_terms[m][j % NT][e] + terms.lines[at * terms.line_stride + i] : DEAD_LOGIT;
            }
    if (line < w.n_lines) M::template multiply_keys<MT, 4>(s, queries, keys);
}

#endif
