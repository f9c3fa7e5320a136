/* The arithmetic of the emulated cuBLASLt: f32 sums in plain loops, each product of a pair exact or, for tf32, of rounded operands. */
#include "tests/cudahost/product.h"

#include <algorithm>
#include <cmath>

#include "tests/cudahost/runtime.h"

namespace cudahost
{
size_t element_bytes(cudaDataType type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

static size_t find_place(const matrix &x, int64_t row, int64_t column)
{
    return (size_t)(x.is_row_order ? row * x.leading + column : column * x.leading + row);
}

static float read(const matrix &x, const char *data, int64_t row, int64_t column)
{
    const size_t at = find_place(x, row, column);

    return x.type == CUDA_R_32F ? reinterpret_cast<const float *>(data)[at]
                                : __bfloat162float(reinterpret_cast<const __nv_bfloat16 *>(data)[at]);
}

static void write(const matrix &x, char *data, int64_t row, int64_t column, float value)
{
    const size_t at = find_place(x, row, column);

    if (x.type == CUDA_R_32F)
        reinterpret_cast<float *>(data)[at] = value;
    else
        reinterpret_cast<__nv_bfloat16 *>(data)[at] = __float2bfloat16(value);
}

/* The first byte of a batch's matrix; the checker hears of each run of elements, the host of anything outside an allocation. */
static char *open_matrix(const matrix &x, int batch, bool is_read, bool is_written)
{
    const size_t bytes = element_bytes(x.type);
    char *data = static_cast<char *>(const_cast<void *>(x.data)) + batch * x.batch_stride * (int64_t)bytes;
    const int64_t n_runs = x.is_row_order ? x.rows : x.columns, run = x.is_row_order ? x.columns : x.rows;

    if (n_runs == 0 || run == 0) return data;
    demand_side(data, ((size_t)(n_runs - 1) * x.leading + run) * bytes, true, "a matrix of a product");
    for (int64_t i = 0; i < n_runs; i++) {
        if (is_read) note_device_read(data + i * x.leading * (int64_t)bytes, run * bytes);
        if (is_written) note_device_write(data + i * x.leading * (int64_t)bytes, run * bytes);
    }
    return data;
}

/* To nearest, ties away from zero, as the device's cvt.rna.tf32 does. */
static float round_to_tf32(float x)
{
    return std::isfinite(x) ? __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u) : x;
}

/* A dense f32 copy [columns][rows] of the matrix or its transpose. */
static std::vector<float> unpack(const matrix &x, const char *data, bool is_turned, bool is_tf32)
{
    const int64_t rows = is_turned ? x.columns : x.rows, columns = is_turned ? x.rows : x.columns;
    std::vector<float> out((size_t)(rows * columns));

    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < rows; i++) {
            const float value = is_turned ? read(x, data, j, i) : read(x, data, i, j);
            out[(size_t)(j * rows + i)] = is_tf32 ? round_to_tf32(value) : value;
        }
    return out;
}

/* sums [n][m] += a [k][m] . b [n][k], four columns at a time, so that a is read once for four. */
static void add_products(std::vector<float> &sums, const std::vector<float> &a, const std::vector<float> &b, int64_t m, int64_t n,
                         int64_t k)
{
    for (int64_t first = 0; first < n; first += 4) {
        const int64_t end = std::min(n, first + 4);
        for (int64_t l = 0; l < k; l++)
            for (int64_t j = first; j < end; j++) {
                const float y = b[(size_t)(j * k + l)], *x = &a[(size_t)(l * m)];
                float *sum = &sums[(size_t)(j * m)];
                for (int64_t i = 0; i < m; i++) sum[i] += x[i] * y;
            }
    }
}

/* cuBLASLt's GELU is the approximation by tanh. */
static float approximate_gelu(float x)
{
    return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

static float apply_epilogue(const product &p, float value, int64_t row)
{
    const matrix bias = {p.bias, p.d.type, p.m, 1, p.m, 0, false};

    if (p.bias) value += read(bias, static_cast<const char *>(p.bias), row, 0);
    switch (p.epilogue) {
    case CUBLASLT_EPILOGUE_RELU:
    case CUBLASLT_EPILOGUE_RELU_BIAS: return std::fmax(value, 0.0f);
    case CUBLASLT_EPILOGUE_GELU:
    case CUBLASLT_EPILOGUE_GELU_BIAS: return approximate_gelu(value);
    default: return value;
    }
}

static void multiply_batch(const product &p, int batch)
{
    const char *a = open_matrix(p.a, batch, true, false), *b = open_matrix(p.b, batch, true, false);
    const char *c = p.beta != 0 ? open_matrix(p.c, batch, true, false) : nullptr;
    std::vector<float> sums((size_t)(p.m * p.n));
    char *d = open_matrix(p.d, batch, false, true);

    add_products(sums, unpack(p.a, a, p.is_a_turned, p.is_tf32), unpack(p.b, b, p.is_b_turned, p.is_tf32), p.m, p.n, p.k);
    for (int64_t j = 0; j < p.n; j++)
        for (int64_t i = 0; i < p.m; i++) {
            const float kept = c ? p.beta * read(p.c, c, i, j) : 0;
            write(p.d, d, i, j, apply_epilogue(p, p.alpha * sums[(size_t)(j * p.m + i)] + kept, i));
        }
}

void multiply(const product &p)
{
    if (p.bias) {
        demand_side(p.bias, (size_t)p.m * element_bytes(p.d.type), true, "the bias of a product");
        note_device_read(p.bias, (size_t)p.m * element_bytes(p.d.type));
    }
    for (int batch = 0; batch < p.n_batches; batch++) multiply_batch(p, batch);
}
} // namespace cudahost
