/* The gradient kernels, included once per instruction set with BACKWARD_KERNELS as the name of their table. Every sum has an order of its
 * own that does not depend on how the tasks are spread. */
#include <math.h>

#include "model/cpu/backward.h"
#include "model/cpu/decoder.h"
#include "model/cpu/gelu.h"
#include "model/cpu/power.h"
#include "model/cpu/tile.h"

static const float log2_e = 1.44269504088896341f;

static float *row_at(model_rows rows, int64_t m, int64_t c)
{
    return (float *)rows.data + m * rows.stride + c;
}

static int min_of(int a, int b)
{
    return a < b ? a : b;
}

SIMD_INLINE simd load_some(const float *from, int n)
{
    return n == LANES ? simd_load(from) : simd_load_first(from, n);
}

SIMD_INLINE void store_some(float *to, simd x, int n)
{
    if (n == LANES)
        simd_store(to, x);
    else
        simd_store_first(to, x, n);
}

SIMD_INLINE simd load_typed(model_rows rows, int64_t m, int64_t c, int n)
{
    return rows.type == MODEL_BF16 ? simd_load_bf16(rows_at(rows, m, c), n) : load_some(row_at(rows, m, c), n);
}

SIMD_INLINE void store_typed(model_rows rows, int64_t m, int64_t c, simd x, int n)
{
    if (rows.type == MODEL_BF16)
        simd_store_bf16(rows_at(rows, m, c), x, n);
    else
        store_some(row_at(rows, m, c), x, n);
}

/* ---- weights: TILE_ROWS columns of dout, copied together, meet WEIGHT_COLUMNS columns of the inputs */

enum { WEIGHT_COLUMNS = 4 * TILE_VECTORS * LANES };

static size_t measure_weights(const weights_job *job)
{
    return (size_t)job->M * TILE_ROWS * sizeof(float);
}

static void gather_columns(const weights_job *job, int first, float *packed)
{
    const int n = min_of(TILE_ROWS, job->n_out - first);

    for (int m = 0; m < job->M; m++) {
        const float *from = row_at(job->dout, m, first);

        for (int i = 0; i < TILE_ROWS; i++) packed[m * TILE_ROWS + i] = i < n ? from[i] : 0;
    }
}

SIMD_INLINE void add_weights(const weights_job *job, int n_vectors, const float *packed, int row, int column)
{
    float sums[TILE_ROWS][TILE_VECTORS * LANES];
    tile acc;

    clear_tile(acc);
    multiply_turned_tile(0, n_vectors, acc, packed, TILE_ROWS, row_at(job->in, 0, column), job->in.stride, job->M);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 3
        for (int j = 0; j < n_vectors; j++) simd_store(sums[i] + j * LANES, acc[i][j]);
    for (int i = 0; i < TILE_ROWS && row + i < job->n_out; i++) {
        float *to = job->dweight + (int64_t)(row + i) * job->n_in + column;

        for (int j = 0; j < n_vectors; j++) simd_store(to + j * LANES, simd_add(simd_load(to + j * LANES), simd_load(sums[i] + j * LANES)));
    }
}

/* The last n < LANES columns. */
static void add_last_weights(const weights_job *job, const float *packed, int row, int column, int n)
{
    simd acc[TILE_ROWS];

    for (int i = 0; i < TILE_ROWS; i++) acc[i] = simd_set(0);
    for (int m = 0; m < job->M; m++) {
        const simd x = simd_load_first(row_at(job->in, m, column), n);

#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) acc[i] = simd_fma(simd_set(packed[m * TILE_ROWS + i]), x, acc[i]);
    }
    for (int i = 0; i < TILE_ROWS && row + i < job->n_out; i++) {
        float *to = job->dweight + (int64_t)(row + i) * job->n_in + column;

        simd_store_first(to, simd_add(simd_load_first(to, n), acc[i]), n);
    }
}

