/* Hugging Face's .safetensors: 8 bytes of header length (little-endian), a JSON object {name: {dtype, shape, data_offsets}}, then the
 * values. Source: the format section of https://github.com/huggingface/safetensors: tensors are row-major and cover the rest of the file
 * without gaps or overlaps, "__metadata__" is an object of texts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"
#include "io/memory.h"
#include "io/tensors_list.h"

enum { LENGTH_BYTES = 8, HEADER_MAX_BYTES = 16 << 20, HEADER_ALIGNMENT = 8 }; /* the header of ViT-H has 60 kB */

static const struct {
    const char *dtype;
    io_tensor_type type;
} dtypes[] = {{"F32", IO_TENSOR_F32}, {"F16", IO_TENSOR_F16}, {"BF16", IO_TENSOR_BF16}, {"F64", IO_TENSOR_F64},
              {"I64", IO_TENSOR_I64}, {"I32", IO_TENSOR_I32}, {"U8", IO_TENSOR_U8}};
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

/* *header: a zero-terminated copy, as the parser wants it; *start: where the values begin, bytes from the start of the file. */
static io_status copy_header(const io_mapping *mapping, char **header, size_t *start)
{
    uint64_t n_header = 0;

    for (int i = 0; i < LENGTH_BYTES; i++) n_header |= (uint64_t)mapping->bytes[i] << (8 * i);
    if (n_header > HEADER_MAX_BYTES)
        return IO_FAIL(IO_ERR_FORMAT, "%s: the header should have %llu bytes; at most %d are read", mapping->path,
                       (unsigned long long)n_header, HEADER_MAX_BYTES);
    if (n_header > mapping->n_bytes - LENGTH_BYTES)
        return IO_FAIL(IO_ERR_TRUNCATED, "%s: the header should have %llu bytes, the file has %zu; copy it again", mapping->path,
                       (unsigned long long)n_header, mapping->n_bytes);
    if (memchr(mapping->bytes + LENGTH_BYTES, 0, (size_t)n_header))
        return IO_FAIL(IO_ERR_FORMAT, "%s: the header holds a zero byte", mapping->path);
    *start = LENGTH_BYTES + (size_t)n_header;
    IO_TRY(io_alloc((size_t)n_header + 1, 1, (void **)header));
    memcpy(*header, mapping->bytes + LENGTH_BYTES, (size_t)n_header);
    /* the parser would end the text there, and two names could become one */
    if (strstr(*header, "\\u0000")) return IO_FAIL(IO_ERR_FORMAT, "%s: the header holds an escaped zero byte", mapping->path);
    return IO_OK;
}

/* The integer >= 0 at index of a JSON array; JSON's doubles hold integers up to 2^53 exactly. */
static io_status read_integer(const io_json *array, size_t index, int64_t *out)
{
    double number;

    if (!io_json_number(io_json_at(array, index), &number) || !(number >= 0 && number <= 0x1p53) || number != (double)(int64_t)number)
        return IO_FAIL(IO_ERR_FORMAT, "a shape or offset is not an integer from 0 to 2^53");
    *out = (int64_t)number;
    return IO_OK;
}

static io_status read_dtype(const io_json *description, io_tensor_type *out)
{
    const char *dtype = io_json_get_text(description, "dtype");

    for (int i = 0; dtype && i < N_DTYPES; i++) {
        if (strcmp(dtype, dtypes[i].dtype) == 0) {
            *out = dtypes[i].type;
            return IO_OK;
        }
    }
    return IO_FAIL(IO_ERR_UNSUPPORTED, "dtype %.32s; samed reads F32, F16, BF16, F64, I64, I32 and U8", dtype ? dtype : "is missing");
}

/* values [n_values] bytes: the part of the file behind the header. */
static io_status read_description(const io_json *description, const uint8_t *values, size_t n_values, io_tensor *out)
{
    const io_json *shape = io_json_get(description, "shape"), *offsets = io_json_get(description, "data_offsets");
    int64_t sizes[IO_TENSOR_MAX_DIMS], begin = 0, end = 0;

    *out = (io_tensor){0};
    if (io_json_size(description) != 3 || !io_json_is_array(shape) || !io_json_is_array(offsets) || io_json_size(offsets) != 2)
        return IO_FAIL(IO_ERR_FORMAT, "it needs a dtype, a shape, two data_offsets and nothing else");
    if (io_json_size(shape) > IO_TENSOR_MAX_DIMS)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%zu dimensions; at most %d are read", io_json_size(shape), IO_TENSOR_MAX_DIMS);
    IO_TRY(read_dtype(description, &out->type));
    for (size_t i = 0; i < io_json_size(shape); i++) IO_TRY(read_integer(shape, i, &sizes[i]));
    IO_TRY(io_tensor_set_shape(out, (int)io_json_size(shape), sizes));
    IO_TRY(read_integer(offsets, 0, &begin));
    IO_TRY(read_integer(offsets, 1, &end));
    if (end < begin || (uint64_t)end > n_values)
        return IO_FAIL((uint64_t)end > n_values ? IO_ERR_TRUNCATED : IO_ERR_FORMAT,
                       "bytes %lld to %lld of the values; the file has %zu of them", (long long)begin, (long long)end, n_values);
    if ((uint64_t)(end - begin) != out->n_elements * io_tensor_type_bytes(out->type))
        return IO_FAIL(IO_ERR_MISMATCH, "its shape and type make %zu bytes, its offsets %lld",
                       out->n_elements * io_tensor_type_bytes(out->type), (long long)(end - begin));
    out->data = values + begin;
    return IO_OK;
}

