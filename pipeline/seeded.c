/* Random weights in the layouts of SAM's and SAMed's files. See seeded.h. Names, shapes and their order: spec 1.7 (encoder), 3.3 (prompt
 * encoder), 4.5 (decoder), 2.2 (SAMed), 2.3 (SAMed_s).
 *
 * Scales are such that every parameter moves the result: attention is sharp, position tables and biases are far from zero, and the LoRA's
 * B matrices, which training starts from zero, are not zero.
 *
 * Values come from Random123's Philox 4x32-10, keyed by the seed and counted by the tensor's name and the value's place, and are sums of
 * four 16-bit uniforms (Irwin-Hall: a bell curve that ends at 3.46 sigma). No libm but the square root, which IEEE 754 rounds exactly:
 * the same bytes on every machine. */
#include "pipeline/seeded.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <Random123/philox.h>

enum {
    DECODER_WIDTH = 256,
    DECODER_INNER = 128,
    DECODER_MLP = 2048,
    SAM_MASKS = 4,
    MAX_GLOBALS = 4,
    NAME_BYTES = 128,
    RANK_MAX = 256,
    CLASSES_MAX = 1000
};

/* Standard deviation of the sum of four integers drawn evenly from 0..65535: sqrt(4 * (65536^2 - 1) / 12). */
static const float SUM_SIGMA = 37837.22723720648F;
static const int SUM_MEAN = 2 * 65535;

typedef struct vit_sizes {
    const char *name;
    int width, depth, heads;
    int globals[MAX_GLOBALS]; /* blocks with attention over the whole slice; -1 ends the list */
    int grid, window;         /* tokens per side of pos_embed and of a window */
} vit_sizes;

static const vit_sizes vits[] = {
    {"vit_b", 768, 12, 12, {2, 5, 8, 11}, 64, 14}, /* spec 1.1 */
    {"vit_l", 1024, 24, 16, {5, 11, 17, 23}, 64, 14},
    {"vit_h", 1280, 32, 16, {7, 15, 23, 31}, 64, 14},
    {"small", 128, 4, 4, {1, 3, -1, -1}, 16, 14},
    {"tiny", 32, 2, 2, {1, -1, -1, -1}, 8, 3},
};

/* Adds tensors to a list. The first failure stays in status and turns the rest into nothing. */
typedef struct builder {
    io_tensors *list;
    uint64_t seed;
    bool is_parameter; /* of the tensors that are added now */
    io_status status;
    char text[NAME_BYTES];
} builder;

