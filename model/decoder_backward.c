/* The mask decoder for training, forward and back (spec 4.2; segment-anything, transformer.py and mask_decoder.py). Each gradient is named
 * after what it is of; temporary.dtokens and dkeys follow the two residual streams backwards. */
#include "model/train_state.h"

static const float norm_eps = 1e-5f, norm_2d_eps = 1e-6f; /* as in decoder.c */
static const model_rows nothing = {NULL, 0, MODEL_F32};

static model_rows get_tokens(const model_trainer *trainer)
{
    return train_rows(trainer->decoder.tokens, trainer->config.decoder_width);
}

/* out [M,R] = a + b */
static io_status add(const model_trainer *trainer, model_rows out, model_rows a, model_rows b, int M)
{
    return trainer->run.ops->add_forward(trainer->run.backend, out, a, b, M, trainer->config.decoder_width, M);
}

static io_status normalize(const model_trainer *trainer, model_rows out, model_rows in, const train_norm *norm, int M)
{
    return trainer->run.ops->layernorm_forward(trainer->run.backend, out, in, norm->gamma, norm->beta, norm_eps, M,
                                               trainer->config.decoder_width, MODEL_STORE);
}

static io_status normalize_back(const model_trainer *trainer, model_rows gradient, model_rows in, const train_norm *norm, int M)
{
    return model_train_norm_backward(&trainer->run, norm, gradient, gradient, in, norm_eps, M, trainer->config.decoder_width, MODEL_STORE);
}

/* temporary.keys_pos = keys + position: what attentions on the image read; made again on the way back. */
static io_status place_keys(model_trainer *trainer, model_rows keys)
{
    return add(trainer, trainer->temporary.keys_pos, keys, train_rows(trainer->decoder.position, trainer->config.decoder_width),
               train_count_pixels(trainer));
}

static void set_inputs(attention_saved *saved, model_rows q, model_rows k, model_rows v)
{
    saved->q_in = q;
    saved->k_in = k;
    saved->v_in = v;
}

/* ---- forward */

/* norm1_in = self attention, with the tokens' start as position and a residual except in layer 0. */
static io_status attend_self(model_trainer *trainer, train_saved *saved, int l)
{
    layer_saved *layer = &saved->layers[l];
    const train_layer *weights = &trainer->decoder.layers[l];
    const int T = train_count_tokens(trainer);
    const model_rows tokens = l ? saved->layers[l - 1].tokens3 : get_tokens(trainer);

    if (l)
        IO_TRY(add(trainer, layer->self_in, tokens, get_tokens(trainer), T));
    else
        layer->self_in = tokens;
    set_inputs(&layer->self, layer->self_in, layer->self_in, tokens);
    IO_TRY(model_train_attention_forward(&trainer->run, &weights->self, &layer->self, layer->norm1_in, MODEL_STORE, T, T));
    if (l) IO_TRY(add(trainer, layer->norm1_in, layer->norm1_in, tokens, T));
    return normalize(trainer, layer->tokens1, layer->norm1_in, &weights->norm1, T);
}

/* out = tokens + attention(tokens + start -> keys); query: where tokens + start are kept. */
static io_status attend_image(model_trainer *trainer, const train_attention *attention, attention_saved *saved, model_rows query,
                              model_rows tokens, model_rows keys, model_rows out)
{
    const int T = train_count_tokens(trainer);

    IO_TRY(add(trainer, query, tokens, get_tokens(trainer), T));
    IO_TRY(place_keys(trainer, keys));
    set_inputs(saved, query, trainer->temporary.keys_pos, keys);
    IO_TRY(model_train_attention_forward(&trainer->run, attention, saved, out, MODEL_STORE, T, train_count_pixels(trainer)));
    return add(trainer, out, out, tokens, T);
}

static io_status run_layer(model_trainer *trainer, train_saved *saved, int l)
{
    const model_run *run = &trainer->run;
    layer_saved *layer = &saved->layers[l];
    const train_layer *weights = &trainer->decoder.layers[l];
    const int T = train_count_tokens(trainer), N = train_count_pixels(trainer);

    IO_TRY(attend_self(trainer, saved, l));
    IO_TRY(attend_image(trainer, &weights->t2i, &layer->t2i, layer->query_in, layer->tokens1, saved->keys[l], layer->norm2_in));
    IO_TRY(normalize(trainer, layer->tokens2, layer->norm2_in, &weights->norm2, T));
    IO_TRY(model_train_linear_forward(run, &weights->lin1, layer->hidden, nothing, layer->tokens2, MODEL_RELU, T));
    IO_TRY(model_train_linear_forward(run, &weights->lin2, layer->norm3_in, nothing, layer->hidden, MODEL_STORE, T));
    IO_TRY(add(trainer, layer->norm3_in, layer->norm3_in, layer->tokens2, T));
    IO_TRY(normalize(trainer, layer->tokens3, layer->norm3_in, &weights->norm3, T));
    IO_TRY(add(trainer, layer->key_in, layer->tokens3, get_tokens(trainer), T));
    set_inputs(&layer->i2t, trainer->temporary.keys_pos, layer->key_in, layer->tokens3);
    IO_TRY(model_train_attention_forward(run, &weights->i2t, &layer->i2t, layer->norm4_in, MODEL_STORE, N, T));
    IO_TRY(add(trainer, layer->norm4_in, layer->norm4_in, saved->keys[l], N));
    return normalize(trainer, saved->keys[l + 1], layer->norm4_in, &weights->norm4, N);
}

