/* Cases of the decoder's own operations; all in f32 whatever the device's type. References in double, written as spec 4 says it. */
#include "tests/model/op_cases.h"

/* As in op_cases.c: f32 chains err by 1e-6 at most, squared 1e-12. */
static const double f32_bound = 1e-10;

void run_cross_attention(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], n_q = self->sizes[1], n_k = self->sizes[2], heads = self->sizes[3], D = self->sizes[4], I = heads * D;
    op_rows q = op_rows_random(device, B * n_q, I, MODEL_F32, 6), k = op_rows_random(device, B * n_k, I, MODEL_F32, 6);
    op_rows v = op_rows_random(device, B * n_k, I, MODEL_F32, 2), out = op_rows_random(device, B * n_q, I, MODEL_F32, 1);
    double *expected = malloc((size_t)(B * n_q * I) * sizeof *expected);

    reference_cross_attention(expected, q.values, k.values, v.values, B, n_q, n_k, heads, D);
    check_ok(device->ops->cross_attention_forward(device->backend, out.rows, q.rows, k.rows, v.rows, B, n_q, n_k, I, heads));
    op_rows_fetch(device, &out);
    op_check_nmse(self->name, out.values, expected, (size_t)(B * n_q * I), f32_bound);
    op_rows_free(device, &q);
    op_rows_free(device, &k);
    op_rows_free(device, &v);
    op_rows_free(device, &out);
    free(expected);
}

/* sizes[3]: into itself. */
void run_add(const model_device *device, const op_case *self)
{
    const int M = self->sizes[0], C = self->sizes[1], period = self->sizes[2];
    const bool in_place = self->sizes[3];
    op_rows a = op_rows_random(device, M, C, MODEL_F32, 2), b = op_rows_random(device, period, C, MODEL_F32, 2);
    op_rows other = op_rows_random(device, M, C, device->type, 1), *out = in_place ? &a : &other;
    double *expected = malloc((size_t)(M * C) * sizeof *expected);

    for (int i = 0; i < M * C; i++) /* one rounding in f32, and one more where the output is bf16 */
        expected[i] = op_round((float)(a.values[i] + b.values[i / C % period * C + i % C]), out->rows.type);
    check_ok(device->ops->add_forward(device->backend, out->rows, a.rows, b.rows, M, C, period));
    op_rows_fetch(device, out);
    for (int i = 0; i < M * C; i++) check_near(out->values[i], expected[i], 0);
    op_rows_free(device, &a);
    op_rows_free(device, &b);
    op_rows_free(device, &other);
    free(expected);
}

void run_unfold(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], G = self->sizes[1], C = self->sizes[2];
    op_rows in = op_rows_random(device, B * G * G, 4 * C, MODEL_F32, 2), out = op_rows_random(device, B * 4 * G * G, C, MODEL_F32, 1);

    check_ok(device->ops->unfold_forward(device->backend, out.rows, in.rows, B, G, C));
    op_rows_fetch(device, &out);
    for (int i = 0; i < B * 4 * G * G * C; i++) {
        const int c = i % C, x = i / C % (2 * G), y = i / (C * 2 * G) % (2 * G), b = i / (C * 4 * G * G);
        const int token = (b * G + y / 2) * G + x / 2, tap = y % 2 * 2 + x % 2;
        check_near(out.values[i], in.values[token * 4 * C + tap * C + c], 0);
    }
    op_rows_free(device, &in);
    op_rows_free(device, &out);
}

