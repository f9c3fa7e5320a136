/* The layers of training from the trainable block, where a tensor is trained, and from the frozen weights, where it is not. */
#include "io/memory.h"
#include "model/prompt.h"
#include "model/train_state.h"

typedef struct binder {
    model_trainer *trainer;
    float *zeros; /* host: as long as the largest trained matrix */
} binder;

static float *find_weight(const binder *bind, model_param_id id, int index)
{
    return model_train_params_at(&bind->trainer->params, bind->trainer->weights, id, index);
}

static float *find_gradient(const binder *bind, model_param_id id, int index)
{
    return model_train_params_at(&bind->trainer->params, bind->trainer->gradients, id, index);
}

static train_lora bind_lora(const binder *bind, model_param_id a, int a_index, model_param_id b, int b_index)
{
    const model_param *down = model_params_get(bind->trainer->params.params, a, a_index);
    const model_param *up = model_params_get(bind->trainer->params.params, b, b_index);
    train_lora lora = {0};

    if (!down) return lora; /* SAMed has none in the decoder, nor on k and the output projection */
    lora = (train_lora){.a = find_weight(bind, a, a_index),
                        .b = find_weight(bind, b, b_index),
                        .da = find_gradient(bind, a, a_index),
                        .db = find_gradient(bind, b, b_index),
                        .r = (int)down->shape[0],
                        .n_in = (int)down->shape[1],
                        .n_out = (int)up->shape[0]};
    return lora;
}

/* Weight id and its bias in the next row of the table; frozen: what to borrow where they are not trained, or NULL. */
static io_status bind_linear(const binder *bind, model_param_id id, int index, const model_linear *frozen, train_linear *out)
{
    const model_param *param = model_params_get(bind->trainer->params.params, id, index);

    out->values = find_weight(bind, id, index);
    out->n_out = (int)param->shape[0];
    out->n_in = (int)param->shape[1];
    if (!out->values) {
        out->weight = frozen->weight;
        out->transposed = frozen->transposed;
        out->bias = frozen->bias;
    } else {
        out->dweight = find_gradient(bind, id, index);
        out->bias = find_weight(bind, (model_param_id)(id + 1), index);
        out->dbias = find_gradient(bind, (model_param_id)(id + 1), index);
    }
    return model_train_linear_create(&bind->trainer->run, out, bind->zeros);
}

/* The taps of a transposed convolution lie outside its channels: [4*n_out,n_in]. The bias joins after unfolding. */
static io_status bind_upscaling(const binder *bind, model_param_id id, train_linear *out, const float **bias, float **dbias)
{
    const model_param *param = model_params_get(bind->trainer->params.params, id, 0);

    *out = (train_linear){.values = find_weight(bind, id, 0),
                          .dweight = find_gradient(bind, id, 0),
                          .n_out = 4 * (int)param->shape[1],
                          .n_in = (int)param->shape[0]};
    *bias = find_weight(bind, (model_param_id)(id + 1), 0);
    *dbias = find_gradient(bind, (model_param_id)(id + 1), 0);
    return model_train_linear_create(&bind->trainer->run, out, bind->zeros);
}

static train_norm bind_norm(const binder *bind, model_param_id id, int index, const model_norm *frozen)
{
    const model_param_id beta = (model_param_id)(id + 1);

    if (!find_weight(bind, id, index)) return (train_norm){.gamma = frozen->gamma, .beta = frozen->beta};
    return (train_norm){find_weight(bind, id, index), find_weight(bind, beta, index), find_gradient(bind, id, index),
                        find_gradient(bind, beta, index)};
}

typedef struct lora_names {
    model_param_id q_a, q_b, v_a, v_b;
    int q, v; /* indices */
} lora_names;

/* q_weight is the first of the attention's eight rows in the table. */
static io_status bind_attention(const binder *bind, model_param_id q_weight, int layer, lora_names lora, const model_attention *frozen,
                                train_attention *out)
{
    out->q.lora = bind_lora(bind, lora.q_a, lora.q, lora.q_b, lora.q);
    out->v.lora = bind_lora(bind, lora.v_a, lora.v, lora.v_b, lora.v);
    IO_TRY(bind_linear(bind, q_weight, layer, &frozen->q, &out->q));
    IO_TRY(bind_linear(bind, (model_param_id)(q_weight + 2), layer, &frozen->k, &out->k));
    IO_TRY(bind_linear(bind, (model_param_id)(q_weight + 4), layer, &frozen->v, &out->v));
    return bind_linear(bind, (model_param_id)(q_weight + 6), layer, &frozen->out, &out->out);
}

static lora_names get_layer_lora(model_param_id a, model_param_id b, int layer)
{
    return (lora_names){a, b, a, b, 2 * layer, 2 * layer + 1};
}

