/* What the forward and the backward attention kernel share: a window with its keys packed, the queries' logits, the padding. Included
 * once per instruction set by each of them.
 *
 * The keys of a window are "lines" of "lanes": a line is a row of keys (or a column, where that wastes fewer lanes), filled up to whole
 * vectors with dead lanes whose logit is -1e30. A tile of TILE_ROWS queries meets all keys at once: its logits fit L1 or L2, so the
 * softmax is the plain one in two passes.
 *
 * The products' accumulators start at the relative position terms, which so cost nothing but their own small product. They are kept
 * divided by the scale 1/sqrt(D), which moves into the exponent: logit = scale * (q.k + (Th + Tw) / scale).
 *
 * Padded tokens (spec 1.4) all have the bias as k and v. Their keys form two rectangles, whose summed weight factorises into
 * e^(q.b_k) * sum e^Th * sum e^Tw; no padded key is ever multiplied. */
#ifndef MODEL_CPU_ATTENTION_WINDOW_H
#define MODEL_CPU_ATTENTION_WINDOW_H

#include <math.h>

#include "model/cpu/attention.h"
#include "model/cpu/power.h"
#include "model/cpu/tile.h"

#if defined(__AVX512BF16__)
enum { HAS_BF16 = 1 };
#else
enum { HAS_BF16 = 0 };
#endif

enum { PANEL = 2, PANEL_LANES = PANEL * LANES }; /* vectors of keys that one product computes */

#define DEAD_LOGIT (-1e30f)

/* A window with its keys packed; all pointers are into the thread's scratch. */
typedef struct packed_window {
    const attention_job *job;
    const attention_task *task;
    int vh, vw;                          /* tokens inside the grid */
    int is_turned;                       /* lines are columns of keys */
    int first_line, n_lines, n_live;     /* lines (of the gradient's tasks not all, the first one's number), and live lanes of a line */
    int n_parts;                         /* vectors of a line */
    int n_vectors;                       /* of all keys, a multiple of PANEL */
    int n_keys;                          /* n_vectors * LANES */
    int is_cut;                          /* some of its tokens are padding */
    float scale;                         /* 1 / sqrt(D) */
    float *keys;                         /* [n_vectors / PANEL][n_dwords][PANEL_LANES] */
    float *values;                       /* [columns / PANEL_LANES][n_keys or pairs][PANEL_LANES]; the last one may be LANES wide */
    float *logits;                       /* [TILE_ROWS][logit_stride] */
    float *weights;                      /* where the products read the exponentials: the logits, or bf16 pairs */
    int64_t logit_stride, weight_stride; /* dwords */
    float *terms;                        /* [2][TILE_ROWS][term_stride]: the relative position terms of a tile, h and w */
    int64_t term_stride;
    float *lane_terms;  /* [TILE_ROWS][n_parts * LANES] */
    float *line_terms;  /* [TILE_ROWS][n_vectors] */
    const float **rows; /* [n_keys]: where the keys' heads lie */
} packed_window;

/* One tile of queries. */
typedef struct query_tile {
    const float *q[TILE_ROWS];
    void *out[TILE_ROWS];
    int y[TILE_ROWS], x[TILE_ROWS];                    /* inside the window */
    const float *run_h[TILE_ROWS], *run_w[TILE_ROWS];  /* terms for key rows and columns 0..side-1, divided by the scale */
    float largest[TILE_ROWS];                          /* logit */
    float pad_largest[TILE_ROWS], pad_mass[TILE_ROWS]; /* padded keys: largest logit, and sum of 2^(..) relative to it */
    float pad_weight[TILE_ROWS];                       /* the same relative to the largest logit of all */
    float factor[TILE_ROWS];                           /* 1 / sum of weights */
    float *log_sum[TILE_ROWS];                         /* where log2 of the sum goes, or NULL */
} query_tile;

static int round_up(int n, int to)
{
    return (n + to - 1) / to * to;
}

static float raise_two_once(float t)
{
    return simd_largest(raise_two(simd_set(t), 0));
}

/* The most vectors of keys that a window of this block can have: whole, or cut in any way. */
static int most_vectors(const model_relpos *relpos)
{
    return round_up(relpos->side * (round_up(relpos->side, LANES) / LANES), PANEL);
}

