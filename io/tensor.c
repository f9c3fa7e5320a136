/* One tensor's values: types, shapes, strides, conversion to float. See tensors.h. */
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "io/tensors_list.h"

enum { GATHER_BYTES = 64 * 1024 };

size_t io_tensor_type_bytes(io_tensor_type type)
{
    static const size_t bytes[] = {[IO_TENSOR_F32] = 4, [IO_TENSOR_F16] = 2, [IO_TENSOR_BF16] = 2, [IO_TENSOR_F64] = 8,
                                   [IO_TENSOR_I64] = 8, [IO_TENSOR_I32] = 4, [IO_TENSOR_U8] = 1};
    return bytes[type];
}

const char *io_tensor_type_name(io_tensor_type type)
{
    static const char *const names[] = {
        [IO_TENSOR_F32] = "float32", [IO_TENSOR_F16] = "float16", [IO_TENSOR_BF16] = "bfloat16", [IO_TENSOR_F64] = "float64",
        [IO_TENSOR_I64] = "int64",   [IO_TENSOR_I32] = "int32",   [IO_TENSOR_U8] = "uint8"};
    return names[type];
}

void io_tensor_shape_text(int n_dims, const int64_t *shape, char *out, size_t n_bytes)
{
    size_t used = 0;

    if (n_bytes == 0) return;
    out[0] = 0;
    for (int i = 0; i < n_dims && used < n_bytes; i++)
        used += (size_t)snprintf(out + used, n_bytes - used, "%s%lld", i ? "," : "[", (long long)shape[i]);
    if (used < n_bytes) snprintf(out + used, n_bytes - used, n_dims ? "]" : "[]");
}

io_status io_tensor_set_shape(io_tensor *tensor, int n_dims, const int64_t *shape)
{
    size_t n_elements = 1, n_bytes;

    if (n_dims < 0 || n_dims > IO_TENSOR_MAX_DIMS)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "a tensor of %d dimensions; at most %d are read", n_dims, IO_TENSOR_MAX_DIMS);
    tensor->n_dims = n_dims;
    for (int i = n_dims; i-- > 0;) {
        if (shape[i] < 0) return IO_FAIL(IO_ERR_RANGE, "dimension %d of a tensor is %lld", i, (long long)shape[i]);
        tensor->shape[i] = shape[i];
        tensor->stride[i] = (int64_t)n_elements;
        /* a dimension of zero must not hide a product that does not fit */
        IO_TRY(io_size_mul(n_elements, shape[i] ? (size_t)shape[i] : 1, &n_elements));
        IO_TRY(io_size_mul(n_elements, 2 * sizeof(double), &n_bytes));
    }
    for (int i = 0; i < n_dims; i++) n_elements = shape[i] ? n_elements : 0;
    tensor->n_elements = n_elements;
    return IO_OK;
}

bool io_tensor_is_contiguous(const io_tensor *tensor)
{
    int64_t expected = 1;

    if (tensor->n_elements == 0) return true;
    for (int i = tensor->n_dims; i-- > 0;) {
        if (tensor->shape[i] != 1 && tensor->stride[i] != expected) return false;
        expected *= tensor->shape[i];
    }
    return true;
}

/* Walks a strided tensor in row-major order; each row is the last dimension. */
typedef struct walk {
    const io_tensor *tensor;
    int64_t index[IO_TENSOR_MAX_DIMS];
    int64_t offset; /* of the row's first element, in elements */
} walk;

static int64_t row_length(const io_tensor *tensor)
{
    return tensor->n_dims ? tensor->shape[tensor->n_dims - 1] : 1;
}

static int64_t row_stride(const io_tensor *tensor)
{
    return tensor->n_dims ? tensor->stride[tensor->n_dims - 1] : 1;
}

static bool next_row(walk *place)
{
    const io_tensor *tensor = place->tensor;

    for (int i = tensor->n_dims - 1; i-- > 0;) {
        place->offset += tensor->stride[i];
        if (++place->index[i] < tensor->shape[i]) return true;
        place->offset -= tensor->shape[i] * tensor->stride[i];
        place->index[i] = 0;
    }
    return false;
}

/* IEEE 754 binary16: 1 sign, 5 exponent, 10 fraction bits. */
static float float_of_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 1023;
    uint32_t bits;
    float value;

    if (exponent == 0) {
        value = (float)fraction * 0x1p-24f; /* subnormal */
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float float_of_bf16(uint16_t bf16)
{
    const uint32_t bits = (uint32_t)bf16 << 16;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* out[i] = values[i * stride]; data may be unaligned. */
#define CONVERT_ROW(c_type, convert)                                                                                                       \
    for (int64_t i = 0; i < n; i++) {                                                                                                      \
        c_type value;                                                                                                                      \
        memcpy(&value, data + (size_t)(i * stride) * sizeof value, sizeof value);                                                          \
        out[i] = convert(value);                                                                                                           \
    }

static void convert_row(io_tensor_type type, const uint8_t *data, int64_t n, int64_t stride, float *out)
{
    switch (type) {
    case IO_TENSOR_F32: CONVERT_ROW(float, ); break;
    case IO_TENSOR_F16: CONVERT_ROW(uint16_t, float_of_half); break;
    case IO_TENSOR_BF16: CONVERT_ROW(uint16_t, float_of_bf16); break;
    case IO_TENSOR_F64: CONVERT_ROW(double, (float)); break;
    case IO_TENSOR_I64: CONVERT_ROW(int64_t, (float)); break;
    case IO_TENSOR_I32: CONVERT_ROW(int32_t, (float)); break;
    case IO_TENSOR_U8: CONVERT_ROW(uint8_t, (float)); break;
    }
}

io_status io_tensor_read_f32(const io_tensor *tensor, float *out)
{
    const size_t element = io_tensor_type_bytes(tensor->type);
    const int64_t n = row_length(tensor), stride = row_stride(tensor);
    walk place = {.tensor = tensor};

    if (tensor->n_elements == 0) return IO_OK;
    if (io_tensor_is_contiguous(tensor)) {
        if (tensor->type == IO_TENSOR_F32)
            memcpy(out, tensor->data, tensor->n_elements * sizeof *out);
        else
            convert_row(tensor->type, tensor->data, (int64_t)tensor->n_elements, 1, out);
        return IO_OK;
    }
    do {
        convert_row(tensor->type, tensor->data + (size_t)place.offset * element, n, stride, out);
        out += n;
    } while (next_row(&place));
    return IO_OK;
}

io_status io_tensor_stream(const io_tensor *tensor, io_tensor_sink *sink, void *context)
{
    uint8_t block[GATHER_BYTES];
    const size_t element = io_tensor_type_bytes(tensor->type);
    const int64_t n = row_length(tensor), stride = row_stride(tensor);
    walk place = {.tensor = tensor};
    size_t used = 0;

    if (io_tensor_is_contiguous(tensor)) return sink(context, tensor->data, tensor->n_elements * element);
    do {
        for (int64_t i = 0; i < n; i++, used += element) {
            if (used == sizeof block) {
                IO_TRY(sink(context, block, used));
                used = 0;
            }
            memcpy(block + used, tensor->data + (size_t)(place.offset + i * stride) * element, element);
        }
    } while (next_row(&place));
    return sink(context, block, used);
}