/* rows [M,C] += bias */
static io_status add_bias(const model_trainer *trainer, model_rows rows, const float *bias, int M, int C)
{
    return trainer->run.ops->add_forward(trainer->run.backend, rows, rows, train_rows(bias, C), M, C, 1);
}

static io_status upscale(model_trainer *trainer, train_saved *saved)
{
    const model_run *run = &trainer->run;
    const train_decoder *decoder = &trainer->decoder;
    const train_temporary *temporary = &trainer->temporary;
    const int N = train_count_pixels(trainer), G = trainer->config.image_size / trainer->config.patch, R = trainer->config.decoder_width;

    IO_TRY(model_train_linear_forward(run, &decoder->up0, temporary->taps0, nothing, saved->keys[MODEL_DECODER_DEPTH], MODEL_STORE, N));
    IO_TRY(run->ops->unfold_forward(run->backend, saved->up0, temporary->taps0, 1, G, R / 4));
    IO_TRY(add_bias(trainer, saved->up0, decoder->up0_bias, 4 * N, R / 4));
    IO_TRY(run->ops->layernorm_forward(run->backend, temporary->gelu_up0, saved->up0, decoder->up1.gamma, decoder->up1.beta, norm_2d_eps,
                                       4 * N, R / 4, MODEL_GELU));
    IO_TRY(model_train_linear_forward(run, &decoder->up3, temporary->taps3, nothing, temporary->gelu_up0, MODEL_STORE, 4 * N));
    IO_TRY(run->ops->unfold_forward(run->backend, saved->up3, temporary->taps3, 1, 2 * G, R / 8));
    IO_TRY(add_bias(trainer, saved->up3, decoder->up3_bias, 16 * N, R / 8));
    return run->ops->activation_forward(run->backend, saved->features, saved->up3, MODEL_GELU, 16 * N, R / 8);
}

static model_rows get_row(model_rows rows, int m)
{
    rows.data = (float *)rows.data + m * rows.stride;
    return rows;
}

static io_status run_hyper(model_trainer *trainer, train_saved *saved, int k)
{
    const model_run *run = &trainer->run;
    const train_linear *layers = trainer->decoder.hyper[k];
    const model_rows a = get_row(saved->hyper_a, k), b = get_row(saved->hyper_b, k);

    IO_TRY(model_train_linear_forward(run, &layers[0], a, nothing, get_row(saved->final_tokens, 1 + k), MODEL_RELU, 1));
    IO_TRY(model_train_linear_forward(run, &layers[1], b, nothing, a, MODEL_RELU, 1));
    return model_train_linear_forward(run, &layers[2], get_row(saved->hyper, k), nothing, b, MODEL_STORE, 1);
}

io_status model_train_decoder_forward(model_trainer *trainer, train_saved *saved)
{
    const model_run *run = &trainer->run;
    const int N = train_count_pixels(trainer), T = train_count_tokens(trainer), R = trainer->config.decoder_width;
    const int K = trainer->config.n_channels, last = MODEL_DECODER_DEPTH - 1;

    IO_TRY(run->ops->add_forward(run->backend, saved->keys[0], trainer->temporary.embedding, train_rows(trainer->decoder.no_mask, R), N, R,
                                 1));
    for (int l = 0; l < MODEL_DECODER_DEPTH; l++) IO_TRY(run_layer(trainer, saved, l));
    IO_TRY(attend_image(trainer, &trainer->decoder.final, &saved->final, saved->final_query, saved->layers[last].tokens3,
                        saved->keys[last + 1], saved->final_in));
    IO_TRY(normalize(trainer, saved->final_tokens, saved->final_in, &trainer->decoder.final_norm, T));
    IO_TRY(upscale(trainer, saved));
    for (int k = 0; k < K; k++) IO_TRY(run_hyper(trainer, saved, k));
    return run->ops->masks_forward(run->backend, saved->logits, saved->hyper, saved->features, 1, K, 16 * N, R / 8);
}

/* ---- backward */

