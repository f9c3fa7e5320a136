/* See load.h. */
#include "model/load.h"

#include <string.h>

#include "io/memory.h"
#include "model/lora.h"
#include "model/params.h"
#include "model/prompt.h"
#include "model/resize.h"

enum { ALIGN_FLOATS = 16, N_STAGES = 4 };

typedef struct loader {
    model_device *device;
    const model_config *config;
    model_params *params;
    model_weights *weights;
    float *stage[N_STAGES]; /* host; each as long as the largest thing that is staged */
    float *constants;       /* host image of weights->constants */
    size_t used, capacity;  /* floats */
    int b;
    model_load_kind kind;
} loader;

static size_t round_up(size_t n)
{
    return (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

static size_t count_grid(const model_config *config)
{
    const size_t G = (size_t)(config->image_size / config->patch);

    return G * G;
}

/* ---- sizes */

static size_t count_vector_floats(const model_params *params)
{
    size_t n = 0;

    for (size_t i = 0; i < model_params_count(params); i++) {
        const model_param *param = model_params_at(params, i);
        const size_t taps = param->id == MODEL_UP0_BIAS || param->id == MODEL_UP3_BIAS ? 4 : 1;
        if (param->n_dims == 1) n += round_up(taps * param->n_elements);
    }
    return n;
}

static size_t count_constants(const model_config *config, const model_params *params, int b)
{
    const size_t N = count_grid(config), R = (size_t)config->decoder_width, tokens = (size_t)b * (size_t)(config->n_channels + 1);

    return count_vector_floats(params) + round_up(N * (size_t)config->width) + round_up(N * R) + round_up(R) + 2 * round_up(tokens * R) +
           round_up(tokens * (size_t)config->decoder_inner);
}

size_t model_weights_constants_bytes(const model_config *config, int b)
{
    model_params *params = NULL;
    size_t n = 0;

    if (model_params_create(config, &params) == IO_OK) n = count_constants(config, params, b);
    model_params_free(&params);
    return n * sizeof(float);
}

/* Products of the encoder have the device's type, those of the decoder and the neck's first are f32. */
size_t model_weights_matrices_bytes(const model_config *config, model_type type)
{
    const size_t C = (size_t)config->width, F = (size_t)config->mlp_width, R = (size_t)config->decoder_width, P = (size_t)config->patch;
    const size_t I = (size_t)config->decoder_inner, J = (size_t)config->decoder_mlp_width, K = (size_t)config->n_channels;
    const size_t element = type == MODEL_BF16 ? 2 : 4;
    const size_t encoder = (size_t)config->depth * (4 * C * C + 2 * C * F) + C * P * P + 9 * R * R;
    const size_t layers = MODEL_DECODER_DEPTH * (4 * R * R + 8 * R * I + 2 * R * J) + 4 * R * I;
    const size_t heads = R * R + R * R / 8 + K * (2 * R * R + R * R / 8) + 2 * R * R + K * R;

    return element * encoder + 4 * (C * R + layers + heads);
}

static size_t count_stage_floats(const loader *load)
{
    const size_t table = (size_t)(2 * load->config->image_size / load->config->patch) * (size_t)load->config->head_size;
    size_t largest = count_grid(load->config) * (size_t)load->config->width;

    if (table > largest) largest = table;
    for (size_t i = 0; i < model_params_count(load->params); i++) {
        const size_t n = model_params_at(load->params, i)->n_elements;
        if (n > largest) largest = n;
    }
    return largest;
}

/* ---- pieces */

static io_status read_param(const loader *load, model_param_id id, int index, float *out)
{
    return model_param_read(model_params_get(load->params, id, index), out);
}

/* A place for n floats among the constants: host to fill now, and where it will be on the device. */
static float *place_constant(loader *load, size_t n, float **device)
{
    float *host = load->constants + load->used;

    *device = load->weights->constants + load->used;
    load->used += round_up(n);
    return host;
}

static io_status load_vector(loader *load, model_param_id id, int index, const float **out)
{
    float *device, *host = place_constant(load, model_params_get(load->params, id, index)->n_elements, &device);

    *out = device;
    return read_param(load, id, index, host);
}

/* A bias that every one of the four taps of a transposed convolution adds. */
static io_status load_tap_bias(loader *load, model_param_id id, const float **out)
{
    const size_t n = model_params_get(load->params, id, 0)->n_elements;
    float *device, *host = place_constant(load, 4 * n, &device);

    *out = device;
    IO_TRY(read_param(load, id, 0, host));
    for (int tap = 1; tap < 4; tap++) memcpy(host + (size_t)tap * n, host, n * sizeof *host);
    return IO_OK;
}

static io_status pack(loader *load, const float *weight, int n_out, int n_in, model_type type, model_matrix **out)
{
    load->weights->matrices_bytes += (size_t)n_out * (size_t)n_in * (type == MODEL_BF16 ? 2 : 4);
    return load->device->ops->matrix_create(load->device->backend, n_out, n_in, weight, type, out);
}

/* Stage 3 is free wherever a product is packed. */
static io_status pack_transposed(loader *load, const float *weight, int n_out, int n_in, model_type type, model_matrix **out)
{
    float *turned = load->stage[3];

    for (int i = 0; i < n_in; i++)
        for (int o = 0; o < n_out; o++) turned[(size_t)i * (size_t)n_out + (size_t)o] = weight[(size_t)o * (size_t)n_in + (size_t)i];
    return pack(load, turned, n_in, n_out, type, out);
}

static io_status pack_forward(loader *load, const float *weight, int n_out, int n_in, model_type type, model_linear *out)
{
    out->n_out = n_out;
    out->n_in = n_in;
    return pack(load, weight, n_out, n_in, type, &out->weight);
}

static io_status pack_linear(loader *load, const float *weight, int n_out, int n_in, model_type type, model_linear *out)
{
    if (load->kind != MODEL_LOAD_INFERENCE) IO_TRY(pack_transposed(load, weight, n_out, n_in, type, &out->transposed));
    return pack_forward(load, weight, n_out, n_in, type, out);
}

/* Weight id and the bias in the next row of the table. */
static io_status load_linear(loader *load, model_param_id id, int index, model_type type, model_linear *out)
{
    const model_param *param = model_params_get(load->params, id, index);

    IO_TRY(read_param(load, id, index, load->stage[0]));
    IO_TRY(pack_linear(load, load->stage[0], (int)param->shape[0], (int)param->shape[1], type, out));
    return load_vector(load, (model_param_id)(id + 1), index, &out->bias);
}

static io_status load_norm(loader *load, model_param_id id, int index, model_norm *out)
{
    IO_TRY(load_vector(load, id, index, &out->gamma));
    return load_vector(load, (model_param_id)(id + 1), index, &out->beta);
}

/* weight += b . a, both read from the adapter. */
static io_status merge_lora(const loader *load, float *weight, model_param_id a, model_param_id b, int index)
{
    const model_param *down = model_params_get(load->params, a, index), *up = model_params_get(load->params, b, index);

    IO_TRY(read_param(load, a, index, load->stage[1]));
    IO_TRY(read_param(load, b, index, load->stage[2]));
    model_lora_merge(weight, load->stage[2], load->stage[1], (int)up->shape[0], (int)down->shape[1], (int)up->shape[1]);
    return IO_OK;
}

/* ---- encoder */

/* The three channels of a grey slice are identical, so one product with the sum of their weights gives the same at a third of the work. */
static io_status load_patch(loader *load, model_linear *out)
{
    const int C = load->config->width, area = load->config->patch * load->config->patch;
    float *weight = load->stage[1];

    IO_TRY(read_param(load, MODEL_PATCH_WEIGHT, 0, load->stage[0]));
    for (int c = 0; c < C; c++)
        for (int i = 0; i < area; i++) {
            const float *from = load->stage[0] + (size_t)c * MODEL_IMAGE_CHANNELS * (size_t)area + i;
            double sum = 0;
            for (int channel = 0; channel < MODEL_IMAGE_CHANNELS; channel++) sum += from[(size_t)channel * (size_t)area];
            weight[(size_t)c * (size_t)area + (size_t)i] = (float)sum;
        }
    IO_TRY(pack_forward(load, weight, C, area, load->device->type, out)); /* no gradient goes back to the image */
    return load_vector(load, MODEL_PATCH_BIAS, 0, &out->bias);
}

static io_status load_pos_embed(loader *load, const float **out)
{
    const int G = load->config->image_size / load->config->patch, C = load->config->width;
    float *device, *host = place_constant(load, (size_t)G * (size_t)G * (size_t)C, &device);

    *out = device;
    IO_TRY(read_param(load, MODEL_POS_EMBED, 0, load->stage[0]));
    model_resize_grid(host, load->stage[0], G, load->config->file_grid, C);
    return IO_OK;
}

static io_status load_table(loader *load, model_param_id id, int block, int side, float *out)
{
    const model_param *param = model_params_get(load->params, id, block);

    IO_TRY(read_param(load, id, block, load->stage[0]));
    model_resize_rows(out, load->stage[0], 2 * side - 1, (int)param->shape[0], load->config->head_size);
    return IO_OK;
}

/* Global tables follow the image size, those of windows never change (spec 1.6). */
static io_status load_relpos(loader *load, int i, model_relpos **out)
{
    const model_config *config = load->config;
    const int side = config->is_global[i] ? config->image_size / config->patch : config->window;

    IO_TRY(load_table(load, MODEL_REL_H, i, side, load->stage[1]));
    IO_TRY(load_table(load, MODEL_REL_W, i, side, load->stage[2]));
    IO_TRY(read_param(load, MODEL_QKV_BIAS, i, load->stage[3]));
    return load->device->ops->relpos_create(load->device->backend, side, config->head_size, config->heads, load->stage[1], load->stage[2],
                                            load->stage[3], load->device->type, out);
}

static io_status load_qkv(loader *load, int i, model_linear *out)
{
    const int C = load->config->width;
    float *weight = load->stage[0];

    IO_TRY(read_param(load, MODEL_QKV_WEIGHT, i, weight));
    if (load->config->layout != MODEL_LAYOUT_SAM) {
        IO_TRY(merge_lora(load, weight, MODEL_LORA_A, MODEL_LORA_B, 2 * i));
        IO_TRY(merge_lora(load, weight + 2 * (size_t)C * (size_t)C, MODEL_LORA_A, MODEL_LORA_B, 2 * i + 1));
    }
    if (load->config->has_more_lora) IO_TRY(merge_lora(load, weight + (size_t)C * (size_t)C, MODEL_MORE_A, MODEL_MORE_B, 2 * i));
    if (i == 0) /* nor below the first block's q and v */
        IO_TRY(pack_forward(load, weight, 3 * C, C, load->device->type, out));
    else
        IO_TRY(pack_linear(load, weight, 3 * C, C, load->device->type, out));
    return load_vector(load, MODEL_QKV_BIAS, i, &out->bias);
}

static io_status load_proj(loader *load, int i, model_linear *out)
{
    const int C = load->config->width;

    IO_TRY(read_param(load, MODEL_PROJ_WEIGHT, i, load->stage[0]));
    if (load->config->has_more_lora) IO_TRY(merge_lora(load, load->stage[0], MODEL_MORE_A, MODEL_MORE_B, 2 * i + 1));
    IO_TRY(pack_linear(load, load->stage[0], C, C, load->device->type, out));
    return load_vector(load, MODEL_PROJ_BIAS, i, &out->bias);
}

static io_status load_block(loader *load, int i)
{
    model_block *block = &load->weights->encoder.blocks[i];
    const model_type type = load->device->type;

    IO_TRY(load_norm(load, MODEL_NORM1_WEIGHT, i, &block->norm1));
    IO_TRY(load_relpos(load, i, &block->relpos));
    IO_TRY(load_qkv(load, i, &block->qkv));
    IO_TRY(load_proj(load, i, &block->proj));
    IO_TRY(load_norm(load, MODEL_NORM2_WEIGHT, i, &block->norm2));
    IO_TRY(load_linear(load, MODEL_LIN1_WEIGHT, i, type, &block->lin1));
    return load_linear(load, MODEL_LIN2_WEIGHT, i, type, &block->lin2);
}

/* [R,R,3,3] -> [R,9*R]: the taps go outside the channels. */
static void order_taps(float *out, const float *in, int R)
{
    for (int o = 0; o < R; o++)
        for (int i = 0; i < R; i++)
            for (int tap = 0; tap < 9; tap++)
                out[((size_t)o * 9 + (size_t)tap) * (size_t)R + (size_t)i] = in[((size_t)o * (size_t)R + (size_t)i) * 9 + (size_t)tap];
}

/* [R,R,3,3] -> [R,9*R] of the gradient: a 3x3 convolution as well, with the channels exchanged and the taps reversed. */
static void order_taps_back(float *out, const float *in, int R)
{
    for (int o = 0; o < R; o++)
        for (int i = 0; i < R; i++)
            for (int tap = 0; tap < 9; tap++)
                out[((size_t)i * 9 + (size_t)(8 - tap)) * (size_t)R + (size_t)o] =
                    in[((size_t)o * (size_t)R + (size_t)i) * 9 + (size_t)tap];
}

static io_status load_neck(loader *load)
{
    const int R = load->config->decoder_width;
    const model_type type = load->kind == MODEL_LOAD_INFERENCE ? load->device->type : MODEL_F32; /* training keeps it in f32 */
    model_encoder *encoder = &load->weights->encoder;

    IO_TRY(read_param(load, MODEL_NECK0_WEIGHT, 0, load->stage[0]));
    IO_TRY(pack_linear(load, load->stage[0], R, load->config->width, MODEL_F32, &encoder->neck0));
    IO_TRY(load_norm(load, MODEL_NECK1_WEIGHT, 0, &encoder->neck1));
    IO_TRY(read_param(load, MODEL_NECK2_WEIGHT, 0, load->stage[0]));
    order_taps(load->stage[1], load->stage[0], R);
    IO_TRY(pack(load, load->stage[1], R, 9 * R, type, &encoder->neck2));
    if (load->kind != MODEL_LOAD_INFERENCE) {
        order_taps_back(load->stage[1], load->stage[0], R);
        IO_TRY(pack(load, load->stage[1], R, 9 * R, type, &encoder->neck2_transposed));
    }
    return load_norm(load, MODEL_NECK3_WEIGHT, 0, &encoder->neck3);
}

static io_status load_encoder(loader *load)
{
    IO_TRY(load_patch(load, &load->weights->encoder.patch));
    IO_TRY(load_pos_embed(load, &load->weights->encoder.pos_embed));
    for (int i = 0; i < load->config->depth; i++) IO_TRY(load_block(load, i));
    return load_neck(load);
}

/* ---- decoder */

typedef struct lora_source {
    model_param_id q_a, q_b, v_a, v_b;
    int q, v; /* indices */
} lora_source;

static io_status load_projection(loader *load, model_param_id id, int layer, model_param_id a, model_param_id b, int index,
                                 model_linear *out)
{
    const model_param *param = model_params_get(load->params, id, layer);

    IO_TRY(read_param(load, id, layer, load->stage[0]));
    if (load->config->layout == MODEL_LAYOUT_SAMED_S) IO_TRY(merge_lora(load, load->stage[0], a, b, index));
    IO_TRY(pack_linear(load, load->stage[0], (int)param->shape[0], (int)param->shape[1], MODEL_F32, out));
    return load_vector(load, (model_param_id)(id + 1), layer, &out->bias);
}

/* q_weight is the first of the attention's eight rows in the table: q, k, v, out, each weight and bias. */
static io_status load_attention(loader *load, model_param_id q_weight, int layer, lora_source lora, model_attention *out)
{
    IO_TRY(load_projection(load, q_weight, layer, lora.q_a, lora.q_b, lora.q, &out->q));
    IO_TRY(load_linear(load, (model_param_id)(q_weight + 2), layer, MODEL_F32, &out->k));
    IO_TRY(load_projection(load, (model_param_id)(q_weight + 4), layer, lora.v_a, lora.v_b, lora.v, &out->v));
    return load_linear(load, (model_param_id)(q_weight + 6), layer, MODEL_F32, &out->out);
}

static lora_source get_layer_lora(model_param_id a, model_param_id b, int layer)
{
    return (lora_source){a, b, a, b, 2 * layer, 2 * layer + 1};
}

static io_status load_layer(loader *load, int i)
{
    model_decoder_layer *layer = &load->weights->decoder.layers[i];

    IO_TRY(load_attention(load, MODEL_SELF_Q_WEIGHT, i, get_layer_lora(MODEL_SELF_A, MODEL_SELF_B, i), &layer->self));
    IO_TRY(load_norm(load, MODEL_LAYER_NORM1_WEIGHT, i, &layer->norm1));
    IO_TRY(load_attention(load, MODEL_T2I_Q_WEIGHT, i, get_layer_lora(MODEL_T2I_A, MODEL_T2I_B, i), &layer->t2i));
    IO_TRY(load_norm(load, MODEL_LAYER_NORM2_WEIGHT, i, &layer->norm2));
    IO_TRY(load_linear(load, MODEL_LAYER_LIN1_WEIGHT, i, MODEL_F32, &layer->lin1));
    IO_TRY(load_linear(load, MODEL_LAYER_LIN2_WEIGHT, i, MODEL_F32, &layer->lin2));
    IO_TRY(load_norm(load, MODEL_LAYER_NORM3_WEIGHT, i, &layer->norm3));
    IO_TRY(load_norm(load, MODEL_LAYER_NORM4_WEIGHT, i, &layer->norm4));
    return load_attention(load, MODEL_I2T_Q_WEIGHT, i, get_layer_lora(MODEL_I2T_A, MODEL_I2T_B, i), &layer->i2t);
}

/* Transposed 2x2 convolution [n_in,n_out,2,2] -> product [4*n_out,n_in]: the taps go outside the output channels. */
static io_status load_upscaling(loader *load, model_param_id id, model_linear *out)
{
    const model_param *param = model_params_get(load->params, id, 0);
    const size_t n_in = (size_t)param->shape[0], n_out = (size_t)param->shape[1];
    float *to = load->stage[1];

    IO_TRY(read_param(load, id, 0, load->stage[0]));
    for (size_t tap = 0; tap < 4; tap++)
        for (size_t o = 0; o < n_out; o++)
            for (size_t i = 0; i < n_in; i++) to[(tap * n_out + o) * n_in + i] = load->stage[0][(i * n_out + o) * 4 + tap];
    IO_TRY(pack_linear(load, to, (int)(4 * n_out), (int)n_in, MODEL_F32, out));
    return load_tap_bias(load, (model_param_id)(id + 1), &out->bias);
}

static io_status load_mlp(loader *load, model_param_id first, int index, model_mlp *out)
{
    for (int i = 0; i < 3; i++) IO_TRY(load_linear(load, (model_param_id)(first + 2 * i), index, MODEL_F32, &out->layers[i]));
    return IO_OK;
}

/* IoU token, mask tokens; once for each slice of a pass. */
static io_status load_tokens(loader *load, const float **out)
{
    const size_t R = (size_t)load->config->decoder_width, n = R * (size_t)(load->config->n_channels + 1);
    float *device, *host = place_constant(load, (size_t)load->b * n, &device);

    *out = device;
    IO_TRY(read_param(load, MODEL_IOU_TOKEN, 0, host));
    IO_TRY(read_param(load, MODEL_MASK_TOKENS, 0, host + R));
    for (int i = 1; i < load->b; i++) memcpy(host + (size_t)i * n, host, n * sizeof *host);
    return IO_OK;
}

static io_status load_prompt(loader *load, model_decoder *decoder)
{
    const int G = load->config->image_size / load->config->patch, R = load->config->decoder_width;
    float *device, *host = place_constant(load, (size_t)G * (size_t)G * (size_t)R, &device);

    decoder->position = device;
    IO_TRY(read_param(load, MODEL_GAUSSIAN, 0, load->stage[0]));
    model_prompt_encode_grid(host, load->stage[0], G, R);
    return load_vector(load, MODEL_NO_MASK_WEIGHT, 0, &decoder->no_mask);
}

static io_status load_decoder(loader *load)
{
    model_decoder *decoder = &load->weights->decoder;
    const lora_source final = {MODEL_FINAL_QA, MODEL_FINAL_QB, MODEL_FINAL_VA, MODEL_FINAL_VB, 0, 0};
    const size_t tokens = (size_t)load->b * (size_t)(load->config->n_channels + 1);

    IO_TRY(load_prompt(load, decoder));
    IO_TRY(load_tokens(load, &decoder->tokens));
    place_constant(load, tokens * (size_t)load->config->decoder_width, &decoder->first_tokens);
    place_constant(load, tokens * (size_t)load->config->decoder_inner, &decoder->first_q);
    for (int i = 0; i < MODEL_DECODER_DEPTH; i++) IO_TRY(load_layer(load, i));
    IO_TRY(load_attention(load, MODEL_FINAL_Q_WEIGHT, 0, final, &decoder->final));
    IO_TRY(load_norm(load, MODEL_FINAL_NORM_WEIGHT, 0, &decoder->final_norm));
    IO_TRY(load_upscaling(load, MODEL_UP0_WEIGHT, &decoder->up0));
    IO_TRY(load_norm(load, MODEL_UP1_WEIGHT, 0, &decoder->up1));
    IO_TRY(load_upscaling(load, MODEL_UP3_WEIGHT, &decoder->up3));
    for (int k = 0; k < load->config->n_channels; k++) IO_TRY(load_mlp(load, MODEL_HYPER0_WEIGHT, k, &decoder->hyper[k]));
    return load_mlp(load, MODEL_IOU0_WEIGHT, 0, &decoder->iou);
}

/* ---- all */

static io_status open_loader(loader *load, const io_tensors *sam, const io_tensors *adapter)
{
    model_weights *weights = load->weights;
    size_t stage_floats;

    IO_TRY(model_params_create(load->config, &load->params));
    IO_TRY(model_params_bind(load->params, sam, adapter));
    load->capacity = count_constants(load->config, load->params, load->b);
    weights->constants_bytes = load->capacity * sizeof(float);
    stage_floats = count_stage_floats(load);
    for (int i = 0; i < N_STAGES; i++) IO_TRY(io_alloc(stage_floats, sizeof(float), (void **)&load->stage[i]));
    IO_TRY(io_alloc(load->capacity, sizeof(float), (void **)&load->constants));
    IO_TRY(io_alloc((size_t)load->config->n_channels, sizeof *weights->decoder.hyper, (void **)&weights->decoder.hyper));
    return load->device->ops->memory_create(load->device->backend, weights->constants_bytes, (void **)&weights->constants);
}

static void close_loader(loader *load)
{
    model_params_free(&load->params);
    for (int i = 0; i < N_STAGES; i++) io_free(&load->stage[i]);
    io_free(&load->constants);
}

io_status model_weights_load(model_device *device, const model_config *config, const io_tensors *sam, const io_tensors *adapter, int b,
                             model_load_kind kind, model_weights *out)
{
    io_status status = IO_OK;
    loader load = {.device = device, .config = config, .weights = out, .b = b, .kind = kind};

    memset(out, 0, sizeof *out);
    IO_TRY_GOTO(status, done, open_loader(&load, sam, adapter));
    IO_TRY_GOTO(status, done, load_encoder(&load));
    if (kind != MODEL_LOAD_FROZEN_ENCODER) IO_TRY_GOTO(status, done, load_decoder(&load));
    IO_TRY_GOTO(status, done, device->ops->upload(device->backend, out->constants, load.constants, out->constants_bytes));
done:
    close_loader(&load);
    return status;
}

static void free_linear(model_linear *linear, const model_ops *ops, model_backend *backend)
{
    if (linear->weight) ops->matrix_free(backend, &linear->weight);
    if (linear->transposed) ops->matrix_free(backend, &linear->transposed);
}

static void free_attention(model_attention *attention, const model_ops *ops, model_backend *backend)
{
    free_linear(&attention->q, ops, backend);
    free_linear(&attention->k, ops, backend);
    free_linear(&attention->v, ops, backend);
    free_linear(&attention->out, ops, backend);
}

static void free_mlp(model_mlp *mlp, const model_ops *ops, model_backend *backend)
{
    for (int i = 0; i < 3; i++) free_linear(&mlp->layers[i], ops, backend);
}

static void free_encoder(model_encoder *encoder, const model_ops *ops, model_backend *backend)
{
    free_linear(&encoder->patch, ops, backend);
    for (int i = 0; i < MODEL_MAX_DEPTH; i++) {
        model_block *block = &encoder->blocks[i];
        free_linear(&block->qkv, ops, backend);
        free_linear(&block->proj, ops, backend);
        free_linear(&block->lin1, ops, backend);
        free_linear(&block->lin2, ops, backend);
        if (block->relpos) ops->relpos_free(backend, &block->relpos);
    }
    free_linear(&encoder->neck0, ops, backend);
    if (encoder->neck2) ops->matrix_free(backend, &encoder->neck2);
    if (encoder->neck2_transposed) ops->matrix_free(backend, &encoder->neck2_transposed);
}

static void free_decoder(model_decoder *decoder, int K, const model_ops *ops, model_backend *backend)
{
    for (int i = 0; i < MODEL_DECODER_DEPTH; i++) {
        model_decoder_layer *layer = &decoder->layers[i];
        free_attention(&layer->self, ops, backend);
        free_attention(&layer->t2i, ops, backend);
        free_attention(&layer->i2t, ops, backend);
        free_linear(&layer->lin1, ops, backend);
        free_linear(&layer->lin2, ops, backend);
    }
    free_attention(&decoder->final, ops, backend);
    free_linear(&decoder->up0, ops, backend);
    free_linear(&decoder->up3, ops, backend);
    for (int k = 0; decoder->hyper && k < K; k++) free_mlp(&decoder->hyper[k], ops, backend);
    io_free(&decoder->hyper);
    free_mlp(&decoder->iou, ops, backend);
}

void model_weights_free(model_weights *weights, int K, const model_ops *ops, model_backend *backend)
{
    free_encoder(&weights->encoder, ops, backend);
    free_decoder(&weights->decoder, K, ops, backend);
    if (weights->constants) ops->memory_free(backend, (void **)&weights->constants);
}
