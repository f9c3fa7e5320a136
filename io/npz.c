/* See npz.h. */
#include "io/npz.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/zip.h"

enum { MAX_SIDE = 8192, MAX_HEADER_BYTES = 4096, PREFIX_BYTES = 10, PREFIX2_BYTES = 12, MAX_ELEMENT_BYTES = 8 };

typedef enum number_kind { NUMBER_FLOAT, NUMBER_SIGNED, NUMBER_UNSIGNED } number_kind;

typedef struct npy_header {
    size_t start; /* of the values, bytes from the start of the entry */
    number_kind kind;
    size_t element_bytes;
    bool is_fortran;
    int rows, cols;
} npy_header;

static const struct {
    const char *descr;
    number_kind kind;
    size_t element_bytes;
} types[] = {{"<f4", NUMBER_FLOAT, 4},  {"<f8", NUMBER_FLOAT, 8},    {"|b1", NUMBER_UNSIGNED, 1}, {"|u1", NUMBER_UNSIGNED, 1},
             {"|i1", NUMBER_SIGNED, 1}, {"<u2", NUMBER_UNSIGNED, 2}, {"<i2", NUMBER_SIGNED, 2},   {"<u4", NUMBER_UNSIGNED, 4},
             {"<i4", NUMBER_SIGNED, 4}, {"<u8", NUMBER_UNSIGNED, 8}, {"<i8", NUMBER_SIGNED, 8}};

/* The text behind "'key':" and blanks, NULL without one. */
static const char *find_value(const char *text, const char *key)
{
    char quoted[32];
    const char *at;

    snprintf(quoted, sizeof quoted, "'%s':", key);
    at = strstr(text, quoted);
    if (!at) return NULL;
    at += strlen(quoted);
    while (*at == ' ') at++;
    return at;
}

static bool read_side(const char **at, int *out)
{
    char *end;
    const long value = isdigit((unsigned char)**at) ? strtol(*at, &end, 10) : -1;

    if (value < 1 || value > MAX_SIDE) return false;
    *out = (int)value;
    *at = end;
    return true;
}

static bool read_shape(const char *text, npy_header *out)
{
    if (!text || *text++ != '(' || !read_side(&text, &out->rows) || *text++ != ',') return false;
    while (*text == ' ') text++;
    return read_side(&text, &out->cols) && *text == ')';
}

/* text: the zero-terminated dictionary. */
static io_status read_dictionary(const char *text, npy_header *out)
{
    const char *descr = find_value(text, "descr"), *order = find_value(text, "fortran_order");

    for (size_t i = 0; descr && i < sizeof types / sizeof *types; i++) {
        if (descr[0] != '\'' || strncmp(descr + 1, types[i].descr, 3) != 0 || descr[4] != '\'') continue;
        out->kind = types[i].kind;
        out->element_bytes = types[i].element_bytes;
    }
    if (out->element_bytes == 0)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "its values are of type %.20s; expected little-endian numbers such as '<f4'",
                       descr ? descr : "unknown");
    if (!order || (strncmp(order, "True", 4) != 0 && strncmp(order, "False", 5) != 0))
        return IO_FAIL(IO_ERR_FORMAT, "its header says nothing about fortran_order");
    out->is_fortran = order[0] == 'T';
    if (read_shape(find_value(text, "shape"), out)) return IO_OK;
    return IO_FAIL(IO_ERR_UNSUPPORTED, "its shape is no (rows, columns) of 1 to %d", MAX_SIDE);
}

static io_status read_header(const uint8_t *bytes, size_t n_bytes, npy_header *out)
{
    char text[MAX_HEADER_BYTES + 1];
    size_t n_prefix, n_text, n_values;

    *out = (npy_header){0};
    if (n_bytes < PREFIX2_BYTES || memcmp(bytes, "\x93NUMPY", 6) != 0 || bytes[6] < 1 || bytes[6] > 3)
        return IO_FAIL(IO_ERR_FORMAT, "it is no .npy array");
    n_prefix = bytes[6] == 1 ? PREFIX_BYTES : PREFIX2_BYTES;
    n_text = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (bytes[6] > 1) n_text |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (n_text > MAX_HEADER_BYTES || n_text > n_bytes - n_prefix)
        return IO_FAIL(IO_ERR_FORMAT, "its header should have %zu bytes; at most %d are read", n_text, MAX_HEADER_BYTES);
    memcpy(text, bytes + n_prefix, n_text);
    text[n_text] = '\0';
    IO_TRY(read_dictionary(text, out));
    out->start = n_prefix + n_text;
    n_values = (size_t)out->rows * (size_t)out->cols * out->element_bytes; /* at most 8192 * 8192 * 8 */
    if (n_values == n_bytes - out->start) return IO_OK;
    return IO_FAIL(n_values > n_bytes - out->start ? IO_ERR_TRUNCATED : IO_ERR_FORMAT, "%d x %d values take %zu bytes, it holds %zu",
                   out->rows, out->cols, n_values, n_bytes - out->start);
}

