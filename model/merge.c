/* The adapter merged into SAM's weights: one state dict under SAM's names, at the file's own image size, with K mask tokens.
 * segment-anything loads it when built with num_multimask_outputs = K - 1. */
#include "io/memory.h"
#include "model/lora.h"
#include "model/params.h"
#include "model/sam.h"

typedef struct merger {
    const model_params *params;
    const model_config *config;
    io_tensors *out;
} merger;

static io_status create_values(const model_param *param, float **out)
{
    IO_TRY(io_alloc(param->n_elements, sizeof(float), (void **)out));
    return model_param_read(param, *out);
}

static io_status merge_pair(const merger *merge, float *weight, model_param_id a_id, model_param_id b_id, int index)
{
    const model_param *a = model_params_get(merge->params, a_id, index), *b = model_params_get(merge->params, b_id, index);
    io_status status = IO_OK;
    float *down = NULL, *up = NULL;

    if (!a) return IO_OK; /* SAMed has no LoRA in the decoder, nor on k and the output projection */
    IO_TRY_GOTO(status, done, create_values(a, &down));
    IO_TRY_GOTO(status, done, create_values(b, &up));
    model_lora_merge(weight, up, down, (int)b->shape[0], (int)a->shape[1], (int)a->shape[0]);
done:
    io_free(&down);
    io_free(&up);
    return status;
}

/* Adds what belongs into this weight; others stay. */
static io_status merge_param(const merger *merge, const model_param *param, float *weight)
{
    const size_t C = (size_t)merge->config->width;
    const int q = 2 * param->index, v = q + 1;

    switch (param->id) {
    case MODEL_QKV_WEIGHT:
        IO_TRY(merge_pair(merge, weight, MODEL_LORA_A, MODEL_LORA_B, q));
        IO_TRY(merge_pair(merge, weight + C * C, MODEL_MORE_A, MODEL_MORE_B, q));
        return merge_pair(merge, weight + 2 * C * C, MODEL_LORA_A, MODEL_LORA_B, v);
    case MODEL_PROJ_WEIGHT: return merge_pair(merge, weight, MODEL_MORE_A, MODEL_MORE_B, v);
    case MODEL_SELF_Q_WEIGHT: return merge_pair(merge, weight, MODEL_SELF_A, MODEL_SELF_B, q);
    case MODEL_SELF_V_WEIGHT: return merge_pair(merge, weight, MODEL_SELF_A, MODEL_SELF_B, v);
    case MODEL_T2I_Q_WEIGHT: return merge_pair(merge, weight, MODEL_T2I_A, MODEL_T2I_B, q);
    case MODEL_T2I_V_WEIGHT: return merge_pair(merge, weight, MODEL_T2I_A, MODEL_T2I_B, v);
    case MODEL_I2T_Q_WEIGHT: return merge_pair(merge, weight, MODEL_I2T_A, MODEL_I2T_B, q);
    case MODEL_I2T_V_WEIGHT: return merge_pair(merge, weight, MODEL_I2T_A, MODEL_I2T_B, v);
    case MODEL_FINAL_Q_WEIGHT: return merge_pair(merge, weight, MODEL_FINAL_QA, MODEL_FINAL_QB, 0);
    case MODEL_FINAL_V_WEIGHT: return merge_pair(merge, weight, MODEL_FINAL_VA, MODEL_FINAL_VB, 0);
    default: return IO_OK;
    }
}

static io_status add_param(const merger *merge, const model_param *param)
{
    io_status status = IO_OK;
    float *values = NULL;

    if (param->role == MODEL_ROLE_ENCODER_LORA || param->role == MODEL_ROLE_TRANSFORMER_LORA || param->role == MODEL_ROLE_MORE_LORA)
        return IO_OK;
    IO_TRY_GOTO(status, done, create_values(param, &values));
    IO_TRY_GOTO(status, done, merge_param(merge, param, values));
    IO_TRY_GOTO(status, done, io_tensors_add(merge->out, param->name, param->n_dims, param->shape, values, false));
done:
    io_free(&values);
    return status;
}

static io_status add_params(const merger *merge)
{
    for (size_t i = 0; i < model_params_count(merge->params); i++) IO_TRY(add_param(merge, model_params_at(merge->params, i)));
    return IO_OK;
}

io_status model_sam_merge(const io_tensors *sam, const io_tensors *adapter, io_tensors **out)
{
    io_status status = IO_OK;
    model_config config;
    model_params *params = NULL;
    merger merge = {.config = &config};

    if (!adapter) return IO_FAIL(IO_ERR_ARGUMENT, "%s: there is nothing to merge without an adapter", io_tensors_path(sam));
    IO_TRY_GOTO(status, done, model_config_infer(sam, adapter, 0, &config));
    IO_TRY_GOTO(status, done, model_params_create(&config, &params));
    IO_TRY_GOTO(status, done, model_params_bind(params, sam, adapter));
    IO_TRY_GOTO(status, done, io_tensors_create(&merge.out));
    merge.params = params;
    IO_TRY_GOTO(status, done, add_params(&merge));
    *out = merge.out;
    merge.out = NULL;
done:
    io_tensors_free(&merge.out);
    model_params_free(&params);
    return status;
}
