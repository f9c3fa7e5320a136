/* Rows with guards, random numbers and the comparison of the operator cases. */
#include "tests/model/op_cases.h"

enum { EDGE = 32, PAD = 7 }; /* guard elements before and after the block, and after each row: an odd stride on purpose */
enum { ALIGN = 8 };          /* elements: 16 bytes of bf16, the widest load of a device */
static const uint32_t guard_f32 = 0x7fc0beefu;
static const uint16_t guard_bf16 = 0x7fc5u;

static uint64_t random_state = 1;
static bool rows_are_aligned;
static uint64_t fingerprint = 14695981039346656037u; /* FNV-1a's basis */

void op_random_reset(void)
{
    random_state = 1;
}

double op_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
    return (double)(random_state >> 11) / 9007199254740992.0 - 0.5;
}

void op_rows_align(bool is_aligned)
{
    rows_are_aligned = is_aligned;
}

uint64_t op_fingerprint(void)
{
    return fingerprint;
}

static void add_to_fingerprint(const double *values, size_t n)
{
    const unsigned char *bytes = (const unsigned char *)values;

    for (size_t i = 0; i < n * sizeof *values; i++) fingerprint = (fingerprint ^ bytes[i]) * 1099511628211u;
}

static uint16_t to_bf16(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

double op_round(double value, model_type type)
{
    return type == MODEL_BF16 ? from_bf16(to_bf16((float)value)) : (float)value;
}

static size_t element_bytes(model_type type)
{
    return type == MODEL_BF16 ? 2 : 4;
}

static size_t block_elements(const op_rows *rows)
{
    return 2 * EDGE + (size_t)rows->M * (size_t)rows->rows.stride;
}

static bool is_guard(const op_rows *rows, size_t i)
{
    if (i < EDGE || i >= block_elements(rows) - EDGE) return true;
    return (i - EDGE) % (size_t)rows->rows.stride >= (size_t)rows->C;
}

static void put_element(op_rows *rows, size_t i, double value, bool guard)
{
    if (rows->rows.type == MODEL_BF16)
        ((uint16_t *)rows->host)[i] = guard ? guard_bf16 : to_bf16((float)value);
    else if (guard)
        ((uint32_t *)rows->host)[i] = guard_f32;
    else
        ((float *)rows->host)[i] = (float)value;
}

static double get_element(const op_rows *rows, size_t i)
{
    return rows->rows.type == MODEL_BF16 ? from_bf16(((const uint16_t *)rows->host)[i]) : ((const float *)rows->host)[i];
}

static bool guard_stands(const op_rows *rows, size_t i)
{
    return rows->rows.type == MODEL_BF16 ? ((const uint16_t *)rows->host)[i] == guard_bf16 : ((const uint32_t *)rows->host)[i] == guard_f32;
}

static void copy_values(op_rows *rows)
{
    for (int m = 0; m < rows->M; m++)
        for (int c = 0; c < rows->C; c++)
            rows->values[m * rows->C + c] = get_element(rows, EDGE + (size_t)m * (size_t)rows->rows.stride + (size_t)c);
}

op_rows op_rows_random(const model_device *device, int M, int C, model_type type, double scale)
{
    const int stride = rows_are_aligned ? (C + 2 * ALIGN - 1) / ALIGN * ALIGN : C + PAD;
    op_rows rows = {.rows = {NULL, stride, type}, .M = M, .C = C};

    rows.n_bytes = block_elements(&rows) * element_bytes(type);
    rows.host = malloc(rows.n_bytes);
    rows.values = malloc(sizeof(double) * (size_t)M * (size_t)C);
    assert_true(rows.host && rows.values);
    for (size_t i = 0; i < block_elements(&rows); i++) put_element(&rows, i, scale * op_random(), is_guard(&rows, i));
    check_ok(device->ops->memory_create(device->backend, rows.n_bytes, &rows.memory));
    check_ok(device->ops->upload(device->backend, rows.memory, rows.host, rows.n_bytes));
    rows.rows.data = (char *)rows.memory + EDGE * element_bytes(type);
    copy_values(&rows);
    return rows;
}

void op_rows_fetch(const model_device *device, op_rows *rows)
{
    check_ok(device->ops->download(device->backend, rows->host, rows->memory, rows->n_bytes));
    for (size_t i = 0; i < block_elements(rows); i++)
        if (is_guard(rows, i) && !guard_stands(rows, i)) fail_msg("element %zu outside the rows was overwritten", i);
    copy_values(rows);
}

void op_rows_free(const model_device *device, op_rows *rows)
{
    device->ops->memory_free(device->backend, &rows->memory);
    free(rows->host);
    free(rows->values);
}

float *op_floats_random(const model_device *device, size_t n, double scale, float **on_device)
{
    float *values = malloc(n * sizeof *values);

    assert_non_null(values);
    for (size_t i = 0; i < n; i++) values[i] = (float)(scale * op_random());
    if (on_device) {
        check_ok(device->ops->memory_create(device->backend, n * sizeof *values, (void **)on_device));
        check_ok(device->ops->upload(device->backend, *on_device, values, n * sizeof *values));
    }
    return values;
}

void op_check_nmse(const char *what, const double *found, const double *expected, size_t n, double bound)
{
    double error = 0, power = 0;

    add_to_fingerprint(found, n);
    for (size_t i = 0; i < n; i++) {
        error += (found[i] - expected[i]) * (found[i] - expected[i]);
        power += expected[i] * expected[i];
    }
    if (!(error <= bound * power)) fail_msg("%s: NMSE %g over %zu values, at most %g is allowed", what, error / power, n, bound);
}

double op_product_bound(const model_device *device, model_type type, double bound)
{
    const double tf32_bound = 1e-6;

    return type == MODEL_F32 && strstr(device->description, ", tf32") ? tf32_bound : bound;
}
