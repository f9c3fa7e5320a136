/* The gradient of the fused attention, included once per instruction set with ATTENTION_BACKWARD_KERNEL and ATTENTION_BACKWARD_SCRATCH as
 * its names. In f32, or with bf16 in its five products; sums, probabilities and gradients are f32.
 *
 * As in FlashAttention (Dao et al. 2022, algorithm 4) no probability is kept from the forward pass: p = 2^(logit - log_sum). One task is
 * one window of one head, or a chunk of its keys, with all queries, so that the sums over queries (dk, dv) have a fixed order. A block of
 * BLOCK_TILES tiles of queries keeps its probabilities and their gradients, which then meet all keys in two products with the left side
 * turned.
 *
 * Padded keys have no gradient of their own (their k and v are the frozen bias), but they take their share of a query's: it reaches dq
 * through the bias key and through the relative position terms, and factorises as their weight does (attention_window.h). */
#include "model/cpu/attention_window.h"

enum { BLOCK_TILES = 8, BLOCK_QUERIES = BLOCK_TILES * TILE_ROWS };

/* A packed window and what its gradient needs besides; all in the thread's scratch. In bf16 what the turned products read is pairs of
 * queries: half the rows, dwords instead of floats. */
typedef struct gradient_window {
    packed_window w; /* w.keys: k for products with queries; w.values: k for products with dlogits */
    const attention_backward_job *job;
    float *value_keys;                  /* v for products with dout, like w.keys */
    float *dkeys, *dvalues;             /* [n_keys + TILE_ROWS][D] */
    float *weights, *dlogits;           /* [BLOCK_QUERIES][logit_stride], or pairs */
    float *q, *dout;                    /* [BLOCK_QUERIES][D], copied together, or pairs */
    float *tile_weights, *tile_dlogits; /* [TILE_ROWS][logit_stride]: of one tile in f32; in f32 its place in the block's */
    float *tile_rows;                   /* [TILE_ROWS][logit_stride]: dlogits as the product with the keys reads them */
    float *tile_dout;                   /* [TILE_ROWS][n_dwords]: likewise; bf16 only */
    float *runs;        /* [2][TILE_ROWS][term_stride]: a query's dlogits summed over columns and rows of keys, as the tables lie */
    float *sums[2];     /* [side]: of one query, by rows (0) and columns (1) of keys */
    float *lane_sums;   /* [n_parts * LANES] */
    float *powers[2];   /* [side]: of one query's padded keys */
    int from[2], to[2]; /* rows and columns of keys that the sums are of */
} gradient_window;

/* What the products of one tile of queries need to know of it. */
typedef struct gradient_tile {
    query_tile queries;
    int n_live;                   /* of its queries are there, the others repeat the last one */
    const float *dout[TILE_ROWS]; /* f32 */
    const float *left[TILE_ROWS]; /* dout as the product with the values reads it */
    float inner[TILE_ROWS];       /* dout . out */
    float pads[TILE_ROWS];        /* sums of the padded keys' dlogits */
    int least[2], n[2];           /* table rows that the relative position terms meet */
} gradient_tile;

static size_t lay_out_gradient(gradient_window *g, const model_relpos *relpos, float *scratch)
{
    const int is_bf16 = relpos->type == MODEL_BF16;
    const size_t D = (size_t)relpos->head_size, n_keys = (size_t)most_vectors(relpos) * LANES, side = (size_t)relpos->side + 2 * LANES;
    const size_t block = (size_t)(is_bf16 ? BLOCK_QUERIES / 2 : BLOCK_QUERIES);
    size_t used = lay_out(&g->w, relpos, is_bf16, scratch);

#define TAKE(count) (scratch + (used += (size_t)round_up((int)(count), 16)) - (size_t)round_up((int)(count), 16))
    g->value_keys = TAKE(n_keys * D);
    g->dkeys = TAKE((n_keys + TILE_ROWS) * D);
    g->dvalues = TAKE((n_keys + TILE_ROWS) * D);
    g->weights = TAKE(block * g->w.logit_stride);
    g->dlogits = TAKE(block * g->w.logit_stride);
    g->q = TAKE(block * D);
    g->dout = TAKE(block * D);
    if (is_bf16) {
        g->tile_weights = TAKE(TILE_ROWS * g->w.logit_stride);
        g->tile_dlogits = TAKE(TILE_ROWS * g->w.logit_stride);
        g->tile_rows = TAKE(TILE_ROWS * g->w.logit_stride);
        g->tile_dout = TAKE(TILE_ROWS * D);
    }
    g->runs = TAKE(2 * TILE_ROWS * g->w.term_stride);
    g->sums[0] = TAKE(side);
    g->sums[1] = TAKE(side);
    g->lane_sums = TAKE(side + LANES);
    g->powers[0] = TAKE(side);
    g->powers[1] = TAKE(side);
#undef TAKE
    return used;
}

