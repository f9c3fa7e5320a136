/* See config.h. Sizes come from a few tensors' shapes; then every tensor of the table in params.h is checked against the files. */
#include "model/config.h"

#include <stdio.h>
#include <string.h>

#include "model/params.h"

enum {
    MAX_SIDE = 1 << 15, /* no dimension of a ViT comes near it; keeps products of two within 32 bits */
    MAX_GRID = 4096     /* tokens per side: the logits of a channel, 16 for each token, stay within 32 bits */
};

/* The published sizes: width, depth, name (segment-anything, build_sam.py). */
static const struct {
    int width, depth;
    const char *name;
} known_sizes[] = {{768, 12, "ViT-B"}, {1024, 24, "ViT-L"}, {1280, 32, "ViT-H"}};

void model_config_name(const model_config *config, char out[32])
{
    for (size_t i = 0; i < sizeof known_sizes / sizeof known_sizes[0]; i++)
        if (config->width == known_sizes[i].width && config->depth == known_sizes[i].depth) {
            snprintf(out, 32, "%s", known_sizes[i].name);
            return;
        }
    snprintf(out, 32, "ViT %dx%d", config->width, config->depth);
}

static const io_tensor *find_param(const io_tensors *file, model_param_id id, int index)
{
    char name[MODEL_PARAM_NAME_BYTES];

    model_param_name(id, index, name);
    return io_tensors_find(file, name);
}

/* Reads one dimension of a tensor that must have n_dims of them. */
static io_status read_size(const io_tensors *file, model_param_id id, int index, int n_dims, int dim, int *out)
{
    char name[MODEL_PARAM_NAME_BYTES], found[96];
    const io_tensor *tensor = find_param(file, id, index);

    model_param_name(id, index, name);
    if (!tensor)
        return IO_FAIL(IO_ERR_NOT_FOUND, "%s: tensor %s is missing; the file is incomplete or of another kind, get it again",
                       io_tensors_path(file), name);
    io_tensor_shape_text(tensor->n_dims, tensor->shape, found, sizeof found);
    if (tensor->n_dims != n_dims)
        return IO_FAIL(IO_ERR_MISMATCH, "%s: %s has shape %s, expected %d dimensions; this is not a SAM or SAMed file",
                       io_tensors_path(file), name, found, n_dims);
    if (tensor->shape[dim] < 1 || tensor->shape[dim] > MAX_SIDE)
        return IO_FAIL(IO_ERR_RANGE, "%s: %s has shape %s, dimension %d should be between 1 and %d; the file is damaged",
                       io_tensors_path(file), name, found, dim, MAX_SIDE);
    *out = (int)tensor->shape[dim];
    return IO_OK;
}

static int count_params(const io_tensors *file, model_param_id id, int limit)
{
    int n = 0;

    while (n < limit && find_param(file, id, n)) n++;
    return n;
}

static bool is_sam_file(const io_tensors *file)
{
    return find_param(file, MODEL_PATCH_WEIGHT, 0) && !find_param(file, MODEL_LORA_A, 0);
}

static io_status check_kinds(const io_tensors *sam, const io_tensors *adapter)
{
    if (!is_sam_file(sam))
        return IO_FAIL(IO_ERR_MISMATCH,
                       "%s: %s; give Meta's SAM checkpoint (such as sam_vit_b_01ec64.pth) here and SAMed's file as adapter",
                       io_tensors_path(sam),
                       find_param(sam, MODEL_LORA_A, 0) ? "is a SAMed adapter (it holds w_a_000), expected a SAM checkpoint"
                                                        : "holds no image_encoder.patch_embed.proj.weight, so it is no SAM checkpoint");
    if (!adapter || find_param(adapter, MODEL_LORA_A, 0)) return IO_OK;
    if (is_sam_file(adapter))
        return IO_FAIL(IO_ERR_MISMATCH,
                       "%s: is a SAM checkpoint (it holds image_encoder tensors and no w_a_000), expected a SAMed adapter; give it as "
                       "the SAM file, and SAMed's epoch_<n>.pth as adapter",
                       io_tensors_path(adapter));
    return IO_FAIL(IO_ERR_MISMATCH, "%s: holds no w_a_000, so it is no SAMed adapter; give SAMed's epoch_<n>.pth",
                   io_tensors_path(adapter));
}