/* dtokens row 1 + k from dhyper row k. */
static io_status derive_hyper(model_trainer *trainer, const train_saved *saved, int k)
{
    const model_run *run = &trainer->run;
    const train_linear *layers = trainer->decoder.hyper[k];
    const train_temporary *temporary = &trainer->temporary;
    const int R = trainer->config.decoder_width;
    const model_rows a = get_row(saved->hyper_a, k), b = get_row(saved->hyper_b, k);
    const model_rows da = get_row(temporary->dhyper_a, k), db = get_row(temporary->dhyper_b, k);

    IO_TRY(model_train_linear_backward(run, &layers[2], db, get_row(temporary->dhyper, k), nothing, b, nothing, MODEL_STORE, 1));
    IO_TRY(run->ops->activation_backward(run->backend, db, db, b, MODEL_RELU, 1, R));
    IO_TRY(model_train_linear_backward(run, &layers[1], da, db, nothing, a, nothing, MODEL_STORE, 1));
    IO_TRY(run->ops->activation_backward(run->backend, da, da, a, MODEL_RELU, 1, R));
    return model_train_linear_backward(run, &layers[0], get_row(temporary->dtokens, 1 + k), da, nothing,
                                       get_row(saved->final_tokens, 1 + k), nothing, MODEL_STORE, 1);
}

static io_status sum_bias(const model_trainer *trainer, float *dbias, model_rows dout, int M, int C)
{
    return trainer->run.ops->linear_backward(trainer->run.backend, NULL, dbias, dout, nothing, M, C, 0);
}

/* temporary.dup3, of the features, down to temporary.dkeys. */
static io_status derive_upscaling(model_trainer *trainer, const train_saved *saved)
{
    const model_run *run = &trainer->run;
    const train_decoder *decoder = &trainer->decoder;
    const train_temporary *at = &trainer->temporary;
    const int N = train_count_pixels(trainer), G = trainer->config.image_size / trainer->config.patch, R = trainer->config.decoder_width;

    IO_TRY(run->ops->activation_backward(run->backend, at->dup3, at->dup3, saved->up3, MODEL_GELU, 16 * N, R / 8));
    IO_TRY(sum_bias(trainer, decoder->dup3_bias, at->dup3, 16 * N, R / 8));
    IO_TRY(run->ops->unfold_backward(run->backend, at->taps3, at->dup3, 1, 2 * G, R / 8));
    IO_TRY(run->ops->layernorm_forward(run->backend, at->norm_up0, saved->up0, decoder->up1.gamma, decoder->up1.beta, norm_2d_eps, 4 * N,
                                       R / 4, MODEL_STORE));
    IO_TRY(run->ops->activation_forward(run->backend, at->gelu_up0, at->norm_up0, MODEL_GELU, 4 * N, R / 4));
    IO_TRY(model_train_linear_backward(run, &decoder->up3, at->dup0, at->taps3, nothing, at->gelu_up0, nothing, MODEL_STORE, 4 * N));
    IO_TRY(run->ops->activation_backward(run->backend, at->dup0, at->dup0, at->norm_up0, MODEL_GELU, 4 * N, R / 4));
    IO_TRY(model_train_norm_backward(run, &decoder->up1, at->dup0, at->dup0, saved->up0, norm_2d_eps, 4 * N, R / 4, MODEL_STORE));
    IO_TRY(sum_bias(trainer, decoder->dup0_bias, at->dup0, 4 * N, R / 4));
    IO_TRY(run->ops->unfold_backward(run->backend, at->taps0, at->dup0, 1, G, R / 4));
    return model_train_linear_backward(run, &decoder->up0, at->dkeys, at->taps0, nothing, saved->keys[MODEL_DECODER_DEPTH], nothing,
                                       MODEL_STORE, N);
}

/* The gradient of tokens + start, in dtokens_pos, goes to both. */
static io_status spread_tokens(model_trainer *trainer, bool has_residual)
{
    const int T = train_count_tokens(trainer);
    const model_rows start = train_rows(trainer->decoder.dtokens, trainer->config.decoder_width);
    const model_rows gradient = trainer->temporary.dtokens_pos;

    IO_TRY(add(trainer, start, start, gradient, T));
    if (!has_residual) return IO_OK;
    return add(trainer, trainer->temporary.dtokens, trainer->temporary.dtokens, gradient, T);
}

/* dtokens is of tokens + attention(tokens + start -> keys): afterwards of the tokens; dkeys adds. */
static io_status derive_image(model_trainer *trainer, const train_attention *attention, attention_saved *saved, model_rows keys)
{
    const train_temporary *at = &trainer->temporary;
    const attention_gradients gradients = {at->dtokens_pos, at->dkeys, at->dkeys, MODEL_STORE, MODEL_ADD, MODEL_ADD};

    IO_TRY(place_keys(trainer, keys));
    IO_TRY(model_train_attention_backward(&trainer->run, attention, saved, at->dtokens, &gradients, &at->scratch,
                                          train_count_tokens(trainer), train_count_pixels(trainer)));
    return spread_tokens(trainer, true);
}