size_t ATTENTION_BACKWARD_SCRATCH(const model_relpos *relpos)
{
    gradient_window g;

    return lay_out_gradient(&g, relpos, NULL) * sizeof(float);
}

/* Row of window token (y, x) in the grid. */
static int64_t row_of(const packed_window *w, int y, int x)
{
    return ((int64_t)w->task->b * w->job->G + w->task->y0 + y) * w->job->G + w->task->x0 + x;
}

/* Where the gradient of the head's part (0 q, 1 k, 2 v) of window token (y, x) goes. */
static float *gradient_at(const gradient_window *g, int part, int y, int x)
{
    const model_relpos *relpos = g->w.job->relpos;
    const int chunk = g->w.task->chunk;

    if (part == 0 && chunk > 0)
        return rows_at(g->job->partial, (chunk - 1) * g->job->n_rows + row_of(&g->w, y, x), (int64_t)g->w.task->head * relpos->head_size);
    return rows_at(g->job->dqkv, row_of(&g->w, y, x), ((int64_t)part * relpos->heads + g->w.task->head) * relpos->head_size);
}

static float dot_head(const float *a, const float *b, int D)
{
    simd sum = simd_set(0);

    for (int d = 0; d < D; d += LANES) sum = simd_fma(simd_load(a + d), simd_load(b + d), sum);
    return simd_sum(sum);
}

/* Logits of the tile to probabilities. */
SIMD_INLINE void weigh_tile(gradient_window *g, int is_bf16, query_tile *queries)
{
    packed_window *w = &g->w;
    const model_relpos *relpos = w->job->relpos;
    const float step = w->scale * 1.44269504088896341f; /* log2(e) */
    simd most[TILE_ROWS];

    for (int i = 0; i < TILE_ROWS; i++) most[i] = simd_set(DEAD_LOGIT);
    w->logits = g->tile_weights;
    compute_terms(w, is_bf16, queries, queries->y, relpos->table, w->terms, queries->run_h);
    compute_terms(w, is_bf16, queries, queries->x, relpos->table + relpos->w_column, w->terms + TILE_ROWS * w->term_stride, queries->run_w);
    spread_terms(w, queries);
    for (int panel = 0; panel < w->n_vectors / PANEL; panel++) multiply_keys(w, is_bf16, queries, panel, most);
    for (int i = 0; i < TILE_ROWS; i++) {
        float *logits = w->logits + i * w->logit_stride;
        const simd factor = simd_set(step), shift = simd_set(-*queries->log_sum[i]);

        for (int key = 0; key < w->n_keys; key += LANES)
            simd_store(logits + key, raise_two(simd_fma(factor, simd_load(logits + key), shift), is_bf16));
    }
}

/* dlogits = probability * (dout . v - dout . out) of the tile against one panel of keys. */
SIMD_INLINE void multiply_value_keys(const gradient_window *g, int is_bf16, const gradient_tile *at, int panel)
{
    const int64_t n_dwords = g->w.job->relpos->n_dwords, stride = g->w.logit_stride;
    tile acc;

    clear_tile(acc);
    multiply_tile(is_bf16, PANEL, acc, at->left, g->value_keys + panel * n_dwords * PANEL_LANES, PANEL_LANES, n_dwords);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int v = 0; v < PANEL; v++) {
            const int64_t key = i * stride + panel * PANEL_LANES + v * LANES;

            simd_store(g->tile_dlogits + key, simd_mul(simd_load(g->tile_weights + key), simd_sub(acc[i][v], simd_set(at->inner[i]))));
        }
}

