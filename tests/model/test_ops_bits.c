/* The same bits for any number of threads, and for rows and slices alone or together: this is what makes label maps independent of
 * ranks and batches. oneDNN's products are not among what is tested: they do not have this property (model/cpu/dnnl.h). */
#include "tests/model/op_cases.h"

enum { MOST_THREADS = 5 };

typedef struct setting {
    const char *level;    /* as SAMED_CPU takes it */
    const char *products; /* as SAMED_PRODUCTS takes it */
    model_type type;
} setting;

/* What one operation gave, kept to compare with. */
typedef struct output {
    double *values;
    size_t n;
} output;

static model_device *open_setting(const setting *at, int n_threads)
{
    model_device *device = NULL;

    setenv("SAMED_CPU", at->level, 1);
    setenv("SAMED_PRODUCTS", at->products, 1);
    if (model_device_open(MODEL_DEVICE_CPU, 0, at->type, n_threads, &device) == IO_OK) return device;
    print_message("not here: %s\n", io_last_error_text());
    return NULL;
}

/* Equal bits: doubles that came from f32 or bf16 compare as such, and NaN never passes. */
static void check_same(const char *what, int n_threads, const output *expected, const op_rows *found, int first_row)
{
    for (size_t i = 0; i < (size_t)found->M * (size_t)found->C; i++) {
        const double wanted = expected->values[(size_t)first_row * (size_t)found->C + i];

        if (!(found->values[i] == wanted))
            fail_msg("%s, %d threads, %d rows: element %zu is %.9g, was %.9g", what, n_threads, found->M, i, found->values[i], wanted);
    }
}

static output keep(const op_rows *rows)
{
    output kept = {.n = (size_t)rows->M * (size_t)rows->C};

    kept.values = malloc(kept.n * sizeof *kept.values);
    assert_non_null(kept.values);
    memcpy(kept.values, rows->values, kept.n * sizeof *kept.values);
    return kept;
}

/* Rows first_row.. of other rows, as rows of their own. */
static op_rows view_rows(const op_rows *rows, int first_row, int M)
{
    op_rows view = *rows;

    view.M = M;
    view.rows.data = (char *)rows->rows.data + (size_t)first_row * (size_t)rows->rows.stride * (rows->rows.type == MODEL_BF16 ? 2 : 4);
    return view;
}

/* A product of M rows: all at once on one thread, then parts of them on several. */
static void check_linear(const setting *at, int M, int n_out, int n_in, const int *parts, int n_parts)
{
    output expected = {0};

    for (int n_threads = 1; n_threads <= MOST_THREADS; n_threads++) {
        model_device *device = open_setting(at, n_threads);
        model_matrix *matrix;
        op_rows in;
        float *weight;

        if (!device) skip();
        op_random_reset();
        in = op_rows_random(device, M, n_in, at->type, 2);
        weight = op_floats_random(device, (size_t)n_out * (size_t)n_in, 0.1, NULL);
        check_ok(device->ops->matrix_create(device->backend, n_out, n_in, weight, at->type, &matrix));
        for (int p = 0; p < n_parts; p++) {
            const int rows = p ? parts[p] : M, first_row = M - rows;
            op_rows part = view_rows(&in, first_row, rows), out = op_rows_random(device, rows, n_out, MODEL_F32, 1);

            check_ok(device->ops->linear_forward(device->backend, out.rows, part.rows, matrix, NULL, MODEL_GELU, rows));
            op_rows_fetch(device, &out);
            if (!expected.values) expected = keep(&out);
            check_same("linear", n_threads, &expected, &out, first_row);
            op_rows_free(device, &out);
        }
        device->ops->matrix_free(device->backend, &matrix);
        op_rows_free(device, &in);
        free(weight);
        model_device_free(&device);
    }
    free(expected.values);
}

