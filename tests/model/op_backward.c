/* Cases of the gradients, in f32, attention and activations in bf16 too. What is compared with: central differences of the double-precision
 * references of the forward operations, or the gradient written out in double where the operation is linear in what is asked for, or where
 * differences would take minutes (attention). */
#include "tests/model/op_cases.h"

#include "model/loss.h"

/* As in op_cases.c: f32 chains err by 1e-6 at most, squared 1e-12; softmax and its differences cost another digit. */
static const double f32_bound = 1e-10;
enum { N_SAMPLES = 150 }; /* derivatives by central differences in one case */

static bool is_f32(const model_device *device)
{
    return device->type == MODEL_F32 && !strstr(device->description, "oneDNN");
}

/* What is differentiated: sum of dout * forward(inputs). */
typedef struct objective {
    double (*evaluate)(const struct objective *self);
    const int *sizes;
    double *a, *b, *c, *d, *e; /* inputs, as each evaluation needs them */
    double *out;
    const double *dout;
    const void *other;
    size_t n_out;
} objective;

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* found [n] against differences of the objective at up to N_SAMPLES elements of inputs [n]. The step makes the third derivative's share
 * 1e-8 and rounding's 1e-11 of values near 1. */
static void check_differences(const char *what, const objective *goal, double *inputs, const double *found, size_t n)
{
    const double h = 1e-4;
    double got[N_SAMPLES], expected[N_SAMPLES];
    const size_t n_samples = n < N_SAMPLES ? n : N_SAMPLES;

    for (size_t s = 0; s < n_samples; s++) {
        const size_t i = n_samples == n ? s : (size_t)((op_random() + 0.5) * (double)n) % n;
        const double at = inputs[i];
        double above, below;

        inputs[i] = at + h;
        above = goal->evaluate(goal);
        inputs[i] = at - h;
        below = goal->evaluate(goal);
        inputs[i] = at;
        expected[s] = (above - below) / (2 * h);
        got[s] = found[i];
    }
    op_check_nmse(what, got, expected, n_samples, f32_bound);
}

static double *fetch(const model_device *device, op_rows *rows)
{
    op_rows_fetch(device, rows);
    return rows->values;
}

/* n floats of the device as doubles; free. */
static double *download(const model_device *device, const float *from, size_t n)
{
    float *host = malloc(n * sizeof *host);
    double *out = malloc(n * sizeof *out);

    check_ok(device->ops->download(device->backend, host, from, n * sizeof *host));
    for (size_t i = 0; i < n; i++) out[i] = host[i];
    free(host);
    return out;
}

/* Gradients that add: what was there is there still. */
void run_linear_backward(const model_device *device, const op_case *self)
{
    const int M = self->sizes[0], n_out = self->sizes[1], n_in = self->sizes[2];
    const size_t n = (size_t)n_out * (size_t)n_in;
    op_rows dout = op_rows_random(device, M, n_out, MODEL_F32, 2), in = op_rows_random(device, M, n_in, MODEL_F32, 2);
    float *dweight, *dbias, *weight_before = op_floats_random(device, n, 1, &dweight);
    float *bias_before = op_floats_random(device, (size_t)n_out, 1, &dbias);
    double *expected = malloc(n * sizeof *expected), *bias = malloc((size_t)n_out * sizeof *bias), *found;

    for (size_t i = 0; i < n; i++) expected[i] = weight_before[i];
    for (int o = 0; o < n_out; o++) bias[o] = bias_before[o];
    for (int m = 0; m < M; m++)
        for (int o = 0; o < n_out; o++) {
            bias[o] += dout.values[m * n_out + o];
            for (int i = 0; i < n_in; i++) expected[o * n_in + i] += dout.values[m * n_out + o] * in.values[m * n_in + i];
        }
    check_ok(device->ops->linear_backward(device->backend, dweight, dbias, dout.rows, in.rows, M, n_out, n_in));
    found = download(device, dweight, n);
    op_check_nmse(self->name, found, expected, n, op_product_bound(device, MODEL_F32, f32_bound));
    free(found);
    found = download(device, dbias, (size_t)n_out);
    op_check_nmse(self->name, found, bias, (size_t)n_out, f32_bound);
    free(found);
    check_ok(device->ops->linear_backward(device->backend, NULL, NULL, dout.rows, in.rows, M, n_out, n_in));
    device->ops->memory_free(device->backend, (void **)&dweight);
    device->ops->memory_free(device->backend, (void **)&dbias);
    op_rows_free(device, &dout);
    op_rows_free(device, &in);
    free(weight_before);
    free(bias_before);
    free(expected);
    free(bias);
}