/* Sums query i's dlogits over the columns of keys, and over the rows. */
static void sum_keys(gradient_window *g, const float *dlogits)
{
    const packed_window *w = &g->w;
    float *lines = g->sums[w->is_turned], *lanes = g->sums[!w->is_turned];

    for (int k = 0; k < w->job->relpos->side; k++) g->sums[0][k] = g->sums[1][k] = 0;
    for (int part = 0; part < w->n_parts; part++) simd_store(g->lane_sums + part * LANES, simd_set(0));
    for (int line = 0; line < w->n_lines; line++) {
        simd sum = simd_set(0);

        for (int part = 0; part < w->n_parts; part++) {
            const simd x = simd_load(dlogits + (line * w->n_parts + part) * LANES);
            float *to = g->lane_sums + part * LANES;

            sum = simd_add(sum, x);
            simd_store(to, simd_add(simd_load(to), x));
        }
        lines[w->first_line + line] = simd_sum(sum);
    }
    for (int lane = 0; lane < w->n_live; lane++) lanes[lane] = g->lane_sums[lane];
}

/* powers[i] = 2^(step * (run[i] - largest)) for i in [from, to); returns their sum. */
static float raise_run(const float *run, int from, int to, float step, float *powers, float *largest)
{
    simd most = simd_set(DEAD_LOGIT), sum = simd_set(0);

    for (int i = from; i < to; i += LANES) {
        const int n = to - i < LANES ? to - i : LANES;

        most = simd_max(most, simd_pick(simd_load_first(run + i, n), most, 0, n));
    }
    *largest = simd_largest(most);
    for (int i = from; i < to; i += LANES) {
        const int n = to - i < LANES ? to - i : LANES;
        const simd power = raise_two(simd_mul(simd_set(step), simd_sub(simd_load_first(run + i, n), simd_set(*largest))), 0);

        simd_store_first(powers + i, power, n);
        sum = simd_add(sum, simd_pick(power, simd_set(0), 0, n));
    }
    return simd_sum(sum);
}

/* Adds what the padded keys of rows [y0,y1) and columns [x0,x1) bring to a query's sums; start: the query's logit with the bias key less
 * its log_sum, gradient: dout . v - dout . out for all of them. Returns the sum of their dlogits. */
static float add_padding(gradient_window *g, const query_tile *queries, int i, int y0, int y1, int x0, int x1, float dot, float gradient)
{
    const float step = g->w.scale * 1.44269504088896341f;
    float largest_y, largest_x, factor, mass_y, mass_x;

    if (y0 == y1 || x0 == x1) return 0;
    mass_y = raise_run(queries->run_h[i], y0, y1, step, g->powers[0], &largest_y);
    mass_x = raise_run(queries->run_w[i], x0, x1, step, g->powers[1], &largest_x);
    factor = gradient * raise_two_once(step * (dot + largest_y + largest_x) - *queries->log_sum[i]);
    for (int y = y0; y < y1; y++) g->sums[0][y] += factor * mass_x * g->powers[0][y];
    for (int x = x0; x < x1; x++) g->sums[1][x] += factor * mass_y * g->powers[1][x];
    return factor * mass_y * mass_x;
}

/* The padded keys of query i: whole rows past the last one, and what is right of the rows that are there. */
SIMD_INLINE float sum_padding(gradient_window *g, int is_bf16, const query_tile *queries, int i, const float *dout, float inner)
{
    const packed_window *w = &g->w;
    const model_relpos *relpos = w->job->relpos;
    const int side = relpos->side, D = relpos->head_size;
    const float dot = dot_bias_key(w, is_bf16, queries->q[i]);
    const float gradient = dot_head(dout, relpos->bias + ((int64_t)2 * relpos->heads + w->task->head) * D, D) - inner;

    return add_padding(g, queries, i, w->vh, side, 0, side, dot, gradient) +
           add_padding(g, queries, i, 0, w->vh, w->vw, side, dot, gradient);
}

/* A query's sums as a row that meets the table's rows from the one of the least position and the last key on: key k of a query at `at`
 * reads row at - k + side - 1. */
static void turn_sums(const gradient_window *g, int axis, int at, int least, int n, float *run)
{
    for (int k = 0; k < n; k++) run[k] = 0;
    for (int k = g->from[axis]; k < g->to[axis]; k++) run[at - least + g->to[axis] - 1 - k] = g->sums[axis][k];
}

static void find_extent(const int *at, int *least, int *most)
{
    *least = *most = at[0];
    for (int i = 1; i < TILE_ROWS; i++) {
        *least = at[i] < *least ? at[i] : *least;
        *most = at[i] > *most ? at[i] : *most;
    }
}

