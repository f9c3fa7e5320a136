/* Reading prepared slices. See slices.h; writing is slices_write.c. */
#include "io/slices.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include <isa-l/crc.h>
#include <zstd.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/slices_frame.h"

struct io_slices {
    char *path;
    io_slices_shape shape;
    uint64_t *starts; /* [n_slices + 1] bytes from the start of the file; the last is where the seek table begins */
};

size_t io_slices_content_bytes(const io_slices_shape *shape)
{
    return (size_t)shape->rows * (size_t)shape->cols * (sizeof(float) + (shape->n_classes > 255 ? 2 : 1));
}

io_status io_slices_check_shape(const io_slices_shape *shape, const char *path)
{
    if (shape->rows < 1 || shape->cols < 1 || shape->rows > SLICES_MAX_SIDE || shape->cols > SLICES_MAX_SIDE)
        return IO_FAIL(IO_ERR_RANGE, "%s: slices of %d x %d pixels; expected 1 to %d on each side", path, shape->rows, shape->cols,
                       SLICES_MAX_SIDE);
    if (shape->n_slices < 1 || shape->n_slices > SLICES_MAX_COUNT)
        return IO_FAIL(IO_ERR_RANGE, "%s: %lld slices; expected 1 to %d", path, (long long)shape->n_slices, SLICES_MAX_COUNT);
    if (shape->n_classes < 1 || shape->n_classes > SLICES_MAX_CLASSES)
        return IO_FAIL(IO_ERR_RANGE, "%s: %d classes; expected 1 to %d", path, shape->n_classes, SLICES_MAX_CLASSES);
    return IO_OK;
}

void io_slices_put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(value >> 8 * i);
}

