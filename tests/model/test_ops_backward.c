/* Gradients of single operations, the loss and the optimizers against PyTorch on every instruction set; vectors from
 * tests/golden/make_ops_backward.py. */
#include "io/memory.h"
#include "io/tensors.h"
#include "model/loss.h"
#include "tests/model/op_cases.h"

enum { MAX_PATH = 4096, MOST_CHANNELS = 8 };

/* As in test_ops_pytorch.c; a softmax and its difference lose another digit. */
static const double bound = 1e-10;

typedef struct pytorch_case {
    const char *name;
    void (*run)(const model_device *device, const io_tensors *vectors, const struct pytorch_case *self);
    int sizes[5];
} pytorch_case;

/* "<case>.<what>", n its number of values; free. */
static float *read_vector(const io_tensors *vectors, const pytorch_case *self, const char *what, size_t *n)
{
    char name[128];
    const io_tensor *tensor;
    float *values;

    snprintf(name, sizeof name, "%s.%s", self->name, what);
    tensor = io_tensors_find(vectors, name);
    if (!tensor) fail_msg("the vectors have no \"%s\"", name);
    values = malloc(tensor->n_elements * sizeof *values);
    assert_non_null(values);
    check_ok(io_tensor_read_f32(tensor, values));
    *n = tensor->n_elements;
    return values;
}

/* The same on the device; memory_free. */
static float *upload_vector(const model_device *device, const io_tensors *vectors, const pytorch_case *self, const char *what)
{
    size_t n;
    float *values = read_vector(vectors, self, what, &n), *memory;

    check_ok(device->ops->memory_create(device->backend, n * sizeof *values, (void **)&memory));
    check_ok(device->ops->upload(device->backend, memory, values, n * sizeof *values));
    free(values);
    return memory;
}

/* n zeros. */
static float *create_zeros(const model_device *device, size_t n)
{
    float *memory;

    check_ok(device->ops->memory_create(device->backend, n * sizeof *memory, (void **)&memory));
    return memory;
}

/* Compares memory with the vector and frees it. */
static void check_vector(const model_device *device, const io_tensors *vectors, const pytorch_case *self, const char *what, float *memory)
{
    size_t n;
    float *expected = read_vector(vectors, self, what, &n), *found = malloc(n * sizeof *found);
    double *wide = malloc(n * sizeof *wide), *wide_found = malloc(n * sizeof *wide_found);

    check_ok(device->ops->download(device->backend, found, memory, n * sizeof *found));
    for (size_t i = 0; i < n; i++) {
        wide[i] = expected[i];
        wide_found[i] = found[i];
    }
    op_check_nmse(self->name, wide_found, wide, n, bound);
    device->ops->memory_free(device->backend, (void **)&memory);
    free(expected);
    free(found);
    free(wide);
    free(wide_found);
}

static model_rows as_rows(float *data, int64_t stride)
{
    return (model_rows){data, stride, MODEL_F32};
}

static void free_memory(const model_device *device, float *memory)
{
    device->ops->memory_free(device->backend, (void **)&memory);
}

static void compare_attention(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int B = self->sizes[0], G = self->sizes[1], side = self->sizes[2], heads = self->sizes[3], D = self->sizes[4];
    const int M = B * G * G, C = heads * D;
    size_t n;
    float *rel_h = read_vector(vectors, self, "rel_h", &n), *rel_w = read_vector(vectors, self, "rel_w", &n);
    float *bias = read_vector(vectors, self, "bias", &n), *qkv = upload_vector(device, vectors, self, "qkv");
    float *dout = upload_vector(device, vectors, self, "dout"), *out = create_zeros(device, (size_t)(M * C));
    float *dqkv = create_zeros(device, (size_t)(M * 3 * C)), *log_sum = create_zeros(device, (size_t)(M * heads));
    model_relpos *relpos;

    check_ok(device->ops->relpos_create(device->backend, side, D, heads, rel_h, rel_w, bias, MODEL_F32, &relpos));
    check_ok(device->ops->attention_forward(device->backend, as_rows(out, C), log_sum, as_rows(qkv, 3 * C), relpos, B, G));
    check_ok(device->ops->attention_backward(device->backend, as_rows(dqkv, 3 * C), as_rows(dout, C), as_rows(qkv, 3 * C), as_rows(out, C),
                                             log_sum, relpos, B, G));
    check_vector(device, vectors, self, "dqkv", dqkv);
    device->ops->relpos_free(device->backend, &relpos);
    free_memory(device, qkv);
    free_memory(device, dout);
    free_memory(device, out);
    free_memory(device, log_sum);
    free(rel_h);
    free(rel_w);
    free(bias);
}