static void compute_weights(const weights_job *job, int first_row, int first_column, float *scratch)
{
    const int end = min_of(first_column + WEIGHT_COLUMNS, job->n_in);
    int column = first_column;

    gather_columns(job, first_row, scratch);
    for (; column + TILE_VECTORS * LANES <= end; column += TILE_VECTORS * LANES) add_weights(job, TILE_VECTORS, scratch, first_row, column);
    for (; column + LANES <= end; column += LANES) add_weights(job, 1, scratch, first_row, column);
    if (column < end) add_last_weights(job, scratch, first_row, column, end - column);
}

enum { CHAINS = 4 };

SIMD_INLINE simd join_chains(const simd sums[CHAINS])
{
    return simd_add(simd_add(sums[0], sums[1]), simd_add(sums[2], sums[3]));
}

static void sum_columns(const weights_job *job, int first_column)
{
    const int n = min_of(LANES, job->n_out - first_column);
    simd sums[CHAINS] = {simd_set(0), simd_set(0), simd_set(0), simd_set(0)};
    float *to = job->dbias + first_column;

    for (int m = 0; m < job->M; m++) sums[m % CHAINS] = simd_add(sums[m % CHAINS], load_some(row_at(job->dout, m, first_column), n));
    store_some(to, simd_add(load_some(to, n), join_chains(sums)), n);
}

/* ---- activations */

SIMD_INLINE simd activate_vector(model_epilogue activation, simd x)
{
    if (activation == MODEL_GELU) return simd_gelu(x);
    return activation == MODEL_RELU ? simd_max(x, simd_set(0)) : x;
}

static void activate_row(const activation_job *job, int m)
{
    for (int c = 0; c < job->C; c += LANES) {
        const int n = min_of(LANES, job->C - c);

        store_typed(job->din, m, c, activate_vector(job->activation, load_typed(job->in, m, c, n)), n);
    }
}

/* d/dx x Phi(x) = Phi(x) + x phi(x) */
SIMD_INLINE simd differentiate_gelu(simd x)
{
    const simd half = simd_set(0.5f), root_half = simd_set(0.70710678118654752f);
    const simd phi = simd_mul(simd_set(0.39894228040143268f), raise_two(simd_mul(simd_mul(x, x), simd_set(-0.5f * log2_e)), 0));

    return simd_fma(x, phi, simd_fma(half, simd_erf(simd_mul(x, root_half)), half));
}

static void activate_row_back(const activation_job *job, int m)
{
    for (int c = 0; c < job->C; c += LANES) {
        const int n = min_of(LANES, job->C - c);
        const simd x = load_typed(job->in, m, c, n), dy = load_typed(job->dout, m, c, n);
        const simd dx =
            job->activation == MODEL_GELU ? simd_mul(dy, differentiate_gelu(x)) : simd_if_greater(x, simd_set(0), dy, simd_set(0));

        store_typed(job->din, m, c, dx, n);
    }
}

/* ---- layer norm */

/* Sum of (x - mean)^power over a row. */
SIMD_INLINE float sum_row(const float *x, int C, float mean, int is_squared)
{
    simd sums[CHAINS] = {simd_set(0), simd_set(0), simd_set(0), simd_set(0)};

    for (int c = 0, j = 0; c < C; c += LANES, j = (j + 1) % CHAINS) {
        const int n = min_of(LANES, C - c);
        const simd value = simd_pick(simd_sub(load_some(x + c, n), simd_set(mean)), simd_set(0), 0, n);

        sums[j] = is_squared ? simd_fma(value, value, sums[j]) : simd_add(sums[j], value);
    }
    return simd_sum(join_chains(sums));
}

static void measure_row(const norm_job *job, int m, float *mean, float *factor)
{
    const float *x = row_at(job->in, m, 0);
    const float C = (float)job->C, rough = sum_row(x, job->C, 0, 0) / C;

    *mean = rough + sum_row(x, job->C, rough, 0) / C;
    *factor = 1.0f / sqrtf(sum_row(x, job->C, *mean, 1) / C + job->eps);
}