static int64_t term_stride_of(const model_relpos *relpos)
{
    return round_up(2 * relpos->side - 1, PANEL_LANES) + LANES; /* a run may be read LANES at a time */
}

/* Lays the window's arrays out in scratch; with scratch NULL only counts. Returns the floats needed. */
static size_t lay_out(packed_window *w, const model_relpos *relpos, int is_bf16, float *scratch)
{
    const size_t n_vectors = (size_t)most_vectors(relpos), n_keys = n_vectors * LANES,
                 parts = (size_t)round_up(relpos->side, LANES) / LANES;
    size_t used = 0;

    w->logit_stride = (int64_t)n_keys + 16; /* one line more than a power of two, or the rows of a tile would share a cache set */
    w->weight_stride = is_bf16 ? (int64_t)n_keys / 2 + 16 : w->logit_stride;
    w->term_stride = term_stride_of(relpos);
#define TAKE(count) (scratch + (used += (size_t)round_up((int)(count), 16)) - (size_t)round_up((int)(count), 16))
    w->keys = TAKE(n_keys * (size_t)relpos->n_dwords);
    w->values = TAKE(n_keys * (size_t)relpos->n_dwords);
    w->logits = TAKE(TILE_ROWS * w->logit_stride);
    w->weights = is_bf16 ? TAKE(TILE_ROWS * w->weight_stride) : w->logits;
    w->terms = TAKE(2 * TILE_ROWS * w->term_stride);
    w->lane_terms = TAKE(TILE_ROWS * parts * LANES);
    w->line_terms = TAKE(TILE_ROWS * n_vectors);
    w->rows = (const float **)TAKE(n_keys * sizeof(float *) / sizeof(float));
#undef TAKE
    return used;
}

/* The head's part (0 q, 1 k, 2 v) of window token (y, x). */
static const float *head_at(const packed_window *w, int part, int y, int x)
{
    const attention_task *task = w->task;
    const model_relpos *relpos = w->job->relpos;
    const int64_t row = ((int64_t)task->b * w->job->G + task->y0 + y) * w->job->G + task->x0 + x;

    return rows_at(w->job->qkv, row, ((int64_t)part * relpos->heads + task->head) * relpos->head_size);
}

/* Where the head's part lies for each key lane; zeros for dead lanes. */
static void find_rows(packed_window *w, int part)
{
    for (int j = 0; j < w->n_vectors; j++) {
        const int line = w->first_line + j / w->n_parts, first = j % w->n_parts * LANES;

        for (int i = 0; i < LANES; i++) {
            const int lane = first + i, is_live = line < w->first_line + w->n_lines && lane < w->n_live;

            w->rows[j * LANES + i] = !is_live ? w->job->zeros : w->is_turned ? head_at(w, part, lane, line) : head_at(w, part, line, lane);
        }
    }
}

/* Keys (part 1) or values (2) for products with queries: [n_vectors / PANEL][n_dwords][PANEL_LANES]. */
static void pack_keys(packed_window *w, int part, float *packed)
{
    const int64_t n_dwords = w->job->relpos->n_dwords;

    find_rows(w, part);
    for (int j = 0; j < w->n_vectors; j++)
        for (int64_t d = 0; d < n_dwords; d += LANES) {
            float *to = packed + (j / PANEL * n_dwords + d) * PANEL_LANES + j % PANEL * LANES;

            simd_transpose(w->rows + j * LANES, d, to, PANEL_LANES, n_dwords - d < LANES ? (int)(n_dwords - d) : LANES);
        }
}

/* LANES columns from c on of all keys; in bf16 two keys make one row of pairs. ldt: dwords. */
SIMD_INLINE void pack_value_columns(packed_window *w, int is_bf16, int c, float *to, int64_t ldt)
{
#if defined(__AVX512BF16__)
    for (int key = 0; is_bf16 && key < w->n_keys; key += 2) {
        const __m512i even = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)((const bf16 *)w->rows[key] + c)));
        const __m512i odd = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)((const bf16 *)w->rows[key + 1] + c)));

        _mm512_storeu_si512(to + key / 2 * ldt, _mm512_or_si512(even, _mm512_slli_epi32(odd, 16)));
    }
#endif
    for (int key = 0; !is_bf16 && key < w->n_keys; key++) simd_store(to + key * ldt, simd_load(w->rows[key] + c));
}

