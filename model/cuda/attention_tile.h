/* What the kernels of attention share: windows and how they are cut into blocks, tiles staged in shared memory, relative position terms.
 *
 * The keys of a window are "lines" of "lanes": a line is a row of keys, or a column where that leaves fewer lanes empty, filled up to
 * NT * 8 lanes (or several such chunks) with dead ones whose logit is -1e30. A step meets 64 keys: 8 / NT lines of one chunk. So the same
 * thread meets the same key columns in every step, and keeps their terms in registers (as model/cpu/attention_window.h does for its
 * vectors). Padded tokens (spec 1.4) are no keys of any step; their weight is added in closed form.
 *
 * Logits are kept divided by scale = 1 / sqrt(D), which moves into the exponent: logit = scale * (q.k + (Th + Tw) / scale), and the sums of
 * a product start at the terms. */
#ifndef MODEL_CUDA_ATTENTION_TILE_H
#define MODEL_CUDA_ATTENTION_TILE_H

#include "model/cuda/attention_job.h"
#include "model/cuda/attention_math.h"

#define DEAD_LOGIT (-1e30f)
#define LOG2_E 1.44269504088896341f /* exponentials are powers of two */

/* One window of one head of slice b. (y0, x0) is its upper left token; lanes and lines count tokens inside the grid. */
struct attention_window {
    int b, head, y0, x0;
    int vh, vw;
    int is_turned; /* lines are columns of keys */
    int n_lines, n_lanes;
    int n_chunks; /* of NT * 8 lanes */
    int is_cut;   /* some of its tokens are padding */
    int tile;     /* which tile of its queries, or keys, is this block's */
};

static inline __host__ __device__ int divide_up(int n, int by)
{
    return (n + by - 1) / by;
}

/* How many tiles of n_rows tokens the windows of a grid have: whole windows, those cut at the right or lower edge, and the corner. */
struct attention_tiles {
    int whole, edge, corner; /* tiles of one such window */
    int across;              /* whole windows along a side */
    int cut;                 /* tokens along a side that are left over */
};

static inline __host__ __device__ attention_tiles count_tiles(int G, int side, int n_rows)
{
    attention_tiles tiles;

    tiles.across = G / side;
    tiles.cut = G % side;
    tiles.whole = divide_up(side * side, n_rows);
    tiles.edge = divide_up(side * tiles.cut, n_rows);
    tiles.corner = divide_up(tiles.cut * tiles.cut, n_rows);
    return tiles;
}

/* Blocks of one head and slice. */
static inline __host__ __device__ int count_window_blocks(const attention_tiles &tiles)
{
    return tiles.across * tiles.across * tiles.whole + 2 * tiles.across * tiles.edge + tiles.corner;
}

/* Window `index` in units of windows, whole ones first, since they are the longest tasks. */
static __device__ __forceinline__ void place_block(const attention_tiles &tiles, int index, int &wy, int &wx, int &tile)
{
    const int n_whole = tiles.across * tiles.across * tiles.whole, n_edge = tiles.across * tiles.edge;

    if (index < n_whole) {
        wy = index / tiles.whole / tiles.across;
        wx = index / tiles.whole % tiles.across;
        tile = index % tiles.whole;
    } else if (index < n_whole + 2 * n_edge) {
        const int is_lower = index >= n_whole + n_edge, at = index - n_whole - is_lower * n_edge;

        wy = is_lower ? tiles.across : at / tiles.edge;
        wx = is_lower ? at / tiles.edge : tiles.across;
        tile = at % tiles.edge;
    } else {
        wy = wx = tiles.across;
        tile = index - n_whole - 2 * n_edge;
    }
}

/* This block's window and tile; a grid has count_window_blocks x heads x slices blocks. lane_pad: lanes of a chunk. */
static __device__ __forceinline__ attention_window find_window(const attention_job &job, int n_rows, int lane_pad)
{
    attention_window w;

    w.b = (int)blockIdx.z;
    w.head = (int)blockIdx.y;
    place_block(count_tiles(job.G, job.side, n_rows), (int)blockIdx.x, w.y0, w.x0, w.tile);
    w.y0 *= job.side;
    w.x0 *= job.side;
    w.vh = min(job.G - w.y0, job.side);
    w.vw = min(job.G - w.x0, job.side);
    w.is_turned = w.vw * divide_up(w.vh, lane_pad) < w.vh * divide_up(w.vw, lane_pad);
    w.n_lines = w.is_turned ? w.vw : w.vh;
    w.n_lanes = w.is_turned ? w.vh : w.vw;
    w.n_chunks = divide_up(w.n_lanes, lane_pad);
    w.is_cut = w.vh < job.side || w.vw < job.side;
    return w;
}

/* Row of window token (y, x) in the grid of all slices. */
static __device__ __forceinline__ int find_row(const attention_job &job, const attention_window &w, int y, int x)
{
    return (w.b * job.G + w.y0 + y) * job.G + w.x0 + x;
}

/* Row of query number q of the window, or -1 past the last one. */
static __device__ __forceinline__ int find_query(const attention_job &job, const attention_window &w, int q)
{
    return q < w.vh * w.vw ? find_row(job, w, q / w.vw, q % w.vw) : -1;
}

/* Row of a key, or -1 for a dead one. */
static __device__ __forceinline__ int find_key(const attention_job &job, const attention_window &w, int line, int lane)
{
    if (line >= w.n_lines || lane >= w.n_lanes) return -1;
    return w.is_turned ? find_row(job, w, lane, line) : find_row(job, w, line, lane);
}

/* Column of the head's part: 0 q, 1 k, 2 v. */
static __device__ __forceinline__ int find_column(const attention_job &job, const attention_window &w, int part)
{
    return (part * job.heads + w.head) * job.head_size;
}