static void store_stats(const norm_job *job, int m)
{
    measure_row(job, m, &job->stats[2 * m], &job->stats[2 * m + 1]);
}

static void sum_norm_weights(const norm_job *job, int first_column)
{
    const int n = min_of(LANES, job->C - first_column);
    float *dgamma = job->dgamma + first_column, *dbeta = job->dbeta + first_column;
    simd gammas = simd_set(0), betas = simd_set(0);

    for (int m = 0; m < job->M; m++) {
        const simd dy = load_some(row_at(job->dout, m, first_column), n), x = load_some(row_at(job->in, m, first_column), n);
        const simd normed = simd_mul(simd_sub(x, simd_set(job->stats[2 * m])), simd_set(job->stats[2 * m + 1]));

        gammas = simd_fma(dy, normed, gammas);
        betas = simd_add(betas, dy);
    }
    store_some(dgamma, simd_add(load_some(dgamma, n), gammas), n);
    store_some(dbeta, simd_add(load_some(dbeta, n), betas), n);
}

/* dx = factor (g - mean(g) - normed mean(g normed)), g = dy gamma */
static void normalize_row_back(const norm_job *job, int m)
{
    const int C = job->C;
    const float *x = row_at(job->in, m, 0), *dy = row_at(job->dout, m, 0);
    simd plain[CHAINS] = {simd_set(0), simd_set(0), simd_set(0), simd_set(0)}, normed[CHAINS] = {plain[0], plain[0], plain[0], plain[0]};
    float mean, factor, mean_g, mean_gn;

    measure_row(job, m, &mean, &factor);
    for (int c = 0, j = 0; c < C; c += LANES, j = (j + 1) % CHAINS) {
        const int n = min_of(LANES, C - c);
        const simd g = simd_pick(simd_mul(load_some(dy + c, n), load_some(job->gamma + c, n)), simd_set(0), 0, n);

        plain[j] = simd_add(plain[j], g);
        normed[j] = simd_fma(g, simd_mul(simd_sub(load_some(x + c, n), simd_set(mean)), simd_set(factor)), normed[j]);
    }
    mean_g = simd_sum(join_chains(plain)) / (float)C;
    mean_gn = simd_sum(join_chains(normed)) / (float)C;
    for (int c = 0; c < C; c += LANES) {
        const int n = min_of(LANES, C - c);
        const simd g = simd_mul(load_some(dy + c, n), load_some(job->gamma + c, n));
        const simd at = simd_mul(simd_sub(load_some(x + c, n), simd_set(mean)), simd_set(factor));
        simd dx = simd_mul(simd_set(factor), simd_sub(simd_sub(g, simd_set(mean_g)), simd_mul(at, simd_set(mean_gn))));
        float *to = row_at(job->din, m, c);

        if (job->epilogue == MODEL_ADD) dx = simd_add(dx, load_some(to, n));
        store_some(to, dx, n);
    }
}

/* ---- cross attention: all queries of one head, lanes along the keys */

/* [head_size][n_padded] each of k, v, dk, dv; then a row of weights and one of their gradients. */
static size_t measure_cross(const cross_gradient_job *job)
{
    const size_t n_padded = (size_t)(job->n_k + LANES - 1) / LANES * LANES;

    return (4 * (size_t)job->head_size + 2) * n_padded * sizeof(float);
}

static void turn_keys(const cross_gradient_job *job, model_rows keys, int b, int c0, float *packed, int n_padded)
{
    for (int j = 0; j < n_padded; j++)
        for (int d = 0; d < job->head_size; d++)
            packed[(int64_t)d * n_padded + j] = j < job->n_k ? row_at(keys, (int64_t)b * job->n_k + j, c0)[d] : 0;
}

