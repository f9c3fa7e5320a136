/* See decoder.h. Tokens are [b*T,R], the image is [b*N,R]; T = K + 1. */
#include "model/decoder.h"

#include "model/flop.h"

static const float norm_eps = 1e-5f;    /* nn.LayerNorm's default, in the transformer */
static const float norm_2d_eps = 1e-6f; /* LayerNorm2d, in the upscaling */

static model_rows get_slot(const model_run *run, model_slot slot)
{
    return model_workspace_rows(run->workspace, slot);
}

static model_rows get_constant(const float *data, int64_t stride)
{
    return (model_rows){(void *)data, stride, MODEL_F32};
}

static int count_pixels(const model_run *run) /* of a slice: N */
{
    const int G = run->config->image_size / run->config->patch;

    return G * G;
}

static int count_tokens(const model_run *run) /* of a slice: T */
{
    return run->config->n_channels + 1;
}

static io_status add(model_run *run, model_slot out, model_slot in, const float *constant, int M, int period)
{
    const int R = run->config->decoder_width;

    return run->ops->add_forward(run->backend, get_slot(run, out), get_slot(run, in), get_constant(constant, R), M, R, period);
}

static io_status normalize(model_run *run, model_slot slot, const model_norm *norm, int M)
{
    const model_rows rows = get_slot(run, slot);

    return run->ops->layernorm_forward(run->backend, rows, rows, norm->gamma, norm->beta, norm_eps, M, run->config->decoder_width,
                                       MODEL_STORE);
}

static io_status attend(model_run *run, model_rows out, model_rows q, model_rows k, model_rows v, int n_q, int n_k, int inner)
{
    return run->ops->cross_attention_forward(run->backend, out, q, k, v, run->b, n_q, n_k, inner, MODEL_DECODER_HEADS);
}

/* out (+)= out_proj(attention(q = k = from, v = values)) among the tokens. */
static io_status attend_tokens(model_run *run, const model_attention *attention, model_rows from, model_rows values, model_rows out,
                               model_epilogue epilogue)
{
    const int T = count_tokens(run), M = run->b * T;
    const model_rows q = get_slot(run, MODEL_SLOT_TOKEN_Q), k = get_slot(run, MODEL_SLOT_TOKEN_K), v = get_slot(run, MODEL_SLOT_TOKEN_V);
    const model_rows attended = get_slot(run, MODEL_SLOT_TOKEN_OUT);

    IO_TRY(model_run_linear(run, q, from, &attention->q, MODEL_STORE, M));
    IO_TRY(model_run_linear(run, k, from, &attention->k, MODEL_STORE, M));
    IO_TRY(model_run_linear(run, v, values, &attention->v, MODEL_STORE, M));
    IO_TRY(attend(run, attended, q, k, v, T, T, attention->q.n_out));
    return model_run_linear(run, out, attended, &attention->out, epilogue, M);
}

/* tokens (+)= out_proj(attention(q, k = keys + position, v = keys)); q is given already projected. */
static io_status attend_image(model_run *run, const model_attention *attention, model_rows q, model_epilogue epilogue)
{
    const int T = count_tokens(run), N = count_pixels(run), M = run->b * N;
    const model_rows k = get_slot(run, MODEL_SLOT_IMAGE_A), v = get_slot(run, MODEL_SLOT_IMAGE_B);
    const model_rows attended = get_slot(run, MODEL_SLOT_TOKEN_OUT);

    IO_TRY(model_run_linear(run, k, get_slot(run, MODEL_SLOT_KEYS_POS), &attention->k, MODEL_STORE, M));
    IO_TRY(model_run_linear(run, v, get_slot(run, MODEL_SLOT_KEYS), &attention->v, MODEL_STORE, M));
    IO_TRY(attend(run, attended, q, k, v, T, N, attention->q.n_out));
    return model_run_linear(run, get_slot(run, MODEL_SLOT_TOKENS), attended, &attention->out, epilogue, run->b * T);
}

/* keys += out_proj(attention(q = keys + position, k = tokens + their start, v = tokens)). */
static io_status update_image(model_run *run, const model_attention *attention)
{
    const int T = count_tokens(run), N = count_pixels(run), M = run->b * T;
    const model_rows q = get_slot(run, MODEL_SLOT_IMAGE_A), attended = get_slot(run, MODEL_SLOT_IMAGE_B);
    const model_rows k = get_slot(run, MODEL_SLOT_TOKEN_K), v = get_slot(run, MODEL_SLOT_TOKEN_V);

    IO_TRY(model_run_linear(run, q, get_slot(run, MODEL_SLOT_KEYS_POS), &attention->q, MODEL_STORE, run->b * N));
    IO_TRY(model_run_linear(run, k, get_slot(run, MODEL_SLOT_TOKENS_POS), &attention->k, MODEL_STORE, M));
    IO_TRY(model_run_linear(run, v, get_slot(run, MODEL_SLOT_TOKENS), &attention->v, MODEL_STORE, M));
    IO_TRY(attend(run, attended, q, k, v, N, T, attention->q.n_out));
    return model_run_linear(run, get_slot(run, MODEL_SLOT_KEYS), attended, &attention->out, MODEL_ADD, run->b * N);
}

