/* Where the activations of training lie: what a slice keeps for its way back, and what lives within one pass. The same function lays a
 * block out twice: to measure it, then to set the pointers. */
#include <string.h>

#include "io/memory.h"
#include "model/train_state.h"

enum { ALIGN_FLOATS = 16 };

typedef struct arena {
    float *base; /* NULL while measuring */
    size_t used; /* floats */
    int pad;     /* of rows that enter long products */
} arena;

static float *take(arena *from, int64_t n)
{
    float *at = from->base ? from->base + from->used : NULL;

    from->used += ((size_t)n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return at;
}

static model_rows take_rows(arena *from, int64_t M, int64_t C)
{
    return (model_rows){take(from, M * C), C, MODEL_F32};
}

static model_rows take_padded(arena *from, int64_t M, int64_t C)
{
    return take_rows(from, M, C + from->pad);
}

/* Rows in the device's type: what only its products read. */
static model_rows take_typed(const model_trainer *trainer, arena *from, int64_t M, int64_t C)
{
    if (trainer->device->type == MODEL_F32) return take_rows(from, M, C);
    return (model_rows){take(from, (M * C + 1) / 2), C, MODEL_BF16};
}

/* Everything of a block but its input. */
static void lay_out_block(const model_trainer *trainer, arena *from, block_saved *block)
{
    const int N = train_count_pixels(trainer), C = trainer->config.width;

    block->qkv = take_typed(trainer, from, N, 3 * C);
    block->attended = take_padded(from, N, C);
    block->mid = take_rows(from, N, C);
    block->hidden = take_typed(trainer, from, N, trainer->config.mlp_width);
    block->log_sum = take(from, (int64_t)N * trainer->config.heads);
    for (int p = 0; p < TRAIN_N_LORA; p++) block->low[p] = take_rows(from, N, trainer->config.lora_rank);
}

/* Blocks below the first LoRA, and all with recompute, share one block's activations. Below it they share their input too: each block reads
 * it before the next one writes it. */
static void lay_out_encoder(const model_trainer *trainer, arena *from, train_saved *saved)
{
    const int N = train_count_pixels(trainer), C = trainer->config.width, R = trainer->config.decoder_width;
    const block_saved *shared = &trainer->temporary.shared;

    for (int i = 0; i < trainer->config.depth; i++) {
        block_saved *block = &saved->blocks[i];

        *block = *shared;
        if (i < trainer->first_block) continue;
        if (!trainer->options.recompute) lay_out_block(trainer, from, block);
        block->x = take_rows(from, N, C);
    }
    saved->last_x = trainer->temporary.dx; /* the neck reads it before anything is derived */
    saved->neck0_out = take_rows(from, N, R);
    saved->neck2_out = take_rows(from, N, R);
}

static void lay_out_attention(const model_trainer *trainer, arena *from, attention_saved *saved, int n_q, int n_k, int inner)
{
    const int r = trainer->config.lora_rank;

    saved->q = take_rows(from, n_q, inner);
    saved->k = take_rows(from, n_k, inner);
    saved->v = take_rows(from, n_k, inner);
    saved->attended = take_rows(from, n_q, inner);
    saved->q_low = take_rows(from, n_q, r);
    saved->v_low = take_rows(from, n_k, r);
}

static void lay_out_layer(const model_trainer *trainer, arena *from, layer_saved *layer)
{
    const int N = train_count_pixels(trainer), T = train_count_tokens(trainer), R = trainer->config.decoder_width;
    model_rows *const rows[] = {&layer->self_in, &layer->norm1_in, &layer->tokens1, &layer->query_in, &layer->norm2_in,
                                &layer->tokens2, &layer->norm3_in, &layer->tokens3, &layer->key_in};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) *rows[i] = take_rows(from, T, R);
    layer->hidden = take_rows(from, T, trainer->config.decoder_mlp_width);
    layer->norm4_in = take_rows(from, N, R);
    lay_out_attention(trainer, from, &layer->self, T, T, R);
    lay_out_attention(trainer, from, &layer->t2i, T, N, trainer->config.decoder_inner);
    lay_out_attention(trainer, from, &layer->i2t, N, T, trainer->config.decoder_inner);
}