/* A matrix made of zeros and filled later, straight and turned. */
void run_matrix_update(const model_device *device, const op_case *self)
{
    const int M = self->sizes[0], n_out = self->sizes[1], n_in = self->sizes[2];
    const size_t n = (size_t)n_out * (size_t)n_in;
    float *device_weight, *weight, *zeros = calloc(n, sizeof *zeros);
    double *straight = malloc(n * sizeof *straight), *expected = calloc((size_t)(M * n_out), sizeof *expected);
    op_rows in = op_rows_random(device, M, n_in, MODEL_F32, 2), out = op_rows_random(device, M, n_out, MODEL_F32, 2);
    model_matrix *matrix;

    if (!is_f32(device)) goto done; /* an update is refused in bf16 and with oneDNN's packing */
    weight = op_floats_random(device, n, 1, &device_weight);
    check_ok(device->ops->matrix_create(device->backend, n_out, n_in, zeros, MODEL_F32, &matrix));
    for (int turned = 0; turned < 2; turned++) {
        for (int o = 0; o < n_out; o++)
            for (int i = 0; i < n_in; i++) straight[o * n_in + i] = turned ? weight[i * n_out + o] : weight[o * n_in + i];
        reference_linear(expected, in.values, straight, NULL, MODEL_STORE, M, n_out, n_in);
        check_ok(device->ops->matrix_update(device->backend, matrix, device_weight, turned));
        check_ok(device->ops->linear_forward(device->backend, out.rows, in.rows, matrix, NULL, MODEL_STORE, M));
        op_check_nmse(self->name, fetch(device, &out), expected, (size_t)(M * n_out), op_product_bound(device, MODEL_F32, f32_bound));
    }
    device->ops->matrix_free(device->backend, &matrix);
    device->ops->memory_free(device->backend, (void **)&device_weight);
    free(weight);
done:
    op_rows_free(device, &in);
    op_rows_free(device, &out);
    free(zeros);
    free(straight);
    free(expected);
}

static double activate(double x, model_epilogue activation)
{
    if (activation == MODEL_STORE) return x;
    return activation == MODEL_GELU ? x / 2 * (1 + erf(x / sqrt(2))) : x > 0 ? x : 0;
}

/* bf16 results have one rounding of up to 2^-8 of the power of two below: mean square up to 5e-6. */
static double bound_for_rows(const op_rows *rows)
{
    return rows->rows.type == MODEL_BF16 ? 1e-5 : f32_bound;
}

static void expect_slopes(double *expected, const op_rows *dout, const op_rows *in, model_epilogue activation)
{
    const double h = 1e-5;

    for (int i = 0; i < in->M * in->C; i++)
        expected[i] = dout->values[i] * (activate(in->values[i] + h, activation) - activate(in->values[i] - h, activation)) / (2 * h);
}

/* Once beside the inputs and once in place. */
static void check_slopes(const model_device *device, const op_case *self, const op_rows *in, op_rows *dout)
{
    const int M = in->M, C = in->C;
    const size_t n = (size_t)(M * C);
    op_rows din = op_rows_random(device, M, C, in->rows.type, 1);
    double *expected = malloc(n * sizeof *expected);

    expect_slopes(expected, dout, in, self->epilogue);
    check_ok(device->ops->activation_backward(device->backend, din.rows, dout->rows, in->rows, self->epilogue, M, C));
    op_check_nmse(self->name, fetch(device, &din), expected, n, bound_for_rows(&din));
    check_ok(device->ops->activation_backward(device->backend, dout->rows, dout->rows, in->rows, self->epilogue, M, C));
    op_check_nmse(self->name, fetch(device, dout), expected, n, bound_for_rows(dout));
    op_rows_free(device, &din);
    free(expected);
}