/* sizes[2]: ReLU. */
static void compare_activation(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int M = self->sizes[0], C = self->sizes[1];
    float *in = upload_vector(device, vectors, self, "input"), *dout = upload_vector(device, vectors, self, "dout");

    check_ok(device->ops->activation_backward(device->backend, as_rows(dout, C), as_rows(dout, C), as_rows(in, C),
                                              self->sizes[2] ? MODEL_RELU : MODEL_GELU, M, C));
    check_vector(device, vectors, self, "dinput", dout);
    free_memory(device, in);
}

static void compare_linear(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int M = self->sizes[0], n_in = self->sizes[1], n_out = self->sizes[2];
    const size_t n_weight = (size_t)(n_out * n_in);
    float *in = upload_vector(device, vectors, self, "input"), *dout = upload_vector(device, vectors, self, "dout");
    float *weight = upload_vector(device, vectors, self, "weight"), *din = create_zeros(device, (size_t)(M * n_in));
    float *dweight = create_zeros(device, n_weight), *dbias = create_zeros(device, (size_t)n_out), *zeros = calloc(n_weight, sizeof *zeros);
    model_matrix *transposed;

    check_ok(device->ops->matrix_create(device->backend, n_in, n_out, zeros, MODEL_F32, &transposed));
    check_ok(device->ops->matrix_update(device->backend, transposed, weight, true));
    check_ok(device->ops->linear_forward(device->backend, as_rows(din, n_in), as_rows(dout, n_out), transposed, NULL, MODEL_STORE, M));
    check_ok(device->ops->linear_backward(device->backend, dweight, dbias, as_rows(dout, n_out), as_rows(in, n_in), M, n_out, n_in));
    check_vector(device, vectors, self, "dinput", din);
    check_vector(device, vectors, self, "dweight", dweight);
    check_vector(device, vectors, self, "dbias", dbias);
    device->ops->matrix_free(device->backend, &transposed);
    free_memory(device, in);
    free_memory(device, dout);
    free_memory(device, weight);
    free(zeros);
}

static void compare_layernorm(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int M = self->sizes[0], C = self->sizes[1];
    float *in = upload_vector(device, vectors, self, "input"), *dout = upload_vector(device, vectors, self, "dout");
    float *gamma = upload_vector(device, vectors, self, "gamma"), *dgamma = create_zeros(device, (size_t)C);
    float *dbeta = create_zeros(device, (size_t)C);

    check_ok(device->ops->layernorm_backward(device->backend, as_rows(dout, C), dgamma, dbeta, as_rows(dout, C), as_rows(in, C), gamma,
                                             1e-6f, M, C, MODEL_STORE));
    check_vector(device, vectors, self, "dinput", dout);
    check_vector(device, vectors, self, "dgamma", dgamma);
    check_vector(device, vectors, self, "dbeta", dbeta);
    free_memory(device, in);
    free_memory(device, gamma);
}

static void compare_masks(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int K = self->sizes[0], n = self->sizes[1], C = self->sizes[2];
    float *hyper = upload_vector(device, vectors, self, "hyper"), *features = upload_vector(device, vectors, self, "features");
    float *dout = upload_vector(device, vectors, self, "dout"), *dhyper = create_zeros(device, (size_t)(K * C));
    float *dfeatures = create_zeros(device, (size_t)(n * C));

    check_ok(device->ops->masks_backward(device->backend, as_rows(dhyper, C), as_rows(dfeatures, C), dout, as_rows(hyper, C),
                                         as_rows(features, C), 1, K, n, C));
    check_vector(device, vectors, self, "dhyper", dhyper);
    check_vector(device, vectors, self, "dfeatures", dfeatures);
    free_memory(device, hyper);
    free_memory(device, features);
    free_memory(device, dout);
}