static void lay_out_decoder(const model_trainer *trainer, arena *from, train_saved *saved)
{
    const int N = train_count_pixels(trainer), T = train_count_tokens(trainer), R = trainer->config.decoder_width;
    const int K = trainer->config.n_channels;

    for (int l = 0; l <= MODEL_DECODER_DEPTH; l++) saved->keys[l] = take_rows(from, N, R);
    for (int l = 0; l < MODEL_DECODER_DEPTH; l++) lay_out_layer(trainer, from, &saved->layers[l]);
    lay_out_attention(trainer, from, &saved->final, T, N, trainer->config.decoder_inner);
    saved->final_query = take_rows(from, T, R);
    saved->final_in = take_rows(from, T, R);
    saved->final_tokens = take_rows(from, T, R);
    saved->up0 = take_rows(from, 4 * N, R / 4);
    saved->up3 = take_rows(from, 16 * N, R / 8);
    saved->features = take_rows(from, 16 * N, R / 8);
    saved->hyper_a = take_rows(from, K, R);
    saved->hyper_b = take_rows(from, K, R);
    saved->hyper = take_rows(from, K, R / 8);
    saved->logits = take(from, (int64_t)K * 16 * N);
    saved->labels = (uint8_t *)take(from, 4 * N);
}

static void lay_out_encoder_pass(const model_trainer *trainer, arena *from, train_temporary *at)
{
    const model_config *config = &trainer->config;
    const int N = train_count_pixels(trainer), C = config->width, R = config->decoder_width;

    at->image = take(from, (int64_t)config->image_size * config->image_size);
    at->patches = take_padded(from, N, config->patch * config->patch);
    at->normed = take_padded(from, N, C);
    /* qkv is f32 until LoRA has been added; dqkv is written when the MLP's hidden gradient has been read, dnormed when dattended has */
    at->hidden = take_padded(from, N, config->mlp_width > 3 * C ? config->mlp_width : 3 * C);
    at->qkv = at->dqkv = at->hidden;
    at->dhidden_block = (model_rows){at->hidden.data, at->hidden.stride, trainer->device->type};
    at->low = take_rows(from, N, config->lora_rank);
    at->dx = take_padded(from, N, C);
    at->dnormed = take_padded(from, N, C);
    at->dattended = at->dnormed;
    if (trainer->device->type == MODEL_BF16) {
        const int area = config->patch * config->patch, wide = config->mlp_width > 3 * C ? config->mlp_width : 3 * C;
        const int most = wide > area ? wide : area; /* of a network narrower than its patches */

        at->half = (model_rows){take(from, (int64_t)N * (most + from->pad) / 2 + 1), most + from->pad, MODEL_BF16};
    }
    at->embedding = take_rows(from, N, R);
    at->neck_normed = take_rows(from, N, R);
    at->dneck = take_rows(from, N, R);
    if (trainer->first_block > 0 || trainer->options.recompute) {
        lay_out_block(trainer, from, &at->shared);
        at->shared.x = take_rows(from, N, C);
    }
}