static io_status add_token_start(model_run *run, const model_decoder *decoder)
{
    const int M = run->b * count_tokens(run);

    return add(run, MODEL_SLOT_TOKENS_POS, MODEL_SLOT_TOKENS, decoder->tokens, M, M);
}

static io_status add_position(model_run *run, const model_decoder *decoder)
{
    const int N = count_pixels(run);

    return add(run, MODEL_SLOT_KEYS_POS, MODEL_SLOT_KEYS, decoder->position, run->b * N, N);
}

static io_status project_query(model_run *run, const model_decoder *decoder, const model_attention *attention, model_rows q)
{
    IO_TRY(add_token_start(run, decoder));
    return model_run_linear(run, q, get_slot(run, MODEL_SLOT_TOKENS_POS), &attention->q, MODEL_STORE, run->b * count_tokens(run));
}

io_status model_decoder_prepare(model_run *run, const model_decoder *decoder)
{
    const model_config *config = run->config;
    const model_decoder_layer *layer = &decoder->layers[0];
    const int M = run->b * count_tokens(run), R = config->decoder_width;
    const model_rows start = get_constant(decoder->tokens, R), first = get_constant(decoder->first_tokens, R);
    const model_rows slot = get_slot(run, MODEL_SLOT_TOKENS), with_start = get_slot(run, MODEL_SLOT_TOKENS_POS);

    IO_TRY(attend_tokens(run, &layer->self, start, start, slot, MODEL_STORE));
    IO_TRY(run->ops->layernorm_forward(run->backend, first, slot, layer->norm1.gamma, layer->norm1.beta, norm_eps, M, R, MODEL_STORE));
    IO_TRY(run->ops->add_forward(run->backend, with_start, first, start, M, R, M));
    return model_run_linear(run, get_constant(decoder->first_q, config->decoder_inner), with_start, &layer->t2i.q, MODEL_STORE, M);
}

/* Steps 1 and 2 of layer 0: everything on the tokens' side is constant up to the attention on the image. */
static io_status start_tokens(model_run *run, const model_decoder *decoder)
{
    const int M = run->b * count_tokens(run);

    IO_TRY(attend_image(run, &decoder->layers[0].t2i, get_constant(decoder->first_q, run->config->decoder_inner), MODEL_STORE));
    return add(run, MODEL_SLOT_TOKENS, MODEL_SLOT_TOKENS, decoder->first_tokens, M, M);
}

/* The same two steps of the later layers. */
static io_status update_tokens(model_run *run, const model_decoder *decoder, const model_decoder_layer *layer)
{
    const model_rows tokens = get_slot(run, MODEL_SLOT_TOKENS), q = get_slot(run, MODEL_SLOT_TOKEN_Q);

    IO_TRY(add_token_start(run, decoder));
    IO_TRY(attend_tokens(run, &layer->self, get_slot(run, MODEL_SLOT_TOKENS_POS), tokens, tokens, MODEL_ADD));
    IO_TRY(normalize(run, MODEL_SLOT_TOKENS, &layer->norm1, run->b * count_tokens(run)));
    IO_TRY(project_query(run, decoder, &layer->t2i, q));
    return attend_image(run, &layer->t2i, q, MODEL_ADD);
}

static io_status run_layer(model_run *run, const model_decoder *decoder, int i)
{
    const model_decoder_layer *layer = &decoder->layers[i];
    const int M = run->b * count_tokens(run);
    const model_rows tokens = get_slot(run, MODEL_SLOT_TOKENS), hidden = get_slot(run, MODEL_SLOT_TOKEN_HIDDEN);

    IO_TRY(add_position(run, decoder));
    IO_TRY(i == 0 ? start_tokens(run, decoder) : update_tokens(run, decoder, layer));
    IO_TRY(normalize(run, MODEL_SLOT_TOKENS, &layer->norm2, M));
    IO_TRY(model_run_linear(run, hidden, tokens, &layer->lin1, MODEL_RELU, M));
    IO_TRY(model_run_linear(run, tokens, hidden, &layer->lin2, MODEL_ADD, M));
    IO_TRY(normalize(run, MODEL_SLOT_TOKENS, &layer->norm3, M));
    IO_TRY(add_token_start(run, decoder));
    IO_TRY(update_image(run, &layer->i2t));
    return normalize(run, MODEL_SLOT_KEYS, &layer->norm4, run->b * count_pixels(run));
}

