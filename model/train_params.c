/* The trainable block: which tensor lies where, how each starts (spec 1.6, 2.1), and back into an adapter. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "model/train_state.h"

static bool has_lora(const model_param *param, const model_train_options *options)
{
    const bool is_more = param->role == MODEL_ROLE_MORE_LORA;
    const unsigned first = is_more ? MODEL_LORA_K : MODEL_LORA_Q, second = is_more ? MODEL_LORA_O : MODEL_LORA_V;

    return !options->skips[param->index / 2] && (options->projections & (param->index % 2 ? second : first));
}

static bool is_trained(const model_param *param, const model_config *config, const model_train_options *options)
{
    const bool is_encoder_lora = param->role == MODEL_ROLE_ENCODER_LORA || param->role == MODEL_ROLE_MORE_LORA;

    if (is_encoder_lora && !has_lora(param, options)) return false;
    return model_param_is_trained(param, config->layout);
}

io_status model_train_params_create(const model_config *config, const model_train_options *options, train_params *out)
{
    IO_TRY(model_params_create(config, &out->params));
    IO_TRY(io_alloc(model_params_count(out->params), sizeof *out->entries, (void **)&out->entries));
    for (size_t i = 0; i < model_params_count(out->params); i++) {
        const model_param *param = model_params_at(out->params, i);
        train_entry *entry = &out->entries[i];
        size_t *used = &out->n_kept;

        entry->is_trained = is_trained(param, config, options);
        if (entry->is_trained) used = &out->n_trained;
        entry->offset = *used;
        if (model_role_in_adapter(param->role, config->layout)) *used += param->n_elements;
    }
    return io_alloc(out->n_kept, sizeof *out->kept, (void **)&out->kept);
}

void model_train_params_free(train_params *params)
{
    if (params->params) model_params_free(&params->params);
    io_free(&params->entries);
    io_free(&params->kept);
}

static size_t find_entry(const train_params *params, const model_param *param)
{
    return (size_t)(param - model_params_at(params->params, 0));
}

float *model_train_params_at(const train_params *params, float *block, model_param_id id, int index)
{
    const model_param *param = model_params_get(params->params, id, index);

    if (!param || !params->entries[find_entry(params, param)].is_trained) return NULL;
    return block + params->entries[find_entry(params, param)].offset;
}

bool model_train_params_is_trained(const train_params *params, model_param_id id, int index)
{
    const model_param *param = model_params_get(params->params, id, index);

    return param && params->entries[find_entry(params, param)].is_trained;
}

static bool is_upscaling(model_param_id id)
{
    return id == MODEL_UP0_WEIGHT || id == MODEL_UP3_WEIGHT;
}

/* [n_in,n_out,2,2] of the file <-> [4,n_out,n_in] of the block, as the product wants it (load.c). */
static void turn_upscaling(const model_param *param, const float *from, float *to, bool to_file)
{
    const size_t n_in = (size_t)param->shape[0], n_out = (size_t)param->shape[1];

    for (size_t i = 0; i < n_in; i++)
        for (size_t o = 0; o < n_out; o++)
            for (size_t tap = 0; tap < 4; tap++) {
                const size_t file = (i * n_out + o) * 4 + tap, block = (tap * n_out + o) * n_in + i;

                if (to_file)
                    to[file] = from[block];
                else
                    to[block] = from[file];
            }
}

/* ---- start */

typedef struct starter {
    const model_config *config;
    const io_tensors *sam, *adapter;
    model_fresh fresh;
    void *context;
} starter;

static bool has_shape(const io_tensor *tensor, const model_param *param)
{
    if (!tensor || tensor->n_dims != param->n_dims) return false;
    for (int d = 0; d < param->n_dims; d++)
        if (tensor->shape[d] != param->shape[d]) return false;
    return true;
}

static bool is_lora_up(model_param_id id)
{
    return id == MODEL_LORA_B || id == MODEL_MORE_B || id == MODEL_SELF_B || id == MODEL_T2I_B || id == MODEL_I2T_B ||
           id == MODEL_FINAL_QB || id == MODEL_FINAL_VB;
}

/* Inputs of the layer that a weight or a bias belongs to: nn.Linear draws both from U(+-1 / sqrt(inputs)). All of the decoder's fresh
 * linear layers read its width. */
static double count_inputs(const model_param *param, const model_config *config)
{
    return param->id == MODEL_LORA_A || param->id == MODEL_MORE_A ? config->width : config->decoder_width;
}

static void draw_fresh(const starter *start, const model_param *param, float *out)
{
    const bool is_embedding = param->id == MODEL_MASK_TOKENS || param->id == MODEL_IOU_TOKEN; /* nn.Embedding: N(0, 1) */
    const float bound = is_embedding ? 1 : (float)(1 / sqrt(count_inputs(param, start->config)));

    if (is_lora_up(param->id)) {
        memset(out, 0, param->n_elements * sizeof *out);
        return;
    }
    start->fresh(start->context, param->name, is_embedding, param->n_elements, out);
    for (size_t i = 0; i < param->n_elements; i++) out[i] *= bound;
}

