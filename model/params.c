/* See params.h. */
#include "model/params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"

enum { CHECK_FLOATS = 1024 }; /* floats that are checked at once: a loop of fixed length, so that compilers use vectors */

typedef struct table_row {
    const char *pattern; /* one %d or %03d at most */
    const char *shape;
    model_role role;
    model_group group;
} table_row;

#define TABLE_ROW(id, name, shape, role, group) [MODEL_##id] = {name, shape, MODEL_ROLE_##role, MODEL_GROUP_##group},
static const table_row table[MODEL_N_PARAM_ROWS] = {MODEL_PARAMS(TABLE_ROW)};
#undef TABLE_ROW

struct model_params {
    model_layout layout;
    size_t count;
    model_param *items;               /* [count], table order */
    size_t start[MODEL_N_PARAM_ROWS]; /* item of a row's first repetition */
    size_t step[MODEL_N_PARAM_ROWS];  /* items between two repetitions: rows of the group */
    size_t repeats[MODEL_N_PARAM_ROWS];
};

bool model_role_in_adapter(model_role role, model_layout layout)
{
    if (layout == MODEL_LAYOUT_SAM || role == MODEL_ROLE_ENCODER) return false;
    return role != MODEL_ROLE_TRANSFORMER || layout == MODEL_LAYOUT_SAMED;
}

bool model_param_is_trained(const model_param *param, model_layout layout)
{
    if (!model_role_in_adapter(param->role, layout) || param->role == MODEL_ROLE_PROMPT_BUFFER) return false;
    if (param->role == MODEL_ROLE_PROMPT) return param->id == MODEL_NO_MASK_WEIGHT;
    return table[param->id].group != MODEL_GROUP_IOU;
}

void model_param_name(model_param_id id, int index, char *name)
{
    snprintf(name, MODEL_PARAM_NAME_BYTES, table[id].pattern, index);
}

static bool has_role(model_role role, const model_config *config)
{
    const model_layout layout = config->layout;

    if (role == MODEL_ROLE_MORE_LORA) return config->has_more_lora;
    if (role == MODEL_ROLE_ENCODER_LORA) return layout != MODEL_LAYOUT_SAM;
    if (role == MODEL_ROLE_TRANSFORMER_LORA) return layout == MODEL_LAYOUT_SAMED_S;
    return true;
}

static size_t count_repeats(model_group group, const model_config *config)
{
    switch (group) {
    case MODEL_GROUP_LORA_A:
    case MODEL_GROUP_LORA_B:
    case MODEL_GROUP_MORE_A:
    case MODEL_GROUP_MORE_B: return 2 * (size_t)config->depth;
    case MODEL_GROUP_SELF_A:
    case MODEL_GROUP_SELF_B:
    case MODEL_GROUP_T2I_A:
    case MODEL_GROUP_T2I_B:
    case MODEL_GROUP_I2T_A:
    case MODEL_GROUP_I2T_B: return 2 * MODEL_DECODER_DEPTH;
    case MODEL_GROUP_BLOCKS: return (size_t)config->depth;
    case MODEL_GROUP_POINTS: return 4;
    case MODEL_GROUP_LAYERS: return MODEL_DECODER_DEPTH;
    case MODEL_GROUP_CHANNELS: return (size_t)config->n_channels;
    default: return 1;
    }
}

static int64_t get_letter(char letter, const model_config *config, int index)
{
    switch (letter) {
    case 'C': return config->width;
    case 'D': return config->head_size;
    case 'E': return config->file_grid;
    case 'F': return config->mlp_width;
    case 'I': return config->decoder_inner;
    case 'J': return config->decoder_mlp_width;
    case 'K': return config->n_channels;
    case 'P': return config->patch;
    case 'Q': return 2 * (config->is_global[index] ? config->file_grid : config->window) - 1;
    case 'R': return config->decoder_width;
    case 'r': return config->lora_rank;
    default: return 0; /* the table holds no other letter; a zero dimension fails every check */
    }
}

/* "3C", "R/4", "16" at *text, which moves behind it and behind a comma. */
static int64_t read_dimension(const char **text, const model_config *config, int index)
{
    char *end;
    int64_t value = strtol(*text, &end, 10);
    const bool has_number = end != *text;

    if (*end && *end != ',' && *end != '/') {
        const int64_t size = get_letter(*end++, config, index);
        value = has_number ? value * size : size;
    }
    if (*end == '/') value /= strtol(end + 1, &end, 10);
    *text = *end == ',' ? end + 1 : end;
    return value;
}

