/* See workspace.h. */
#include "model/workspace.h"

#include <string.h>

#include "io/memory.h"

enum { ALIGN_BYTES = 64, CHUNK_BYTES = 1 << 20 };

static void set_slot(model_workspace *workspace, model_slot slot, int64_t n_rows, int64_t n_columns, model_type type, model_phase first,
                     model_phase last)
{
    workspace->slots[slot] =
        (model_slot_place){.n_rows = n_rows, .stride = n_columns, .type = type, .first = (int)first, .last = (int)last};
}

static void list_encoder_slots(model_workspace *workspace, const model_config *config, model_type type, int row_pad, int64_t b)
{
    const int64_t S = config->image_size, P = config->patch, C = config->width, R = config->decoder_width;
    const int64_t M = b * (S / P) * (S / P);

    set_slot(workspace, MODEL_SLOT_IMAGES, b, S * S, MODEL_F32, MODEL_PHASE_PATCH, MODEL_PHASE_PATCH);
    set_slot(workspace, MODEL_SLOT_PATCHES, M, P * P + row_pad, type, MODEL_PHASE_PATCH, MODEL_PHASE_PATCH);
    set_slot(workspace, MODEL_SLOT_STREAM, M, C + row_pad, MODEL_F32, MODEL_PHASE_PATCH, MODEL_PHASE_NECK);
    set_slot(workspace, MODEL_SLOT_NORMED, M, C + row_pad, type, MODEL_PHASE_ATTENTION, MODEL_PHASE_MLP);
    set_slot(workspace, MODEL_SLOT_QKV, M, 3 * C + row_pad, type, MODEL_PHASE_ATTENTION, MODEL_PHASE_ATTENTION);
    set_slot(workspace, MODEL_SLOT_ATTENDED, M, C + row_pad, type, MODEL_PHASE_ATTENTION, MODEL_PHASE_ATTENTION);
    set_slot(workspace, MODEL_SLOT_HIDDEN, M, config->mlp_width + row_pad, type, MODEL_PHASE_MLP, MODEL_PHASE_MLP);
    set_slot(workspace, MODEL_SLOT_NECK, M, R + row_pad, MODEL_F32, MODEL_PHASE_NECK, MODEL_PHASE_NECK);
    set_slot(workspace, MODEL_SLOT_NECK_NORMED, M, R + row_pad, type, MODEL_PHASE_NECK, MODEL_PHASE_NECK);
    set_slot(workspace, MODEL_SLOT_EMBEDDING, M, R, MODEL_F32, MODEL_PHASE_NECK, MODEL_PHASE_DECODER);
}

static void list_decoder_slots(model_workspace *workspace, const model_config *config, int64_t b)
{
    const int64_t G = config->image_size / config->patch, M = b * G * G, R = config->decoder_width, I = config->decoder_inner;
    const int64_t K = config->n_channels, tokens = b * (K + 1);
    const model_phase from = MODEL_PHASE_DECODER, upscale = MODEL_PHASE_UPSCALE;

    set_slot(workspace, MODEL_SLOT_KEYS, M, R, MODEL_F32, from, upscale);
    set_slot(workspace, MODEL_SLOT_KEYS_POS, M, R, MODEL_F32, from, from);
    set_slot(workspace, MODEL_SLOT_IMAGE_A, M, I, MODEL_F32, from, from);
    set_slot(workspace, MODEL_SLOT_IMAGE_B, M, I, MODEL_F32, from, from);
    set_slot(workspace, MODEL_SLOT_TOKENS, tokens, R, MODEL_F32, from, upscale);
    for (int slot = MODEL_SLOT_TOKENS_POS; slot <= MODEL_SLOT_TOKEN_OUT; slot++)
        set_slot(workspace, (model_slot)slot, tokens, R > I ? R : I, MODEL_F32, from, from);
    set_slot(workspace, MODEL_SLOT_TOKEN_HIDDEN, tokens, config->decoder_mlp_width, MODEL_F32, from, from);
    set_slot(workspace, MODEL_SLOT_UP0_TAPS, M, 4 * (R / 4), MODEL_F32, upscale, upscale);
    set_slot(workspace, MODEL_SLOT_UP0, 4 * M, R / 4, MODEL_F32, upscale, upscale);
    set_slot(workspace, MODEL_SLOT_UP3_TAPS, 4 * M, 4 * (R / 8), MODEL_F32, upscale, upscale);
    set_slot(workspace, MODEL_SLOT_UP3, 16 * M, R / 8, MODEL_F32, upscale, upscale);
    set_slot(workspace, MODEL_SLOT_MLP_A, b, R, MODEL_F32, upscale, upscale);
    set_slot(workspace, MODEL_SLOT_MLP_B, b, R, MODEL_F32, upscale, upscale);
    set_slot(workspace, MODEL_SLOT_HYPER, b * K, R / 8, MODEL_F32, upscale, upscale);
    set_slot(workspace, MODEL_SLOT_IOU, b, K, MODEL_F32, upscale, MODEL_PHASE_LABELS);
    set_slot(workspace, MODEL_SLOT_LOGITS, b * K, 16 * G * G, MODEL_F32, upscale, MODEL_PHASE_LABELS);
    set_slot(workspace, MODEL_SLOT_LABELS, b, (int64_t)config->image_size * config->image_size / 2 + 1, MODEL_F32, MODEL_PHASE_LABELS,
             MODEL_PHASE_LABELS);
}