/* Values (part 2) or keys (1) for products with weights: [columns / PANEL_LANES][n_keys or pairs][PANEL_LANES]. */
SIMD_INLINE void pack_values(packed_window *w, int is_bf16, int part, float *packed)
{
    const int D = w->job->relpos->head_size;
    const int64_t n_steps = is_bf16 ? w->n_keys / 2 : w->n_keys;

    find_rows(w, part);
    for (int c = 0; c < D; c += LANES) {
        const int first = c / PANEL_LANES * PANEL_LANES;
        const int64_t ldt = D - first < PANEL_LANES ? LANES : PANEL_LANES;

        pack_value_columns(w, is_bf16, c, packed + first * n_steps + (c - first), ldt);
    }
}

/* Which tokens lie inside the grid, and whether rows or columns of keys fill the lanes better. */
static void measure_window(packed_window *w, const attention_job *job, const attention_task *task)
{
    const int side = job->relpos->side;

    w->job = job;
    w->task = task;
    w->vh = job->G - task->y0 < side ? job->G - task->y0 : side;
    w->vw = job->G - task->x0 < side ? job->G - task->x0 : side;
    w->is_turned = w->vw * round_up(w->vh, LANES) < w->vh * round_up(w->vw, LANES);
    w->first_line = 0;
    w->n_lines = w->is_turned ? w->vw : w->vh;
    w->n_live = w->is_turned ? w->vh : w->vw;
    w->n_parts = round_up(w->n_live, LANES) / LANES;
    w->n_vectors = round_up(w->n_lines * w->n_parts, PANEL);
    w->n_keys = w->n_vectors * LANES;
    w->is_cut = w->vh < side || w->vw < side;
    w->scale = 1.0f / sqrtf((float)job->relpos->head_size);
}

/* The tile's queries from number `first` on; the last one stands in for those that are not there. */
static void find_queries(const packed_window *w, int first, int last, query_tile *tile_out)
{
    const attention_task *task = w->task;
    const int D = w->job->relpos->head_size;

    for (int i = 0; i < TILE_ROWS; i++) {
        const int q = first + i < last ? first + i : last - 1, y = q / w->vw, x = q % w->vw;
        const int64_t row = ((int64_t)task->b * w->job->G + task->y0 + y) * w->job->G + task->x0 + x;

        tile_out->y[i] = y;
        tile_out->x[i] = x;
        tile_out->q[i] = head_at(w, 0, y, x);
        tile_out->out[i] = rows_at(w->job->out, row, (int64_t)task->head * D);
        tile_out->log_sum[i] = w->job->log_sum ? w->job->log_sum + row * w->job->relpos->heads + task->head : NULL;
    }
}

/* One product of the tile's queries with n_vectors vectors of table columns, divided by the scale. */
SIMD_INLINE void multiply_terms(const packed_window *w, int is_bf16, int n_vectors, const query_tile *queries, const float *table,
                                float *to)
{
    const simd unscale = simd_set(1 / w->scale);
    tile acc;

    clear_tile(acc);
    multiply_tile(is_bf16, n_vectors, acc, queries->q, table, w->job->relpos->table_width, w->job->relpos->n_dwords);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++) simd_store(to + i * w->term_stride + j * LANES, simd_mul(acc[i][j], unscale));
}

/* The terms of one axis: each query at position at[i] needs `side` reversed columns from side - 1 - at[i] on. */
SIMD_INLINE void compute_terms(const packed_window *w, int is_bf16, const query_tile *queries, const int *at, const float *table, float *to,
                               const float **run)
{
    const int side = w->job->relpos->side;
    int least = at[0], most = at[0], n;

    for (int i = 1; i < TILE_ROWS; i++) {
        least = at[i] < least ? at[i] : least;
        most = at[i] > most ? at[i] : most;
    }
    n = most - least + side;
    table += side - 1 - most;
    for (int c = 0; c < n; c += PANEL_LANES)
        if (n - c > LANES)
            multiply_terms(w, is_bf16, PANEL, queries, table + c, to + c);
        else
            multiply_terms(w, is_bf16, 1, queries, table + c, to + c);
    for (int i = 0; i < TILE_ROWS; i++) run[i] = to + i * w->term_stride + most - at[i];
}