/* Borrowed until the next call. */
static const char *name(builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const char *name(builder *b, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(b->text, sizeof b->text, format, arguments);
    va_end(arguments);
    return b->text;
}

/* FNV-1a, 64 bits. */
static uint64_t hash_name(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325U;

    for (; *text; text++) hash = (hash ^ (uint8_t)*text) * 0x100000001b3U;
    return hash;
}

static float sum_uniforms(uint32_t a, uint32_t b)
{
    return (float)((int)((a & 0xffff) + (a >> 16) + (b & 0xffff) + (b >> 16)) - SUM_MEAN);
}

/* out [n]: mean + scale * (a draw of mean 0 and deviation 1). */
static void fill_values(uint64_t seed, const char *tensor, float mean, float scale, float *out, size_t n)
{
    const uint64_t hash = hash_name(tensor);
    const philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    const float factor = scale / SUM_SIGMA;

    for (size_t i = 0; i < n; i += 2) {
        const philox4x32_ctr_t counter = {{(uint32_t)(i / 2), (uint32_t)((uint64_t)i / 2 >> 32), (uint32_t)hash, (uint32_t)(hash >> 32)}};
        const philox4x32_ctr_t random = philox4x32(counter, key);
        out[i] = mean + factor * sum_uniforms(random.v[0], random.v[1]);
        if (i + 1 < n) out[i + 1] = mean + factor * sum_uniforms(random.v[2], random.v[3]);
    }
}

static void add(builder *b, const char *tensor, int n_dims, const int64_t *shape, float mean, float scale)
{
    float *values;
    size_t n = 1;

    if (b->status != IO_OK) return;
    b->status = io_tensors_reserve(b->list, tensor, n_dims, shape, b->is_parameter, &values);
    if (b->status != IO_OK) return;
    for (int i = 0; i < n_dims; i++) n *= (size_t)shape[i];
    fill_values(b->seed, tensor, mean, scale, values, n);
}

static void add_vector(builder *b, const char *module, const char *leaf, int n, float mean, float scale)
{
    char tensor[NAME_BYTES + 16];

    snprintf(tensor, sizeof tensor, "%s.%s", module, leaf);
    add(b, tensor, 1, (const int64_t[]){n}, mean, scale);
}

static void add_table(builder *b, const char *tensor, int n_rows, int n_columns, float scale)
{
    add(b, tensor, 2, (const int64_t[]){n_rows, n_columns}, 0, scale);
}

static void add_norm(builder *b, const char *module, int n)
{
    add_vector(b, module, "weight", n, 1, 0.2F);
    add_vector(b, module, "bias", n, 0, 0.2F);
}

/* weight [shape], bias [n_bias] unless 0; the weight's deviation is gain / sqrt(n_inputs), so the output keeps the input's size. */
static void add_layer(builder *b, const char *module, int n_dims, const int64_t *shape, int n_inputs, int n_bias, float gain)
{
    char tensor[NAME_BYTES + 16];

    snprintf(tensor, sizeof tensor, "%s.weight", module);
    add(b, tensor, n_dims, shape, 0, gain / sqrtf((float)n_inputs));
    if (n_bias) add_vector(b, module, "bias", n_bias, 0, 0.1F);
}

static void add_linear(builder *b, const char *module, int n_out, int n_in, float gain)
{
    add_layer(b, module, 2, (const int64_t[]){n_out, n_in}, n_in, n_out, gain);
}

/* weight [n_out, n_in, side, side], bias [n_out]. */
static void add_conv(builder *b, const char *module, int n_out, int n_in, int side, bool has_bias, float gain)
{
    add_layer(b, module, 4, (const int64_t[]){n_out, n_in, side, side}, n_in * side * side, has_bias ? n_out : 0, gain);
}

/* Transposed convolution of stride 2: weight [n_in, n_out, 2, 2]; each output has one tap, so n_in inputs. */
static void add_upscale(builder *b, const char *module, int n_in, int n_out)
{
    add_layer(b, module, 4, (const int64_t[]){n_in, n_out, 2, 2}, n_in, n_out, 1);
}

static bool is_global(const vit_sizes *vit, int block)
{
    for (int i = 0; i < MAX_GLOBALS; i++) {
        if (vit->globals[i] == block) return true;
    }
    return false;
}

static void add_block(builder *b, const vit_sizes *vit, int block)
{
    const int width = vit->width;
    const int n_relative = 2 * (is_global(vit, block) ? vit->grid : vit->window) - 1;
    char module[64];

    snprintf(module, sizeof module, "image_encoder.blocks.%d", block);
    add_norm(b, name(b, "%s.norm1", module), width);
    add_table(b, name(b, "%s.attn.rel_pos_h", module), n_relative, width / vit->heads, 0.15F);
    add_table(b, name(b, "%s.attn.rel_pos_w", module), n_relative, width / vit->heads, 0.15F);
    add_linear(b, name(b, "%s.attn.qkv", module), 3 * width, width, 1.6F);
    add_linear(b, name(b, "%s.attn.proj", module), width, width, 1);
    add_norm(b, name(b, "%s.norm2", module), width);
    add_linear(b, name(b, "%s.mlp.lin1", module), 4 * width, width, 1.2F);
    add_linear(b, name(b, "%s.mlp.lin2", module), width, 4 * width, 1);
}

static void add_image_encoder(builder *b, const vit_sizes *vit)
{
    add(b, "image_encoder.pos_embed", 4, (const int64_t[]){1, vit->grid, vit->grid, vit->width}, 0, 0.5F);
    add_conv(b, "image_encoder.patch_embed.proj", vit->width, 3, 16, true, 6);
    for (int i = 0; i < vit->depth; i++) add_block(b, vit, i);
    add_conv(b, "image_encoder.neck.0", DECODER_WIDTH, vit->width, 1, false, 1);
    add_norm(b, "image_encoder.neck.1", DECODER_WIDTH);
    add_conv(b, "image_encoder.neck.2", DECODER_WIDTH, DECODER_WIDTH, 3, false, 1);
    add_norm(b, "image_encoder.neck.3", DECODER_WIDTH);
}

static void add_prompt_encoder(builder *b)
{
    add_table(b, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", 2, DECODER_WIDTH / 2, 1);
    for (int i = 0; i < 4; i++) add_table(b, name(b, "prompt_encoder.point_embeddings.%d.weight", i), 1, DECODER_WIDTH, 0.5F);
    add_table(b, "prompt_encoder.not_a_point_embed.weight", 1, DECODER_WIDTH, 0.5F);
    add_conv(b, "prompt_encoder.mask_downscaling.0", 4, 1, 2, true, 1);
    add_norm(b, "prompt_encoder.mask_downscaling.1", 4);
    add_conv(b, "prompt_encoder.mask_downscaling.3", 16, 4, 2, true, 1);
    add_norm(b, "prompt_encoder.mask_downscaling.4", 16);
    add_conv(b, "prompt_encoder.mask_downscaling.6", DECODER_WIDTH, 16, 1, true, 1);
    add_table(b, "prompt_encoder.no_mask_embed.weight", 1, DECODER_WIDTH, 0.5F);
}

static void add_attention(builder *b, const char *module, int inner)
{
    char text[NAME_BYTES];

    snprintf(text, sizeof text, "mask_decoder.transformer.%s", module);
    add_linear(b, name(b, "%s.q_proj", text), inner, DECODER_WIDTH, 1);
    add_linear(b, name(b, "%s.k_proj", text), inner, DECODER_WIDTH, 1);
    add_linear(b, name(b, "%s.v_proj", text), inner, DECODER_WIDTH, 1);
    add_linear(b, name(b, "%s.out_proj", text), DECODER_WIDTH, inner, 1);
}

static void add_decoder_layer(builder *b, int layer)
{
    char module[64], attention[96];

    snprintf(module, sizeof module, "mask_decoder.transformer.layers.%d", layer);
    snprintf(attention, sizeof attention, "layers.%d.self_attn", layer);
    add_attention(b, attention, DECODER_WIDTH);
    add_norm(b, name(b, "%s.norm1", module), DECODER_WIDTH);
    snprintf(attention, sizeof attention, "layers.%d.cross_attn_token_to_image", layer);
    add_attention(b, attention, DECODER_INNER);
    add_norm(b, name(b, "%s.norm2", module), DECODER_WIDTH);
    add_linear(b, name(b, "%s.mlp.lin1", module), DECODER_MLP, DECODER_WIDTH, 1.2F);
    add_linear(b, name(b, "%s.mlp.lin2", module), DECODER_WIDTH, DECODER_MLP, 1);
    add_norm(b, name(b, "%s.norm3", module), DECODER_WIDTH);
    add_norm(b, name(b, "%s.norm4", module), DECODER_WIDTH);
    snprintf(attention, sizeof attention, "layers.%d.cross_attn_image_to_token", layer);
    add_attention(b, attention, DECODER_INNER);
}

static void add_decoder_transformer(builder *b)
{
    add_decoder_layer(b, 0);
    add_decoder_layer(b, 1);
    add_attention(b, "final_attn_token_to_image", DECODER_INNER);
    add_norm(b, "mask_decoder.transformer.norm_final_attn", DECODER_WIDTH);
}

/* A head of three linear layers: 256, 256, n_out. */
static void add_head(builder *b, const char *module, int n_out)
{
    char text[64];

    snprintf(text, sizeof text, "mask_decoder.%s", module);
    for (int i = 0; i < 3; i++) add_linear(b, name(b, "%s.layers.%d", text, i), i < 2 ? DECODER_WIDTH : n_out, DECODER_WIDTH, 1);
}

static void add_decoder_heads(builder *b, int n_masks)
{
    char module[48];

    add_table(b, "mask_decoder.iou_token.weight", 1, DECODER_WIDTH, 1);
    add_table(b, "mask_decoder.mask_tokens.weight", n_masks, DECODER_WIDTH, 1);
    add_upscale(b, "mask_decoder.output_upscaling.0", DECODER_WIDTH, 64);
    add_norm(b, "mask_decoder.output_upscaling.1", 64);
    add_upscale(b, "mask_decoder.output_upscaling.3", 64, 32);
    for (int i = 0; i < n_masks; i++) {
        snprintf(module, sizeof module, "output_hypernetworks_mlps.%d", i);
        add_head(b, module, 32);
    }
    add_head(b, "iou_prediction_head", n_masks);
}

/* All A matrices [rank, n_in], then all B matrices [n_out, rank]. */
static void add_lora(builder *b, const char *kind, int n, int n_in, int n_out, int rank)
{
    for (int i = 0; i < n; i++) add_table(b, name(b, "%s_a_%03d", kind, i), rank, n_in, 1 / sqrtf((float)n_in));
    for (int i = 0; i < n; i++) add_table(b, name(b, "%s_b_%03d", kind, i), n_out, rank, 0.5F / sqrtf((float)rank));
}

static void add_final_lora(builder *b, int rank)
{
    for (const char *c = "qv"; *c; c++) {
        add_table(b, name(b, "fati_%ca", *c), rank, DECODER_WIDTH, 1 / sqrtf((float)DECODER_WIDTH));
        add_table(b, name(b, "fati_%cb", *c), DECODER_INNER, rank, 0.5F / sqrtf((float)rank));
    }
}

static io_status build_sam(const vit_sizes *vit, uint64_t seed, io_tensors *list)
{
    builder b = {.list = list, .seed = seed};

    add_image_encoder(&b, vit);
    add_prompt_encoder(&b);
    add_decoder_transformer(&b);
    add_decoder_heads(&b, SAM_MASKS);
    return b.status;
}

static io_status build_adapter(const vit_sizes *vit, uint64_t seed, int rank, int n_classes, bool is_small, io_tensors *list)
{
    builder b = {.list = list, .seed = seed, .is_parameter = true};

    add_lora(&b, "w", 2 * vit->depth, vit->width, vit->width, rank);
    if (is_small) {
        add_lora(&b, "sa", 4, DECODER_WIDTH, DECODER_WIDTH, rank);
        add_lora(&b, "cti", 4, DECODER_WIDTH, DECODER_INNER, rank);
        add_lora(&b, "cit", 4, DECODER_WIDTH, DECODER_INNER, rank);
    }
    b.is_parameter = false;
    add_prompt_encoder(&b);
    b.seed = seed + 1; /* training has moved the decoder away from SAM's */
    if (!is_small) add_decoder_transformer(&b);
    add_decoder_heads(&b, n_classes + 1);
    b.seed = seed;
    b.is_parameter = true;
    if (is_small) add_final_lora(&b, rank);
    return b.status;
}

static io_status find_vit(const char *vit, const vit_sizes **out)
{
    for (size_t i = 0; i < sizeof vits / sizeof *vits; i++) {
        if (strcmp(vit, vits[i].name) != 0) continue;
        *out = &vits[i];
        return IO_OK;
    }
    return IO_FAIL(IO_ERR_ARGUMENT, "no network is called %s; expected vit_b, vit_l, vit_h, small or tiny", vit);
}

io_status pipe_seeded_create(const char *vit, uint64_t seed, int rank, int n_classes, int is_small, io_tensors **sam, io_tensors **adapter)
{
    io_status status = IO_OK;
    const vit_sizes *sizes = NULL;
    io_tensors *new_sam = NULL, *new_adapter = NULL;

    IO_TRY(find_vit(vit, &sizes));
    if (adapter && (rank < 1 || rank > RANK_MAX || n_classes < 1 || n_classes > CLASSES_MAX))
        return IO_FAIL(IO_ERR_ARGUMENT, "rank %d and %d classes; expected ranks 1 to %d and 1 to %d classes", rank, n_classes, RANK_MAX,
                       CLASSES_MAX);
    if (sam) {
        IO_TRY_GOTO(status, done, io_tensors_create(&new_sam));
        IO_TRY_GOTO(status, done, build_sam(sizes, seed, new_sam));
    }
    if (adapter) {
        IO_TRY_GOTO(status, done, io_tensors_create(&new_adapter));
        IO_TRY_GOTO(status, done, build_adapter(sizes, seed, rank, n_classes, is_small, new_adapter));
        *adapter = new_adapter;
        new_adapter = NULL;
    }
    if (sam) {
        *sam = new_sam;
        new_sam = NULL;
    }
done:
    io_tensors_free(&new_sam);
    io_tensors_free(&new_adapter);
    return status;
}