static io_status bind_layer(const binder *bind, int l)
{
    train_layer *layer = &bind->trainer->decoder.layers[l];
    const model_decoder_layer *frozen = &bind->trainer->frozen.decoder.layers[l];

    IO_TRY(bind_attention(bind, MODEL_SELF_Q_WEIGHT, l, get_layer_lora(MODEL_SELF_A, MODEL_SELF_B, l), &frozen->self, &layer->self));
    IO_TRY(bind_attention(bind, MODEL_T2I_Q_WEIGHT, l, get_layer_lora(MODEL_T2I_A, MODEL_T2I_B, l), &frozen->t2i, &layer->t2i));
    IO_TRY(bind_attention(bind, MODEL_I2T_Q_WEIGHT, l, get_layer_lora(MODEL_I2T_A, MODEL_I2T_B, l), &frozen->i2t, &layer->i2t));
    layer->norm1 = bind_norm(bind, MODEL_LAYER_NORM1_WEIGHT, l, &frozen->norm1);
    layer->norm2 = bind_norm(bind, MODEL_LAYER_NORM2_WEIGHT, l, &frozen->norm2);
    layer->norm3 = bind_norm(bind, MODEL_LAYER_NORM3_WEIGHT, l, &frozen->norm3);
    layer->norm4 = bind_norm(bind, MODEL_LAYER_NORM4_WEIGHT, l, &frozen->norm4);
    IO_TRY(bind_linear(bind, MODEL_LAYER_LIN1_WEIGHT, l, &frozen->lin1, &layer->lin1));
    return bind_linear(bind, MODEL_LAYER_LIN2_WEIGHT, l, &frozen->lin2, &layer->lin2);
}

/* The Gaussian matrix is never trained: it lies among what is kept. */
static io_status place_position(const binder *bind)
{
    io_status status = IO_OK;
    model_trainer *trainer = bind->trainer;
    const model_run *run = &trainer->run;
    const int G = trainer->config.image_size / trainer->config.patch, R = trainer->config.decoder_width;
    const size_t n_bytes = (size_t)(G * G) * (size_t)R * sizeof(float);
    const model_param *gaussian = model_params_get(trainer->params.params, MODEL_GAUSSIAN, 0);
    const size_t entry = (size_t)(gaussian - model_params_at(trainer->params.params, 0));
    float *host = NULL;

    IO_TRY_GOTO(status, done, run->ops->memory_create(run->backend, n_bytes, (void **)&trainer->decoder.position));
    IO_TRY_GOTO(status, done, io_alloc(n_bytes, 1, (void **)&host));
    model_prompt_encode_grid(host, trainer->params.kept + trainer->params.entries[entry].offset, G, R);
    IO_TRY_GOTO(status, done, run->ops->upload(run->backend, trainer->decoder.position, host, n_bytes));
done:
    io_free(&host);
    return status;
}

static io_status bind_heads(const binder *bind)
{
    train_decoder *decoder = &bind->trainer->decoder;
    const int K = bind->trainer->config.n_channels;

    decoder->no_mask = find_weight(bind, MODEL_NO_MASK_WEIGHT, 0);
    decoder->dno_mask = find_gradient(bind, MODEL_NO_MASK_WEIGHT, 0);
    decoder->tokens =
        find_weight(bind, MODEL_IOU_TOKEN, 0); /* the mask tokens are the next row of the table, so they follow in the block */
    decoder->dtokens = find_gradient(bind, MODEL_IOU_TOKEN, 0);
    decoder->up1 = bind_norm(bind, MODEL_UP1_WEIGHT, 0, NULL);
    IO_TRY(bind_upscaling(bind, MODEL_UP0_WEIGHT, &decoder->up0, &decoder->up0_bias, &decoder->dup0_bias));
    IO_TRY(bind_upscaling(bind, MODEL_UP3_WEIGHT, &decoder->up3, &decoder->up3_bias, &decoder->dup3_bias));
    IO_TRY(io_alloc((size_t)K, sizeof *decoder->hyper, (void **)&decoder->hyper));
    for (int k = 0; k < K; k++)
        for (int i = 0; i < 3; i++)
            IO_TRY(bind_linear(bind, (model_param_id)(MODEL_HYPER0_WEIGHT + 2 * i), k, NULL, &decoder->hyper[k][i]));
    return place_position(bind);
}

void model_train_find_first_block(model_trainer *trainer)
{
    trainer->first_block = trainer->config.depth;
    for (int i = trainer->config.depth - 1; i >= 0; i--)
        for (int p = 0; p < TRAIN_K; p++)
            if (model_train_params_is_trained(&trainer->params, MODEL_LORA_A, 2 * i + p) ||
                model_train_params_is_trained(&trainer->params, MODEL_MORE_A, 2 * i + p))
                trainer->first_block = i;
}