uint32_t io_slices_get_u32(const uint8_t *from)
{
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* Exactly n_bytes at offset; another process may have cut the file since it was opened first. */
static io_status read_at(int descriptor, const char *path, uint64_t offset, void *bytes, size_t n_bytes)
{
    uint8_t *to = bytes;

    for (size_t n_read = 0; n_read < n_bytes;) {
        const ssize_t n = pread(descriptor, to + n_read, n_bytes - n_read, (off_t)(offset + n_read));
        if (n < 0) return IO_FAIL_ERRNO("%s: reading at offset %llu", path, (unsigned long long)offset);
        if (n == 0)
            return IO_FAIL(IO_ERR_TRUNCATED, "%s: %zu bytes at offset %llu reach beyond its end; the file was cut off, prepare it again",
                           path, n_bytes, (unsigned long long)offset);
        n_read += (size_t)n;
    }
    return IO_OK;
}

static io_status read_head(io_slices *slices, int descriptor)
{
    uint8_t head[SLICES_HEAD_BYTES];
    io_slices_shape *s = &slices->shape;
    uint32_t fields[5];

    IO_TRY(read_at(descriptor, slices->path, 0, head, sizeof head));
    if (io_slices_get_u32(head) != SLICES_HEAD_MAGIC || io_slices_get_u32(head + 4) != SLICES_HEAD_BYTES - SLICES_FRAME_HEAD_BYTES ||
        memcmp(head + 8, "SAMEDSL1", 8) != 0)
        return IO_FAIL(IO_ERR_FORMAT, "%s: no file of prepared slices (samed prepare writes them)", slices->path);
    if (io_slices_get_u32(head + 36) != crc32_gzip_refl(0, head + 8, 28))
        return IO_FAIL(IO_ERR_CHECKSUM, "%s: its header is damaged; prepare the case again", slices->path);
    for (int i = 0; i < 5; i++) {
        fields[i] = io_slices_get_u32(head + 16 + 4 * i);
        if (fields[i] > INT32_MAX) return IO_FAIL(IO_ERR_RANGE, "%s: its header holds %u", slices->path, (unsigned)fields[i]);
    }
    *s = (io_slices_shape){(int)fields[0], (int)fields[1], fields[2], (int)fields[3]};
    IO_TRY(io_slices_check_shape(s, slices->path));
    if (fields[4] != (s->n_classes > 255 ? 2 : 1))
        return IO_FAIL(IO_ERR_FORMAT, "%s: labels of %u bytes for %d classes", slices->path, (unsigned)fields[4], s->n_classes);
    return IO_OK;
}

/* The frames must fill the file from its start to the table without a gap, each of a slice's size. */
static io_status set_starts(io_slices *slices, const uint8_t *entries, uint64_t table_start)
{
    const size_t content_bytes = io_slices_content_bytes(&slices->shape), max_packed = ZSTD_compressBound(content_bytes);
    uint64_t next = SLICES_HEAD_BYTES;

    if (io_slices_get_u32(entries) != SLICES_HEAD_BYTES || io_slices_get_u32(entries + 4) != 0)
        return IO_FAIL(IO_ERR_FORMAT, "%s: its seek table does not begin with its header", slices->path);
    for (int64_t k = 0; k < slices->shape.n_slices; k++) {
        const uint8_t *entry = entries + (size_t)(k + 1) * SLICES_ENTRY_BYTES;
        const uint32_t n_packed = io_slices_get_u32(entry), n_content = io_slices_get_u32(entry + 4);
        if (n_content != content_bytes || n_packed == 0 || n_packed > max_packed)
            return IO_FAIL(IO_ERR_FORMAT, "%s: slice %lld: %u bytes in %u, expected %zu bytes in at most %zu", slices->path, (long long)k,
                           (unsigned)n_content, (unsigned)n_packed, content_bytes, max_packed);
        slices->starts[k] = next;
        next += n_packed;
    }
    slices->starts[slices->shape.n_slices] = next;
    if (next != table_start)
        return IO_FAIL(IO_ERR_FORMAT, "%s: its slices end at byte %llu, its seek table begins at %llu", slices->path,
                       (unsigned long long)next, (unsigned long long)table_start);
    return IO_OK;
}

static io_status check_ends(const io_slices *slices, const uint8_t *table, size_t table_bytes)
{
    const uint8_t *footer = table + table_bytes - SLICES_FOOTER_BYTES;

    if (io_slices_get_u32(footer + 5) != SLICES_SEEKABLE_MAGIC || io_slices_get_u32(table) != SLICES_TABLE_MAGIC)
        return IO_FAIL(IO_ERR_TRUNCATED, "%s: it does not end with a seek table for %lld slices; the file was cut off, prepare it again",
                       slices->path, (long long)slices->shape.n_slices);
    if (io_slices_get_u32(table + 4) != table_bytes - SLICES_FRAME_HEAD_BYTES || footer[4] != 0 ||
        io_slices_get_u32(footer) != (uint64_t)slices->shape.n_slices + 1)
        return IO_FAIL(IO_ERR_FORMAT, "%s: its seek table is of another size than %lld slices need", slices->path,
                       (long long)slices->shape.n_slices);
    return IO_OK;
}

static io_status read_table(io_slices *slices, int descriptor, uint64_t file_bytes)
{
    io_status status = IO_OK;
    uint8_t *table = NULL;
    const size_t n_entries = (size_t)slices->shape.n_slices + 1;
    const size_t table_bytes = SLICES_FRAME_HEAD_BYTES + n_entries * SLICES_ENTRY_BYTES + SLICES_FOOTER_BYTES;

    if (file_bytes < SLICES_HEAD_BYTES + table_bytes)
        return IO_FAIL(IO_ERR_TRUNCATED, "%s: %llu bytes are too few for %lld slices; the file was cut off, prepare it again", slices->path,
                       (unsigned long long)file_bytes, (long long)slices->shape.n_slices);
    IO_TRY_GOTO(status, done, io_alloc(table_bytes, 1, (void **)&table));
    IO_TRY_GOTO(status, done, io_alloc(n_entries, sizeof *slices->starts, (void **)&slices->starts));
    IO_TRY_GOTO(status, done, read_at(descriptor, slices->path, file_bytes - table_bytes, table, table_bytes));
    IO_TRY_GOTO(status, done, check_ends(slices, table, table_bytes));
    status = set_starts(slices, table + SLICES_FRAME_HEAD_BYTES, file_bytes - table_bytes);
done:
    io_free(&table);
    return status;
}

io_status io_slices_open(const char *path, io_slices **out)
{
    io_status status = IO_OK;
    io_slices *slices = NULL;
    uint64_t n_bytes;
    int descriptor;

    *out = NULL;
    IO_TRY(io_file_open(path, &descriptor, &n_bytes));
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *slices, (void **)&slices));
    IO_TRY_GOTO(status, done, io_string_copy(path, &slices->path));
    IO_TRY_GOTO(status, done, read_head(slices, descriptor));
    IO_TRY_GOTO(status, done, read_table(slices, descriptor, n_bytes));
    *out = slices;
    slices = NULL; /* now the caller's */