static float read_number(const uint8_t *from, const npy_header *header)
{
    uint64_t bits = 0;
    const size_t n_bits = 8 * header->element_bytes;
    float single;
    double number;

    for (size_t i = 0; i < header->element_bytes; i++) bits |= (uint64_t)from[i] << 8 * i;
    if (header->kind == NUMBER_UNSIGNED) return (float)bits;
    if (header->kind == NUMBER_SIGNED) {
        const uint64_t sign = (uint64_t)1 << (n_bits - 1);
        return (float)(int64_t)((bits ^ sign) - sign);
    }
    if (header->element_bytes == 8) {
        memcpy(&number, &bits, sizeof number);
        return (float)number;
    }
    const uint32_t low = (uint32_t)bits;
    memcpy(&single, &low, sizeof single);
    return single;
}

static io_status convert(const uint8_t *bytes, size_t n_bytes, io_npz_array *out)
{
    npy_header header;

    IO_TRY(read_header(bytes, n_bytes, &header));
    IO_TRY(io_alloc((size_t)header.rows * (size_t)header.cols, sizeof *out->values, (void **)&out->values));
    out->rows = header.rows;
    out->cols = header.cols;
    for (int r = 0; r < header.rows; r++) {
        for (int c = 0; c < header.cols; c++) {
            const size_t at = header.is_fortran ? (size_t)c * (size_t)header.rows + (size_t)r : (size_t)r * (size_t)header.cols + (size_t)c;
            out->values[(size_t)r * (size_t)header.cols + (size_t)c] =
                read_number(bytes + header.start + at * header.element_bytes, &header);
        }
    }
    return IO_OK;
}

static const io_zip_entry *find_entry(const io_zip *zip, const char *name)
{
    const size_t n_name = strlen(name);

    for (size_t i = 0; i < io_zip_count(zip); i++) {
        const io_zip_entry *entry = io_zip_at(zip, i);
        if (entry->n_name == n_name + 4 && !memcmp(entry->name, name, n_name) && !memcmp(entry->name + n_name, ".npy", 4)) return entry;
    }
    return NULL;
}

static io_status read_array(const io_mapping *file, const char *name, io_npz_array *out)
{
    io_status status = IO_OK;
    io_zip *zip = NULL;
    const io_zip_entry *entry;
    uint8_t *content = NULL;

    IO_TRY_GOTO(status, done, io_zip_open_deflated(file->bytes, file->n_bytes, file->path, &zip));
    entry = find_entry(zip, name);
    if (!entry) {
        status = IO_FAIL(IO_ERR_NOT_FOUND, "%s: there is no array \"%s\" in it", file->path, name);
    } else if (entry->n_bytes > (size_t)MAX_SIDE * MAX_SIDE * MAX_ELEMENT_BYTES + MAX_HEADER_BYTES) {
        status = IO_FAIL(IO_ERR_RANGE, "%s: array %s has %zu bytes; at most %d x %d values are read", file->path, name, entry->n_bytes,
                         MAX_SIDE, MAX_SIDE);
    } else {
        IO_TRY_GOTO(status, done, io_alloc(entry->n_bytes, 1, (void **)&content));
        IO_TRY_GOTO(status, done, io_zip_extract(zip, entry, content));
        status = convert(content, entry->n_bytes, out);
        if (status != IO_OK) status = io_fail_context(status, "%s: array %s", file->path, name);
    }
done:
    io_free(&content);
    io_zip_free(&zip);
    return status;
}

io_status io_npz_read(const char *path, const char *name, io_npz_array *out)
{
    io_mapping *file = NULL;
    io_status status;

    *out = (io_npz_array){0};
    IO_TRY(io_mapping_open(path, &file));
    status = read_array(file, name, out);
    io_mapping_free(&file);
    return status;
}
