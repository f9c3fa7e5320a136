/* Times the encoder's operations one by one at the sizes of ViT-B at 512 pixels: best milliseconds, GFLOP/s and the share of the peak
 * that this machine reaches from registers. Usage: bench_ops [f32|bf16] [threads] [repetitions] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/device.h"

enum { G = 32, N = G * G, C = 768, F = 3072, HEADS = 12, D = 64, R = 256, P = 16, S = 512, MAX_WIDTH = F + 64 };

typedef struct bench {
    model_device *device;
    model_rows small, wide, hidden, stream; /* [N, C], [N, 3*C], [N, F] of the device's type; [N, C] f32 */
    model_matrix *qkv, *proj, *lin1, *lin2, *neck, *conv;
    model_relpos *local, *global;
    float *ones;
    int repetitions;
} bench;

static double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(io_status status)
{
    if (status == IO_OK) return;
    fprintf(stderr, "bench_ops: %s\n", io_last_error());
    exit(1);
}

static float *fill_random(size_t n, float scale)
{
    float *values = malloc(n * sizeof *values);

    for (size_t i = 0; values && i < n; i++) values[i] = scale * ((float)rand() / (float)RAND_MAX - 0.5f);
    return values;
}

/* Rows of small numbers in the given type. */
static model_rows make_rows(bench *b, int width, model_type type)
{
    const size_t bytes = type == MODEL_BF16 ? 2 : 4, stride = (size_t)(width + b->device->ops->row_pad);
    model_rows rows = {NULL, (int64_t)stride, type};
    float *values = fill_random(N * stride, 2);

    must(b->device->ops->memory_create(b->device->backend, N * stride * bytes, &rows.data));
    for (size_t i = 0; i < N * stride; i++) {
        uint32_t bits;

        memcpy(&bits, &values[i], 4);
        if (type == MODEL_BF16)
            ((uint16_t *)rows.data)[i] = (uint16_t)(bits >> 16);
        else
            ((float *)rows.data)[i] = values[i];
    }
    free(values);
    return rows;
}

static model_matrix *make_matrix(bench *b, int n_out, int n_in)
{
    float *weight = fill_random((size_t)n_out * (size_t)n_in, 0.05f);
    model_matrix *matrix;

    must(b->device->ops->matrix_create(b->device->backend, n_out, n_in, weight, b->device->type, &matrix));
    free(weight);
    return matrix;
}

static model_relpos *make_relpos(bench *b, int side)
{
    float *table = fill_random((size_t)(2 * side - 1) * D, 0.1f), *bias = fill_random(3 * C, 0.1f);
    model_relpos *relpos;

    must(b->device->ops->relpos_create(b->device->backend, side, D, HEADS, table, table, bias, b->device->type, &relpos));
    free(table);
    free(bias);
    return relpos;
}

typedef void step(bench *b);

static void run_qkv(bench *b)
{
    must(b->device->ops->linear_forward(b->device->backend, b->wide, b->small, b->qkv, b->ones, MODEL_STORE, N));
}
static void run_proj(bench *b)
{
    must(b->device->ops->linear_forward(b->device->backend, b->stream, b->small, b->proj, b->ones, MODEL_ADD, N));
}
static void run_lin1(bench *b)
{
    must(b->device->ops->linear_forward(b->device->backend, b->hidden, b->small, b->lin1, b->ones, MODEL_GELU, N));
}
static void run_lin2(bench *b)
{
    must(b->device->ops->linear_forward(b->device->backend, b->stream, b->hidden, b->lin2, b->ones, MODEL_ADD, N));
}
static void run_neck(bench *b)
{
    must(b->device->ops->linear_forward(b->device->backend, b->stream, b->small, b->neck, NULL, MODEL_STORE, N));
}
static void run_conv(bench *b)
{
    must(b->device->ops->conv3x3_forward(b->device->backend, b->stream, b->small, b->conv, 1, G, R));
}
static void run_local(bench *b)
{
    must(b->device->ops->attention_forward(b->device->backend, b->small, NULL, b->wide, b->local, 1, G));
}
static void run_global(bench *b)
{
    must(b->device->ops->attention_forward(b->device->backend, b->small, NULL, b->wide, b->global, 1, G));
}
static void run_layernorm(bench *b)
{
    must(b->device->ops->layernorm_forward(b->device->backend, b->small, b->stream, b->ones, b->ones, 1e-6f, N, C, MODEL_STORE));
}
static void run_patches(bench *b)
{
    must(b->device->ops->patches_forward(b->device->backend, b->small, b->hidden.data, 1, S, P));
}