/* Training from a NaN would end in one, much later and without a name. */
static io_status read_finite(const io_tensors *file, const io_tensor *tensor, float *out)
{
    IO_TRY(io_tensor_read_f32(tensor, out));
    io_tensors_release(file, tensor);
    for (size_t i = 0; i < tensor->n_elements; i++)
        if (!isfinite(out[i]))
            return IO_FAIL(IO_ERR_RANGE, "%s: tensor %s holds %g; the file is damaged or its training diverged: get it again",
                           io_tensors_path(file), tensor->name, (double)out[i]);
    return IO_OK;
}

/* out [n_elements] in the file's order. */
static io_status start_param(const starter *start, const model_param *param, float *out)
{
    const io_tensor *tensor;

    if (start->adapter) {
        IO_TRY(io_tensors_require(start->adapter, param->name, param->n_dims, param->shape, &tensor));
        return read_finite(start->adapter, tensor, out);
    }
    tensor = io_tensors_find(start->sam, param->name);
    if (has_shape(tensor, param)) return read_finite(start->sam, tensor, out);
    draw_fresh(start, param, out);
    return IO_OK;
}

/* LoRA that is not trained is not applied either; that must not lose what an adapter brings. */
static io_status check_untrained(const model_param *param, const float *values)
{
    if (param->id != MODEL_LORA_B && param->id != MODEL_MORE_B) return IO_OK;
    for (size_t i = 0; i < param->n_elements; i++)
        if (values[i] != 0)
            return IO_FAIL(IO_ERR_UNSUPPORTED,
                           "%s of the adapter is not zero, but its block or projection is left out of training; train it too, or merge the "
                           "adapter into the SAM checkpoint first",
                           param->name);
    return IO_OK;
}

io_status model_train_params_start(train_params *params, const model_config *config, const io_tensors *sam, const io_tensors *adapter,
                                   model_fresh fresh, void *context, float *weights)
{
    io_status status = IO_OK;
    const starter start = {config, sam, adapter, fresh, context};
    float *stage = NULL;

    for (size_t i = 0; i < model_params_count(params->params); i++) {
        const model_param *param = model_params_at(params->params, i);
        const train_entry *entry = &params->entries[i];

        if (!model_role_in_adapter(param->role, config->layout)) continue;
        io_free(&stage);
        IO_TRY_GOTO(status, done, io_alloc(param->n_elements, sizeof *stage, (void **)&stage));
        IO_TRY_GOTO(status, done, start_param(&start, param, stage));
        if (!entry->is_trained) {
            IO_TRY_GOTO(status, done, check_untrained(param, stage));
            memcpy(params->kept + entry->offset, stage, param->n_elements * sizeof *stage);
        } else if (is_upscaling(param->id)) {
            turn_upscaling(param, stage, weights + entry->offset, false);
        } else {
            memcpy(weights + entry->offset, stage, param->n_elements * sizeof *stage);
        }
    }
done:
    io_free(&stage);
    return status;
}

/* ---- back */

static io_status write_param(const train_params *params, size_t i, const float *block, io_tensors *out)
{
    const model_param *param = model_params_at(params->params, i);
    const train_entry *entry = &params->entries[i];
    const model_role role = param->role;
    const bool is_lora = role == MODEL_ROLE_ENCODER_LORA || role == MODEL_ROLE_MORE_LORA || role == MODEL_ROLE_TRANSFORMER_LORA;
    const float *from = (entry->is_trained ? block : params->kept) + entry->offset;
    float *to;

    IO_TRY(io_tensors_reserve(out, param->name, param->n_dims, param->shape, is_lora, &to));
    if (entry->is_trained && is_upscaling(param->id))
        turn_upscaling(param, from, to, true);
    else
        memcpy(to, from, param->n_elements * sizeof *to);
    return IO_OK;
}

io_status model_train_params_write(const train_params *params, model_layout layout, const float *block, bool with_kept, io_tensors **out)
{
    io_status status = IO_OK;
    io_tensors *made = NULL;

    IO_TRY_GOTO(status, done, io_tensors_create(&made));
    for (size_t i = 0; i < model_params_count(params->params); i++) {
        const bool is_there =
            with_kept ? model_role_in_adapter(model_params_at(params->params, i)->role, layout) : params->entries[i].is_trained;

        if (is_there) IO_TRY_GOTO(status, done, write_param(params, i, block, made));
    }
    *out = made;
    made = NULL;
done:
    io_tensors_free(&made);
    return status;
}
