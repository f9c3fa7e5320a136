/* The operator cases: awkward sizes on purpose. */
#include "tests/model/op_cases.h"

/* f32: one chain of up to 3072 multiply-adds errs by about 1e-6 of the sum of magnitudes, squared 1e-12; 1e-10 leaves room for a device
 * that sums in another order and would still catch one wrong element in ten thousand. bf16 outputs are rounded to 8 bits: a relative
 * error of up to 2^-8 of the next power of two below, mean square up to 5e-6; inside attention the probabilities are rounded once more. */
static double bound_for(model_type type)
{
    return type == MODEL_BF16 ? 1e-5 : 1e-10;
}

/* A device may round a product to bf16 before it applies GELU, as PyTorch does: two roundings. */
static double bound_for_linear(model_type out_type, model_epilogue epilogue)
{
    return epilogue == MODEL_GELU ? 2 * bound_for(out_type) : bound_for(out_type);
}

/* The type of rows that a case asks for: bf16 only on a device that computes in it. */
static void run_linear_types(const model_device *device, const op_case *self, model_type in_type, model_type out_type)
{
    const int M = self->sizes[0], n_out = self->sizes[1], n_in = self->sizes[2];
    const bool has_bias = self->sizes[3];
    const size_t n_weight = (size_t)n_out * (size_t)n_in;
    op_rows in = op_rows_random(device, M, n_in, in_type, 2), out = op_rows_random(device, M, n_out, out_type, 2);
    float *device_bias, *weight = op_floats_random(device, n_weight, 2 / sqrt(n_in), NULL);
    float *bias = op_floats_random(device, (size_t)n_out, 1, &device_bias);
    double *rounded = malloc(n_weight * sizeof *rounded), *expected = malloc(sizeof(double) * (size_t)M * (size_t)n_out);
    model_matrix *matrix;

    for (size_t i = 0; i < n_weight; i++) rounded[i] = op_round(weight[i], in_type);
    memcpy(expected, out.values, sizeof(double) * (size_t)M * (size_t)n_out);
    reference_linear(expected, in.values, rounded, has_bias ? bias : NULL, self->epilogue, M, n_out, n_in);
    check_ok(device->ops->matrix_create(device->backend, n_out, n_in, weight, in_type, &matrix));
    check_ok(device->ops->linear_forward(device->backend, out.rows, in.rows, matrix, has_bias ? device_bias : NULL, self->epilogue, M));
    op_rows_fetch(device, &out);
    op_check_nmse(self->name, out.values, expected, (size_t)M * (size_t)n_out,
                  op_product_bound(device, in_type, bound_for_linear(out_type, self->epilogue)));
    device->ops->matrix_free(device->backend, &matrix);
    device->ops->memory_free(device->backend, (void **)&device_bias);
    op_rows_free(device, &in);
    op_rows_free(device, &out);
    free(weight);
    free(bias);
    free(rounded);
    free(expected);
}

static void run_linear(const model_device *device, const op_case *self)
{
    run_linear_types(device, self, MODEL_F32, MODEL_F32);
    if (device->type == MODEL_F32) return;
    run_linear_types(device, self, MODEL_BF16, MODEL_F32);
    if (self->epilogue != MODEL_ADD) run_linear_types(device, self, MODEL_BF16, MODEL_BF16);
}