/* The gradient of B slices at once, then of the last one alone; a head's keys are cut into chunks. */
static void check_attention_backward(const setting *at, int B, int G, int side, int heads, int D)
{
    output expected = {0};

    for (int n_threads = 1; n_threads <= MOST_THREADS; n_threads++) {
        model_device *device = open_setting(at, n_threads);
        const int C = heads * D, M = B * G * G;
        float *table, *log_sum;
        model_relpos *relpos;
        op_rows qkv, out, dout;

        if (!device) skip();
        op_random_reset();
        qkv = op_rows_random(device, M, 3 * C, at->type, 4);
        out = op_rows_random(device, M, C, MODEL_F32, 1);
        dout = op_rows_random(device, M, C, MODEL_F32, 1);
        table = op_floats_random(device, (size_t)(2 * side * D + 3 * C), 1, NULL);
        check_ok(device->ops->memory_create(device->backend, (size_t)(M * heads) * sizeof *log_sum, (void **)&log_sum));
        check_ok(device->ops->relpos_create(device->backend, side, D, heads, table, table, table, at->type, &relpos));
        check_ok(device->ops->attention_forward(device->backend, out.rows, log_sum, qkv.rows, relpos, B, G));
        for (int slices = B; slices >= 1; slices -= B - 1) {
            const int first_row = (B - slices) * G * G, rows = slices * G * G;
            op_rows dqkv = op_rows_random(device, rows, 3 * C, MODEL_F32, 1);

            check_ok(device->ops->attention_backward(device->backend, dqkv.rows, view_rows(&dout, first_row, rows).rows,
                                                     view_rows(&qkv, first_row, rows).rows, view_rows(&out, first_row, rows).rows,
                                                     log_sum + first_row * heads, relpos, slices, G));
            op_rows_fetch(device, &dqkv);
            if (!expected.values) expected = keep(&dqkv);
            check_same("attention backward", n_threads, &expected, &dqkv, first_row);
            op_rows_free(device, &dqkv);
        }
        device->ops->relpos_free(device->backend, &relpos);
        device->ops->memory_free(device->backend, (void **)&log_sum);
        op_rows_free(device, &qkv);
        op_rows_free(device, &out);
        op_rows_free(device, &dout);
        free(table);
        model_device_free(&device);
    }
    free(expected.values);
}

/* Attention of B slices at once, then of the last one alone; with more threads the queries of a head are cut differently. */
static void check_attention(const setting *at, int B, int G, int side, int heads, int D)
{
    output expected = {0};

    for (int n_threads = 1; n_threads <= MOST_THREADS; n_threads++) {
        model_device *device = open_setting(at, n_threads);
        const size_t n_table = (size_t)(2 * side - 1) * (size_t)D;
        float *table, *bias;
        model_relpos *relpos;
        op_rows qkv;

        if (!device) skip();
        op_random_reset();
        qkv = op_rows_random(device, B * G * G, 3 * heads * D, at->type, 4);
        table = op_floats_random(device, n_table, 1, NULL);
        bias = op_floats_random(device, 3 * (size_t)heads * (size_t)D, 1, NULL);
        check_ok(device->ops->relpos_create(device->backend, side, D, heads, table, table, bias, at->type, &relpos));
        for (int slices = B; slices >= 1; slices -= B - 1) {
            const int first_row = (B - slices) * G * G, rows = slices * G * G;
            op_rows part = view_rows(&qkv, first_row, rows), out = op_rows_random(device, rows, heads * D, at->type, 1);

            check_ok(device->ops->attention_forward(device->backend, out.rows, NULL, part.rows, relpos, slices, G));
            op_rows_fetch(device, &out);
            if (!expected.values) expected = keep(&out);
            check_same("attention", n_threads, &expected, &out, first_row);
            op_rows_free(device, &out);
        }
        device->ops->relpos_free(device->backend, &relpos);
        op_rows_free(device, &qkv);
        free(table);
        free(bias);
        model_device_free(&device);
    }
    free(expected.values);
}

static void test_linear(void **state)
{
    const setting *at = *state;

    check_linear(at, 300, 96, 256, (int[]){300, 1, 9, 10, 97, 200}, 6);
    check_linear(at, 20, 64, 2048, (int[]){20, 1, 2, 10}, 4); /* the decoder's few rows and long inner dimension */
}

static void test_attention(void **state)
{
    const setting *at = *state;

    check_attention(at, 3, 16, 14, 2, 16); /* cut windows */
    check_attention(at, 2, 13, 13, 1, 32); /* one head for many threads */
    check_attention_backward(at, 3, 16, 14, 2, 16);
    check_attention_backward(at, 2, 19, 19, 1, 32);
}

static setting settings[] = {
    {"generic", "own", MODEL_F32}, {"avx2", "own", MODEL_F32}, {"best", "own", MODEL_F32}, {"best", "own", MODEL_BF16}};

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"linear, plain C", test_linear, NULL, NULL, &settings[0]},
        {"linear, AVX2", test_linear, NULL, NULL, &settings[1]},
        {"linear, best f32", test_linear, NULL, NULL, &settings[2]},
        {"linear, best bf16", test_linear, NULL, NULL, &settings[3]},
        {"attention, plain C", test_attention, NULL, NULL, &settings[0]},
        {"attention, AVX2", test_attention, NULL, NULL, &settings[1]},
        {"attention, best f32", test_attention, NULL, NULL, &settings[2]},
        {"attention, best bf16", test_attention, NULL, NULL, &settings[3]},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
