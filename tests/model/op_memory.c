/* Cases of what a backend keeps and moves: memory longer than any buffer on the way, operations that are recorded and run again, gradients
 * into exact sums, and lanes, whose copies run beside the computing. */
#include "tests/model/op_cases.h"

#include <math.h>

#include "model/exact.h"

static float *fill(size_t n, double scale)
{
    float *values = malloc(n * sizeof *values);

    assert_non_null(values);
    for (size_t i = 0; i < n; i++) values[i] = (float)(scale * op_random());
    return values;
}

static void check_bytes(const model_device *device, const void *memory, const float *expected, size_t n, const char *what)
{
    float *found = fill(n, 1);

    check_ok(device->ops->download(device->backend, found, memory, n * sizeof *found));
    for (size_t i = 0; i < n; i++)
        if (memcmp(&found[i], &expected[i], sizeof *found) != 0)
            fail_msg("%s: number %zu of %zu is %g, expected %g", what, i, n, (double)found[i], (double)expected[i]);
    free(found);
}

/* Memory is zero when it is new. Uploads may be overwritten by the caller as soon as they return; these are of several pieces of 4 MB,
 * which is what the CUDA backend stages at a time. */
void run_memory(const model_device *device, const op_case *self)
{
    const model_ops *ops = device->ops;
    const size_t n = (size_t)self->sizes[0], half = n / 2, first = n / 3, n_zero = n / 5;
    float *expected = calloc(n, sizeof *expected), *from;
    char *memory = NULL;

    check_ok(ops->memory_create(device->backend, n * sizeof *expected, (void **)&memory));
    check_bytes(device, memory, expected, n, "new memory");
    free(expected);
    expected = fill(n, 2);
    from = malloc(n * sizeof *from);
    memcpy(from, expected, n * sizeof *from);
    check_ok(ops->upload(device->backend, memory, from, half * sizeof *from));
    check_ok(ops->upload(device->backend, memory + half * sizeof *from, from + half, (n - half) * sizeof *from));
    memset(from, 0xff, n * sizeof *from);
    check_bytes(device, memory, expected, n, "after upload");
    check_ok(ops->memory_zero(device->backend, memory + first * sizeof *from, n_zero * sizeof *from));
    memset(expected + first, 0, n_zero * sizeof *expected);
    check_bytes(device, memory, expected, n, "after zero");
    ops->memory_free(device->backend, (void **)&memory);
    assert_null(memory);
    free(from);
    free(expected);
}

/* A small chain: attention, a product, layer norm. */
typedef struct chain {
    op_rows qkv, attended, product, out;
    float *bias, *gamma, *beta; /* the device's */
    model_matrix *matrix;
    model_relpos *relpos;
    int B, G, n_out;
} chain;

static void make_constants(const model_device *device, chain *it, int side, int heads, int D)
{
    float *host[] = {op_floats_random(device, (size_t)(2 * side - 1) * (size_t)D, 1, NULL),
                     op_floats_random(device, (size_t)(2 * side - 1) * (size_t)D, 1, NULL),
                     op_floats_random(device, 3 * (size_t)heads * (size_t)D, 3, NULL),
                     op_floats_random(device, (size_t)it->n_out * (size_t)heads * (size_t)D, 1, NULL),
                     op_floats_random(device, (size_t)it->n_out, 1, &it->bias),
                     op_floats_random(device, (size_t)it->n_out, 1, &it->gamma),
                     op_floats_random(device, (size_t)it->n_out, 1, &it->beta)};

    check_ok(device->ops->relpos_create(device->backend, side, D, heads, host[0], host[1], host[2], device->type, &it->relpos));
    check_ok(device->ops->matrix_create(device->backend, it->n_out, heads * D, host[3], device->type, &it->matrix));
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) free(host[i]);
}

static void run_chain(const model_device *device, chain *it)
{
    const model_ops *ops = device->ops;
    const int M = it->B * it->G * it->G;

    check_ok(ops->attention_forward(device->backend, it->attended.rows, NULL, it->qkv.rows, it->relpos, it->B, it->G));
    check_ok(ops->linear_forward(device->backend, it->product.rows, it->attended.rows, it->matrix, it->bias, MODEL_STORE, M));
    check_ok(
        ops->layernorm_forward(device->backend, it->out.rows, it->product.rows, it->gamma, it->beta, 1e-6f, M, it->n_out, MODEL_STORE));
}