/* What a tile is staged from: rows of D numbers, and whether they can be copied a tile's 16 bytes at a time. */
template <class S> struct tile_source {
    const S *data;
    int64_t stride;
    int D, is_aligned;
};

template <class S>
static __device__ __forceinline__ tile_source<S> find_source(const attention_job &job, const model_rows &rows, int column, int is_aligned)
{
    const tile_source<S> source = {static_cast<const S *>(rows.data) + column, rows.stride, job.head_size, is_aligned};

    return source;
}

static __device__ __forceinline__ float widen(float x)
{
    return x;
}
static __device__ __forceinline__ float widen(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

static __device__ __forceinline__ void clear_chunk(void *to)
{
    *static_cast<float4 *>(to) = make_float4(0, 0, 0, 0);
}

/* 16 bytes of a tile: under way until the next cuk_cp_async_wait, or rounded at once. */
template <class M, class S> static __device__ __forceinline__ void copy_chunk(typename M::element *to, const S *from)
{
    if constexpr (sizeof(S) == sizeof(typename M::element) && M::IS_COPIED_DIRECTLY) {
        cuk_cp_async16(to, from);
    } else {
        const float4 x = *reinterpret_cast<const float4 *>(from);

        if constexpr (sizeof(S) == sizeof(typename M::element)) {
            *reinterpret_cast<float4 *>(to) = make_float4(M::round(x.x), M::round(x.y), M::round(x.z), M::round(x.w));
        } else {
            const float4 y = *reinterpret_cast<const float4 *>(from + 4);

            *reinterpret_cast<uint4 *>(to) = make_uint4(M::pack(x.x, x.y), M::pack(x.z, x.w), M::pack(y.x, y.y), M::pack(y.z, y.w));
        }
    }
}

/* Fills n_rows rows of a tile by all threads; row_of gives the source's row, or -1 for a row of zeros. To be waited for with
 * cuk_cp_async_wait and a barrier. */
template <class M, class S, class F>
static __device__ __forceinline__ void stage_tile(typename M::element *tile, int n_rows, const tile_source<S> &source, F row_of)
{
    enum { CHUNKS = M::HEAD / M::CHUNK };

#pragma unroll(M::IS_COPIED_DIRECTLY ? 1 : 4)
    for (int i = (int)threadIdx.x; source.is_aligned && i < n_rows * CHUNKS; i += ATTENTION_THREADS) {
        const int c = i % CHUNKS * M::CHUNK;
        const int row = c < source.D ? row_of(i / CHUNKS) : -1;
        typename M::element *to = tile + i / CHUNKS * M::LD + c;

        if (row >= 0)
            copy_chunk<M, S>(to, source.data + row * source.stride + c);
        else
            clear_chunk(to);
    }
#pragma unroll 1
    for (int i = (int)threadIdx.x; !source.is_aligned && i < n_rows * M::HEAD; i += ATTENTION_THREADS) {
        const int c = i % M::HEAD;
        const int row = c < source.D ? row_of(i / M::HEAD) : -1;

        tile[i / M::HEAD * M::LD + c] = row >= 0 ? M::round(widen(source.data[row * source.stride + c])) : M::round(0);
    }
    cuk_cp_async_commit();
}

/* Keys (part 1) or values (2) of a step. */
template <class M>
static __device__ __forceinline__ void stage_keys(typename M::element *tile, int n_slots, const attention_job &job,
                                                  const attention_window &w, int part, int line0, int lane0, int lane_pad)
{
    stage_tile<M>(tile, n_slots, find_source<typename M::element>(job, job.qkv, find_column(job, w, part), job.is_qkv_aligned),
                  [&](int slot) { return find_key(job, w, line0 + slot / lane_pad, lane0 + slot % lane_pad); });
}

/* n_slots rows of the tables from number first on, and after rel_w's last one the head's key of padded tokens. */
template <class M>
static __device__ __forceinline__ void stage_tables(typename M::element *tile, int n_slots, const attention_job &job,
                                                    const attention_window &w, int first)
{
    const tile_source<typename M::element> source = {static_cast<const typename M::element *>(job.constants), M::HEAD, M::HEAD, 1};
    const int n_rows = 2 * (2 * job.side - 1), bias_key = n_rows + job.heads + w.head;

    stage_tile<M>(tile, n_slots, source, [&](int slot) {
        return first + slot < n_rows ? first + slot : first + slot == n_rows ? bias_key : -1;
    });
}

/* A warp's 16 rows of sums to f32 rows, columns column... of them; row_of gives the row of each of the 16, or -1. Four lanes write a
 * whole sector of 32 bytes. */
template <class M, class F>
static __device__ __forceinline__ void store_sums(const float (&sums)[M::HEAD / 8][4], const model_rows &rows, int column, int D,
                                                  int is_aligned, F row_of)
{
    const int g = find_lane() >> 2, t = find_lane() & 3;

#pragma unroll
    for (int e = 0; e < 4; e += 2) {
        const int row = row_of(g + e * 4);
        float *to = static_cast<float *>(rows.data) + row * rows.stride + column;

#pragma unroll
        for (int n = 0; n < M::HEAD / 8; n++) {
            const int c = n * 8 + 2 * t;

            if (row >= 0 && is_aligned && c < D) *reinterpret_cast<float2 *>(to + c) = make_float2(sums[n][e], sums[n][e + 1]);
            if (row >= 0 && !is_aligned && c < D) to[c] = sums[n][e];
            if (row >= 0 && !is_aligned && c + 1 < D) to[c + 1] = sums[n][e + 1];
        }
    }
}

#endif