/* A transposed convolution as the decoder has it: a product, unfolded, the bias added to its pixels. */
static void compare_upscale(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int G = self->sizes[0], n_in = self->sizes[1], n_out = self->sizes[2], M = G * G;
    const size_t n_weight = (size_t)(4 * n_out * n_in);
    float *in = upload_vector(device, vectors, self, "input"), *dout = upload_vector(device, vectors, self, "dout");
    float *weight = upload_vector(device, vectors, self, "weight"), *dtaps = create_zeros(device, (size_t)(M * 4 * n_out));
    float *din = create_zeros(device, (size_t)(M * n_in)), *dweight = create_zeros(device, n_weight);
    float *dbias = create_zeros(device, (size_t)n_out), *zeros = calloc(n_weight, sizeof *zeros);
    model_matrix *transposed;

    check_ok(device->ops->matrix_create(device->backend, n_in, 4 * n_out, zeros, MODEL_F32, &transposed));
    check_ok(device->ops->matrix_update(device->backend, transposed, weight, true));
    check_ok(device->ops->linear_backward(device->backend, NULL, dbias, as_rows(dout, n_out), as_rows(NULL, 0), 4 * M, n_out, n_in));
    check_ok(device->ops->unfold_backward(device->backend, as_rows(dtaps, 4 * n_out), as_rows(dout, n_out), 1, G, n_out));
    check_ok(device->ops->linear_forward(device->backend, as_rows(din, n_in), as_rows(dtaps, 4 * n_out), transposed, NULL, MODEL_STORE, M));
    check_ok(
        device->ops->linear_backward(device->backend, dweight, NULL, as_rows(dtaps, 4 * n_out), as_rows(in, n_in), M, 4 * n_out, n_in));
    check_vector(device, vectors, self, "dinput", din);
    check_vector(device, vectors, self, "dweight", dweight);
    check_vector(device, vectors, self, "dbias", dbias);
    device->ops->matrix_free(device->backend, &transposed);
    free_memory(device, in);
    free_memory(device, dout);
    free_memory(device, weight);
    free_memory(device, dtaps);
    free(zeros);
}

/* The way back through a frozen 3x3 convolution is one with the channels exchanged and the taps turned by half a circle. */
static void compare_conv3x3(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int B = self->sizes[0], G = self->sizes[1], n_in = self->sizes[2], n_out = self->sizes[3];
    size_t n;
    float *weight = read_vector(vectors, self, "weight", &n), *turned = malloc(n * sizeof *turned);
    float *dout = upload_vector(device, vectors, self, "dout"), *din = create_zeros(device, (size_t)(B * G * G * n_in));
    model_matrix *transposed;

    for (int o = 0; o < n_out; o++)
        for (int i = 0; i < n_in; i++)
            for (int tap = 0; tap < 9; tap++) turned[(i * 9 + tap) * n_out + o] = weight[(o * n_in + i) * 9 + 8 - tap];
    check_ok(device->ops->matrix_create(device->backend, n_in, 9 * n_out, turned, MODEL_F32, &transposed));
    check_ok(device->ops->conv3x3_forward(device->backend, as_rows(din, n_in), as_rows(dout, n_out), transposed, B, G, n_out));
    check_vector(device, vectors, self, "dinput", din);
    device->ops->matrix_free(device->backend, &transposed);
    free_memory(device, dout);
    free(weight);
    free(turned);
}

static void compare_cross(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int n_q = self->sizes[0], n_k = self->sizes[1], I = self->sizes[2], heads = self->sizes[3];
    float *q = upload_vector(device, vectors, self, "q"), *k = upload_vector(device, vectors, self, "k");
    float *v = upload_vector(device, vectors, self, "v"), *dout = upload_vector(device, vectors, self, "dout");
    float *dq = create_zeros(device, (size_t)(n_q * I)), *dk = create_zeros(device, (size_t)(n_k * I));
    float *dv = create_zeros(device, (size_t)(n_k * I));

    check_ok(device->ops->cross_attention_backward(device->backend, as_rows(dq, I), as_rows(dk, I), as_rows(dv, I), as_rows(dout, I),
                                                   as_rows(q, I), as_rows(k, I), as_rows(v, I), 1, n_q, n_k, I, heads));
    check_vector(device, vectors, self, "dq", dq);
    check_vector(device, vectors, self, "dk", dk);
    check_vector(device, vectors, self, "dv", dv);
    free_memory(device, q);
    free_memory(device, k);
    free_memory(device, v);
    free_memory(device, dout);
}