static int compare_data(const void *a, const void *b)
{
    const io_tensor *left = *(const io_tensor *const *)a, *right = *(const io_tensor *const *)b;
    const size_t n_left = left->n_elements, n_right = right->n_elements;

    if (left->data != right->data) return left->data < right->data ? -1 : 1;
    return (n_left > n_right) - (n_left < n_right); /* an empty tensor lies before the one that starts where it does */
}

/* The tensors must cover the values exactly once. */
static io_status check_cover(const io_tensors *tensors, size_t start)
{
    const io_mapping *mapping = tensors->mapping;
    const uint8_t *next = mapping->bytes + start;
    const io_tensor **order = NULL;
    io_status status = IO_OK;

    IO_TRY(io_alloc(tensors->n, sizeof *order, (void **)&order));
    for (size_t i = 0; i < tensors->n; i++) order[i] = &tensors->list[i];
    qsort(order, tensors->n, sizeof *order, compare_data);
    for (size_t i = 0; i < tensors->n && status == IO_OK; i++) {
        if (order[i]->data != next)
            status = IO_FAIL(IO_ERR_FORMAT, "%s: tensor %s begins at byte %zu, expected %zu: the values overlap or leave a gap",
                             tensors->path, order[i]->name, (size_t)(order[i]->data - mapping->bytes), (size_t)(next - mapping->bytes));
        next = order[i]->data + order[i]->n_elements * io_tensor_type_bytes(order[i]->type);
    }
    if (status == IO_OK && next != mapping->bytes + mapping->n_bytes)
        status =
            IO_FAIL(IO_ERR_FORMAT, "%s: %zu bytes belong to no tensor", tensors->path, (size_t)(mapping->bytes + mapping->n_bytes - next));
    io_free(&order);
    return status;
}

static io_status read_header(io_tensors *tensors, const io_json *header, size_t start)
{
    const io_mapping *mapping = tensors->mapping;
    io_tensor entry;

    if (!io_json_is_object(header)) return IO_FAIL(IO_ERR_FORMAT, "%s: the header is no JSON object", tensors->path);
    for (const io_json *member = io_json_at(header, 0); member; member = io_json_next(member)) {
        const char *name = io_json_key(member);
        if (strcmp(name, "__metadata__") == 0) continue;
        const io_status status = read_description(member, mapping->bytes + start, mapping->n_bytes - start, &entry);
        if (status != IO_OK) return io_fail_context(status, "%s: tensor %.200s", tensors->path, name);
        IO_TRY(io_tensors_append(tensors, name, strlen(name), &entry));
    }
    if (tensors->n == 0) return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: holds no tensor", tensors->path);
    return check_cover(tensors, start);
}

io_status io_safetensors_open(io_tensors *tensors)
{
    io_status status = IO_OK;
    char *text = NULL;
    io_json *header = NULL;
    size_t start = 0;

    tensors->format = IO_TENSORS_SAFETENSORS;
    IO_TRY_GOTO(status, done, copy_header(tensors->mapping, &text, &start));
    IO_TRY_GOTO(status, done, io_json_parse(text, tensors->path, &header));
    IO_TRY_GOTO(status, done, read_header(tensors, header, start));
done:
    io_json_free(&header);
    io_free(&text);
    return status;
}

/* ---- writing ---- */

/* Values lie by falling element size, so that each is aligned to its own size; inside one size, as in the list. */
static void place_values(const io_tensors *tensors, size_t *offsets)
{
    size_t next = 0;

    for (size_t element = 8; element; element /= 2) {
        for (size_t i = 0; i < tensors->n; i++) {
            if (io_tensor_type_bytes(tensors->list[i].type) != element) continue;
            offsets[i] = next;
            next += tensors->list[i].n_elements * element;
        }
    }
}