/* What multiplies the tables, for both axes and all queries of the tile, and the padded keys' sums. */
SIMD_INLINE void collect_sums(gradient_window *g, int is_bf16, gradient_tile *at)
{
    const packed_window *w = &g->w;
    const query_tile *queries = &at->queries;
    const int *position[2] = {queries->y, queries->x};
    int most;

    for (int axis = 0; axis < 2; axis++) {
        find_extent(position[axis], &at->least[axis], &most);
        at->n[axis] = most - at->least[axis] + g->to[axis] - g->from[axis];
    }
    for (int i = 0; i < TILE_ROWS; i++) {
        sum_keys(g, g->tile_dlogits + i * w->logit_stride);
        at->pads[i] = w->is_cut && w->task->chunk == 0 ? sum_padding(g, is_bf16, queries, i, at->dout[i], at->inner[i]) : 0;
        for (int axis = 0; axis < 2; axis++)
            turn_sums(g, axis, position[axis][i], at->least[axis], at->n[axis], g->runs + (axis * TILE_ROWS + i) * w->term_stride);
    }
}

/* dq of the tile, columns c... */
SIMD_INLINE void multiply_dlogits(const gradient_window *g, int is_bf16, int n_vectors, const gradient_tile *at, int c)
{
    const packed_window *w = &g->w;
    const model_relpos *relpos = w->job->relpos;
    const int64_t D = relpos->head_size, n_steps = is_bf16 ? w->n_keys / 2 : w->n_keys;
    const float *bias = relpos->bias + ((int64_t)relpos->heads + w->task->head) * D + c;
    const float *tables[2] = {relpos->rel_h + c, relpos->rel_w + c}, *rows[TILE_ROWS], *runs[2][TILE_ROWS];
    tile acc;

    for (int i = 0; i < TILE_ROWS; i++) {
        rows[i] = g->tile_rows + i * w->logit_stride;
        for (int axis = 0; axis < 2; axis++) runs[axis][i] = g->runs + (axis * TILE_ROWS + i) * w->term_stride;
    }
    clear_tile(acc);
    multiply_tile(is_bf16, n_vectors, acc, rows, w->values + c * n_steps, n_vectors * LANES, n_steps);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++)
            acc[i][j] = simd_mul(simd_set(w->scale), simd_fma(simd_set(at->pads[i]), simd_load(bias + j * LANES), acc[i][j]));
    for (int axis = 0; axis < 2; axis++)
        multiply_tile(0, n_vectors, acc, runs[axis], tables[axis] + (at->least[axis] + relpos->side - g->to[axis]) * D, D, at->n[axis]);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++)
            if (i < at->n_live) simd_store(gradient_at(g, 0, at->queries.y[i], at->queries.x[i]) + c + j * LANES, acc[i][j]);
}

#if defined(__AVX512BF16__)
/* Lane i: a[i] in the lower half, b[i] in the upper one. */
SIMD_INLINE __m512i pair_lanes(simd a, simd b)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
                                           18, 2, 17, 1, 16, 0);

    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

/* Rows a and b (NULL: zeros) [n] as pairs. */
static void pair_rows(float *to, const float *a, const float *b, int n)
{
    for (int c = 0; c < n; c += LANES)
        _mm512_storeu_si512(to + c, pair_lanes(a ? simd_load(a + c) : simd_set(0), b ? simd_load(b + c) : simd_set(0)));
}

static void round_row(float *to, const float *from, int n)
{
    for (int c = 0; c < n; c += LANES) simd_store_bf16((bf16 *)to + c, simd_load(from + c), LANES);
}

/* With the dout that the product with the values reads: else the dlogits of a query would not sum to zero. */
static float dot_rounded(const bf16 *a, const float *b, int D)
{
    simd sum = simd_set(0);

    for (int d = 0; d < D; d += LANES) {
        const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(a + d)));

        sum = simd_fma((simd)_mm512_slli_epi32(wide, 16), simd_load(b + d), sum);
    }
    return simd_sum(sum);
}

/* Head a and head b of bf16 rows as pairs. */
static void pair_heads(float *to, const void *a, const void *b, int n)
{
    for (int c = 0; c < n; c += LANES) {
        const __m512i even = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)((const bf16 *)a + c)));
        const __m512i odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)((const bf16 *)b + c)));

        _mm512_storeu_si512(to + c, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
}