static void compare_loss(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int K = self->sizes[0], n = self->sizes[1];
    size_t n_labels, one;
    float *logits = upload_vector(device, vectors, self, "logits"), *dlogits = create_zeros(device, (size_t)(K * n));
    float *classes = read_vector(vectors, self, "labels", &n_labels), *value = read_vector(vectors, self, "value", &one);
    float a, factors[2 * MOST_CHANNELS];
    uint8_t *labels = malloc(n_labels);
    double sums[3 * MOST_CHANNELS + 1];

    assert_int_equal(n_labels, n);
    for (int i = 0; i < n; i++) labels[i] = (uint8_t)classes[i];
    check_ok(device->ops->loss_forward(device->backend, sums, logits, labels, K, n));
    check_near(model_loss_join(sums, K, n, 0.8).total, value[0], 1e-6); /* f32 exponentials, a value near 1 */
    model_loss_factors(sums, K, n, 0.8, &a, factors);
    check_ok(device->ops->loss_backward(device->backend, dlogits, logits, labels, a, factors, K, n));
    check_vector(device, vectors, self, "dlogits", dlogits);
    free_memory(device, logits);
    free(classes);
    free(value);
    free(labels);
}

/* sizes[2]: SGD. */
static void compare_optimizer(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int n = self->sizes[0], n_steps = self->sizes[1], is_sgd = self->sizes[2];
    const model_adamw settings = {0.9f, 0.999f, 1e-8f, 0.1f};
    float *weight = upload_vector(device, vectors, self, "weight"), *gradients = upload_vector(device, vectors, self, "gradients");
    float *m = create_zeros(device, (size_t)n), *v = create_zeros(device, (size_t)n);

    for (int step = 1; step <= n_steps; step++) {
        const float *gradient = gradients + (step - 1) * n;

        if (is_sgd)
            check_ok(device->ops->sgd_update(device->backend, weight, m, gradient, (size_t)n, 0.005f, 0.9f, 1e-4f));
        else
            check_ok(device->ops->adamw_update(device->backend, weight, m, v, gradient, (size_t)n, &settings, 0.005f, step));
    }
    check_vector(device, vectors, self, "out", weight);
    free_memory(device, gradients);
    free_memory(device, m);
    free_memory(device, v);
}

/* The sizes are those of make_ops_backward.py, in its order. */
static const pytorch_case cases[] = {
    {"windows_3_over_4", compare_attention, {2, 4, 3, 2, 16}},
    {"windows_14_over_16", compare_attention, {1, 16, 14, 1, 16}},
    {"global_5", compare_attention, {1, 5, 5, 2, 16}},
    {"global_3_vit_h", compare_attention, {1, 3, 3, 1, 80}},
    {"gelu", compare_activation, {11, 37, 0}},
    {"relu", compare_activation, {5, 48, 1}},
    {"linear", compare_linear, {11, 19, 37}},
    {"layernorm", compare_layernorm, {6, 77}},
    {"cross", compare_cross, {7, 21, 24, 2}},
    {"loss", compare_loss, {4, 100}},
    {"adamw", compare_optimizer, {37, 3, 0}},
    {"sgd", compare_optimizer, {37, 3, 1}},
    {"masks", compare_masks, {5, 33, 7}},
    {"upscale", compare_upscale, {3, 6, 5}},
    {"conv3x3", compare_conv3x3, {2, 4, 5, 6}},
};

static void run_cases(void **state)
{
    const char *source = getenv("SAMED_SOURCE");
    char path[MAX_PATH];
    io_tensors *vectors = NULL;
    model_device *device = NULL;

    if (!source) fail_msg("SAMED_SOURCE must name the source folder (ctest sets it)");
    snprintf(path, sizeof path, "%s/tests/golden/ops_backward.safetensors", source);
    check_ok(io_tensors_open(path, &vectors));
    setenv("SAMED_CPU", *state, 1);
    check_ok(model_device_open(MODEL_DEVICE_CPU, 0, MODEL_F32, 2, &device));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) cases[i].run(device, vectors, &cases[i]);
    model_device_free(&device);
    io_tensors_free(&vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"plain C", run_cases, NULL, NULL, "generic"},
        {"AVX2", run_cases, NULL, NULL, "avx2"},
        {"best", run_cases, NULL, NULL, "best"},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
