/* Single operations against PyTorch and segment-anything on every instruction set; vectors from tests/golden/make_ops.py. */
#include "io/memory.h"
#include "io/tensors.h"
#include "tests/model/op_cases.h"

enum { MAX_PATH = 4096 };

/* Inputs and outputs are float32, so the vectors themselves carry 6e-8; chains of up to 196 terms add a few times that. */
static const double bound = 1e-11;

typedef struct pytorch_case {
    const char *name;
    void (*run)(const model_device *device, const io_tensors *vectors, const struct pytorch_case *self);
    int sizes[5];
    model_epilogue epilogue;
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

static void check_out(const io_tensors *vectors, const pytorch_case *self, const op_rows *out)
{
    size_t n;
    float *expected = read_vector(vectors, self, "out", &n);
    double *wide = malloc(n * sizeof *wide);

    assert_int_equal(n, (size_t)out->M * (size_t)out->C);
    for (size_t i = 0; i < n; i++) wide[i] = expected[i];
    op_check_nmse(self->name, out->values, wide, n, bound);
    free(expected);
    free(wide);
}

static void run_attention(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int B = self->sizes[0], G = self->sizes[1], side = self->sizes[2], heads = self->sizes[3], D = self->sizes[4];
    size_t n;
    float *rel_h = read_vector(vectors, self, "rel_h", &n), *rel_w = read_vector(vectors, self, "rel_w", &n);
    float *bias = read_vector(vectors, self, "bias", &n), *qkv = upload_vector(device, vectors, self, "qkv");
    op_rows out = op_rows_random(device, B * G * G, heads * D, MODEL_F32, 1);
    model_relpos *relpos;

    check_ok(device->ops->relpos_create(device->backend, side, D, heads, rel_h, rel_w, bias, MODEL_F32, &relpos));
    check_ok(device->ops->attention_forward(device->backend, out.rows, NULL, (model_rows){qkv, 3 * heads * D, MODEL_F32}, relpos, B, G));
    op_rows_fetch(device, &out);
    check_out(vectors, self, &out);
    device->ops->relpos_free(device->backend, &relpos);
    device->ops->memory_free(device->backend, (void **)&qkv);
    op_rows_free(device, &out);
    free(rel_h);
    free(rel_w);
    free(bias);
}

static void run_linear(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int M = self->sizes[0], n_in = self->sizes[1], n_out = self->sizes[2];
    size_t n;
    float *weight = read_vector(vectors, self, "weight", &n), *x = upload_vector(device, vectors, self, "x");
    float *bias = upload_vector(device, vectors, self, "bias");
    op_rows out = op_rows_random(device, M, n_out, MODEL_F32, 1);
    model_matrix *matrix;

    check_ok(device->ops->matrix_create(device->backend, n_out, n_in, weight, MODEL_F32, &matrix));
    check_ok(device->ops->linear_forward(device->backend, out.rows, (model_rows){x, n_in, MODEL_F32}, matrix, bias, self->epilogue, M));
    op_rows_fetch(device, &out);
    check_out(vectors, self, &out);
    device->ops->matrix_free(device->backend, &matrix);
    device->ops->memory_free(device->backend, (void **)&x);
    device->ops->memory_free(device->backend, (void **)&bias);
    op_rows_free(device, &out);
    free(weight);
}

static void run_layernorm(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int M = self->sizes[0], C = self->sizes[1];
    float *x = upload_vector(device, vectors, self, "x"), *gamma = upload_vector(device, vectors, self, "gamma");
    float *beta = upload_vector(device, vectors, self, "beta");
    op_rows out = op_rows_random(device, M, C, MODEL_F32, 1);

    check_ok(
        device->ops->layernorm_forward(device->backend, out.rows, (model_rows){x, C, MODEL_F32}, gamma, beta, 1e-6f, M, C, MODEL_STORE));
    op_rows_fetch(device, &out);
    check_out(vectors, self, &out);
    device->ops->memory_free(device->backend, (void **)&x);
    device->ops->memory_free(device->backend, (void **)&gamma);
    device->ops->memory_free(device->backend, (void **)&beta);
    op_rows_free(device, &out);
}

static void run_conv3x3(const model_device *device, const io_tensors *vectors, const pytorch_case *self)
{
    const int B = self->sizes[0], G = self->sizes[1], n_in = self->sizes[2], n_out = self->sizes[3];
    size_t n;
    float *weight = read_vector(vectors, self, "weight", &n), *x = upload_vector(device, vectors, self, "x");
    op_rows out = op_rows_random(device, B * G * G, n_out, MODEL_F32, 1);
    model_matrix *matrix;

    check_ok(device->ops->matrix_create(device->backend, n_out, 9 * n_in, weight, MODEL_F32, &matrix));
    check_ok(device->ops->conv3x3_forward(device->backend, out.rows, (model_rows){x, n_in, MODEL_F32}, matrix, B, G, n_in));
    op_rows_fetch(device, &out);
    check_out(vectors, self, &out);
    device->ops->matrix_free(device->backend, &matrix);
    device->ops->memory_free(device->backend, (void **)&x);
    op_rows_free(device, &out);
    free(weight);
}

/* The sizes are those of make_ops.py, in its order. */
static const pytorch_case cases[] = {
    {"windows_3_over_4", run_attention, {2, 4, 3, 2, 16}, MODEL_STORE},
    {"windows_14_over_16", run_attention, {1, 16, 14, 1, 16}, MODEL_STORE},
    {"global_5", run_attention, {1, 5, 5, 2, 16}, MODEL_STORE},
    {"global_3_vit_h", run_attention, {1, 3, 3, 1, 80}, MODEL_STORE},
    {"gelu", run_linear, {11, 19, 37}, MODEL_GELU},
    {"relu", run_linear, {5, 64, 48}, MODEL_RELU},
    {"layernorm", run_layernorm, {6, 77}, MODEL_STORE},
    {"conv3x3", run_conv3x3, {2, 5, 6, 10}, MODEL_STORE},
};

static void run_cases(void **state)
{
    const char *source = getenv("SAMED_SOURCE");
    char path[MAX_PATH];
    io_tensors *vectors = NULL;
    model_device *device = NULL;

    if (!source) fail_msg("SAMED_SOURCE must name the source folder (ctest sets it)");
    snprintf(path, sizeof path, "%s/tests/golden/ops_vectors.safetensors", source);
    check_ok(io_tensors_open(path, &vectors));
    setenv("SAMED_CPU", *state, 1);
    check_ok(model_device_open(MODEL_DEVICE_CPU, 0, MODEL_F32, 2, &device));
    op_random_reset();
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