static io_status measure_slot(model_slot_place *slot)
{
    const size_t element = slot->type == MODEL_BF16 ? 2 : 4;

    IO_TRY(io_size_mul((size_t)slot->n_rows, (size_t)slot->stride, &slot->n_bytes));
    IO_TRY(io_size_mul(slot->n_bytes, element, &slot->n_bytes));
    IO_TRY(io_size_add(slot->n_bytes, ALIGN_BYTES - 1, &slot->n_bytes));
    slot->n_bytes -= slot->n_bytes % ALIGN_BYTES;
    return IO_OK;
}

static int live_together(const model_slot_place *a, const model_slot_place *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset at which slot n meets none of the slots before it that live at the same time. */
static io_status place_slot(model_workspace *workspace, int n)
{
    model_slot_place *slot = &workspace->slots[n];
    size_t end;

    for (int i = 0; i < n; i++) {
        const model_slot_place *other = &workspace->slots[i];
        const size_t other_end = other->offset + other->n_bytes;
        if (live_together(slot, other) && slot->offset < other_end && other->offset < slot->offset + slot->n_bytes) {
            slot->offset = other_end;
            i = -1; /* look again from the first: the new place may meet an earlier slot */
        }
    }
    IO_TRY(io_size_add(slot->offset, slot->n_bytes, &end));
    if (end > workspace->n_bytes) workspace->n_bytes = end;
    return IO_OK;
}

io_status model_workspace_plan(const model_config *config, model_type type, int row_pad, int b, model_workspace *out)
{
    model_workspace workspace = {0};

    list_encoder_slots(&workspace, config, type, row_pad, b);
    list_decoder_slots(&workspace, config, b);
    for (int i = 0; i < MODEL_N_SLOTS; i++) {
        IO_TRY(measure_slot(&workspace.slots[i]));
        IO_TRY(place_slot(&workspace, i));
    }
    *out = workspace;
    return IO_OK;
}

/* All bits set is a NaN in f32 and in bf16. */
static io_status fill_with_nan(const model_workspace *workspace, const model_ops *ops, model_backend *backend)
{
    io_status status = IO_OK;
    unsigned char *ones = NULL;
    size_t n;

    IO_TRY(io_alloc(CHUNK_BYTES, 1, (void **)&ones));
    memset(ones, 0xff, CHUNK_BYTES);
    for (size_t done = 0; done < workspace->n_bytes && status == IO_OK; done += n) {
        n = workspace->n_bytes - done < CHUNK_BYTES ? workspace->n_bytes - done : CHUNK_BYTES;
        status = ops->upload(backend, (char *)workspace->memory + done, ones, n);
    }
    io_free(&ones);
    return status;
}

io_status model_workspace_create(model_workspace *workspace, const model_ops *ops, model_backend *backend)
{
    IO_TRY(ops->memory_create(backend, workspace->n_bytes, &workspace->memory));
    return fill_with_nan(workspace, ops, backend);
}

void model_workspace_free(model_workspace *workspace, const model_ops *ops, model_backend *backend)
{
    if (workspace->memory) ops->memory_free(backend, &workspace->memory);
}

void *model_workspace_data(const model_workspace *workspace, model_slot slot)
{
    return (char *)workspace->memory + workspace->slots[slot].offset;
}

model_rows model_workspace_rows(const model_workspace *workspace, model_slot slot)
{
    const model_slot_place *place = &workspace->slots[slot];

    return (model_rows){model_workspace_data(workspace, slot), place->stride, place->type};
}
