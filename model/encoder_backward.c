/* The image encoder for training: forward with LoRA beside the frozen qkv, and back down to the first block that has some. What a block
 * saves and what it computes again: block_saved in train_state.h. Spec 1, 2.1; nothing frozen gets a weight gradient. */
#include "model/train_state.h"

static const float norm_eps = 1e-6f; /* as in encoder.c */

/* Columns of qkv that a projection writes. */
static model_rows get_part(const model_trainer *trainer, model_rows qkv, int part)
{
    qkv.data = (float *)qkv.data + (part == TRAIN_V ? 2 : part == TRAIN_K ? 1 : 0) * trainer->config.width;
    return qkv;
}

/* In bf16 what enters a frozen product is rounded on the way; everything else, LoRA and the neck included, stays f32. */
static io_status round_rows(const model_trainer *trainer, model_rows *in, int C)
{
    const model_run *run = &trainer->run;
    const model_rows half = trainer->temporary.half;

    if (!half.data || in->type == MODEL_BF16) return IO_OK;
    IO_TRY(run->ops->activation_forward(run->backend, half, *in, MODEL_STORE, train_count_pixels(trainer), C));
    *in = half;
    return IO_OK;
}

/* Where a frozen product reads what nothing else does: f32, or half in bf16. */
static model_rows choose_input(const model_trainer *trainer, model_rows rows)
{
    return trainer->temporary.half.data ? trainer->temporary.half : rows;
}

static io_status multiply(const model_trainer *trainer, model_rows out, model_rows in, const model_linear *linear)
{
    const model_run *run = &trainer->run;

    IO_TRY(round_rows(trainer, &in, linear->n_in));
    return run->ops->linear_forward(run->backend, out, in, linear->weight, linear->bias, MODEL_STORE, train_count_pixels(trainer));
}

/* The way back through a frozen product. */
static io_status multiply_back(const model_trainer *trainer, model_rows din, model_rows dout, const model_linear *linear)
{
    const model_run *run = &trainer->run;

    IO_TRY(round_rows(trainer, &dout, linear->n_out));
    return run->ops->linear_forward(run->backend, din, dout, linear->transposed, NULL, MODEL_STORE, train_count_pixels(trainer));
}

static io_status normalize(const model_trainer *trainer, model_rows out, model_rows in, const model_norm *norm, int C)
{
    const model_run *run = &trainer->run;

    return run->ops->layernorm_forward(run->backend, out, in, norm->gamma, norm->beta, norm_eps, train_count_pixels(trainer), C,
                                       MODEL_STORE);
}

static io_status normalize_back(const model_trainer *trainer, model_rows din, model_rows dout, model_rows in, const model_norm *norm, int C,
                                model_epilogue epilogue)
{
    const model_run *run = &trainer->run;

    return run->ops->layernorm_backward(run->backend, din, NULL, NULL, dout, in, norm->gamma, norm_eps, train_count_pixels(trainer), C,
                                        epilogue);
}

/* saved->qkv and what LoRA keeps, from the normed rows. */
static io_status project(model_trainer *trainer, int i, const block_saved *saved, model_rows normed)
{
    const model_run *run = &trainer->run;
    const int N = train_count_pixels(trainer);
    const bool is_rounded = saved->qkv.type == MODEL_BF16;
    const model_rows qkv = is_rounded ? trainer->temporary.qkv : saved->qkv;

    IO_TRY(multiply(trainer, qkv, normed, &trainer->frozen.encoder.blocks[i].qkv));
    for (int p = 0; p < TRAIN_O; p++)
        IO_TRY(model_train_lora_forward(run, &trainer->lora[i][p], get_part(trainer, qkv, p), saved->low[p], normed, N));
    if (!is_rounded) return IO_OK;
    return run->ops->activation_forward(run->backend, saved->qkv, qkv, MODEL_STORE, N, 3 * trainer->config.width);
}