static io_status put_description(io_json *header, const io_tensor *tensor, size_t offset)
{
    io_status status = IO_OK;
    io_json *description = NULL, *shape = NULL, *offsets = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&description));
    IO_TRY_GOTO(status, done, io_json_create_array(&shape));
    IO_TRY_GOTO(status, done, io_json_create_array(&offsets));
    for (int i = 0; i < N_DTYPES; i++) {
        if (dtypes[i].type == tensor->type) IO_TRY_GOTO(status, done, io_json_put_text(description, "dtype", dtypes[i].dtype));
    }
    for (int i = 0; i < tensor->n_dims; i++) IO_TRY_GOTO(status, done, io_json_add_number(shape, (double)tensor->shape[i]));
    IO_TRY_GOTO(status, done, io_json_add_number(offsets, (double)offset));
    IO_TRY_GOTO(status, done, io_json_add_number(offsets, (double)(offset + tensor->n_elements * io_tensor_type_bytes(tensor->type))));
    IO_TRY_GOTO(status, done, io_json_put(description, "shape", &shape));
    IO_TRY_GOTO(status, done, io_json_put(description, "data_offsets", &offsets));
    status = io_json_put(header, tensor->name, &description);
done:
    io_json_free(&description);
    io_json_free(&shape);
    io_json_free(&offsets);
    return status;
}

static io_status put_metadata(io_json *header, const char *metadata_json)
{
    io_status status = IO_OK;
    io_json *metadata = NULL;

    IO_TRY(io_json_parse(metadata_json, "safetensors metadata", &metadata));
    if (!io_json_is_object(metadata)) status = IO_FAIL(IO_ERR_ARGUMENT, "the metadata is no JSON object");
    for (const io_json *member = io_json_at(metadata, 0); member && status == IO_OK; member = io_json_next(member)) {
        if (!io_json_text(member)) status = IO_FAIL(IO_ERR_ARGUMENT, "the metadata's %s is no text", io_json_key(member));
    }
    if (status == IO_OK) status = io_json_put(header, "__metadata__", &metadata);
    io_json_free(&metadata);
    return status;
}

/* *text: the header as one line of JSON. */
static io_status print_header(const io_tensors *tensors, const size_t *offsets, const char *metadata_json, char **text)
{
    io_status status = IO_OK;
    io_json *header = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&header));
    if (metadata_json) IO_TRY_GOTO(status, done, put_metadata(header, metadata_json));
    for (size_t i = 0; i < tensors->n; i++) IO_TRY_GOTO(status, done, put_description(header, &tensors->list[i], offsets[i]));
    status = io_json_print(header, false, text);
done:
    io_json_free(&header);
    return status;
}

/* The length, the text, and spaces up to a multiple of 8 bytes. */
static io_status write_header(io_writer *file, const char *text)
{
    const size_t n_text = strlen(text), n_padding = -n_text % HEADER_ALIGNMENT;
    uint8_t length[LENGTH_BYTES];

    for (int i = 0; i < LENGTH_BYTES; i++) length[i] = (uint8_t)((uint64_t)(n_text + n_padding) >> (8 * i));
    IO_TRY(io_writer_write(file, length, sizeof length));
    IO_TRY(io_writer_write(file, text, n_text));
    return io_writer_write(file, "        ", n_padding);
}

static io_status write_bytes(void *file, const void *bytes, size_t n_bytes)
{
    return io_writer_write(file, bytes, n_bytes);
}

static io_status write_values(io_writer *file, const io_tensors *tensors)
{
    for (size_t element = 8; element; element /= 2) {
        for (size_t i = 0; i < tensors->n; i++) {
            if (io_tensor_type_bytes(tensors->list[i].type) != element) continue;
            IO_TRY(io_tensor_stream(&tensors->list[i], write_bytes, file));
            io_tensors_release(tensors, &tensors->list[i]);
        }
    }
    return IO_OK;
}

io_status io_safetensors_write(const char *path, const io_tensors *tensors, const char *metadata_json)
{
    io_status status = IO_OK;
    io_writer *file = NULL;
    size_t *offsets = NULL;
    char *text = NULL;

    IO_TRY_GOTO(status, done, io_alloc(tensors->n, sizeof *offsets, (void **)&offsets));
    place_values(tensors, offsets);
    IO_TRY_GOTO(status, done, print_header(tensors, offsets, metadata_json, &text));
    IO_TRY_GOTO(status, done, io_writer_open(path, &file));
    IO_TRY_GOTO(status, done, write_header(file, text));
    IO_TRY_GOTO(status, done, write_values(file, tensors));
    status = io_writer_commit(&file);
done:
    io_writer_free(&file);
    io_free(&offsets);
    io_free(&text);
    return status;
}