void run_masks(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], K = self->sizes[1], n = self->sizes[2], C = self->sizes[3];
    op_rows hyper = op_rows_random(device, B * K, C, MODEL_F32, 2), features = op_rows_random(device, B * n, C, MODEL_F32, 2);
    const size_t n_out = (size_t)(B * K * n);
    double *expected = calloc(n_out, sizeof *expected), *found = malloc(n_out * sizeof *found);
    float *device_logits, *logits = op_floats_random(device, n_out + 1, 1, &device_logits);
    const float guard = logits[n_out];

    for (int i = 0; i < B * K * n; i++)
        for (int c = 0; c < C; c++) expected[i] += hyper.values[i / n * C + c] * features.values[(i / (K * n) * n + i % n) * C + c];
    check_ok(device->ops->masks_forward(device->backend, device_logits, hyper.rows, features.rows, B, K, n, C));
    check_ok(device->ops->download(device->backend, logits, device_logits, (n_out + 1) * sizeof *logits));
    for (size_t i = 0; i < n_out; i++) found[i] = logits[i];
    op_check_nmse(self->name, found, expected, n_out, f32_bound);
    check_near(logits[n_out], guard, 0);
    device->ops->memory_free(device->backend, (void **)&device_logits);
    op_rows_free(device, &hyper);
    op_rows_free(device, &features);
    free(expected);
    free(found);
    free(logits);
}

/* Spec 4.3 in double. */
static double upsample(const float *plane, int L, int S, int y, int x)
{
    const double fy = fmax(0, (y + 0.5) * L / S - 0.5), fx = fmax(0, (x + 0.5) * L / S - 0.5);
    const int y0 = (int)fy, x0 = (int)fx, y1 = y0 + 1 < L ? y0 + 1 : y0, x1 = x0 + 1 < L ? x0 + 1 : x0;
    const double ty = fy - y0, tx = fx - x0;

    return (1 - ty) * ((1 - tx) * plane[y0 * L + x0] + tx * plane[y0 * L + x1]) +
           ty * ((1 - tx) * plane[y1 * L + x0] + tx * plane[y1 * L + x1]);
}

/* The label must be a channel that no other exceeds by more than f32 rounding; among equal channels it must be the first. */
static void check_label(const op_case *self, const float *logits, int y, int x, int label)
{
    const int K = self->sizes[1], L = self->sizes[2], S = self->sizes[3];
    double chosen;

    assert_in_range(label, 0, K - 1);
    chosen = upsample(logits + label * L * L, L, S, y, x);
    for (int k = 0; k < K; k++) {
        const double value = upsample(logits + k * L * L, L, S, y, x);
        if (!(value <= chosen + 1e-6) || (k < label && value == chosen))
            fail_msg("%s: pixel (%d,%d) has label %d (%g), but channel %d has %g", self->name, y, x, label, chosen, k, value);
    }
}

/* sizes[4]: every second channel repeats the one before, so that all pixels are tied. */
void run_labels(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], K = self->sizes[1], L = self->sizes[2], S = self->sizes[3];
    const size_t n = (size_t)(B * K * L * L), n_labels = (size_t)B * (size_t)S * (size_t)S;
    float *device_logits, *logits = op_floats_random(device, n, 4, &device_logits);
    uint16_t *device_labels, *labels = malloc((n_labels + 1) * sizeof *labels);

    for (int p = 1; self->sizes[4] && p < B * K; p += 2)
        memcpy(logits + p * L * L, logits + (p - 1) * L * L, sizeof(float) * (size_t)(L * L));
    check_ok(device->ops->upload(device->backend, device_logits, logits, n * sizeof *logits));
    check_ok(device->ops->memory_create(device->backend, (n_labels + 1) * sizeof *labels, (void **)&device_labels));
    labels[n_labels] = 51234;
    check_ok(device->ops->upload(device->backend, device_labels + n_labels, labels + n_labels, sizeof *labels));
    check_ok(device->ops->labels_forward(device->backend, device_labels, device_logits, B, K, L, S));
    check_ok(device->ops->download(device->backend, labels, device_labels, (n_labels + 1) * sizeof *labels));
    assert_int_equal(labels[n_labels], 51234);
    for (int i = 0; i < B * S * S; i++) check_label(self, logits + i / (S * S) * K * L * L, i / S % S, i % S, labels[i]);
    device->ops->memory_free(device->backend, (void **)&device_logits);
    device->ops->memory_free(device->backend, (void **)&device_labels);
    free(logits);
    free(labels);
}
