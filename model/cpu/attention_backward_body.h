/* The gradient of the fused attention, included once per instruction set with ATTENTION_BACKWARD_KERNEL and ATTENTION_BACKWARD_SCRATCH as
 * its names. f32.
 *
 * As in FlashAttention (Dao et al. 2022, algorithm 4) no probability is kept from the forward pass: p = 2^(logit - log_sum). One task is
 * one window of one head, all its queries, so that the sums over queries (dk, dv) have a fixed order. A block of BLOCK_TILES tiles of
 * queries keeps its probabilities and their gradients, which then meet all keys in two products with the left side turned.
 *
 * Padded keys have no gradient of their own (their k and v are the frozen bias), but they take their share of a query's: it reaches dq
 * through the bias key and through the relative position terms, and factorises as their weight does (attention_window.h). */
#include "model/cpu/attention_window.h"

enum { BLOCK_TILES = 4, BLOCK_QUERIES = BLOCK_TILES * TILE_ROWS };

/* A packed window and what its gradient needs besides; all in the thread's scratch. */
typedef struct gradient_window {
    packed_window w; /* w.keys: k for products with queries; w.values: k for products with dlogits */
    const attention_backward_job *job;
    float *value_keys;        /* v for products with dout, like w.keys */
    float *dkeys, *dvalues;   /* [n_keys + TILE_ROWS][D] */
    float *weights, *dlogits; /* [BLOCK_QUERIES][logit_stride] */
    float *q, *dout;          /* [BLOCK_QUERIES][D], copied together */
    float *runs;              /* [2][TILE_ROWS][term_stride]: a query's dlogits summed over columns and rows of keys, as the tables lie */
    float *sums[2];           /* [side]: of one query, by rows (0) and columns (1) of keys */
    float *lane_sums;         /* [n_parts * LANES] */
    float *powers[2];         /* [side]: of one query's padded keys */
} gradient_window;

static size_t lay_out_gradient(gradient_window *g, const model_relpos *relpos, float *scratch)
{
    const size_t D = (size_t)relpos->head_size, n_keys = (size_t)most_vectors(relpos) * LANES, side = (size_t)relpos->side + 2 * LANES;
    size_t used = lay_out(&g->w, relpos, 0, scratch);

#define TAKE(count) (scratch + (used += (size_t)round_up((int)(count), 16)) - (size_t)round_up((int)(count), 16))
    g->value_keys = TAKE(n_keys * D);
    g->dkeys = TAKE((n_keys + TILE_ROWS) * D);
    g->dvalues = TAKE((n_keys + TILE_ROWS) * D);
    g->weights = TAKE(BLOCK_QUERIES * g->w.logit_stride);
    g->dlogits = TAKE(BLOCK_QUERIES * g->w.logit_stride);
    g->q = TAKE(BLOCK_QUERIES * D);
    g->dout = TAKE(BLOCK_QUERIES * D);
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

    return rows_at(g->job->dqkv, row_of(&g->w, y, x), ((int64_t)part * relpos->heads + g->w.task->head) * relpos->head_size);
}

static float dot_head(const float *a, const float *b, int D)
{
    simd sum = simd_set(0);

    for (int d = 0; d < D; d += LANES) sum = simd_fma(simd_load(a + d), simd_load(b + d), sum);
    return simd_sum(sum);
}

/* Logits of tile t of the block to probabilities. */
static void weigh_tile(gradient_window *g, int t, query_tile *queries)
{
    packed_window *w = &g->w;
    const model_relpos *relpos = w->job->relpos;
    const float step = w->scale * 1.44269504088896341f; /* log2(e) */
    simd most[TILE_ROWS];

    for (int i = 0; i < TILE_ROWS; i++) most[i] = simd_set(DEAD_LOGIT);
    w->logits = g->weights + t * TILE_ROWS * w->logit_stride;
    compute_terms(w, 0, queries, queries->y, relpos->table, w->terms, queries->run_h);
    compute_terms(w, 0, queries, queries->x, relpos->table + relpos->w_column, w->terms + TILE_ROWS * w->term_stride, queries->run_w);
    spread_terms(w, queries);
    for (int panel = 0; panel < w->n_vectors / PANEL; panel++) multiply_keys(w, 0, queries, panel, most);
    for (int i = 0; i < TILE_ROWS; i++) {
        float *logits = w->logits + i * w->logit_stride;
        const simd factor = simd_set(step), shift = simd_set(-*queries->log_sum[i]);

        for (int key = 0; key < w->n_keys; key += LANES)
            simd_store(logits + key, raise_two(simd_fma(factor, simd_load(logits + key), shift), 0));
    }
}