static void upload_block(const model_device *device, const op_rows *to, const op_rows *from)
{
    check_ok(device->ops->upload(device->backend, to->memory, from->host, from->n_bytes));
}

static void free_chain(const model_device *device, chain *it)
{
    device->ops->matrix_free(device->backend, &it->matrix);
    device->ops->relpos_free(device->backend, &it->relpos);
    device->ops->memory_free(device->backend, (void **)&it->bias);
    device->ops->memory_free(device->backend, (void **)&it->gamma);
    device->ops->memory_free(device->backend, (void **)&it->beta);
    op_rows_free(device, &it->qkv);
    op_rows_free(device, &it->attended);
    op_rows_free(device, &it->product);
    op_rows_free(device, &it->out);
}

/* The recorded chain on two inputs in turn gives the bits that it gave unrecorded; recording alone leaves the output as it was. */
static void check_replay(const model_device *device, chain *it, const op_rows inputs[2])
{
    const model_ops *ops = device->ops;
    const size_t n_bytes = (size_t)(it->out.M * it->out.C) * sizeof(double);
    double *expected[2] = {malloc(n_bytes), malloc(n_bytes)};
    model_graph *graph = NULL;

    for (int i = 0; i < 2; i++) {
        upload_block(device, &it->qkv, &inputs[i]);
        run_chain(device, it);
        op_rows_fetch(device, &it->out);
        memcpy(expected[i], it->out.values, n_bytes);
    }
    assert_memory_not_equal(expected[0], expected[1], n_bytes);
    upload_block(device, &it->qkv, &inputs[0]);
    check_ok(ops->graph_begin(device->backend));
    run_chain(device, it);
    check_ok(ops->graph_end(device->backend, &graph));
    op_rows_fetch(device, &it->out);
    assert_memory_equal(it->out.values, expected[1], n_bytes);
    for (int i = 0; i < 2; i++) {
        upload_block(device, &it->qkv, &inputs[i]);
        check_ok(ops->graph_launch(device->backend, graph));
        op_rows_fetch(device, &it->out);
        assert_memory_equal(it->out.values, expected[i], n_bytes);
    }
    ops->graph_free(device->backend, &graph);
    free(expected[0]);
    free(expected[1]);
}

void run_replayed(const model_device *device, const op_case *self)
{
    const int side = self->sizes[2], heads = self->sizes[3], D = self->sizes[4], M = self->sizes[0] * self->sizes[1] * self->sizes[1];
    chain it = {.B = self->sizes[0], .G = self->sizes[1], .n_out = self->sizes[5]};
    op_rows inputs[2];

    if (!device->ops->graph_begin) return; /* the CPU records nothing */
    it.qkv = op_rows_random(device, M, 3 * heads * D, device->type, 4);
    it.attended = op_rows_random(device, M, heads * D, device->type, 1);
    it.product = op_rows_random(device, M, it.n_out, MODEL_F32, 1);
    it.out = op_rows_random(device, M, it.n_out, MODEL_F32, 1);
    make_constants(device, &it, side, heads, D);
    for (int i = 0; i < 2; i++) inputs[i] = op_rows_random(device, M, 3 * heads * D, device->type, 4);
    check_replay(device, &it, inputs);
    for (int i = 0; i < 2; i++) op_rows_free(device, &inputs[i]);
    free_chain(device, &it);
}

/* A value that cannot be added is named: the first one, whatever comes after it. */
static void check_refused(const model_device *device, int64_t *sums, float *values, const float *host, size_t n, int64_t n_terms)
{
    const float limit = (float)(ldexp(1, 62 - MODEL_EXACT_BITS) / (double)n_terms), bad[] = {limit, -limit, INFINITY, NAN};
    const size_t at = n / 2;
    char expected[64];

    snprintf(expected, sizeof expected, "gradient %zu is ", at);
    check_ok(device->ops->upload(device->backend, values + n - 1, &bad[3], sizeof *bad));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        check_ok(device->ops->upload(device->backend, values + at, &bad[i], sizeof *bad));
        check_fails(IO_ERR_DIVERGED, device->ops->exact_add(device->backend, sums, values, n, n_terms));
        assert_non_null(strstr(io_last_error_text(), expected));
    }
    check_ok(device->ops->upload(device->backend, values + at, &host[at], sizeof *host));
    check_ok(device->ops->exact_add(device->backend, sums, values, at + 1, n_terms)); /* what lies behind them is not looked at */
}