static void run_activation_types(const model_device *device, const op_case *self, model_type in_type, model_type out_type)
{
    const int M = self->sizes[0], C = self->sizes[1];
    const size_t n = (size_t)(M * C);
    op_rows in = op_rows_random(device, M, C, in_type, 12), out = op_rows_random(device, M, C, out_type, 1);
    op_rows dout = op_rows_random(device, M, C, out_type, 2);
    double *expected = malloc(n * sizeof *expected);

    if (self->epilogue != MODEL_STORE) check_slopes(device, self, &in, &dout);
    for (size_t i = 0; i < n; i++) expected[i] = activate(in.values[i], self->epilogue);
    check_ok(device->ops->activation_forward(device->backend, out.rows, in.rows, self->epilogue, M, C));
    op_check_nmse(self->name, fetch(device, &out), expected, n, bound_for_rows(&out));
    check_ok(device->ops->activation_forward(device->backend, in.rows, in.rows, self->epilogue, M, C));
    op_check_nmse(self->name, fetch(device, &in), expected, n, bound_for_rows(&in));
    op_rows_free(device, &in);
    op_rows_free(device, &out);
    op_rows_free(device, &dout);
    free(expected);
}

void run_activation(const model_device *device, const op_case *self)
{
    run_activation_types(device, self, MODEL_F32, MODEL_F32);
    if (device->type == MODEL_F32) return;
    run_activation_types(device, self, MODEL_BF16, MODEL_BF16);
    run_activation_types(device, self, MODEL_BF16, MODEL_F32);
    run_activation_types(device, self, MODEL_F32, MODEL_BF16);
}

static double evaluate_layernorm(const objective *self)
{
    reference_layernorm(self->out, self->a, self->other, (const float *)self->other + self->sizes[1], 1e-6, self->sizes[0], self->sizes[1],
                        MODEL_STORE);
    return dot(self->out, self->dout, self->n_out);
}

/* The sums over rows of dout * normed, and of dout. */
static void check_norm_weights(const model_device *device, const op_case *self, const op_rows *in, const double *dout, const float *dgamma,
                               const float *dbeta)
{
    const int M = self->sizes[0], C = self->sizes[1];
    float *ones = calloc(2 * (size_t)C, sizeof *ones);
    double *normed = malloc((size_t)(M * C) * sizeof *normed), *gamma = calloc((size_t)C, sizeof *gamma);
    double *beta = calloc((size_t)C, sizeof *beta), *found;

    for (int c = 0; c < C; c++) ones[c] = 1;
    reference_layernorm(normed, in->values, ones, ones + C, 1e-6, M, C, MODEL_STORE);
    for (int i = 0; i < M * C; i++) {
        gamma[i % C] += dout[i] * normed[i];
        beta[i % C] += dout[i];
    }
    found = download(device, dgamma, (size_t)C);
    op_check_nmse(self->name, found, gamma, (size_t)C, f32_bound);
    free(found);
    found = download(device, dbeta, (size_t)C);
    op_check_nmse(self->name, found, beta, (size_t)C, f32_bound);
    free(found);
    free(ones);
    free(normed);
    free(gamma);
    free(beta);
}