static void run_layernorm(const model_device *device, const op_case *self)
{
    const int M = self->sizes[0], C = self->sizes[1];
    const double offset = self->sizes[2];
    float *device_gamma, *device_beta, *gamma = op_floats_random(device, (size_t)C, 2, &device_gamma);
    float *beta = op_floats_random(device, (size_t)C, 1, &device_beta);
    op_rows in = op_rows_random(device, M, C, MODEL_F32, 3), out = op_rows_random(device, M, C, device->type, 1);
    double *expected = malloc(sizeof(double) * (size_t)M * (size_t)C);

    for (int i = 0; i < M * C; i++) in.values[i] = (float)(in.values[i] + offset);
    for (int m = 0; m < M; m++)
        for (int c = 0; c < C; c++) {
            const float value = (float)in.values[m * C + c];

            check_ok(device->ops->upload(device->backend, (float *)in.rows.data + m * in.rows.stride + c, &value, sizeof value));
        }
    reference_layernorm(expected, in.values, gamma, beta, 1e-6, M, C, self->epilogue);
    check_ok(device->ops->layernorm_forward(device->backend, out.rows, in.rows, device_gamma, device_beta, 1e-6f, M, C, self->epilogue));
    op_rows_fetch(device, &out);
    op_check_nmse(self->name, out.values, expected, (size_t)M * (size_t)C, bound_for(device->type));
    device->ops->memory_free(device->backend, (void **)&device_gamma);
    device->ops->memory_free(device->backend, (void **)&device_beta);
    op_rows_free(device, &in);
    op_rows_free(device, &out);
    free(gamma);
    free(beta);
    free(expected);
}

static void run_conv3x3(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], G = self->sizes[1], n_in = self->sizes[2], n_out = self->sizes[3], M = B * G * G;
    const size_t n_weight = 9 * (size_t)n_in * (size_t)n_out;
    op_rows in = op_rows_random(device, M, n_in, device->type, 2), out = op_rows_random(device, M, n_out, MODEL_F32, 1);
    float *weight = op_floats_random(device, n_weight, 0.5, NULL);
    double *rounded = malloc(n_weight * sizeof *rounded), *expected = malloc(sizeof(double) * (size_t)M * (size_t)n_out);
    model_matrix *matrix;

    for (size_t i = 0; i < n_weight; i++) rounded[i] = op_round(weight[i], device->type);
    reference_conv3x3(expected, in.values, rounded, B, G, n_in, n_out);
    check_ok(device->ops->matrix_create(device->backend, n_out, 9 * n_in, weight, device->type, &matrix));
    check_ok(device->ops->conv3x3_forward(device->backend, out.rows, in.rows, matrix, B, G, n_in));
    op_rows_fetch(device, &out);
    op_check_nmse(self->name, out.values, expected, (size_t)M * (size_t)n_out,
                  op_product_bound(device, device->type, bound_for(MODEL_F32)));
    device->ops->matrix_free(device->backend, &matrix);
    op_rows_free(device, &in);
    op_rows_free(device, &out);
    free(weight);
    free(rounded);
    free(expected);
}

static double *round_all(const float *values, size_t n, model_type type)
{
    double *rounded = malloc(n * sizeof *rounded);

    assert_non_null(rounded);
    for (size_t i = 0; i < n; i++) rounded[i] = op_round(values[i], type);
    return rounded;
}

static void run_attention(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], G = self->sizes[1], side = self->sizes[2], heads = self->sizes[3], D = self->sizes[4], M = B * G * G;
    const size_t n_table = (size_t)(2 * side - 1) * (size_t)D, n_bias = 3 * (size_t)heads * (size_t)D, n = (size_t)M * n_bias / 3;
    /* values of up to 2 make logits of up to +-40 at these head sizes: sharp rows as well as flat ones */
    op_rows qkv = op_rows_random(device, M, (int)n_bias, device->type, 4), out = op_rows_random(device, M, heads * D, device->type, 1);
    float *rel_h = op_floats_random(device, n_table, 1, NULL), *rel_w = op_floats_random(device, n_table, 1, NULL);
    float *bias = op_floats_random(device, n_bias, 3, NULL);
    double *h = round_all(rel_h, n_table, device->type), *w = round_all(rel_w, n_table, device->type);
    double *b = round_all(bias, n_bias, device->type), *expected = malloc(n * sizeof *expected);
    model_relpos *relpos;

    reference_attention(expected, qkv.values, h, w, b, B, G, side, heads, D);
    check_ok(device->ops->relpos_create(device->backend, side, D, heads, rel_h, rel_w, bias, device->type, &relpos));
    check_ok(device->ops->attention_forward(device->backend, out.rows, NULL, qkv.rows, relpos, B, G));
    op_rows_fetch(device, &out);
    op_check_nmse(self->name, out.values, expected, n, op_product_bound(device, device->type, bound_for(device->type)));
    device->ops->relpos_free(device->backend, &relpos);
    op_rows_free(device, &qkv);
    op_rows_free(device, &out);
    free(rel_h);
    free(rel_w);
    free(bias);
    free(h);
    free(w);
    free(b);
    free(expected);
}