static void turn_keys_back(const cross_gradient_job *job, model_rows dkeys, int b, int c0, const float *packed, int n_padded)
{
    for (int j = 0; j < job->n_k; j++)
        for (int d = 0; d < job->head_size; d++) row_at(dkeys, (int64_t)b * job->n_k + j, c0)[d] = packed[(int64_t)d * n_padded + j];
}

/* to [n_padded] = sum over d of vector[d] * packed[d] */
static void dot_keys(const float *vector, const float *packed, float *to, int head_size, int n_padded)
{
    for (int j = 0; j < n_padded; j += LANES) {
        simd sum = simd_set(0);

        for (int d = 0; d < head_size; d++) sum = simd_fma(simd_set(vector[d]), simd_load(packed + (int64_t)d * n_padded + j), sum);
        simd_store(to + j, sum);
    }
}

/* Products with the query to the softmax of the live keys; dead lanes get 0. */
static void weigh_keys(float *weights, float scale, int n_k, int n_padded)
{
    simd largest = simd_set(-1e30f), sum = simd_set(0), factor;
    const simd step = simd_set(scale * log2_e);

    for (int j = 0; j < n_padded; j += LANES) {
        const simd logit = simd_pick(simd_mul(simd_load(weights + j), step), simd_set(-1e30f), 0, min_of(LANES, n_k - j));

        simd_store(weights + j, logit);
        largest = simd_max(largest, logit);
    }
    largest = simd_set(simd_largest(largest));
    for (int j = 0; j < n_padded; j += LANES) {
        const simd weight = raise_two(simd_sub(simd_load(weights + j), largest), 0);

        simd_store(weights + j, weight);
        sum = simd_add(sum, weight);
    }
    factor = simd_set(1.0f / simd_sum(sum));
    for (int j = 0; j < n_padded; j += LANES) simd_store(weights + j, simd_mul(simd_load(weights + j), factor));
}

/* packed[d] += vector[d] * weights; where dots is given, dots[d] = sum of weights * packed_keys[d]. */
static void add_outer(float *packed, const float *vector, const float *weights, float scale, int head_size, int n_padded)
{
    for (int d = 0; d < head_size; d++) {
        const simd x = simd_set(vector[d] * scale);
        float *to = packed + (int64_t)d * n_padded;

        for (int j = 0; j < n_padded; j += LANES) simd_store(to + j, simd_fma(x, simd_load(weights + j), simd_load(to + j)));
    }
}

static float sum_products(const float *a, const float *b, int n_padded)
{
    simd sum = simd_set(0);

    for (int j = 0; j < n_padded; j += LANES) sum = simd_fma(simd_load(a + j), simd_load(b + j), sum);
    return simd_sum(sum);
}

static void derive_cross(const cross_gradient_job *job, int b, int head, float *scratch)
{
    const int D = job->head_size, c0 = head * D, n_padded = (job->n_k + LANES - 1) / LANES * LANES;
    const int64_t n_packed = (int64_t)D * n_padded;
    const float scale = 1.0f / sqrtf((float)D);
    float *k = scratch, *v = k + n_packed, *dk = v + n_packed, *dv = dk + n_packed, *p = dv + n_packed, *dp = p + n_padded;

    turn_keys(job, job->k, b, c0, k, n_padded);
    turn_keys(job, job->v, b, c0, v, n_padded);
    memset(dk, 0, 2 * (size_t)n_packed * sizeof(float));
    for (int i = 0; i < job->n_q; i++) {
        const int64_t row = (int64_t)b * job->n_q + i;
        const float *q = row_at(job->q, row, c0), *dout = row_at(job->dout, row, c0);
        float *dq = row_at(job->dq, row, c0);
        simd inner;

        dot_keys(q, k, p, D, n_padded);
        weigh_keys(p, scale, job->n_k, n_padded);
        dot_keys(dout, v, dp, D, n_padded);
        add_outer(dv, dout, p, 1, D, n_padded);
        inner = simd_set(sum_products(p, dp, n_padded));
        for (int j = 0; j < n_padded; j += LANES) simd_store(dp + j, simd_mul(simd_load(p + j), simd_sub(simd_load(dp + j), inner)));
        for (int d = 0; d < D; d++) dq[d] = scale * sum_products(dp, k + (int64_t)d * n_padded, n_padded);
        add_outer(dk, q, dp, scale, D, n_padded);
    }
    turn_keys_back(job, job->dk, b, c0, dk, n_padded);
    turn_keys_back(job, job->dv, b, c0, dv, n_padded);
}