/* sizes[2]: adds into a gradient that is there, with frozen weights; else in place, with weights. */
void run_layernorm_backward(const model_device *device, const op_case *self)
{
    const int M = self->sizes[0], C = self->sizes[1], adds = self->sizes[2];
    const size_t n = (size_t)(M * C);
    op_rows in = op_rows_random(device, M, C, MODEL_F32, 3), dout = op_rows_random(device, M, C, MODEL_F32, 2);
    op_rows din = op_rows_random(device, M, C, MODEL_F32, 2);
    float *gamma, *weights = op_floats_random(device, 2 * (size_t)C, 2, &gamma), *grads;
    double *before = malloc(n * sizeof *before), *doubles = malloc(n * sizeof *doubles), *out = malloc(n * sizeof *out), *found;
    const objective goal = {
        .evaluate = evaluate_layernorm, .sizes = self->sizes, .a = in.values, .out = out, .dout = doubles, .other = weights, .n_out = n};

    memcpy(before, din.values, n * sizeof *before);
    memcpy(doubles, dout.values, n * sizeof *doubles);
    check_ok(device->ops->memory_create(device->backend, 2 * (size_t)C * sizeof *grads, (void **)&grads));
    check_ok(device->ops->layernorm_backward(device->backend, adds ? din.rows : dout.rows, adds ? NULL : grads, adds ? NULL : grads + C,
                                             dout.rows, in.rows, gamma, 1e-6f, M, C, adds ? MODEL_ADD : MODEL_STORE));
    found = fetch(device, adds ? &din : &dout);
    for (size_t i = 0; adds && i < n; i++) found[i] -= before[i];
    if (C > 1) check_differences(self->name, &goal, in.values, found, n);
    if (!adds) check_norm_weights(device, self, &in, doubles, grads, grads + C);
    device->ops->memory_free(device->backend, (void **)&grads);
    device->ops->memory_free(device->backend, (void **)&gamma);
    op_rows_free(device, &in);
    op_rows_free(device, &dout);
    op_rows_free(device, &din);
    free(weights);
    free(before);
    free(doubles);
    free(out);
}

static double evaluate_attention(const objective *self)
{
    const int *s = self->sizes;

    reference_attention(self->out, self->a, self->b, self->c, self->d, s[0], s[1], s[2], s[3], s[4]);
    return dot(self->out, self->dout, self->n_out);
}

static double *round_all(const float *from, size_t n, model_type type)
{
    double *out = malloc(n * sizeof *out);

    for (size_t i = 0; i < n; i++) out[i] = op_round(from[i], type);
    return out;
}

/* dq, dk and dv [M,width] apart, because they differ in size, and all together, because dq and dk of a lone key are zero. Probabilities
 * and their gradients, dout . v less its mean, are rounded to bf16, which keeps 2^-9 of numbers of which most cancel in the sums. */
static void check_parts(const op_case *self, const model_device *device, const double *found, const double *expected, int M, int width)
{
    const double bound = device->type == MODEL_BF16 ? 1e-4 : op_product_bound(device, MODEL_F32, f32_bound);
    double *parts[2] = {malloc((size_t)(M * width) * sizeof(double)), malloc((size_t)(M * width) * sizeof(double))};

    op_check_nmse(self->name, found, expected, (size_t)(3 * M * width), bound);
    for (int part = self->sizes[2] > 1 ? 0 : 2; part < 3; part++) {
        for (int i = 0; i < M * width; i++) {
            const int from = i / width * 3 * width + part * width + i % width;

            parts[0][i] = found[from];
            parts[1][i] = expected[from];
        }
        op_check_nmse(self->name, parts[0], parts[1], (size_t)(M * width), bound);
    }
    free(parts[0]);
    free(parts[1]);
}