static io_status check_image_size(const model_config *config)
{
    const int S = config->image_size, P = config->patch;

    if (S < P || S % P != 0 || S / P > MAX_GRID)
        return IO_FAIL(IO_ERR_ARGUMENT, "image size %d: this network needs a multiple of its patch, %d, up to %d patches a side; choose %d",
                       S, P, MAX_GRID, P * 32);
    return IO_OK;
}

/* Width, patch, depth, MLP and head size of the encoder. */
static io_status infer_encoder(const io_tensors *sam, model_config *config)
{
    IO_TRY(read_size(sam, MODEL_PATCH_WEIGHT, 0, 4, 0, &config->width));
    IO_TRY(read_size(sam, MODEL_PATCH_WEIGHT, 0, 4, 2, &config->patch));
    IO_TRY(read_size(sam, MODEL_POS_EMBED, 0, 4, 1, &config->file_grid));
    config->depth = count_params(sam, MODEL_NORM1_WEIGHT, MODEL_MAX_DEPTH + 1);
    if (config->depth < 1 || config->depth > MODEL_MAX_DEPTH)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: %s encoder blocks found, samed handles 1 to %d", io_tensors_path(sam),
                       config->depth ? "too many" : "no", MODEL_MAX_DEPTH);
    IO_TRY(read_size(sam, MODEL_LIN1_WEIGHT, 0, 2, 0, &config->mlp_width));
    IO_TRY(read_size(sam, MODEL_REL_H, 0, 2, 1, &config->head_size));
    if (config->width % config->head_size != 0)
        return IO_FAIL(IO_ERR_MISMATCH, "%s: width %d (patch embedding) is no multiple of the head size %d (blocks.0.attn.rel_pos_h)",
                       io_tensors_path(sam), config->width, config->head_size);
    config->heads = config->width / config->head_size;
    return IO_OK;
}

/* Which blocks attend globally, and the window of the others: a table of 2n-1 rows serves n x n tokens. */
static io_status infer_windows(const io_tensors *sam, model_config *config)
{
    int first_local = -1;

    for (int i = 0; i < config->depth; i++) {
        int rows;
        IO_TRY(read_size(sam, MODEL_REL_H, i, 2, 0, &rows));
        config->is_global[i] = rows == 2 * config->file_grid - 1;
        if (config->is_global[i]) continue;
        if (first_local < 0) {
            first_local = i;
            config->window = (rows + 1) / 2;
        }
        if (rows != 2 * config->window - 1)
            return IO_FAIL(IO_ERR_MISMATCH,
                           "%s: image_encoder.blocks.%d.attn.rel_pos_h has %d rows, expected %d (window %d, as in block %d) or %d (global)",
                           io_tensors_path(sam), i, rows, 2 * config->window - 1, config->window, first_local, 2 * config->file_grid - 1);
    }
    return IO_OK;
}