/* dlogits = probability * (dout . v - dout . out) of tile t against one panel of keys. */
SIMD_INLINE void multiply_value_keys(const gradient_window *g, int t, const float *const dout[TILE_ROWS], const float *inner, int panel)
{
    const int64_t D = g->w.job->relpos->head_size, stride = g->w.logit_stride;
    const int64_t start = t * TILE_ROWS * stride + panel * PANEL_LANES;
    tile acc;

    clear_tile(acc);
    multiply_tile(0, PANEL, acc, dout, g->value_keys + panel * D * PANEL_LANES, PANEL_LANES, D);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int v = 0; v < PANEL; v++) {
            const int64_t at = start + i * stride + v * LANES;

            simd_store(g->dlogits + at, simd_mul(simd_load(g->weights + at), simd_sub(acc[i][v], simd_set(inner[i]))));
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
        lines[line] = simd_sum(sum);
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
static float sum_padding(gradient_window *g, const query_tile *queries, int i, const float *dout, float inner)
{
    const packed_window *w = &g->w;
    const model_relpos *relpos = w->job->relpos;
    const int side = relpos->side, D = relpos->head_size;
    const float dot = dot_bias_key(w, 0, queries->q[i]);
    const float gradient = dot_head(dout, relpos->bias + ((int64_t)2 * relpos->heads + w->task->head) * D, D) - inner;

    return add_padding(g, queries, i, w->vh, side, 0, side, dot, gradient) +
           add_padding(g, queries, i, 0, w->vh, w->vw, side, dot, gradient);
}

/* A query's sums as a row that meets the table's rows from number `least` on: key k of a query at `at` reads row at - k + side - 1. */
static void turn_sums(const gradient_window *g, int axis, int at, int least, int n, float *run)
{
    const int side = g->w.job->relpos->side;

    for (int k = 0; k < n; k++) run[k] = 0;
    for (int k = 0; k < side; k++) run[at - least + side - 1 - k] = g->sums[axis][k];
}

static void find_extent(const int *at, int *least, int *most)
{
    *least = *most = at[0];
    for (int i = 1; i < TILE_ROWS; i++) {
        *least = at[i] < *least ? at[i] : *least;
        *most = at[i] > *most ? at[i] : *most;
    }
}

/* What multiplies the tables, for both axes and all queries of tile t; pads [TILE_ROWS]: the sums of the padded keys' dlogits. */
static void collect_sums(gradient_window *g, int t, const query_tile *queries, const float *const dout[TILE_ROWS], const float *inner,
                         int least[2], int n[2], float *pads)
{
    const packed_window *w = &g->w;
    const int side = w->job->relpos->side;
    int most[2];

    find_extent(queries->y, &least[0], &most[0]);
    find_extent(queries->x, &least[1], &most[1]);
    for (int axis = 0; axis < 2; axis++) n[axis] = most[axis] - least[axis] + side;
    for (int i = 0; i < TILE_ROWS; i++) {
        sum_keys(g, g->dlogits + (t * TILE_ROWS + i) * w->logit_stride);
        pads[i] = w->is_cut ? sum_padding(g, queries, i, dout[i], inner[i]) : 0;
        turn_sums(g, 0, queries->y[i], least[0], n[0], g->runs + i * w->term_stride);
        turn_sums(g, 1, queries->x[i], least[1], n[1], g->runs + (TILE_ROWS + i) * w->term_stride);
    }
}

/* dq of tile t, columns c..; n_live of its queries are there. */
SIMD_INLINE void multiply_dlogits(const gradient_window *g, int n_vectors, int t, const query_tile *queries, int c, const int least[2],
                                  const int n[2], const float *pads, int n_live)
{
    const packed_window *w = &g->w;
    const model_relpos *relpos = w->job->relpos;
    const int64_t D = relpos->head_size;
    const float *bias = relpos->bias + ((int64_t)relpos->heads + w->task->head) * D + c;
    const float *rows[TILE_ROWS], *runs[2][TILE_ROWS];
    tile acc;

    for (int i = 0; i < TILE_ROWS; i++) {
        rows[i] = g->dlogits + (t * TILE_ROWS + i) * w->logit_stride;
        for (int axis = 0; axis < 2; axis++) runs[axis][i] = g->runs + (axis * TILE_ROWS + i) * w->term_stride;
    }
    clear_tile(acc);
    multiply_tile(0, n_vectors, acc, rows, w->values + (int64_t)c * w->n_keys, n_vectors * LANES, w->n_keys);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++)
            acc[i][j] = simd_mul(simd_set(w->scale), simd_fma(simd_set(pads[i]), simd_load(bias + j * LANES), acc[i][j]));
    multiply_tile(0, n_vectors, acc, runs[0], relpos->rel_h + least[0] * D + c, D, n[0]);
    multiply_tile(0, n_vectors, acc, runs[1], relpos->rel_w + least[1] * D + c, D, n[1]);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++)
            if (i < n_live) simd_store(gradient_at(g, 0, queries->y[i], queries->x[i]) + c + j * LANES, acc[i][j]);
}