static io_status bind_encoder(const binder *bind)
{
    model_trainer *trainer = bind->trainer;

    for (int i = trainer->config.depth - 1; i >= 0; i--)
        for (int p = 0; p < TRAIN_N_LORA; p++) {
            train_lora *lora = &trainer->lora[i][p];

            *lora = p < TRAIN_K ? bind_lora(bind, MODEL_LORA_A, 2 * i + p, MODEL_LORA_B, 2 * i + p)
                                : bind_lora(bind, MODEL_MORE_A, 2 * i + p - TRAIN_K, MODEL_MORE_B, 2 * i + p - TRAIN_K);
            IO_TRY(model_train_lora_create(&trainer->run, lora, bind->zeros));
        }
    return IO_OK;
}

static size_t find_largest(const train_params *params)
{
    size_t largest = 0;

    for (size_t i = 0; i < model_params_count(params->params); i++) {
        const size_t n = model_params_at(params->params, i)->n_elements;
        if (params->entries[i].is_trained && n > largest) largest = n;
    }
    return largest;
}

io_status model_train_bind(model_trainer *trainer)
{
    io_status status = IO_OK;
    const lora_names final = {MODEL_FINAL_QA, MODEL_FINAL_QB, MODEL_FINAL_VA, MODEL_FINAL_VB, 0, 0};
    train_decoder *decoder = &trainer->decoder;
    binder bind = {.trainer = trainer};

    IO_TRY_GOTO(status, done, io_alloc(find_largest(&trainer->params), sizeof(float), (void **)&bind.zeros));
    IO_TRY_GOTO(status, done, bind_encoder(&bind));
    for (int l = 0; l < MODEL_DECODER_DEPTH; l++) IO_TRY_GOTO(status, done, bind_layer(&bind, l));
    IO_TRY_GOTO(status, done, bind_attention(&bind, MODEL_FINAL_Q_WEIGHT, 0, final, &trainer->frozen.decoder.final, &decoder->final));
    decoder->final_norm = bind_norm(&bind, MODEL_FINAL_NORM_WEIGHT, 0, &trainer->frozen.decoder.final_norm);
    IO_TRY_GOTO(status, done, bind_heads(&bind));
    IO_TRY_GOTO(status, done, model_train_pack(trainer));
done:
    io_free(&bind.zeros);
    return status;
}

/* ---- every layer of the decoder, for packing and freeing */

typedef io_status layer_visitor(const model_run *run, train_linear *layer);

static io_status visit_attention(const model_run *run, train_attention *attention, layer_visitor *visit)
{
    IO_TRY(visit(run, &attention->q));
    IO_TRY(visit(run, &attention->k));
    IO_TRY(visit(run, &attention->v));
    return visit(run, &attention->out);
}

static io_status visit_decoder(model_trainer *trainer, layer_visitor *visit)
{
    const model_run *run = &trainer->run;
    train_decoder *decoder = &trainer->decoder;

    for (int l = 0; l < MODEL_DECODER_DEPTH; l++) {
        IO_TRY(visit_attention(run, &decoder->layers[l].self, visit));
        IO_TRY(visit_attention(run, &decoder->layers[l].t2i, visit));
        IO_TRY(visit_attention(run, &decoder->layers[l].i2t, visit));
        IO_TRY(visit(run, &decoder->layers[l].lin1));
        IO_TRY(visit(run, &decoder->layers[l].lin2));
    }
    IO_TRY(visit_attention(run, &decoder->final, visit));
    IO_TRY(visit(run, &decoder->up0));
    IO_TRY(visit(run, &decoder->up3));
    for (int k = 0; decoder->hyper && k < trainer->config.n_channels; k++)
        for (int i = 0; i < 3; i++) IO_TRY(visit(run, &decoder->hyper[k][i]));
    return IO_OK;
}

static io_status pack_layer(const model_run *run, train_linear *layer)
{
    return model_train_linear_pack(run, layer);
}

static io_status free_layer(const model_run *run, train_linear *layer)
{
    model_train_linear_free(run, layer);
    return IO_OK;
}

io_status model_train_pack(model_trainer *trainer)
{
    for (int i = 0; i < trainer->config.depth; i++)
        for (int p = 0; p < TRAIN_N_LORA; p++) IO_TRY(model_train_lora_pack(&trainer->run, &trainer->lora[i][p]));
    return visit_decoder(trainer, pack_layer);
}

void model_train_unbind(model_trainer *trainer)
{
    const model_run *run = &trainer->run;

    for (int i = 0; i < MODEL_MAX_DEPTH; i++)
        for (int p = 0; p < TRAIN_N_LORA; p++) model_train_lora_free(run, &trainer->lora[i][p]);
    (void)visit_decoder(trainer, free_layer); /* freeing cannot fail */
    io_free(&trainer->decoder.hyper);
    if (trainer->decoder.position) run->ops->memory_free(run->backend, (void **)&trainer->decoder.position);
}
