/* The decoder's kernels, included once per instruction set with DECODER_KERNELS as the name of their table. */
#include <math.h>

#include "model/cpu/decoder.h"
#include "model/cpu/power.h"

static int count_vectors(int n)
{
    return (n + LANES - 1) / LANES;
}

static const float *get_row(model_rows rows, int64_t m, int64_t c)
{
    return (const float *)rows.data + m * rows.stride + c;
}

/* ---- add */

SIMD_INLINE void store_sum(model_rows out, int64_t m, int c, simd sum, int n)
{
    void *to = rows_at(out, m, c);

    if (out.type == MODEL_BF16)
        simd_store_bf16(to, sum, n);
    else if (n == LANES)
        simd_store(to, sum);
    else
        simd_store_first(to, sum, n);
}

static void add_row(const add_job *job, int m)
{
    const float *a = get_row(job->a, m, 0), *b = get_row(job->b, m % job->period, 0);
    int c = 0;

    for (; c + LANES <= job->C; c += LANES) store_sum(job->out, m, c, simd_add(simd_load(a + c), simd_load(b + c)), LANES);
    if (c < job->C) {
        const int n = job->C - c;
        store_sum(job->out, m, c, simd_add(simd_load_first(a + c, n), simd_load_first(b + c, n)), n);
    }
}

/* ---- cross attention: keys packed as [head_size][keys], then one query after the other against all keys, lanes along the keys */

static size_t measure_cross(const cross_job *job)
{
    return (size_t)(job->head_size + 1) * (size_t)count_vectors(job->n_k) * LANES * sizeof(float);
}

/* Lanes behind the last key repeat it; their logits are masked. */
static void pack_keys(const cross_job *job, int b, int c0, float *packed, int n_padded)
{
    for (int j = 0; j < n_padded; j++) {
        const float *key = get_row(job->k, (int64_t)b * job->n_k + (j < job->n_k ? j : job->n_k - 1), c0);
        for (int d = 0; d < job->head_size; d++) packed[(int64_t)d * n_padded + j] = key[d];
    }
}

/* Logits times log2(e) / sqrt(head_size) of one query -> logits; returns the largest. */
static float compare_keys(const cross_job *job, const float *query, const float *packed, float *logits, int n_padded)
{
    const float step = 1.44269504088896341f / sqrtf((float)job->head_size);
    simd largest = simd_set(-INFINITY);

    for (int j = 0; j < n_padded; j += LANES) {
        simd sum = simd_set(0);
        for (int d = 0; d < job->head_size; d++) sum = simd_fma(simd_set(query[d]), simd_load(packed + (int64_t)d * n_padded + j), sum);
        sum = simd_mul(sum, simd_set(step));
        if (j + LANES > job->n_k) sum = simd_pick(sum, simd_set(-1e30f), 0, job->n_k - j);
        simd_store(logits + j, sum);
        largest = simd_max(largest, sum);
    }
    return simd_largest(largest);
}

/* Logits to weights; returns 1 / their sum. */
static float weigh_keys(float *logits, float largest, int n_padded)
{
    simd sum = simd_set(0);

    for (int j = 0; j < n_padded; j += LANES) {
        const simd weight = raise_two(simd_sub(simd_load(logits + j), simd_set(largest)), 0);
        simd_store(logits + j, weight);
        sum = simd_add(sum, weight);
    }
    return 1.0f / simd_sum(sum);
}

enum { CHAINS = 4 };