static const struct {
    const char *name;
    step *run;
    double flop;
    int per_slice; /* how often ViT-B does this for one slice */
} steps[] = {
    {"qkv", run_qkv, 2.0 * N *C * 3 * C, 12},
    {"attention windowed", run_local, 4.0 * C *(4 * 196 * 196 + 4 * 56 * 60 + 16 * 20), 8},
    {"attention global", run_global, 4.0 * N *N *C, 4},
    {"proj + residual", run_proj, 2.0 * N *C *C, 12},
    {"lin1 + GELU", run_lin1, 2.0 * N *C *F, 12},
    {"lin2 + residual", run_lin2, 2.0 * N *C *F, 12},
    {"layer norm", run_layernorm, 0, 24},
    {"patches", run_patches, 0, 1},
    {"neck 1x1", run_neck, 2.0 * N *C *R, 1},
    {"neck 3x3", run_conv, 2.0 * N * 9 * R *R, 1},
};

static double time_step(bench *b, step *run)
{
    double best = 1e9;

    for (int i = 0; i < b->repetitions; i++) {
        const double from = now_seconds();

        run(b);
        if (now_seconds() - from < best) best = now_seconds() - from;
    }
    return best;
}

static void prepare(bench *b)
{
    const model_type type = b->device->type;

    b->small = make_rows(b, C, type);
    b->wide = make_rows(b, 3 * C, type);
    b->hidden = make_rows(b, F, type);
    b->stream = make_rows(b, C, MODEL_F32);
    b->qkv = make_matrix(b, 3 * C, C);
    b->proj = make_matrix(b, C, C);
    b->lin1 = make_matrix(b, F, C);
    b->lin2 = make_matrix(b, C, F);
    b->neck = make_matrix(b, R, C);
    b->conv = make_matrix(b, R, 9 * R);
    b->local = make_relpos(b, 14);
    b->global = make_relpos(b, G);
    b->ones = fill_random(MAX_WIDTH, 1);
}

int main(int argc, char **argv)
{
    const model_type type = argc > 1 && !strcmp(argv[1], "bf16") ? MODEL_BF16 : MODEL_F32;
    bench b = {.repetitions = argc > 3 ? atoi(argv[3]) : 20};
    double total = 0, peak;

    must(model_device_open(MODEL_DEVICE_CPU, 0, type, argc > 2 ? atoi(argv[2]) : 2, &b.device));
    peak = model_device_peak_gflops(b.device);
    printf("%s, %s, peak from registers %.0f GFLOP/s\n", b.device->description, type == MODEL_BF16 ? "bf16" : "f32", peak);
    prepare(&b);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        const double seconds = time_step(&b, steps[i].run), gflops = steps[i].flop / seconds * 1e-9;

        total += seconds * steps[i].per_slice;
        printf("%-20s %8.3f ms x %2d = %7.2f ms  %6.1f GFLOP/s  %5.1f %%\n", steps[i].name, seconds * 1e3, steps[i].per_slice,
               seconds * 1e3 * steps[i].per_slice, gflops, 100 * gflops / peak);
    }
    printf("encoder %.1f ms per slice\n", total * 1e3);
    model_device_free(&b.device);
    return 0;
}