/* Tile t's queries and their gradients for the products. */
static void copy_queries_rounded(gradient_window *g, int t, gradient_tile *at)
{
    const int D = g->w.job->relpos->head_size;

    for (int i = 0; i < TILE_ROWS; i++) {
        float *rounded = g->tile_dout + i * D / 2;

        round_row(rounded, at->dout[i], D);
        at->inner[i] = dot_rounded((const bf16 *)rounded, at->queries.out[i], D);
        at->left[i] = rounded;
    }
    for (int i = 0; i < TILE_ROWS; i += 2) {
        const int64_t to = (int64_t)(t * TILE_ROWS + i) / 2 * D;

        pair_heads(g->q + to, at->queries.q[i], at->queries.q[i + 1], D);
        pair_rows(g->dout + to, at->dout[i], at->dout[i + 1], D);
    }
}

/* Tile t's probabilities and dlogits for the products; those of queries that are not there become zero. */
static void round_tile(gradient_window *g, int t, int n_live)
{
    const packed_window *w = &g->w;

    for (int i = 0; i < TILE_ROWS; i++) round_row(g->tile_rows + i * w->logit_stride, g->tile_dlogits + i * w->logit_stride, w->n_keys);
    for (int i = 0; i < TILE_ROWS; i += 2) {
        const int64_t from = i * w->logit_stride, next = from + w->logit_stride, to = (int64_t)(t * TILE_ROWS + i) / 2 * w->logit_stride;

        pair_rows(g->weights + to, i < n_live ? g->tile_weights + from : NULL, i + 1 < n_live ? g->tile_weights + next : NULL, w->n_keys);
        pair_rows(g->dlogits + to, i < n_live ? g->tile_dlogits + from : NULL, i + 1 < n_live ? g->tile_dlogits + next : NULL, w->n_keys);
    }
}
#else
static void copy_queries_rounded(gradient_window *g, int t, gradient_tile *at)
{
}
static void round_tile(gradient_window *g, int t, int n_live)
{
}
#endif

static void copy_queries(gradient_window *g, int t, gradient_tile *at)
{
    const int D = g->w.job->relpos->head_size;

    for (int i = 0; i < TILE_ROWS; i++) {
        const int64_t to = (int64_t)(t * TILE_ROWS + i) * D;

        memcpy(g->q + to, at->queries.q[i], (size_t)D * sizeof(float));
        memcpy(g->dout + to, at->dout[i], (size_t)D * sizeof(float));
        at->left[i] = g->dout + to;
    }
}

/* Tile t of a block: probabilities, their gradients, dq. */
SIMD_INLINE void derive_tile(gradient_window *g, int is_bf16, int t, gradient_tile *at)
{
    const packed_window *w = &g->w;
    const int D = w->job->relpos->head_size;

    for (int i = 0; i < TILE_ROWS; i++) {
        at->dout[i] = rows_at(g->job->dout, row_of(w, at->queries.y[i], at->queries.x[i]), (int64_t)w->task->head * D);
        if (!is_bf16) at->inner[i] = dot_head(at->dout[i], at->queries.out[i], D);
    }
    if (is_bf16) {
        copy_queries_rounded(g, t, at);
    } else {
        copy_queries(g, t, at);
        g->tile_weights = g->weights + t * TILE_ROWS * w->logit_stride;
        g->tile_dlogits = g->tile_rows = g->dlogits + t * TILE_ROWS * w->logit_stride;
    }
    weigh_tile(g, is_bf16, &at->queries);
    for (int panel = 0; panel < w->n_vectors / PANEL; panel++) multiply_value_keys(g, is_bf16, at, panel);
    collect_sums(g, is_bf16, at);
    if (is_bf16) round_tile(g, t, at->n_live);
    for (int c = 0; c < D; c += PANEL_LANES)
        if (D - c >= PANEL_LANES)
            multiply_dlogits(g, is_bf16, PANEL, at, c);
        else
            multiply_dlogits(g, is_bf16, 1, at, c);
}

/* sums [n_keys][D] += left [n_steps][n_keys]^T . right [n_steps][D]: TILE_ROWS keys from `key` on, columns c... */
SIMD_INLINE void add_turned(const gradient_window *g, int is_bf16, int n_vectors, float *sums, const float *left, const float *right,
                            int key, int c, int n_steps)
{
    const int64_t D = g->w.job->relpos->head_size;
    float *to = sums + key * D + c;
    tile acc;

#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++) acc[i][j] = simd_load(to + i * D + j * LANES);
    multiply_turned_tile(is_bf16, n_vectors, acc, left + key, g->w.logit_stride, right + c, D, n_steps);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++) simd_store(to + i * D + j * LANES, acc[i][j]);
}