/* Everything of a block up to what GELU is applied to. */
static io_status run_block(model_trainer *trainer, int i, const block_saved *saved)
{
    const model_run *run = &trainer->run;
    const model_block *block = &trainer->frozen.encoder.blocks[i];
    const int N = train_count_pixels(trainer), C = trainer->config.width, G = trainer->config.image_size / trainer->config.patch;
    const model_rows normed = trainer->temporary.normed, last_normed = choose_input(trainer, normed);

    IO_TRY(normalize(trainer, normed, saved->x, &block->norm1, C));
    IO_TRY(project(trainer, i, saved, normed));
    IO_TRY(run->ops->attention_forward(run->backend, saved->attended, saved->log_sum, saved->qkv, block->relpos, 1, G));
    IO_TRY(multiply(trainer, saved->mid, saved->attended, &block->proj));
    IO_TRY(model_train_lora_forward(run, &trainer->lora[i][TRAIN_O], saved->mid, saved->low[TRAIN_O], saved->attended, N));
    IO_TRY(model_train_add(run, saved->mid, saved->x, N, C));
    IO_TRY(normalize(trainer, last_normed, saved->mid, &block->norm2, C));
    return multiply(trainer, saved->hidden, last_normed, &block->lin1);
}

static io_status finish_block(model_trainer *trainer, int i, const block_saved *saved, model_rows out)
{
    const model_run *run = &trainer->run;
    const int N = train_count_pixels(trainer);
    const model_rows hidden = choose_input(trainer, trainer->temporary.hidden);

    IO_TRY(run->ops->activation_forward(run->backend, hidden, saved->hidden, MODEL_GELU, N, trainer->config.mlp_width));
    IO_TRY(multiply(trainer, out, hidden, &trainer->frozen.encoder.blocks[i].lin2));
    return model_train_add(run, out, saved->mid, N, trainer->config.width);
}

static io_status apply_neck(model_trainer *trainer, train_saved *saved)
{
    const model_run *run = &trainer->run;
    const model_encoder *encoder = &trainer->frozen.encoder;
    const int G = trainer->config.image_size / trainer->config.patch, R = trainer->config.decoder_width;
    const train_temporary *temporary = &trainer->temporary;

    IO_TRY(run->ops->linear_forward(run->backend, saved->neck0_out, saved->last_x, encoder->neck0.weight, NULL, MODEL_STORE, G * G));
    IO_TRY(normalize(trainer, temporary->neck_normed, saved->neck0_out, &encoder->neck1, R));
    IO_TRY(run->ops->conv3x3_forward(run->backend, saved->neck2_out, temporary->neck_normed, encoder->neck2, 1, G, R));
    return normalize(trainer, temporary->embedding, saved->neck2_out, &encoder->neck3, R);
}

io_status model_train_encoder_forward(model_trainer *trainer, train_saved *saved)
{
    const model_run *run = &trainer->run;
    const model_encoder *encoder = &trainer->frozen.encoder;
    const model_config *config = &trainer->config;
    const int N = train_count_pixels(trainer), C = config->width;
    const model_rows position = train_rows(encoder->pos_embed, C), start = config->depth ? saved->blocks[0].x : saved->last_x;

    IO_TRY(run->ops->patches_forward(run->backend, trainer->temporary.patches, trainer->temporary.image, 1, config->image_size,
                                     config->patch));
    IO_TRY(multiply(trainer, start, trainer->temporary.patches, &encoder->patch));
    IO_TRY(model_train_add(run, start, position, N, C));
    for (int i = 0; i < config->depth; i++) {
        IO_TRY(run_block(trainer, i, &saved->blocks[i]));
        IO_TRY(finish_block(trainer, i, &saved->blocks[i], i + 1 < config->depth ? saved->blocks[i + 1].x : saved->last_x));
    }
    return apply_neck(trainer, saved);
}

/* temporary.dx = the neck's gradient. */
static io_status derive_neck(model_trainer *trainer, const train_saved *saved)
{
    const model_run *run = &trainer->run;
    const model_encoder *encoder = &trainer->frozen.encoder;
    const int G = trainer->config.image_size / trainer->config.patch, R = trainer->config.decoder_width;
    const model_rows dkeys = trainer->temporary.dkeys, dneck = trainer->temporary.dneck;

    IO_TRY(normalize_back(trainer, dkeys, dkeys, saved->neck2_out, &encoder->neck3, R, MODEL_STORE));
    IO_TRY(run->ops->conv3x3_forward(run->backend, dneck, dkeys, encoder->neck2_transposed, 1, G, R));
    IO_TRY(normalize_back(trainer, dneck, dneck, saved->neck0_out, &encoder->neck1, R, MODEL_STORE));
    return run->ops->linear_forward(run->backend, trainer->temporary.dx, dneck, encoder->neck0.transposed, NULL, MODEL_STORE, G * G);
}