/* Three slices' gradients: the bits of model/exact.c, which model.exact holds against sums in integers of its own. */
void run_exact(const model_device *device, const op_case *self)
{
    const model_ops *ops = device->ops;
    const size_t n = (size_t)self->sizes[0];
    const int n_terms = self->sizes[1];
    int64_t *expected = calloc(n, sizeof *expected), *found = calloc(n, sizeof *found), *sums = NULL;

    if (!ops->exact_add) goto done; /* the CPU has model_exact_add itself */
    check_ok(ops->memory_create(device->backend, n * sizeof *sums, (void **)&sums));
    for (int term = 0; term < n_terms; term++) {
        float *values, *host = op_floats_random(device, n, ldexp(1, -6 * term), &values);

        check_ok(model_exact_add(expected, host, n, n_terms));
        check_ok(ops->exact_add(device->backend, sums, values, n, n_terms));
        if (term == n_terms - 1) {
            check_ok(ops->download(device->backend, found, sums, n * sizeof *sums));
            assert_memory_equal(found, expected, n * sizeof *found);
            if (n > 1) check_refused(device, sums, values, host, n, n_terms);
        }
        ops->memory_free(device->backend, (void **)&values);
        free(host);
    }
    check_ok(ops->exact_add(device->backend, sums, NULL, 0, n_terms));
    ops->memory_free(device->backend, (void **)&sums);
done:
    free(expected);
    free(found);
}

/* What one lane carries: two batches, one after the other in the same memory on the device. */
typedef struct lane_use {
    float *raw, *made[2]; /* [n], the device's */
    float *from[2];       /* [n], pinned */
    float *to[2];         /* [n], pinned: twice from */
} lane_use;

/* raw is the last to be made, so that nothing but memory_create itself waits for its zeros. */
static void make_lane(const model_device *device, lane_use *use, size_t n)
{
    for (int i = 0; i < 2; i++) {
        check_ok(device->ops->host_create(device->backend, n * sizeof(float), (void **)&use->from[i]));
        check_ok(device->ops->host_create(device->backend, n * sizeof(float), (void **)&use->to[i]));
        for (size_t j = 0; j < n; j++) use->from[i][j] = (float)op_random();
        memset(use->to[i], 0, n * sizeof(float));
        check_ok(device->ops->memory_create(device->backend, n * sizeof(float), (void **)&use->made[i]));
    }
    check_ok(device->ops->memory_create(device->backend, n * sizeof(float), (void **)&use->raw));
}

static void free_lane(const model_device *device, lane_use *use)
{
    device->ops->memory_free(device->backend, (void **)&use->raw);
    for (int i = 0; i < 2; i++) {
        device->ops->memory_free(device->backend, (void **)&use->made[i]);
        device->ops->host_free(device->backend, (void **)&use->from[i]);
        device->ops->host_free(device->backend, (void **)&use->to[i]);
    }
}

/* The second batch goes up while the first one may not be computed yet: its upload must wait for that by itself. Where is_synced, sync
 * alone is waited with, which covers what the lanes do. */
static void use_lane(const model_device *device, lane_use *use, int lane, int M, int C, bool is_synced)
{
    const model_ops *ops = device->ops;
    const size_t n_bytes = (size_t)(M * C) * sizeof(float);
    const model_rows raw = {use->raw, C, MODEL_F32};

    for (int i = 0; i < 2; i++) {
        check_ok(ops->upload_begin(device->backend, lane, use->raw, use->from[i], n_bytes));
        check_ok(ops->add_forward(device->backend, (model_rows){use->made[i], C, MODEL_F32}, raw, raw, M, C, M));
        check_ok(ops->download_begin(device->backend, lane, use->to[i], use->made[i], n_bytes));
    }
    check_ok(is_synced ? ops->sync(device->backend) : ops->lane_finish(device->backend, lane));
}

/* Again and again, since what runs ahead of what is a matter of chance. */
void run_lanes(const model_device *device, const op_case *self)
{
    const int M = self->sizes[0], C = self->sizes[1], n_rounds = self->sizes[2];

    if (!device->ops->upload_begin) return; /* the CPU has no lanes */
    for (int round = 0; round < n_rounds; round++) {
        lane_use use;

        make_lane(device, &use, (size_t)(M * C));
        use_lane(device, &use, round % MODEL_LANES, M, C, round % 3 == 0);
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < M * C; j++) check_near(use.to[i][j], 2 * use.from[i][j], 0);
        free_lane(device, &use);
    }
}