SIMD_INLINE void add_block(const gradient_window *g, int is_bf16, float *sums, const float *left, const float *right, int n_queries)
{
    const int D = g->w.job->relpos->head_size, n_steps = is_bf16 ? (n_queries + 1) / 2 : n_queries;

    for (int key = 0; key < g->w.n_keys; key += TILE_ROWS)
        for (int c = 0; c < D; c += PANEL_LANES)
            if (D - c >= PANEL_LANES)
                add_turned(g, is_bf16, PANEL, sums, left, right, key, c, n_steps);
            else
                add_turned(g, is_bf16, 1, sums, left, right, key, c, n_steps);
}

/* The live keys' sums to their rows. */
static void store_keys(const gradient_window *g)
{
    const packed_window *w = &g->w;
    const int D = w->job->relpos->head_size, n_lanes = w->n_parts * LANES;

    for (int line = 0; line < w->n_lines; line++)
        for (int lane = 0; lane < w->n_live; lane++) {
            const int on = w->first_line + line, y = w->is_turned ? lane : on, x = w->is_turned ? on : lane;
            const int64_t from = (int64_t)(line * n_lanes + lane) * D;
            float *dk = gradient_at(g, 1, y, x);

            for (int d = 0; d < D; d += LANES) simd_store(dk + d, simd_mul(simd_set(w->scale), simd_load(g->dkeys + from + d)));
            memcpy(gradient_at(g, 2, y, x), g->dvalues + from, (size_t)D * sizeof(float));
        }
}

/* The task's lines of keys, and which rows and columns of keys its sums are of: in a cut window the padded ones too. */
static void choose_lines(gradient_window *g)
{
    packed_window *w = &g->w;
    const int n = w->n_lines, chunk = w->task->chunk, n_chunks = w->job->n_chunks, axis = w->is_turned;

    for (int i = 0; i < 2; i++) {
        g->from[i] = 0;
        g->to[i] = w->job->relpos->side;
    }
    w->first_line = n * chunk / n_chunks;
    w->n_lines = n * (chunk + 1) / n_chunks - w->first_line;
    w->n_vectors = round_up(w->n_lines * w->n_parts, PANEL);
    w->n_keys = w->n_vectors * LANES;
    if (w->is_cut) return;
    g->from[axis] = w->first_line;
    g->to[axis] = w->first_line + w->n_lines;
}

SIMD_INLINE void pack_window(gradient_window *g, int is_bf16)
{
    packed_window *w = &g->w;
    const size_t n_sums = ((size_t)w->n_keys + TILE_ROWS) * (size_t)w->job->relpos->head_size;

    pack_keys(w, 1, w->keys);
    pack_values(w, is_bf16, 1, w->values);
    pack_keys(w, 2, g->value_keys);
    memset(g->dkeys, 0, n_sums * sizeof(float));
    memset(g->dvalues, 0, n_sums * sizeof(float));
}

SIMD_INLINE void derive_task(const attention_backward_job *job, const attention_task *task, float *scratch, int is_bf16)
{
    gradient_window g = {.job = job};
    packed_window *w = &g.w;
    int n_queries;

    measure_window(w, &job->forward, task);
    choose_lines(&g);
    lay_out_gradient(&g, job->forward.relpos, scratch);
    pack_window(&g, is_bf16);
    n_queries = w->vh * w->vw;
    for (int first = 0; first < n_queries; first += BLOCK_QUERIES) {
        const int n = n_queries - first < BLOCK_QUERIES ? n_queries - first : BLOCK_QUERIES;

        for (int t = 0; t * TILE_ROWS < n; t++) {
            gradient_tile at = {.n_live = n - t * TILE_ROWS};

            find_queries(w, first + t * TILE_ROWS, n_queries, &at.queries);
            derive_tile(&g, is_bf16, t, &at);
        }
        add_block(&g, is_bf16, g.dvalues, g.weights, g.dout, n);
        add_block(&g, is_bf16, g.dkeys, g.dlogits, g.q, n);
    }
    store_keys(&g);
}

void ATTENTION_BACKWARD_KERNEL(const attention_backward_job *job, const attention_task *task, float *scratch)
{
    if (HAS_BF16)
        derive_task(job, task, scratch, HAS_BF16);
    else
        derive_task(job, task, scratch, 0);
}