/* dx += the gradient of the MLP. */
static io_status derive_mlp(model_trainer *trainer, int i, const block_saved *saved)
{
    const model_run *run = &trainer->run;
    const model_block *block = &trainer->frozen.encoder.blocks[i];
    const model_rows dhidden = trainer->temporary.dhidden_block, dx = trainer->temporary.dx, dnormed = trainer->temporary.dnormed;

    IO_TRY(multiply_back(trainer, dhidden, dx, &block->lin2));
    IO_TRY(run->ops->activation_backward(run->backend, dhidden, dhidden, saved->hidden, MODEL_GELU, train_count_pixels(trainer),
                                         trainer->config.mlp_width));
    IO_TRY(multiply_back(trainer, dnormed, dhidden, &block->lin1));
    return normalize_back(trainer, dx, dnormed, saved->mid, &block->norm2, trainer->config.width, MODEL_ADD);
}

/* LoRA on q, v and k, whose input is the normed rows; dnormed without data: nobody asks for it. */
static io_status derive_lora(model_trainer *trainer, int i, const block_saved *saved, model_rows dnormed)
{
    const train_temporary *temporary = &trainer->temporary;

    IO_TRY(normalize(trainer, temporary->normed, saved->x, &trainer->frozen.encoder.blocks[i].norm1, trainer->config.width));
    for (int p = 0; p < TRAIN_O; p++)
        IO_TRY(model_train_lora_backward(&trainer->run, &trainer->lora[i][p], dnormed, get_part(trainer, temporary->dqkv, p), saved->low[p],
                                         temporary->normed, temporary->low, train_count_pixels(trainer)));
    return IO_OK;
}

/* dx += the gradient of the attention, and that of LoRA; in the first block with LoRA nobody asks for dx any more, nor for anything below
 * the output projection if LoRA is there alone. */
static io_status derive_attention(model_trainer *trainer, int i, const block_saved *saved)
{
    const model_run *run = &trainer->run;
    const model_block *block = &trainer->frozen.encoder.blocks[i];
    const train_temporary *temporary = &trainer->temporary;
    const int N = train_count_pixels(trainer), C = trainer->config.width, G = trainer->config.image_size / trainer->config.patch;
    const bool is_last = i == trainer->first_block, is_output_only = is_last && !train_has_inner_lora(trainer, i);
    const model_rows nothing = {0}, dattended = is_output_only ? nothing : temporary->dattended;

    if (!is_output_only) IO_TRY(multiply_back(trainer, dattended, temporary->dx, &block->proj));
    IO_TRY(model_train_lora_backward(run, &trainer->lora[i][TRAIN_O], dattended, temporary->dx, saved->low[TRAIN_O], saved->attended,
                                     temporary->low, N));
    if (is_output_only) return IO_OK;
    IO_TRY(run->ops->attention_backward(run->backend, temporary->dqkv, dattended, saved->qkv, saved->attended, saved->log_sum,
                                        block->relpos, 1, G));
    if (is_last) return derive_lora(trainer, i, saved, nothing);
    IO_TRY(multiply_back(trainer, temporary->dnormed, temporary->dqkv, &block->qkv));
    IO_TRY(derive_lora(trainer, i, saved, temporary->dnormed));
    return normalize_back(trainer, temporary->dx, temporary->dnormed, saved->x, &block->norm1, C, MODEL_ADD);
}

io_status model_train_encoder_backward(model_trainer *trainer, train_saved *saved)
{
    if (trainer->first_block == trainer->config.depth) return IO_OK;
    IO_TRY(derive_neck(trainer, saved));
    for (int i = trainer->config.depth - 1; i >= trainer->first_block; i--) {
        if (trainer->options.recompute) IO_TRY(run_block(trainer, i, &saved->blocks[i]));
        IO_TRY(derive_mlp(trainer, i, &saved->blocks[i]));
        IO_TRY(derive_attention(trainer, i, &saved->blocks[i]));
    }
    return IO_OK;
}