static void run_patches(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], S = self->sizes[1], P = self->sizes[2], G = S / P;
    float *device_images, *images = op_floats_random(device, (size_t)(B * S * S), 2, &device_images);
    op_rows out = op_rows_random(device, B * G * G, P * P, device->type, 1);

    check_ok(device->ops->patches_forward(device->backend, out.rows, device_images, B, S, P));
    op_rows_fetch(device, &out);
    for (int i = 0; i < B * S * S; i++) {
        const int b = i / (S * S), y = i / S % S, x = i % S, m = (b * G + y / P) * G + x / P;

        if (y / P >= G || x / P >= G) continue;
        check_near(out.values[m * P * P + y % P * P + x % P], op_round(images[i], device->type), 0);
    }
    device->ops->memory_free(device->backend, (void **)&device_images);
    op_rows_free(device, &out);
    free(images);
}

const op_case op_cases[] = {
    {"linear, sizes of ViT-B, a few rows", run_linear, {19, 768, 768, 1}, MODEL_STORE},
    {"linear, long inner dimension", run_linear, {9, 48, 3072, 1}, MODEL_ADD},
    {"linear, one row", run_linear, {1, 256, 2048, 1}, MODEL_RELU},
    {"linear, one of everything", run_linear, {1, 1, 1, 0}, MODEL_STORE},
    {"linear, odd sizes, no bias", run_linear, {10, 37, 27, 0}, MODEL_GELU},
    {"linear, odd sizes, sum", run_linear, {103, 51, 33, 1}, MODEL_ADD},
    {"linear, nine channels", run_linear, {130, 9, 256, 1}, MODEL_STORE},
    {"linear, GELU over several row blocks", run_linear, {211, 100, 64, 1}, MODEL_GELU},
    {"layer norm, width of ViT-B", run_layernorm, {5, 768}, MODEL_STORE},
    {"layer norm, far from zero", run_layernorm, {4, 256, 100}, MODEL_STORE},
    {"layer norm, odd width, GELU", run_layernorm, {7, 37}, MODEL_GELU},
    {"layer norm, part of a warp", run_layernorm, {6, 36}, MODEL_STORE},
    {"layer norm, width 1", run_layernorm, {3, 1}, MODEL_STORE},
    {"conv3x3, neck in small", run_conv3x3, {2, 7, 32, 48}, MODEL_STORE},
    {"conv3x3, one token", run_conv3x3, {1, 1, 6, 5}, MODEL_STORE},
    {"conv3x3, wide and shallow", run_conv3x3, {1, 12, 10, 33}, MODEL_STORE},
    {"attention, windows of 14 over 32", run_attention, {1, 32, 14, 1, 64}, MODEL_STORE},
    {"attention, windows of 14 over 14", run_attention, {2, 14, 14, 1, 64}, MODEL_STORE},
    {"attention, windows of 3 over 4", run_attention, {2, 4, 3, 3, 16}, MODEL_STORE},
    {"attention, windows of 5 over 16, head size of ViT-H", run_attention, {1, 16, 5, 2, 80}, MODEL_STORE},
    {"attention, windows of 17 over 33", run_attention, {1, 33, 17, 1, 32}, MODEL_STORE},
    {"attention, windows of 1", run_attention, {1, 3, 1, 2, 16}, MODEL_STORE},
    {"attention, global over 32", run_attention, {1, 32, 32, 1, 64}, MODEL_STORE},
    {"attention, global over 4", run_attention, {3, 4, 4, 2, 16}, MODEL_STORE},
    {"attention, global over 17, head size of ViT-H", run_attention, {1, 17, 17, 2, 80}, MODEL_STORE},
    {"attention, global over 9, head size 24", run_attention, {1, 9, 9, 2, 24}, MODEL_STORE},
    {"attention, windows of 4 over 9, head size 12", run_attention, {1, 9, 4, 2, 12}, MODEL_STORE},
    {"attention, one token", run_attention, {1, 1, 1, 2, 16}, MODEL_STORE},
    {"patches of 16", run_patches, {2, 48, 16}, MODEL_STORE},
    {"patches of 3", run_patches, {1, 12, 3}, MODEL_STORE},
    {"cross attention, tokens to image", run_cross_attention, {2, 10, 1024, 2, 16}, MODEL_STORE},
    {"cross attention, image to tokens", run_cross_attention, {1, 145, 10, 2, 16}, MODEL_STORE},
    {"cross attention, among tokens", run_cross_attention, {3, 10, 10, 8, 32}, MODEL_STORE},
    {"cross attention, odd sizes", run_cross_attention, {2, 67, 21, 3, 5}, MODEL_STORE},
    {"cross attention, head size 12", run_cross_attention, {1, 5, 9, 2, 12}, MODEL_STORE},
    {"cross attention, one of everything", run_cross_attention, {1, 1, 1, 1, 1}, MODEL_STORE},
    {"add, position to tokens", run_add, {50, 256, 25}, MODEL_STORE},
    {"add, odd sizes", run_add, {7, 37, 3}, MODEL_STORE},
    {"add, into itself", run_add, {6, 19, 1, 1}, MODEL_STORE},
    {"unfold, as in the first upscaling", run_unfold, {2, 5, 64}, MODEL_STORE},
    {"unfold, one channel", run_unfold, {1, 3, 1}, MODEL_STORE},
    {"masks, sizes of SAMed", run_masks, {2, 9, 1024, 32}, MODEL_STORE},
    {"masks, odd sizes", run_masks, {2, 3, 77, 5}, MODEL_STORE},
    {"masks, one of everything", run_masks, {1, 1, 1, 1}, MODEL_STORE},
    {"masks, several tiles", run_masks, {1, 18, 130, 40}, MODEL_STORE}, /* of a GPU's kernel, in each dimension */
    {"labels, nine channels, times 4", run_labels, {2, 9, 40, 160}, MODEL_STORE},
    {"labels, ties everywhere", run_labels, {1, 8, 16, 64, 1}, MODEL_STORE},
    {"labels, many channels, times 2", run_labels, {1, 70, 12, 24}, MODEL_STORE},
    {"labels, times 5", run_labels, {1, 4, 12, 60}, MODEL_STORE},
    {"labels, times 3.5", run_labels, {1, 4, 8, 28}, MODEL_STORE},
    {"labels, one logit", run_labels, {1, 2, 1, 4}, MODEL_STORE},
    {"attention, 8 tokens inside a window of 14", run_attention, {1, 8, 14, 2, 64}, MODEL_STORE},
    {"attention, 9 tokens inside a window of 64", run_attention, {1, 9, 64, 1, 64}, MODEL_STORE},
    {"attention, NaN stays NaN", run_attention_nan, {2, 4, 4, 2, 16}, MODEL_STORE},
    {"attention, a window too large for GPUs", run_attention_refused, {512, 1, 64}, MODEL_STORE},
    {"a matrix after a recorded pass", run_recorded, {3, 20000}, MODEL_STORE},
    {"matrix update, decoder's MLP", run_matrix_update, {10, 256, 64}, MODEL_STORE},
    {"matrix update, odd sizes", run_matrix_update, {7, 37, 29}, MODEL_STORE},
    {"linear backward, LoRA's way down", run_linear_backward, {65, 4, 768}, MODEL_STORE},
    {"linear backward, LoRA's way up", run_linear_backward, {65, 768, 4}, MODEL_STORE},
    {"linear backward, odd sizes", run_linear_backward, {13, 37, 251}, MODEL_STORE},
    {"linear backward, one of everything", run_linear_backward, {1, 1, 1}, MODEL_STORE},
    {"activation, GELU", run_activation, {7, 131}, MODEL_GELU},
    {"activation, ReLU", run_activation, {7, 131}, MODEL_RELU},
    {"activation, GELU over several blocks", run_activation, {9, 132}, MODEL_GELU},
    {"activation, rounding alone", run_activation, {5, 36}, MODEL_STORE},
    {"layer norm backward, width of ViT-B, adds", run_layernorm_backward, {3, 768, 1}, MODEL_STORE},
    {"layer norm backward, odd width", run_layernorm_backward, {5, 37}, MODEL_STORE},
    {"layer norm backward, part of a warp", run_layernorm_backward, {6, 36}, MODEL_STORE},
    {"layer norm backward, decoder", run_layernorm_backward, {10, 256}, MODEL_STORE},
    {"attention backward, windows of 14 over 16", run_attention_backward, {1, 16, 14, 1, 64}, MODEL_STORE},
    {"attention backward, windows of 3 over 4", run_attention_backward, {2, 4, 3, 3, 16}, MODEL_STORE},
    {"attention backward, windows of 5 over 16, head size of ViT-H", run_attention_backward, {1, 16, 5, 2, 80}, MODEL_STORE},
    {"attention backward, 8 tokens inside a window of 14", run_attention_backward, {1, 8, 14, 2, 64}, MODEL_STORE},
    {"attention backward, windows of 17 over 19", run_attention_backward, {1, 19, 17, 1, 32}, MODEL_STORE},
    {"attention backward, windows of 1", run_attention_backward, {1, 3, 1, 2, 16}, MODEL_STORE},
    {"attention backward, global over 17", run_attention_backward, {1, 17, 17, 1, 64}, MODEL_STORE},
    {"attention backward, global over 33", run_attention_backward, {1, 33, 33, 1, 16}, MODEL_STORE},
    {"attention backward, global over 4", run_attention_backward, {2, 4, 4, 2, 16}, MODEL_STORE},
    {"attention backward, one token", run_attention_backward, {1, 1, 1, 2, 16}, MODEL_STORE},
    {"attention backward, global over 9, head size 24", run_attention_backward, {1, 9, 9, 2, 24}, MODEL_STORE},
    {"attention backward, windows of 4 over 9, head size 12", run_attention_backward, {1, 9, 4, 2, 12}, MODEL_STORE},
    {"attention backward, windows of 3 over 5, head size 5", run_attention_backward, {1, 5, 3, 2, 5}, MODEL_STORE},
    {"cross attention backward, tokens to image", run_cross_attention_backward, {2, 10, 256, 2, 16}, MODEL_STORE},
    {"cross attention backward, image to tokens", run_cross_attention_backward, {1, 145, 10, 2, 16}, MODEL_STORE},
    {"cross attention backward, odd sizes", run_cross_attention_backward, {2, 67, 21, 3, 5}, MODEL_STORE},
    {"cross attention backward, head size 12", run_cross_attention_backward, {1, 5, 9, 2, 12}, MODEL_STORE},
    {"cross attention backward, one of everything", run_cross_attention_backward, {1, 1, 1, 1, 1}, MODEL_STORE},
    {"unfold backward", run_unfold_backward, {2, 5, 13}, MODEL_STORE},
    {"masks backward, sizes of SAMed", run_masks_backward, {2, 9, 1024, 32}, MODEL_STORE},
    {"masks backward, odd sizes", run_masks_backward, {2, 3, 77, 5}, MODEL_STORE},
    {"loss, nine channels", run_loss, {9, 300}, MODEL_STORE},
    {"loss, absent classes", run_loss, {5, 3}, MODEL_STORE},
    {"AdamW", run_update, {4103, 0}, MODEL_STORE},
    {"SGD with momentum", run_update, {101, 1}, MODEL_STORE},
    {"exact sums, several blocks", run_exact, {1031, 3}, MODEL_STORE},
    {"exact sums, one value", run_exact, {1, 1}, MODEL_STORE},
    {"memory, several pieces", run_memory, {3300007}, MODEL_STORE},
    {"memory, one number", run_memory, {1}, MODEL_STORE},
    {"lanes, twice in a row", run_lanes, {7, 37, 24}, MODEL_STORE},
    {"graph, recorded work again", run_replayed, {2, 4, 3, 2, 16, 24}, MODEL_STORE},
};
const int n_op_cases = sizeof op_cases / sizeof *op_cases;