/* ---- masks */

static void derive_features(const masks_gradient_job *job, int b, int first)
{
    for (int i = first; i < min_of(first + MASK_PIXELS, job->n); i++)
        for (int c = 0; c < job->C; c += LANES) {
            const int n = min_of(LANES, job->C - c);
            simd sum = simd_set(0);

            for (int k = 0; k < job->K; k++) {
                const int64_t plane = (int64_t)b * job->K + k;

                sum = simd_fma(simd_set(job->dlogits[plane * job->n + i]), load_some(row_at(job->hyper, plane, c), n), sum);
            }
            store_some(row_at(job->dfeatures, (int64_t)b * job->n + i, c), sum, n);
        }
}

static void derive_hyper(const masks_gradient_job *job, int b, int k)
{
    const int64_t plane = (int64_t)b * job->K + k;

    for (int c = 0; c < job->C; c += LANES) {
        const int n = min_of(LANES, job->C - c);
        simd sums[CHAINS] = {simd_set(0), simd_set(0), simd_set(0), simd_set(0)};

        for (int i = 0; i < job->n; i++)
            sums[i % CHAINS] = simd_fma(simd_set(job->dlogits[plane * job->n + i]),
                                        load_some(row_at(job->features, (int64_t)b * job->n + i, c), n), sums[i % CHAINS]);
        store_some(row_at(job->dhyper, plane, c), join_chains(sums), n);
    }
}

/* ---- AdamW */

SIMD_INLINE void update_vector(const update_job *job, size_t i, int n)
{
    const model_adamw *settings = &job->settings;
    const simd g = load_some(job->gradient + i, n);
    const simd m = simd_fma(simd_set(1 - settings->beta1), g, simd_mul(simd_set(settings->beta1), load_some(job->m + i, n)));
    const simd v = simd_fma(simd_mul(simd_set(1 - settings->beta2), g), g, simd_mul(simd_set(settings->beta2), load_some(job->v + i, n)));
    const simd root = simd_fma(simd_sqrt(v), simd_set(job->v_scale), simd_set(settings->epsilon));
    const simd decayed = simd_mul(load_some(job->weight + i, n), simd_set(1 - job->rate * settings->decay));

    store_some(job->m + i, m, n);
    store_some(job->v + i, v, n);
    store_some(job->weight + i, simd_sub(decayed, simd_div(simd_mul(simd_set(job->rate * job->m_scale), m), root)), n);
}

static void update_block(const update_job *job, size_t first)
{
    const size_t end = first + UPDATE_BLOCK < job->n ? first + UPDATE_BLOCK : job->n;

    for (size_t i = first; i < end; i += LANES) update_vector(job, i, end - i < LANES ? (int)(end - i) : LANES);
}

const backward_kernels BACKWARD_KERNELS = {
    .rows = TILE_ROWS,
    .columns = WEIGHT_COLUMNS,
    .weights = compute_weights,
    .weights_scratch = measure_weights,
    .columns_sum = sum_columns,
    .lanes = LANES,
    .activate = activate_row,
    .activate_back = activate_row_back,
    .norm_stats = store_stats,
    .norm_weights = sum_norm_weights,
    .norm = normalize_row_back,
    .cross = derive_cross,
    .cross_scratch = measure_cross,
    .features = derive_features,
    .hyper = derive_hyper,
    .adamw = update_block,
};