static void fill_param(model_param *param, model_param_id id, int index, const model_config *config)
{
    const char *shape = table[id].shape;

    param->id = id;
    param->index = index;
    param->role = table[id].role;
    model_param_name(id, index, param->name);
    param->n_elements = 1;
    for (param->n_dims = 0; *shape; param->n_dims++) {
        param->shape[param->n_dims] = read_dimension(&shape, config, index);
        param->n_elements *= (size_t)param->shape[param->n_dims];
    }
}

/* Places the rows [first, end) of one group; returns the number of items so far. */
static size_t place_group(model_params *params, const model_config *config, int first, int end, size_t count)
{
    const bool is_there = has_role(table[first].role, config);
    const size_t repeats = is_there ? count_repeats(table[first].group, config) : 0;
    const size_t rows = (size_t)(end - first);

    for (int id = first; id < end; id++) {
        params->start[id] = count + (size_t)(id - first);
        params->step[id] = rows;
        params->repeats[id] = repeats;
    }
    return count + repeats * rows;
}

static void place_rows(model_params *params, const model_config *config)
{
    for (int first = 0, end; first < MODEL_N_PARAM_ROWS; first = end) {
        end = first + 1;
        while (end < MODEL_N_PARAM_ROWS && table[end].group == table[first].group) end++;
        params->count = place_group(params, config, first, end, params->count);
    }
}

io_status model_params_create(const model_config *config, model_params **out)
{
    io_status status = IO_OK;
    model_params *params = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *params, (void **)&params));
    params->layout = config->layout;
    place_rows(params, config);
    IO_TRY_GOTO(status, done, io_alloc(params->count, sizeof *params->items, (void **)&params->items));
    for (int id = 0; id < MODEL_N_PARAM_ROWS; id++)
        for (size_t i = 0; i < params->repeats[id]; i++)
            fill_param(&params->items[params->start[id] + i * params->step[id]], (model_param_id)id, (int)i, config);
    *out = params;
    params = NULL;
done:
    model_params_free(&params);
    return status;
}

void model_params_free(model_params **params)
{
    if (!*params) return;
    io_free(&(*params)->items);
    io_free(params);
}

size_t model_params_count(const model_params *params)
{
    return params->count;
}

const model_param *model_params_at(const model_params *params, size_t i)
{
    return &params->items[i];
}

const model_param *model_params_get(const model_params *params, model_param_id id, int index)
{
    if (index < 0 || (size_t)index >= params->repeats[id]) return NULL;
    return &params->items[params->start[id] + (size_t)index * params->step[id]];
}

/* Adds what to do to the text of a lookup that failed. */
static io_status advise(io_status status, bool is_adapter)
{
    char text[768];

    snprintf(text, sizeof text, "%s", io_last_error_text());
    return IO_FAIL(status, "%s; %s", text,
                   is_adapter
                       ? "the adapter is incomplete or was made for another network: get it again, or give the SAM checkpoint it was "
                         "trained on"
                       : "the SAM checkpoint is incomplete or was changed: get it again");
}

io_status model_params_bind(model_params *params, const io_tensors *sam, const io_tensors *adapter)
{
    for (size_t i = 0; i < params->count; i++) {
        model_param *param = &params->items[i];
        const bool is_adapter = model_role_in_adapter(param->role, params->layout);
        io_status status;

        param->file = is_adapter ? adapter : sam;
        status = io_tensors_require(param->file, param->name, param->n_dims, param->shape, &param->source);
        if (status != IO_OK) return advise(status, is_adapter);
    }
    return IO_OK;
}

/* An f32 that is NaN or infinite has all bits of its exponent set (IEEE 754). */
static size_t count_not_finite(const float *values, size_t n)
{
    const uint32_t exponent = 0x7f800000;
    size_t n_bad = 0, i = 0;
    uint32_t bits[CHECK_FLOATS];

    for (; i + CHECK_FLOATS <= n; i += CHECK_FLOATS) {
        uint32_t n_here = 0;
        memcpy(bits, values + i, sizeof bits);
        for (int k = 0; k < CHECK_FLOATS; k++) n_here += (bits[k] & exponent) == exponent;
        n_bad += n_here;
    }
    for (; i < n; i++) {
        memcpy(bits, values + i, sizeof bits[0]);
        n_bad += (bits[0] & exponent) == exponent;
    }
    return n_bad;
}

io_status model_param_read(const model_param *param, float *out)
{
    size_t n_bad;

    IO_TRY(io_tensor_read_f32(param->source, out));
    io_tensors_release(param->file, param->source);
    n_bad = count_not_finite(out, param->n_elements);
    if (n_bad > 0)
        return IO_FAIL(IO_ERR_RANGE, "%s: %zu of the %zu values of tensor %s are not finite; take another copy of the weights",
                       io_tensors_path(param->file), n_bad, param->n_elements, param->name);
    return IO_OK;
}