done:
    io_slices_free(&slices);
    close(descriptor);
    return status;
}

void io_slices_free(io_slices **slices)
{
    if (!slices || !*slices) return;
    io_free(&(*slices)->path);
    io_free(&(*slices)->starts);
    io_free(slices);
}

const io_slices_shape *io_slices_get_shape(const io_slices *slices)
{
    return &slices->shape;
}

static io_status unpack(const io_slices *slices, int64_t k, const uint8_t *packed, size_t n_packed, uint8_t *content)
{
    const size_t content_bytes = io_slices_content_bytes(&slices->shape);
    size_t n;

    /* Content size and checksum are optional in zstd, not here; a frame that ends early would hide what lies behind it. */
    if (ZSTD_getFrameContentSize(packed, n_packed) != content_bytes || ZSTD_findFrameCompressedSize(packed, n_packed) != n_packed ||
        !(packed[4] & 4))
        return IO_FAIL(IO_ERR_FORMAT, "%s: slice %lld is no zstd frame of %zu bytes with a checksum; prepare the case again", slices->path,
                       (long long)k, content_bytes);
    n = ZSTD_decompress(content, content_bytes, packed, n_packed);
    if (n == content_bytes) return IO_OK;
    return IO_FAIL(IO_ERR_CHECKSUM, "%s: slice %lld is damaged (%s); prepare the case again", slices->path, (long long)k,
                   ZSTD_isError(n) ? ZSTD_getErrorName(n) : "too short");
}

static io_status take_content(const io_slices *slices, int64_t k, const uint8_t *content, float *image, uint16_t *labels)
{
    const size_t n = (size_t)slices->shape.rows * (size_t)slices->shape.cols;
    const uint8_t *narrow = content + 4 * n;
    const bool is_wide = slices->shape.n_classes > 255;

    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        for (int p = 0; p < 4; p++) bits |= (uint32_t)content[(size_t)p * n + i] << 8 * p;
        memcpy(&image[i], &bits, sizeof bits);
        labels[i] = is_wide ? (uint16_t)(narrow[2 * i] | narrow[2 * i + 1] << 8) : narrow[i];
        if (labels[i] > slices->shape.n_classes)
            return IO_FAIL(IO_ERR_RANGE, "%s: slice %lld: label %d, expected 0 to %d", slices->path, (long long)k, (int)labels[i],
                           slices->shape.n_classes);
    }
    return IO_OK;
}

io_status io_slices_read(const io_slices *slices, int64_t k, float *image, uint16_t *labels)
{
    io_status status = IO_OK;
    uint8_t *packed = NULL, *content = NULL;
    size_t n_packed;
    int descriptor;

    if (k < 0 || k >= slices->shape.n_slices)
        return IO_FAIL(IO_ERR_ARGUMENT, "%s: slice %lld; it has %lld", slices->path, (long long)k, (long long)slices->shape.n_slices);
    descriptor = open(slices->path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return IO_FAIL_ERRNO("%s", slices->path);
    n_packed = (size_t)(slices->starts[k + 1] - slices->starts[k]);
    IO_TRY_GOTO(status, done, io_alloc(n_packed, 1, (void **)&packed));
    IO_TRY_GOTO(status, done, io_alloc(io_slices_content_bytes(&slices->shape), 1, (void **)&content));
    IO_TRY_GOTO(status, done, read_at(descriptor, slices->path, slices->starts[k], packed, n_packed));
    IO_TRY_GOTO(status, done, unpack(slices, k, packed, n_packed, content));
    status = take_content(slices, k, content, image, labels);
done:
    io_free(&packed);
    io_free(&content);
    close(descriptor);
    return status;
}