static io_status run_transformer(model_run *run, const model_decoder *decoder)
{
    const int M = run->b * count_pixels(run);
    const model_rows q = get_slot(run, MODEL_SLOT_TOKEN_Q);

    IO_TRY(add(run, MODEL_SLOT_KEYS, MODEL_SLOT_EMBEDDING, decoder->no_mask, M, 1));
    for (int i = 0; i < MODEL_DECODER_DEPTH; i++) IO_TRY(run_layer(run, decoder, i));
    IO_TRY(add_position(run, decoder));
    IO_TRY(project_query(run, decoder, &decoder->final, q));
    IO_TRY(attend_image(run, &decoder->final, q, MODEL_ADD));
    return normalize(run, MODEL_SLOT_TOKENS, &decoder->final_norm, run->b * count_tokens(run));
}

/* MODEL_SLOT_KEYS [b*N,R] -> MODEL_SLOT_UP3 [b*16N,R/8] */
static io_status upscale(model_run *run, const model_decoder *decoder)
{
    const int M = run->b * count_pixels(run), G = run->config->image_size / run->config->patch, R = run->config->decoder_width;
    const model_rows up0_taps = get_slot(run, MODEL_SLOT_UP0_TAPS), up0 = get_slot(run, MODEL_SLOT_UP0);
    const model_rows up3_taps = get_slot(run, MODEL_SLOT_UP3_TAPS), up3 = get_slot(run, MODEL_SLOT_UP3);

    IO_TRY(model_run_linear(run, up0_taps, get_slot(run, MODEL_SLOT_KEYS), &decoder->up0, MODEL_STORE, M));
    IO_TRY(run->ops->unfold_forward(run->backend, up0, up0_taps, run->b, G, R / 4));
    IO_TRY(
        run->ops->layernorm_forward(run->backend, up0, up0, decoder->up1.gamma, decoder->up1.beta, norm_2d_eps, 4 * M, R / 4, MODEL_GELU));
    IO_TRY(model_run_linear(run, up3_taps, up0, &decoder->up3, MODEL_GELU, 4 * M));
    return run->ops->unfold_forward(run->backend, up3, up3_taps, run->b, 2 * G, R / 8);
}

/* Three layers on one token of each slice: row index of the tokens -> out, n rows apart. */
static io_status run_mlp(model_run *run, const model_mlp *mlp, int token, model_rows out)
{
    const model_rows tokens = get_slot(run, MODEL_SLOT_TOKENS), a = get_slot(run, MODEL_SLOT_MLP_A), b = get_slot(run, MODEL_SLOT_MLP_B);
    const model_rows in = {(float *)tokens.data + token * tokens.stride, count_tokens(run) * tokens.stride, MODEL_F32};

    IO_TRY(model_run_linear(run, a, in, &mlp->layers[0], MODEL_RELU, run->b));
    IO_TRY(model_run_linear(run, b, a, &mlp->layers[1], MODEL_RELU, run->b));
    return model_run_linear(run, out, b, &mlp->layers[2], MODEL_STORE, run->b);
}

static io_status draw_masks(model_run *run, const model_decoder *decoder)
{
    const int K = run->config->n_channels, R = run->config->decoder_width;
    const model_rows hyper = get_slot(run, MODEL_SLOT_HYPER);

    for (int k = 0; k < K; k++) {
        const model_rows out = {(float *)hyper.data + k * hyper.stride, K * hyper.stride, MODEL_F32};
        IO_TRY(run_mlp(run, &decoder->hyper[k], 1 + k, out));
    }
    return run->ops->masks_forward(run->backend, model_workspace_data(run->workspace, MODEL_SLOT_LOGITS), hyper,
                                   get_slot(run, MODEL_SLOT_UP3), run->b, K, 16 * count_pixels(run), R / 8);
}

/* Bytes by formula: of what each operation reads and writes of the image's side, N rows of R and I numbers; the tokens are few. */
io_status model_decoder_forward(model_run *run, const model_decoder *decoder, bool with_iou)
{
    const model_config *config = run->config;
    const double R = config->decoder_width, I = config->decoder_inner, K = config->n_channels, N = (double)run->b * count_pixels(run);
    const double up_flop = 3 * N * R * R, mlp = 2 * R * R + R * R / 8, mask_flop = 2 * K * (run->b * mlp + 2 * N * R);

    IO_TRY(run_transformer(run, decoder));
    IO_TRY(model_run_trace(run, "decoder_transformer", run->b * model_flop_decoder(config) - up_flop - mask_flop,
                           4.0 * N * (24 * R + 20 * I)));
    IO_TRY(upscale(run, decoder));
    IO_TRY(model_run_trace(run, "decoder_upscaling", up_flop, 4.0 * (17 * N * R + 1.125 * R * R)));
    IO_TRY(draw_masks(run, decoder));
    if (with_iou) IO_TRY(run_mlp(run, &decoder->iou, 0, get_slot(run, MODEL_SLOT_IOU)));
    return model_run_trace(run, "decoder_masks", mask_flop, 4.0 * (K * mlp + 2 * N * R + 16 * N * K));
}