/* n of the head's columns, from column c: sum over the keys of weight times value. */
SIMD_INLINE void mix_values(const cross_job *job, int b, int64_t row, int c, int n, const float *weights, float factor)
{
    const float *value = get_row(job->v, (int64_t)b * job->n_k, c);
    float *to = rows_at(job->out, row, c);
    simd sums[CHAINS];
    int j = 0;

#pragma GCC unroll 4
    for (int i = 0; i < CHAINS; i++) sums[i] = simd_set(0);
    for (; j + CHAINS <= job->n_k; j += CHAINS)
#pragma GCC unroll 4
        for (int i = 0; i < CHAINS; i++) {
            const float *from = value + (j + i) * job->v.stride;
            sums[i] = simd_fma(simd_set(weights[j + i]), n == LANES ? simd_load(from) : simd_load_first(from, n), sums[i]);
        }
    for (; j < job->n_k; j++) sums[0] = simd_fma(simd_set(weights[j]), simd_load_first(value + j * job->v.stride, n), sums[0]);
    sums[0] = simd_mul(simd_add(simd_add(sums[0], sums[1]), simd_add(sums[2], sums[3])), simd_set(factor));
    if (n == LANES)
        simd_store(to, sums[0]);
    else
        simd_store_first(to, sums[0], n);
}

static void attend_queries(const cross_job *job, int b, int head, int first, float *scratch)
{
    const int n_padded = count_vectors(job->n_k) * LANES, c0 = head * job->head_size, end = c0 + job->head_size;
    float *packed = scratch, *logits = scratch + (int64_t)job->head_size * n_padded;

    pack_keys(job, b, c0, packed, n_padded);
    for (int i = first; i < first + CROSS_QUERIES && i < job->n_q; i++) {
        const int64_t row = (int64_t)b * job->n_q + i;
        const float largest = compare_keys(job, get_row(job->q, row, c0), packed, logits, n_padded);
        const float factor = weigh_keys(logits, largest, n_padded);
        for (int c = c0; c < end; c += LANES) mix_values(job, b, row, c, end - c < LANES ? end - c : LANES, logits, factor);
    }
}

/* ---- masks: LANES pixels turned to [C][LANES], then a few channels at a time */

enum { MASK_CHANNELS = 4 };

static size_t measure_masks(const masks_job *job)
{
    return (size_t)job->C * LANES * sizeof(float);
}

static void turn_pixels(const masks_job *job, int64_t first, int n, float *turned)
{
    for (int i = 0; i < LANES; i++) {
        const float *from = get_row(job->features, first + (i < n ? i : n - 1), 0);
        for (int c = 0; c < job->C; c++) turned[c * LANES + i] = from[c];
    }
}