void run_attention_backward(const model_device *device, const op_case *self)
{
    enum { FEW = 5000 }; /* numbers: so that differences are cheap */
    const int B = self->sizes[0], G = self->sizes[1], side = self->sizes[2], heads = self->sizes[3], D = self->sizes[4], M = B * G * G;
    const size_t n_table = (size_t)(2 * side - 1) * (size_t)D, n_bias = 3 * (size_t)heads * (size_t)D, n = (size_t)M * n_bias / 3;
    op_rows qkv = op_rows_random(device, M, (int)n_bias, device->type, 4), out = op_rows_random(device, M, heads * D, MODEL_F32, 1);
    op_rows dqkv = op_rows_random(device, M, (int)n_bias, MODEL_F32, 4), dout = op_rows_random(device, M, heads * D, MODEL_F32, 2);
    float *h = op_floats_random(device, n_table, 1, NULL), *w = op_floats_random(device, n_table, 1, NULL);
    float *bias = op_floats_random(device, n_bias, 3, NULL), *log_sum;
    double *expected = malloc(3 * n * sizeof *expected);
    const objective goal = {.evaluate = evaluate_attention,
                            .sizes = self->sizes,
                            .a = qkv.values,
                            .b = round_all(h, n_table, device->type),
                            .c = round_all(w, n_table, device->type),
                            .d = round_all(bias, n_bias, device->type),
                            .out = malloc(n * sizeof(double)),
                            .dout = dout.values,
                            .n_out = n};
    model_relpos *relpos;

    if (strstr(device->description, "oneDNN")) goto done; /* its attention is the same */
    reference_attention_backward(expected, dout.values, qkv.values, goal.b, goal.c, goal.d, B, G, side, heads, D);
    if (3 * n < FEW) check_differences("the reference of attention backward", &goal, qkv.values, expected, 3 * n);
    check_ok(device->ops->memory_create(device->backend, (size_t)M * (size_t)heads * sizeof *log_sum, (void **)&log_sum));
    check_ok(device->ops->relpos_create(device->backend, side, D, heads, h, w, bias, device->type, &relpos));
    check_ok(device->ops->attention_forward(device->backend, out.rows, log_sum, qkv.rows, relpos, B, G));
    check_ok(device->ops->attention_backward(device->backend, dqkv.rows, dout.rows, qkv.rows, out.rows, log_sum, relpos, B, G));
    check_parts(self, device, fetch(device, &dqkv), expected, M, heads * D);
    device->ops->relpos_free(device->backend, &relpos);
    device->ops->memory_free(device->backend, (void **)&log_sum);
done:
    op_rows_free(device, &qkv);
    op_rows_free(device, &out);
    op_rows_free(device, &dqkv);
    op_rows_free(device, &dout);
    free(h);
    free(w);
    free(bias);
    free(expected);
    free(goal.b);
    free(goal.c);
    free(goal.d);
    free(goal.out);
}

static double evaluate_cross(const objective *self)
{
    const int *s = self->sizes;

    reference_cross_attention(self->out, self->a, self->b, self->c, s[0], s[1], s[2], s[3], s[4]);
    return dot(self->out, self->dout, self->n_out);
}

void run_cross_attention_backward(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], n_q = self->sizes[1], n_k = self->sizes[2], heads = self->sizes[3], I = heads * self->sizes[4];
    op_rows q = op_rows_random(device, B * n_q, I, MODEL_F32, 6), k = op_rows_random(device, B * n_k, I, MODEL_F32, 6);
    op_rows v = op_rows_random(device, B * n_k, I, MODEL_F32, 2), dout = op_rows_random(device, B * n_q, I, MODEL_F32, 1);
    op_rows dq = op_rows_random(device, B * n_q, I, MODEL_F32, 1), dk = op_rows_random(device, B * n_k, I, MODEL_F32, 1);
    op_rows dv = op_rows_random(device, B * n_k, I, MODEL_F32, 1);
    const objective goal = {.evaluate = evaluate_cross,
                            .sizes = self->sizes,
                            .a = q.values,
                            .b = k.values,
                            .c = v.values,
                            .out = malloc((size_t)(B * n_q * I) * sizeof(double)),
                            .dout = dout.values,
                            .n_out = (size_t)(B * n_q * I)};

    check_ok(device->ops->cross_attention_backward(device->backend, dq.rows, dk.rows, dv.rows, dout.rows, q.rows, k.rows, v.rows, B, n_q,
                                                   n_k, I, heads));
    if (n_k > 1) check_differences(self->name, &goal, q.values, fetch(device, &dq), (size_t)(B * n_q * I));
    if (n_k > 1) check_differences(self->name, &goal, k.values, fetch(device, &dk), (size_t)(B * n_k * I));
    check_differences(self->name, &goal, v.values, fetch(device, &dv), (size_t)(B * n_k * I));
    op_rows_free(device, &q);
    op_rows_free(device, &k);
    op_rows_free(device, &v);
    op_rows_free(device, &dout);
    op_rows_free(device, &dq);
    op_rows_free(device, &dk);
    op_rows_free(device, &dv);
    free(goal.out);
}