/* Spreads a query's terms over the vectors of keys: what a lane adds, and what a line adds. */
static void spread_terms(const packed_window *w, const query_tile *queries)
{
    for (int i = 0; i < TILE_ROWS; i++) {
        const float *lane_run = w->is_turned ? queries->run_h[i] : queries->run_w[i];
        const float *line_run = w->is_turned ? queries->run_w[i] : queries->run_h[i];
        float *lane_terms = w->lane_terms + i * w->n_parts * LANES, *line_terms = w->line_terms + i * w->n_vectors;
        int j = 0;

        for (int part = 0; part < w->n_parts; part++) {
            const int n = w->n_live - part * LANES < LANES ? w->n_live - part * LANES : LANES;

            simd_store(lane_terms + part * LANES, simd_pick(simd_load(lane_run + part * LANES), simd_set(DEAD_LOGIT), 0, n));
        }
        for (int line = 0; line < w->n_lines; line++)
            for (int part = 0; part < w->n_parts; part++) line_terms[j++] = line_run[w->first_line + line];
        while (j < w->n_vectors) line_terms[j++] = DEAD_LOGIT;
    }
}

/* Sum of 2^(step * (run[i] - largest)) for i in [from, to). */
static float sum_powers(const float *run, int from, int to, float step, float *largest)
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

        sum = simd_add(sum, simd_pick(power, simd_set(0), 0, n));
    }
    return simd_sum(sum);
}

SIMD_INLINE float dot_bias_key(const packed_window *w, int is_bf16, const float *q)
{
    const model_relpos *relpos = w->job->relpos;
    const float *key = (const float *)relpos->bias_row + (relpos->heads + w->task->head) * relpos->n_dwords;
    simd sum = simd_set(0);

    for (int64_t d = 0; d < relpos->n_dwords; d += LANES) {
        const int n = relpos->n_dwords - d < LANES ? (int)(relpos->n_dwords - d) : LANES;

        sum = simd_mac(is_bf16, simd_load_first(q + d, n), simd_load_first(key + d, n), sum);
    }
    return simd_sum(sum);
}

/* The padded keys of query i: whole lines past the last one, and the lanes past the last one of the lines that are there. */
SIMD_INLINE void weigh_padding(const packed_window *w, int is_bf16, query_tile *queries, int i, float step)
{
    const int side = w->job->relpos->side;
    const float *run_h = queries->run_h[i], *run_w = queries->run_w[i], dot = dot_bias_key(w, is_bf16, queries->q[i]);
    float below, all, inside, right;
    const float mass_below = sum_powers(run_h, w->vh, side, step, &below), mass_all = sum_powers(run_w, 0, side, step, &all);
    const float mass_inside = sum_powers(run_h, 0, w->vh, step, &inside), mass_right = sum_powers(run_w, w->vw, side, step, &right);
    const float first = below + all, second = inside + right, largest = first > second ? first : second;

    queries->pad_largest[i] = dot + largest;
    queries->pad_mass[i] = mass_below * mass_all * raise_two_once(step * (first - largest)) +
                           mass_inside * mass_right * raise_two_once(step * (second - largest));
}

/* The logits of the tile against one panel of keys. */
SIMD_INLINE void multiply_keys(const packed_window *w, int is_bf16, const query_tile *queries, int panel, simd most[TILE_ROWS])
{
    const int64_t n_dwords = w->job->relpos->n_dwords;
    const int j = panel * PANEL;
    const float *lanes[PANEL] = {w->lane_terms + j % w->n_parts * LANES, w->lane_terms + (j + 1) % w->n_parts * LANES};
    const int64_t lane_stride = (int64_t)w->n_parts * LANES;
    tile acc;

#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int v = 0; v < PANEL; v++)
            acc[i][v] = simd_add(simd_load(lanes[v] + i * lane_stride), simd_set(w->line_terms[i * w->n_vectors + j + v]));
    multiply_tile(is_bf16, PANEL, acc, queries->q, w->keys + panel * n_dwords * PANEL_LANES, PANEL_LANES, n_dwords);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int v = 0; v < PANEL; v++) {
            simd_store(w->logits + i * w->logit_stride + (j + v) * LANES, acc[i][v]);
            most[i] = simd_max(most[i], acc[i][v]);
        }
}

#endif