/* Tile t of a block: probabilities, their gradients, dq. n_live of its queries are there, the others repeat the last one. */
static void derive_tile(gradient_window *g, int t, query_tile *queries, int n_live)
{
    const packed_window *w = &g->w;
    const int D = w->job->relpos->head_size;
    const float *dout[TILE_ROWS];
    float inner[TILE_ROWS], pads[TILE_ROWS];
    int least[2], n[2];

    for (int i = 0; i < TILE_ROWS; i++) {
        const size_t at = (size_t)(t * TILE_ROWS + i) * (size_t)D, n_bytes = (size_t)D * sizeof(float);

        dout[i] = g->dout + at;
        memcpy(g->q + at, queries->q[i], n_bytes);
        memcpy(g->dout + at, rows_at(g->job->dout, row_of(w, queries->y[i], queries->x[i]), (int64_t)w->task->head * D), n_bytes);
        inner[i] = dot_head(dout[i], queries->out[i], D);
    }
    weigh_tile(g, t, queries);
    for (int panel = 0; panel < w->n_vectors / PANEL; panel++) multiply_value_keys(g, t, dout, inner, panel);
    collect_sums(g, t, queries, dout, inner, least, n, pads);
    for (int c = 0; c < D; c += PANEL_LANES)
        if (D - c >= PANEL_LANES)
            multiply_dlogits(g, PANEL, t, queries, c, least, n, pads, n_live);
        else
            multiply_dlogits(g, 1, t, queries, c, least, n, pads, n_live);
}

/* sums [n_keys][D] += left [n_queries][n_keys]^T . right [n_queries][D]: TILE_ROWS keys from `key` on, columns c... */
SIMD_INLINE void add_turned(const gradient_window *g, int n_vectors, float *sums, const float *left, const float *right, int key, int c,
                            int n_queries)
{
    const int64_t D = g->w.job->relpos->head_size;
    float *to = sums + key * D + c;
    tile acc;

#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++) acc[i][j] = simd_load(to + i * D + j * LANES);
    multiply_turned_tile(n_vectors, acc, left + key, g->w.logit_stride, right + c, D, n_queries);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++) simd_store(to + i * D + j * LANES, acc[i][j]);
}

static void add_block(const gradient_window *g, float *sums, const float *left, const float *right, int n_queries)
{
    const int D = g->w.job->relpos->head_size;

    for (int key = 0; key < g->w.n_keys; key += TILE_ROWS)
        for (int c = 0; c < D; c += PANEL_LANES)
            if (D - c >= PANEL_LANES)
                add_turned(g, PANEL, sums, left, right, key, c, n_queries);
            else
                add_turned(g, 1, sums, left, right, key, c, n_queries);
}

/* The live keys' sums to their rows. */
static void store_keys(const gradient_window *g)
{
    const packed_window *w = &g->w;
    const int D = w->job->relpos->head_size, n_lanes = w->n_parts * LANES;

    for (int line = 0; line < w->n_lines; line++)
        for (int lane = 0; lane < w->n_live; lane++) {
            const int y = w->is_turned ? lane : line, x = w->is_turned ? line : lane;
            const int64_t from = (int64_t)(line * n_lanes + lane) * D;
            float *dk = gradient_at(g, 1, y, x);

            for (int d = 0; d < D; d += LANES) simd_store(dk + d, simd_mul(simd_set(w->scale), simd_load(g->dkeys + from + d)));
            memcpy(gradient_at(g, 2, y, x), g->dvalues + from, (size_t)D * sizeof(float));
        }
}

void ATTENTION_BACKWARD_KERNEL(const attention_backward_job *job, const attention_task *task, float *scratch)
{
    const model_relpos *relpos = job->forward.relpos;
    gradient_window g = {.job = job};
    packed_window *w = &g.w;
    size_t n_sums;
    int n_queries;

    measure_window(w, &job->forward, task);
    lay_out_gradient(&g, relpos, scratch);
    pack_keys(w, 1, w->keys);
    pack_values(w, 0, 1, w->values);
    pack_keys(w, 2, g.value_keys);
    n_sums = ((size_t)w->n_keys + TILE_ROWS) * (size_t)relpos->head_size;
    memset(g.dkeys, 0, n_sums * sizeof(float));
    memset(g.dvalues, 0, n_sums * sizeof(float));
    n_queries = w->vh * w->vw;
    for (int first = 0; first < n_queries; first += BLOCK_QUERIES) {
        const int n = n_queries - first < BLOCK_QUERIES ? n_queries - first : BLOCK_QUERIES;

        for (int t = 0; t * TILE_ROWS < n; t++) {
            query_tile queries;

            find_queries(w, first + t * TILE_ROWS, n_queries, &queries);
            derive_tile(&g, t, &queries, n - t * TILE_ROWS);
        }
        add_block(&g, g.dvalues, g.weights, g.dout, n);
        add_block(&g, g.dkeys, g.dlogits, g.q, n);
    }
    store_keys(&g);
}