/* A permutation: its gradient brings every number back. */
void run_unfold_backward(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], G = self->sizes[1], C = self->sizes[2], M = B * G * G;
    op_rows in = op_rows_random(device, M, 4 * C, MODEL_F32, 2), out = op_rows_random(device, 4 * M, C, MODEL_F32, 2);
    op_rows back = op_rows_random(device, M, 4 * C, MODEL_F32, 2);

    check_ok(device->ops->unfold_forward(device->backend, out.rows, in.rows, B, G, C));
    check_ok(device->ops->unfold_backward(device->backend, back.rows, out.rows, B, G, C));
    op_rows_fetch(device, &back);
    for (int i = 0; i < 4 * M * C; i++) check_near(back.values[i], in.values[i], 0);
    op_rows_free(device, &in);
    op_rows_free(device, &out);
    op_rows_free(device, &back);
}

void run_masks_backward(const model_device *device, const op_case *self)
{
    const int B = self->sizes[0], K = self->sizes[1], n = self->sizes[2], C = self->sizes[3];
    op_rows hyper = op_rows_random(device, B * K, C, MODEL_F32, 2), features = op_rows_random(device, B * n, C, MODEL_F32, 2);
    op_rows dhyper = op_rows_random(device, B * K, C, MODEL_F32, 2), dfeatures = op_rows_random(device, B * n, C, MODEL_F32, 2);
    float *device_dlogits, *dlogits = op_floats_random(device, (size_t)(B * K * n), 2, &device_dlogits);
    double *of_hyper = calloc((size_t)(B * K * C), sizeof *of_hyper), *of_features = calloc((size_t)(B * n * C), sizeof *of_features);

    for (int p = 0; p < B * K; p++)
        for (int i = 0; i < n; i++)
            for (int c = 0; c < C; c++) {
                const int pixel = p / K * n + i;

                of_hyper[p * C + c] += dlogits[p * n + i] * features.values[pixel * C + c];
                of_features[pixel * C + c] += dlogits[p * n + i] * hyper.values[p * C + c];
            }
    check_ok(
        device->ops->masks_backward(device->backend, dhyper.rows, dfeatures.rows, device_dlogits, hyper.rows, features.rows, B, K, n, C));
    op_check_nmse(self->name, fetch(device, &dhyper), of_hyper, (size_t)(B * K * C), f32_bound);
    op_check_nmse(self->name, fetch(device, &dfeatures), of_features, (size_t)(B * n * C), f32_bound);
    device->ops->memory_free(device->backend, (void **)&device_dlogits);
    op_rows_free(device, &hyper);
    op_rows_free(device, &features);
    op_rows_free(device, &dhyper);
    op_rows_free(device, &dfeatures);
    free(dlogits);
    free(of_hyper);
    free(of_features);
}

/* 0.2 cross entropy + 0.8 Dice of logits a [K,n] with labels `other`, as spec 5.5 writes it. */
static double evaluate_loss(const objective *self)
{
    const int K = self->sizes[0], n = self->sizes[1];
    const uint8_t *labels = self->other;
    double ce = 0, dice = 0, *p = self->out;

    for (int i = 0; i < n; i++) {
        double sum = 0;

        for (int c = 0; c < K; c++) sum += exp(self->a[c * n + i]);
        for (int c = 0; c < K; c++) p[c * n + i] = exp(self->a[c * n + i]) / sum;
        ce -= log(p[labels[i] * n + i]) / n;
    }
    for (int c = 0; c < K; c++) {
        double inside = 0, squares = 0, pixels = 0;

        for (int i = 0; i < n; i++) {
            inside += labels[i] == c ? p[c * n + i] : 0;
            squares += p[c * n + i] * p[c * n + i];
            pixels += labels[i] == c;
        }
        dice += (1 - (2 * inside + 1e-5) / (squares + pixels + 1e-5)) / K;
    }
    return 0.2 * ce + 0.8 * dice;
}