static io_status infer_decoder(const io_tensors *sam, const io_tensors *adapter, model_config *config)
{
    const io_tensors *transformer = config->layout == MODEL_LAYOUT_SAMED ? adapter : sam;

    IO_TRY(read_size(sam, MODEL_NECK0_WEIGHT, 0, 4, 0, &config->decoder_width));
    IO_TRY(read_size(sam, MODEL_MASK_TOKENS, 0, 2, 0, &config->sam_channels));
    IO_TRY(read_size(adapter ? adapter : sam, MODEL_MASK_TOKENS, 0, 2, 0, &config->n_channels));
    IO_TRY(read_size(transformer, MODEL_FINAL_Q_WEIGHT, 0, 2, 0, &config->decoder_inner));
    IO_TRY(read_size(transformer, MODEL_LAYER_LIN1_WEIGHT, 0, 2, 0, &config->decoder_mlp_width));
    if (config->decoder_width % MODEL_DECODER_HEADS != 0 || config->decoder_inner % MODEL_DECODER_HEADS != 0)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: decoder widths %d and %d should be multiples of %d heads", io_tensors_path(sam),
                       config->decoder_width, config->decoder_inner, MODEL_DECODER_HEADS);
    return IO_OK;
}

/* Before any shape is compared: is this adapter made for this ViT at all? */
static io_status check_adapter_vit(const io_tensors *sam, const io_tensors *adapter, const model_config *config)
{
    const int n_a = count_params(adapter, MODEL_LORA_A, 4 * MODEL_MAX_DEPTH),
              n_b = count_params(adapter, MODEL_LORA_B, 4 * MODEL_MAX_DEPTH);
    model_config other = *config;
    char name[32], other_name[32];

    IO_TRY(read_size(adapter, MODEL_LORA_A, 0, 2, 1, &other.width));
    other.depth = n_a / 2;
    model_config_name(config, name);
    model_config_name(&other, other_name);
    if (other.width != config->width || n_a != 2 * config->depth)
        return IO_FAIL(IO_ERR_MISMATCH,
                       "%s: adapter for %s (w_a_000 ... w_a_%03d of width %d), but %s is %s: expected w_a_000 ... w_a_%03d of width %d; "
                       "give the SAM checkpoint the adapter was trained on",
                       io_tensors_path(adapter), other_name, n_a - 1, other.width, io_tensors_path(sam), name, 2 * config->depth - 1,
                       config->width);
    if (n_b != n_a)
        return IO_FAIL(IO_ERR_MISMATCH, "%s: %d tensors w_a_*, but %d w_b_*; the adapter is incomplete, get it again",
                       io_tensors_path(adapter), n_a, n_b);
    return IO_OK;
}

static io_status infer_adapter(const io_tensors *sam, const io_tensors *adapter, model_config *config)
{
    if (!adapter) return IO_OK;
    IO_TRY(check_adapter_vit(sam, adapter, config));
    IO_TRY(read_size(adapter, MODEL_LORA_A, 0, 2, 0, &config->lora_rank));
    config->has_more_lora = find_param(adapter, MODEL_MORE_A, 0) != NULL;
    if (find_param(adapter, MODEL_SELF_A, 0))
        config->layout = MODEL_LAYOUT_SAMED_S;
    else
        config->layout = MODEL_LAYOUT_SAMED; /* a missing decoder is then named tensor by tensor */
    return IO_OK;
}

/* Every tensor of the table is in the file that owns it, with the shape that the config implies. */
static io_status check_tensors(const io_tensors *sam, const io_tensors *adapter, const model_config *config)
{
    model_params *params = NULL;
    io_status status = model_params_create(config, &params);

    if (status == IO_OK) status = model_params_bind(params, sam, adapter);
    model_params_free(&params);
    return status;
}

io_status model_config_infer(const io_tensors *sam, const io_tensors *adapter, int image_size, model_config *out)
{
    model_config config = {.image_size = image_size, .layout = MODEL_LAYOUT_SAM};

    IO_TRY(check_kinds(sam, adapter));
    IO_TRY(infer_encoder(sam, &config));
    IO_TRY(infer_windows(sam, &config));
    IO_TRY(infer_adapter(sam, adapter, &config));
    IO_TRY(infer_decoder(sam, adapter, &config));
    if (image_size == 0) config.image_size = config.file_grid * config.patch;
    IO_TRY(check_image_size(&config));
    IO_TRY(check_tensors(sam, adapter, &config));
    *out = config;
    return IO_OK;
}
