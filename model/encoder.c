/* See encoder.h. The residual stream stays in f32; what feeds a product has the device's type. */
#include "model/encoder.h"

#include <stdio.h>

#include "model/flop.h"

static const float norm_eps = 1e-6f; /* build_sam.py: partial(LayerNorm, eps=1e-6), and LayerNorm2d */

static model_rows get_slot(const model_run *run, model_slot slot)
{
    return model_workspace_rows(run->workspace, slot);
}

static int count_rows(const model_run *run)
{
    const int G = run->config->image_size / run->config->patch;

    return run->b * G * G;
}

static io_status embed_patches(model_run *run, const model_encoder *encoder)
{
    const model_config *config = run->config;
    const int M = count_rows(run), C = config->width;
    const model_rows patches = get_slot(run, MODEL_SLOT_PATCHES), stream = get_slot(run, MODEL_SLOT_STREAM);
    const model_rows position = {(void *)encoder->pos_embed, C, MODEL_F32};

    IO_TRY(run->ops->patches_forward(run->backend, patches, model_workspace_data(run->workspace, MODEL_SLOT_IMAGES), run->b,
                                     config->image_size, config->patch));
    IO_TRY(model_run_linear(run, stream, patches, &encoder->patch, MODEL_STORE, M));
    IO_TRY(model_run_probe(run, "patch_embed", stream, M / run->b, C, false));
    IO_TRY(run->ops->add_forward(run->backend, stream, stream, position, M, C, M / run->b));
    return model_run_trace_linear(run, "patch", &encoder->patch, M);
}

static io_status normalize(model_run *run, model_rows out, const model_norm *norm)
{
    const int M = count_rows(run), C = run->config->width;
    const double bytes = (double)M * C * (run->type == MODEL_BF16 ? 6 : 8);

    IO_TRY(run->ops->layernorm_forward(run->backend, out, get_slot(run, MODEL_SLOT_STREAM), norm->gamma, norm->beta, norm_eps, M, C,
                                       MODEL_STORE));
    return model_run_trace(run, "layernorm", 8.0 * M * C, bytes);
}

/* stream += proj(attention(qkv(norm1(stream)))) */
static io_status attend(model_run *run, const model_block *block, bool is_global)
{
    const model_config *config = run->config;
    const int M = count_rows(run);
    const model_rows stream = get_slot(run, MODEL_SLOT_STREAM), normed = get_slot(run, MODEL_SLOT_NORMED);
    const model_rows qkv = get_slot(run, MODEL_SLOT_QKV), attended = get_slot(run, MODEL_SLOT_ATTENDED);
    const double bytes = 4.0 * M * config->width * (run->type == MODEL_BF16 ? 2 : 4);

    IO_TRY(normalize(run, normed, &block->norm1));
    IO_TRY(model_run_linear(run, qkv, normed, &block->qkv, MODEL_STORE, M));
    IO_TRY(model_run_trace_linear(run, "qkv", &block->qkv, M));
    IO_TRY(run->ops->attention_forward(run->backend, attended, NULL, qkv, block->relpos, run->b, config->image_size / config->patch));
    IO_TRY(
        model_run_trace(run, is_global ? "attention_global" : "attention_window", run->b * model_flop_attention(config, is_global), bytes));
    IO_TRY(model_run_linear(run, stream, attended, &block->proj, MODEL_ADD, M));
    return model_run_trace_linear(run, "proj", &block->proj, M);
}

/* stream += lin2(gelu(lin1(norm2(stream)))) */
static io_status apply_mlp(model_run *run, const model_block *block)
{
    const int M = count_rows(run);
    const model_rows normed = get_slot(run, MODEL_SLOT_NORMED), hidden = get_slot(run, MODEL_SLOT_HIDDEN);

    IO_TRY(normalize(run, normed, &block->norm2));
    IO_TRY(model_run_linear(run, hidden, normed, &block->lin1, MODEL_GELU, M));
    IO_TRY(model_run_trace_linear(run, "lin1", &block->lin1, M));
    IO_TRY(model_run_linear(run, get_slot(run, MODEL_SLOT_STREAM), hidden, &block->lin2, MODEL_ADD, M));
    return model_run_trace_linear(run, "lin2", &block->lin2, M);
}

static io_status run_block(model_run *run, const model_encoder *encoder, int i)
{
    char name[32];

    IO_TRY(attend(run, &encoder->blocks[i], run->config->is_global[i]));
    IO_TRY(apply_mlp(run, &encoder->blocks[i]));
    snprintf(name, sizeof name, "block.%d", i);
    return model_run_probe(run, name, get_slot(run, MODEL_SLOT_STREAM), count_rows(run) / run->b, run->config->width, false);
}

static io_status apply_neck(model_run *run, const model_encoder *encoder)
{
    const model_config *config = run->config;
    const int M = count_rows(run), G = config->image_size / config->patch, C = config->width, R = config->decoder_width;
    const model_rows neck = get_slot(run, MODEL_SLOT_NECK), normed = get_slot(run, MODEL_SLOT_NECK_NORMED);
    const model_rows embedding = get_slot(run, MODEL_SLOT_EMBEDDING);

    const double element = run->type == MODEL_BF16 ? 2 : 4, taps = 9.0 * R * R, flop = 2.0 * M * taps;

    IO_TRY(model_run_linear(run, neck, get_slot(run, MODEL_SLOT_STREAM), &encoder->neck0, MODEL_STORE, M));
    IO_TRY(model_run_trace(run, "neck_1x1", run->b * model_flop_neck(config) - flop, 4.0 * (M * ((double)C + R) + (double)C * R)));
    IO_TRY(run->ops->layernorm_forward(run->backend, normed, neck, encoder->neck1.gamma, encoder->neck1.beta, norm_eps, M, R, MODEL_STORE));
    IO_TRY(model_run_trace(run, "neck_norm", 8.0 * M * R, (4 + element) * M * R));
    IO_TRY(run->ops->conv3x3_forward(run->backend, neck, normed, encoder->neck2, run->b, G, R));
    IO_TRY(model_run_trace(run, "neck_3x3", flop, element * (M * (double)R + taps) + 4.0 * M * R));
    IO_TRY(
        run->ops->layernorm_forward(run->backend, embedding, neck, encoder->neck3.gamma, encoder->neck3.beta, norm_eps, M, R, MODEL_STORE));
    IO_TRY(model_run_probe(run, "embedding", embedding, M / run->b, R, true));
    return model_run_trace(run, "neck_norm", 8.0 * M * R, 8.0 * M * R);
}

io_status model_encoder_forward(model_run *run, const model_encoder *encoder)
{
    IO_TRY(embed_patches(run, encoder));
    for (int i = 0; i < run->config->depth; i++) IO_TRY(run_block(run, encoder, i));
    return apply_neck(run, encoder);
}