/* Some class has no pixel wherever there are few. */
void run_loss(const model_device *device, const op_case *self)
{
    const int K = self->sizes[0], n = self->sizes[1];
    const size_t n_logits = (size_t)(K * n);
    float *logits, *dlogits, *host = op_floats_random(device, n_logits, 8, &logits), a, *factors = malloc(2 * (size_t)K * sizeof *factors);
    uint8_t *labels = malloc((size_t)n), *device_labels;
    double *sums = malloc((3 * (size_t)K + 1) * sizeof *sums), *inputs = round_all(host, n_logits, MODEL_F32), *found;
    const objective goal = {
        .evaluate = evaluate_loss, .sizes = self->sizes, .a = inputs, .out = malloc(n_logits * sizeof(double)), .other = labels};

    for (int i = 0; i < n; i++) labels[i] = (uint8_t)((op_random() + 0.5) * K);
    check_ok(device->ops->memory_create(device->backend, n_logits * sizeof *dlogits, (void **)&dlogits));
    check_ok(device->ops->memory_create(device->backend, (size_t)n, (void **)&device_labels));
    check_ok(device->ops->upload(device->backend, device_labels, labels, (size_t)n));
    check_ok(device->ops->loss_forward(device->backend, sums, logits, device_labels, K, n));
    check_near(model_loss_join(sums, K, n, 0.8).total, evaluate_loss(&goal), 1e-6); /* f32 exponentials, values near 1 */
    model_loss_factors(sums, K, n, 0.8, &a, factors);
    check_ok(device->ops->loss_backward(device->backend, dlogits, logits, device_labels, a, factors, K, n));
    found = download(device, dlogits, n_logits);
    check_differences(self->name, &goal, inputs, found, n_logits);
    labels[n / 2] = (uint8_t)K;
    check_ok(device->ops->upload(device->backend, device_labels, labels, (size_t)n));
    check_fails(IO_ERR_RANGE, device->ops->loss_forward(device->backend, sums, logits, device_labels, K, n));
    device->ops->memory_free(device->backend, (void **)&device_labels);
    device->ops->memory_free(device->backend, (void **)&logits);
    device->ops->memory_free(device->backend, (void **)&dlogits);
    free(found);
    free(host);
    free(factors);
    free(labels);
    free(sums);
    free(inputs);
    free(goal.out);
}

/* Three steps; moments in double. sizes[1]: SGD. torch.optim's order of operations (spec 5.7). */
void run_update(const model_device *device, const op_case *self)
{
    const int n = self->sizes[0], is_sgd = self->sizes[1];
    const model_adamw settings = {0.9f, 0.999f, 1e-8f, 0.1f};
    float *weight, *m, *v, *g, *host = op_floats_random(device, (size_t)n, 2, &weight);
    double *expected = round_all(host, (size_t)n, MODEL_F32), *first = calloc((size_t)n, sizeof *first),
           *second = calloc((size_t)n, sizeof *second), *found;

    check_ok(device->ops->memory_create(device->backend, (size_t)n * sizeof *m, (void **)&m));
    check_ok(device->ops->memory_create(device->backend, (size_t)n * sizeof *v, (void **)&v));
    for (int step = 1; step <= 3; step++) {
        float *gradient = op_floats_random(device, (size_t)n, 1e-2, &g);

        for (int i = 0; i < n; i++) {
            const double rate = 0.005, x = is_sgd ? gradient[i] + 1e-4 * expected[i] : gradient[i];

            first[i] = is_sgd ? 0.9 * first[i] + x : 0.9 * first[i] + 0.1 * x;
            second[i] = 0.999 * second[i] + 0.001 * x * x;
            if (is_sgd)
                expected[i] -= rate * first[i];
            else
                expected[i] = expected[i] * (1 - rate * 0.1) -
                              rate / (1 - pow(0.9, step)) * first[i] / (sqrt(second[i] / (1 - pow(0.999, step))) + 1e-8);
        }
        if (is_sgd)
            check_ok(device->ops->sgd_update(device->backend, weight, m, g, (size_t)n, 0.005f, 0.9f, 1e-4f));
        else
            check_ok(device->ops->adamw_update(device->backend, weight, m, v, g, (size_t)n, &settings, 0.005f, step));
        device->ops->memory_free(device->backend, (void **)&g);
        free(gradient);
    }
    found = download(device, weight, (size_t)n);
    op_check_nmse(self->name, found, expected, (size_t)n, 1e-12); /* of weights near 1, moved by 0.015: each step rounds once */
    device->ops->memory_free(device->backend, (void **)&weight);
    device->ops->memory_free(device->backend, (void **)&m);
    device->ops->memory_free(device->backend, (void **)&v);
    free(host);
    free(expected);
    free(first);
    free(second);
    free(found);
}