static void lay_out_decoder_pass(const model_trainer *trainer, arena *from, train_temporary *at)
{
    const int N = train_count_pixels(trainer), T = train_count_tokens(trainer), R = trainer->config.decoder_width;
    const int K = trainer->config.n_channels, inner = R > trainer->config.decoder_inner ? R : trainer->config.decoder_inner;
    const int most = N > T ? N : T;

    at->keys_pos = take_rows(from, N, R);
    at->dkeys = take_rows(from, N, R);
    at->dtokens = take_rows(from, T, R);
    at->dtokens_pos = take_rows(from, T, R);
    at->dhidden = take_rows(from, T, trainer->config.decoder_mlp_width);
    at->scratch = (train_scratch){take_rows(from, most, inner), take_rows(from, most, inner), take_rows(from, most, inner),
                                  take_rows(from, most, inner), take_rows(from, most, trainer->config.lora_rank)};
    at->taps0 = take_rows(from, N, R / 4 * 4);
    at->norm_up0 = take_rows(from, 4 * N, R / 4);
    at->gelu_up0 = take_rows(from, 4 * N, R / 4);
    at->dup0 = take_rows(from, 4 * N, R / 4);
    at->taps3 = take_rows(from, 4 * N, R / 8 * 4);
    at->dup3 = take_rows(from, 16 * N, R / 8);
    at->dhyper = take_rows(from, K, R / 8);
    at->dhyper_a = take_rows(from, K, R);
    at->dhyper_b = take_rows(from, K, R);
    at->dlogits = take(from, (int64_t)K * 16 * N);
}

typedef void lay_out_function(const model_trainer *trainer, arena *from, void *target);

static void lay_out_saved(const model_trainer *trainer, arena *from, void *target)
{
    lay_out_encoder(trainer, from, target);
    lay_out_decoder(trainer, from, target);
}

static void lay_out_temporary(const model_trainer *trainer, arena *from, void *target)
{
    lay_out_encoder_pass(trainer, from, target);
    lay_out_decoder_pass(trainer, from, target);
}

/* Measures, allocates filled with NaN (use of what was never written shows), sets the pointers. */
static io_status place(model_trainer *trainer, lay_out_function *lay_out, void *target, void **memory, size_t *n_bytes)
{
    const model_ops *ops = trainer->run.ops;
    arena from = {.pad = ops->row_pad};
    unsigned char ones[4096];

    lay_out(trainer, &from, target);
    IO_TRY(io_size_mul(from.used, sizeof(float), n_bytes));
    IO_TRY(ops->memory_create(trainer->run.backend, *n_bytes, memory));
    memset(ones, 0xff, sizeof ones);
    for (size_t at = 0; at < *n_bytes; at += sizeof ones)
        IO_TRY(ops->upload(trainer->run.backend, (char *)*memory + at, ones, *n_bytes - at < sizeof ones ? *n_bytes - at : sizeof ones));
    from = (arena){.base = *memory, .pad = ops->row_pad};
    lay_out(trainer, &from, target);
    return IO_OK;
}

void model_train_plan_measure(const model_trainer *trainer, size_t *pass, size_t *kept)
{
    arena of_pass = {.pad = trainer->run.ops->row_pad}, of_slice = {.pad = trainer->run.ops->row_pad};
    train_temporary temporary = {0};
    train_saved saved = {0};

    lay_out_temporary(trainer, &of_pass, &temporary);
    lay_out_saved(trainer, &of_slice, &saved);
    *pass = of_pass.used * sizeof(float);
    *kept = (size_t)trainer->options.n_kept * of_slice.used * sizeof(float);
}

io_status model_train_plan(model_trainer *trainer)
{
    train_temporary *temporary = &trainer->temporary;

    IO_TRY(place(trainer, lay_out_temporary, temporary, &temporary->memory, &temporary->n_bytes));
    IO_TRY(io_alloc((size_t)trainer->options.n_kept, sizeof *trainer->saved, (void **)&trainer->saved));
    for (int i = 0; i < trainer->options.n_kept; i++)
        IO_TRY(place(trainer, lay_out_saved, &trainer->saved[i], &trainer->saved[i].memory, &trainer->saved[i].n_bytes));
    return IO_OK;
}

void model_train_plan_free(model_trainer *trainer)
{
    const model_run *run = &trainer->run;

    if (trainer->temporary.memory) run->ops->memory_free(run->backend, &trainer->temporary.memory);
    for (int i = 0; trainer->saved && i < trainer->options.n_kept; i++)
        if (trainer->saved[i].memory) run->ops->memory_free(run->backend, &trainer->saved[i].memory);
    io_free(&trainer->saved);
}