static io_status derive_self(model_trainer *trainer, train_saved *saved, int l)
{
    const train_temporary *at = &trainer->temporary;
    const int T = train_count_tokens(trainer);
    const model_rows dpos = at->dtokens_pos;
    const attention_gradients gradients = {dpos, dpos, l ? at->dtokens : dpos, MODEL_STORE, MODEL_ADD, MODEL_ADD};

    IO_TRY(model_train_attention_backward(&trainer->run, &trainer->decoder.layers[l].self, &saved->layers[l].self, at->dtokens, &gradients,
                                          &at->scratch, T, T));
    return spread_tokens(trainer, l > 0);
}

/* dkeys of the layer's output, dtokens of its tokens, to those of its inputs. */
static io_status derive_layer(model_trainer *trainer, train_saved *saved, int l)
{
    const model_run *run = &trainer->run;
    const train_temporary *at = &trainer->temporary;
    const train_layer *weights = &trainer->decoder.layers[l];
    layer_saved *layer = &saved->layers[l];
    const int T = train_count_tokens(trainer), N = train_count_pixels(trainer);
    const attention_gradients of_update = {at->dkeys, at->dtokens_pos, at->dtokens, MODEL_ADD, MODEL_STORE, MODEL_ADD};

    IO_TRY(normalize_back(trainer, at->dkeys, layer->norm4_in, &weights->norm4, N));
    IO_TRY(place_keys(trainer, saved->keys[l]));
    IO_TRY(model_train_attention_backward(run, &weights->i2t, &layer->i2t, at->dkeys, &of_update, &at->scratch, N, T));
    IO_TRY(spread_tokens(trainer, true));
    IO_TRY(normalize_back(trainer, at->dtokens, layer->norm3_in, &weights->norm3, T));
    IO_TRY(model_train_linear_backward(run, &weights->lin2, at->dhidden, at->dtokens, nothing, layer->hidden, nothing, MODEL_STORE, T));
    IO_TRY(run->ops->activation_backward(run->backend, at->dhidden, at->dhidden, layer->hidden, MODEL_RELU, T,
                                         trainer->config.decoder_mlp_width));
    IO_TRY(model_train_linear_backward(run, &weights->lin1, at->dtokens, at->dhidden, nothing, layer->tokens2, nothing, MODEL_ADD, T));
    IO_TRY(normalize_back(trainer, at->dtokens, layer->norm2_in, &weights->norm2, T));
    IO_TRY(derive_image(trainer, &weights->t2i, &layer->t2i, saved->keys[l]));
    IO_TRY(normalize_back(trainer, at->dtokens, layer->norm1_in, &weights->norm1, T));
    return derive_self(trainer, saved, l);
}

/* The IoU token's output meets no loss: its gradient starts at zero. */
static io_status clear_first_token(const model_trainer *trainer)
{
    static const float zeros[64];
    const size_t R = (size_t)trainer->config.decoder_width;

    for (size_t c = 0; c < R; c += 64)
        IO_TRY(trainer->run.ops->upload(trainer->run.backend, (float *)trainer->temporary.dtokens.data + c, zeros,
                                        (R - c < 64 ? R - c : 64) * sizeof(float)));
    return IO_OK;
}

io_status model_train_decoder_backward(model_trainer *trainer, train_saved *saved)
{
    const model_run *run = &trainer->run;
    const train_temporary *at = &trainer->temporary;
    const int N = train_count_pixels(trainer), T = train_count_tokens(trainer), R = trainer->config.decoder_width;
    const int K = trainer->config.n_channels;

    IO_TRY(run->ops->masks_backward(run->backend, at->dhyper, at->dup3, at->dlogits, saved->hyper, saved->features, 1, K, 16 * N, R / 8));
    IO_TRY(derive_upscaling(trainer, saved));
    IO_TRY(clear_first_token(trainer));
    for (int k = 0; k < K; k++) IO_TRY(derive_hyper(trainer, saved, k));
    IO_TRY(normalize_back(trainer, at->dtokens, saved->final_in, &trainer->decoder.final_norm, T));
    IO_TRY(derive_image(trainer, &trainer->decoder.final, &saved->final, saved->keys[MODEL_DECODER_DEPTH]));
    for (int l = MODEL_DECODER_DEPTH - 1; l >= 0; l--) IO_TRY(derive_layer(trainer, saved, l));
    return sum_bias(trainer, trainer->decoder.dno_mask, at->dkeys, N, R);
}