/* Channels k ... k + 3 (the last is repeated where there are fewer). */
SIMD_INLINE void draw_channels(const masks_job *job, int b, int k, int first, int n, const float *turned)
{
    const float *hyper[MASK_CHANNELS];
    simd sums[MASK_CHANNELS];

#pragma GCC unroll 4
    for (int i = 0; i < MASK_CHANNELS; i++) {
        hyper[i] = get_row(job->hyper, (int64_t)b * job->K + (k + i < job->K ? k + i : job->K - 1), 0);
        sums[i] = simd_set(0);
    }
    for (int c = 0; c < job->C; c++) {
        const simd feature = simd_load(turned + c * LANES);
#pragma GCC unroll 4
        for (int i = 0; i < MASK_CHANNELS; i++) sums[i] = simd_fma(simd_set(hyper[i][c]), feature, sums[i]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < MASK_CHANNELS; i++)
        if (k + i < job->K) simd_store_first(job->logits + ((int64_t)b * job->K + k + i) * job->n + first, sums[i], n);
}

static void draw_pixels(const masks_job *job, int b, int first, float *scratch)
{
    const int end = first + MASK_PIXELS < job->n ? first + MASK_PIXELS : job->n;

    for (int i = first; i < end; i += LANES) {
        const int n = end - i < LANES ? end - i : LANES;
        turn_pixels(job, (int64_t)b * job->n + i, n, scratch);
        for (int k = 0; k < job->K; k += MASK_CHANNELS) draw_channels(job, b, k, i, n, scratch);
    }
}

/* ---- labels: LANES low-resolution columns at a time, four of their output pixels each; nothing is stored but the winners */

enum { PHASES = 4 };

/* Where the output pixels of phase p of q lie: left neighbour at column j + shift, and how far towards the next. */
typedef struct phase_place {
    int shift; /* -1 or 0 */
    simd fraction;
} phase_place;

SIMD_INLINE phase_place locate_phase(int p, int q)
{
    const float at = ((float)p + 0.5f) / (float)q - 0.5f; /* relative to column j; align_corners false */

    return (phase_place){at < 0 ? -1 : 0, simd_set(at < 0 ? at + 1 : at)};
}

/* LANES columns from `first`, clamped to [0, L). */
SIMD_INLINE simd load_clamped(const float *row, int first, int L)
{
    float lane[LANES];

    if (first >= 0 && first + LANES <= L) return simd_load(row + first);
    for (int i = 0; i < LANES; i++) {
        const int j = first + i;
        lane[i] = row[j < 0 ? 0 : j < L ? j : L - 1];
    }
    return simd_load(lane);
}

SIMD_INLINE simd mix(simd a, simd b, simd fraction)
{
    return simd_fma(simd_sub(b, a), fraction, a);
}

typedef struct label_line {
    const float *top, *bottom; /* rows of channel 0 */
    float fraction;            /* from top to bottom */
} label_line;

static label_line locate_line(const labels_job *job, int b, int y)
{
    const float at = fmaxf(((float)y + 0.5f) * ((float)job->L / (float)job->S) - 0.5f, 0);
    const int first = (int)at, second = first + 1 < job->L ? first + 1 : first;
    const float *plane = job->logits + (int64_t)b * job->K * job->L * job->L;

    return (label_line){plane + (int64_t)first * job->L, plane + (int64_t)second * job->L, at - (float)first};
}

/* Output pixels of phases p0 ... p0 + 3 over columns j ... j + LANES - 1. */
SIMD_INLINE void label_block(const labels_job *job, const label_line *line, int j, int p0, uint16_t *out)
{
    const int q = job->S / job->L, n_phases = q - p0 < PHASES ? q - p0 : PHASES;
    const simd down = simd_set(line->fraction);
    phase_place places[PHASES];
    simd best[PHASES], winner[PHASES];

#pragma GCC unroll 4
    for (int p = 0; p < PHASES; p++) {
        places[p] = locate_phase(p0 + p, q);
        best[p] = simd_set(-INFINITY);
        winner[p] = simd_set(0);
    }
    for (int k = 0; k < job->K; k++) {
        const float *top = line->top + (int64_t)k * job->L * job->L, *bottom = line->bottom + (int64_t)k * job->L * job->L;
        simd columns[3];
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) columns[i] = mix(load_clamped(top, j - 1 + i, job->L), load_clamped(bottom, j - 1 + i, job->L), down);
#pragma GCC unroll 4
        for (int p = 0; p < PHASES; p++) {
            const simd value =
                places[p].shift < 0 ? mix(columns[0], columns[1], places[p].fraction) : mix(columns[1], columns[2], places[p].fraction);
            winner[p] = simd_if_greater(value, best[p], simd_set((float)k), winner[p]);
            best[p] = simd_max(best[p], value);
        }
    }
    for (int p = 0; p < n_phases; p++) {
        float lane[LANES];
        simd_store(lane, winner[p]);
        for (int i = 0; i < LANES && j + i < job->L; i++) out[(j + i) * q + p0 + p] = (uint16_t)lane[i];
    }
}

static void label_row(const labels_job *job, int b, int y)
{
    const label_line line = locate_line(job, b, y);
    uint16_t *out = job->labels + ((int64_t)b * job->S + y) * job->S;

    for (int j = 0; j < job->L; j += LANES)
        for (int p0 = 0; p0 < job->S / job->L; p0 += PHASES) label_block(job, &line, j, p0, out);
}

const decoder_kernels DECODER_KERNELS = {add_row, attend_queries, measure_cross, draw_pixels, measure_masks, label_row};
