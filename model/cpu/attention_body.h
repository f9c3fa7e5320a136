/* The fused attention kernel, included once per instruction set with ATTENTION_KERNEL and ATTENTION_SCRATCH as its names. How a window
 * is laid out: attention_window.h. */
#include "model/cpu/attention_window.h"

size_t ATTENTION_SCRATCH(const model_relpos *relpos)
{
    packed_window w;

    return lay_out(&w, relpos, relpos->type == MODEL_BF16, NULL) * sizeof(float);
}

/* Two vectors of exponentials to where the product with the values reads them. */
SIMD_INLINE void store_weights(const packed_window *w, int is_bf16, int i, int key, simd a, simd b)
{
    float *to = w->weights + i * w->weight_stride;

    if (is_bf16) {
        simd_store_bf16((bf16 *)to + key, a, LANES);
        simd_store_bf16((bf16 *)to + key + LANES, b, LANES);
    } else {
        simd_store(to + key, a);
        simd_store(to + key + LANES, b);
    }
}

/* Logits of query i to exponentials relative to the largest, and 1 / their sum, padding included. */
SIMD_INLINE void exponentiate(const packed_window *w, int is_bf16, query_tile *queries, int i, float step)
{
    const float *logits = w->logits + i * w->logit_stride;
    const simd factor = simd_set(step), shift = simd_set(-step * queries->largest[i]);
    simd sum[PANEL] = {simd_set(0), simd_set(0)};

    for (int key = 0; key < w->n_keys; key += PANEL_LANES) {
        const simd a = raise_two(simd_fma(factor, simd_load(logits + key), shift), is_bf16);
        const simd b = raise_two(simd_fma(factor, simd_load(logits + key + LANES), shift), is_bf16);

        sum[0] = simd_add(sum[0], a);
        sum[1] = simd_add(sum[1], b);
        store_weights(w, is_bf16, i, key, a, b);
    }
    queries->pad_weight[i] = w->is_cut ? queries->pad_mass[i] * raise_two_once(step * (queries->pad_largest[i] - queries->largest[i])) : 0;
    const float total = simd_sum(simd_add(sum[0], sum[1])) + queries->pad_weight[i];
    queries->factor[i] = 1.0f / total;
    if (queries->log_sum[i]) *queries->log_sum[i] = step * queries->largest[i] + log2f(total);
}

/* Columns c.. of the outputs: the weighted values, the padding's share of the bias, the division by the sum. */
SIMD_INLINE void multiply_values(const packed_window *w, int is_bf16, int n_vectors, const query_tile *queries, int c)
{
    const model_relpos *relpos = w->job->relpos;
    const float *bias = relpos->bias + ((int64_t)2 * relpos->heads + w->task->head) * relpos->head_size + c;
    const int64_t n_steps = is_bf16 ? w->n_keys / 2 : w->n_keys;
    const float *weights[TILE_ROWS];
    tile acc;

    for (int i = 0; i < TILE_ROWS; i++) weights[i] = w->weights + i * w->weight_stride;
    clear_tile(acc);
    multiply_tile(is_bf16, n_vectors, acc, weights, w->values + c * n_steps, n_vectors * LANES, n_steps);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vectors; j++) {
            const simd padded = simd_fma(simd_set(queries->pad_weight[i]), simd_load(bias + j * LANES), acc[i][j]);
            const simd y = simd_mul(padded, simd_set(queries->factor[i]));

            if (w->job->out.type == MODEL_BF16)
                simd_store_bf16((bf16 *)queries->out[i] + c + j * LANES, y, LANES);
            else
                simd_store((float *)queries->out[i] + c + j * LANES, y);
        }
}

SIMD_INLINE void attend_tile(const packed_window *w, int is_bf16, query_tile *queries)
{
    const model_relpos *relpos = w->job->relpos;
    const float step = w->scale * 1.44269504088896341f; /* log2(e): the exponentials are powers of two */
    simd most[TILE_ROWS];

    compute_terms(w, is_bf16, queries, queries->y, relpos->table, w->terms, queries->run_h);
    compute_terms(w, is_bf16, queries, queries->x, relpos->table + relpos->w_column, w->terms + TILE_ROWS * w->term_stride, queries->run_w);
    spread_terms(w, queries);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++) most[i] = simd_set(DEAD_LOGIT);
    for (int panel = 0; panel < w->n_vectors / PANEL; panel++) multiply_keys(w, is_bf16, queries, panel, most);
    for (int i = 0; i < TILE_ROWS; i++) {
        queries->largest[i] = simd_largest(most[i]);
        if (w->is_cut) weigh_padding(w, is_bf16, queries, i, step);
        if (w->is_cut && queries->pad_largest[i] > queries->largest[i]) queries->largest[i] = queries->pad_largest[i];
        exponentiate(w, is_bf16, queries, i, step);
    }
    for (int c = 0; c < relpos->head_size; c += PANEL_LANES)
        if (relpos->head_size - c >= PANEL_LANES)
            multiply_values(w, is_bf16, PANEL, queries, c);
        else
            multiply_values(w, is_bf16, 1, queries, c);
}

SIMD_INLINE void attend_task(const attention_job *job, const attention_task *task, float *scratch, int is_bf16)
{
    packed_window w;
    query_tile queries;
    int n_tiles;

    measure_window(&w, job, task);
    lay_out(&w, job->relpos, is_bf16, scratch);
    pack_keys(&w, 1, w.keys);
    pack_values(&w, is_bf16, 2, w.values);
    n_tiles = round_up(w.vh * w.vw, TILE_ROWS) / TILE_ROWS;
    for (int t = n_tiles * task->chunk / job->n_chunks; t < n_tiles * (task->chunk + 1) / job->n_chunks; t++) {
        find_queries(&w, t * TILE_ROWS, w.vh * w.vw, &queries);
        attend_tile(&w, is_bf16, &queries);
    }
}

void ATTENTION_KERNEL(const attention_job *job, const attention_task *task, float *scratch)
{
    if (HAS_BF16 && job->relpos->type == MODEL_BF16)
        attend_task(job, task, scratch, HAS_BF16);
    else
        attend_task(job, task, scratch, 0);
}
