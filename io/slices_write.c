/* Writing prepared slices. See slices.h; reading is slices.c. */
#include "io/slices.h"

#include <stdbool.h>
#include <string.h>

#include <isa-l/crc.h>
#include <zstd.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/slices_frame.h"

enum { ZSTD_LEVEL = 3 }; /* zstd's own default; level 9 takes four times as long for 1 % */

struct io_slices_writer {
    io_slices_shape shape;
    char *path;
    io_writer *file;
    ZSTD_CCtx *zstd;
    uint8_t *content; /* [content_bytes] of one slice */
    uint8_t *packed;  /* [packed_bytes] */
    size_t content_bytes, packed_bytes;
    uint8_t *table; /* [n_slices + 1] entries of SLICES_ENTRY_BYTES */
    int64_t n_written;
};

static io_status write_head(io_slices_writer *writer)
{
    const io_slices_shape *s = &writer->shape;
    uint8_t head[SLICES_HEAD_BYTES];

    io_slices_put_u32(head, SLICES_HEAD_MAGIC);
    io_slices_put_u32(head + 4, SLICES_HEAD_BYTES - SLICES_FRAME_HEAD_BYTES);
    memcpy(head + 8, "SAMEDSL1", 8);
    io_slices_put_u32(head + 16, (uint32_t)s->rows);
    io_slices_put_u32(head + 20, (uint32_t)s->cols);
    io_slices_put_u32(head + 24, (uint32_t)s->n_slices);
    io_slices_put_u32(head + 28, (uint32_t)s->n_classes);
    io_slices_put_u32(head + 32, s->n_classes > 255 ? 2 : 1);
    io_slices_put_u32(head + 36, crc32_gzip_refl(0, head + 8, 28));
    io_slices_put_u32(writer->table, SLICES_HEAD_BYTES);
    io_slices_put_u32(writer->table + 4, 0);
    return io_writer_write(writer->file, head, sizeof head);
}

static io_status start_zstd(io_slices_writer *writer)
{
    writer->zstd = ZSTD_createCCtx();
    if (!writer->zstd) return IO_FAIL(IO_ERR_MEMORY, "out of memory: zstd could not start");
    if (ZSTD_isError(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(writer->zstd, ZSTD_c_checksumFlag, 1)))
        return IO_FAIL(IO_ERR_MEMORY, "zstd refuses its parameters");
    return IO_OK;
}

io_status io_slices_writer_open(const char *path, const io_slices_shape *shape, io_slices_writer **out)
{
    io_status status = IO_OK;
    io_slices_writer *writer = NULL;

    *out = NULL;
    IO_TRY(io_slices_check_shape(shape, path));
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *writer, (void **)&writer));
    writer->shape = *shape;
    writer->content_bytes = io_slices_content_bytes(shape);
    writer->packed_bytes = ZSTD_compressBound(writer->content_bytes);
    IO_TRY_GOTO(status, done, io_string_copy(path, &writer->path));
    IO_TRY_GOTO(status, done, io_alloc(writer->content_bytes, 1, (void **)&writer->content));
    IO_TRY_GOTO(status, done, io_alloc(writer->packed_bytes, 1, (void **)&writer->packed));
    IO_TRY_GOTO(status, done, io_alloc((size_t)shape->n_slices + 1, SLICES_ENTRY_BYTES, (void **)&writer->table));
    IO_TRY_GOTO(status, done, start_zstd(writer));
    IO_TRY_GOTO(status, done, io_writer_open(path, &writer->file));
    IO_TRY_GOTO(status, done, write_head(writer));
    *out = writer;
    writer = NULL; /* now the caller's */
done:
    io_slices_writer_free(&writer);
    return status;
}

static io_status fill_content(io_slices_writer *writer, const float *image, const uint16_t *labels)
{
    const size_t n = (size_t)writer->shape.rows * (size_t)writer->shape.cols;
    uint8_t *planes = writer->content, *narrow = planes + 4 * n;
    const bool is_wide = writer->shape.n_classes > 255;

    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &image[i], sizeof bits);
        for (int p = 0; p < 4; p++) planes[(size_t)p * n + i] = (uint8_t)(bits >> 8 * p);
        if (labels[i] > writer->shape.n_classes)
            return IO_FAIL(IO_ERR_RANGE, "%s: slice %lld: label %d, expected 0 to %d", writer->path, (long long)writer->n_written,
                           (int)labels[i], writer->shape.n_classes);
        if (!is_wide) narrow[i] = (uint8_t)labels[i];
    }
    for (size_t i = 0; is_wide && i < n; i++) {
        narrow[2 * i] = (uint8_t)labels[i];
        narrow[2 * i + 1] = (uint8_t)(labels[i] >> 8);
    }
    return IO_OK;
}

io_status io_slices_writer_add(io_slices_writer *writer, const float *image, const uint16_t *labels)
{
    uint8_t *entry = writer->table + (size_t)(writer->n_written + 1) * SLICES_ENTRY_BYTES;
    size_t n_packed;

    if (writer->n_written >= writer->shape.n_slices)
        return IO_FAIL(IO_ERR_ARGUMENT, "%s: more slices than the %lld announced", writer->path, (long long)writer->shape.n_slices);
    IO_TRY(fill_content(writer, image, labels));
    n_packed = ZSTD_compress2(writer->zstd, writer->packed, writer->packed_bytes, writer->content, writer->content_bytes);
    if (ZSTD_isError(n_packed)) return IO_FAIL(IO_ERR_MEMORY, "zstd cannot compress: %s", ZSTD_getErrorName(n_packed));
    io_slices_put_u32(entry, (uint32_t)n_packed);
    io_slices_put_u32(entry + 4, (uint32_t)writer->content_bytes);
    IO_TRY(io_writer_write(writer->file, writer->packed, n_packed));
    writer->n_written++;
    return IO_OK;
}

static io_status write_table(io_slices_writer *writer)
{
    const uint32_t n_frames = (uint32_t)writer->shape.n_slices + 1;
    uint8_t head[SLICES_FRAME_HEAD_BYTES], footer[SLICES_FOOTER_BYTES] = {0};

    io_slices_put_u32(head, SLICES_TABLE_MAGIC);
    io_slices_put_u32(head + 4, n_frames * SLICES_ENTRY_BYTES + SLICES_FOOTER_BYTES);
    io_slices_put_u32(footer, n_frames);
    io_slices_put_u32(footer + 5, SLICES_SEEKABLE_MAGIC);
    IO_TRY(io_writer_write(writer->file, head, sizeof head));
    IO_TRY(io_writer_write(writer->file, writer->table, (size_t)n_frames * SLICES_ENTRY_BYTES));
    return io_writer_write(writer->file, footer, sizeof footer);
}

static io_status finish(io_slices_writer *writer, char sha256[65])
{
    if (writer->n_written != writer->shape.n_slices)
        return IO_FAIL(IO_ERR_ARGUMENT, "%s: %lld slices were written, %lld announced", writer->path, (long long)writer->n_written,
                       (long long)writer->shape.n_slices);
    IO_TRY(write_table(writer));
    if (sha256) IO_TRY(io_writer_sha256(writer->file, sha256));
    return io_writer_commit(&writer->file);
}

io_status io_slices_writer_commit(io_slices_writer **writer, char sha256[65])
{
    const io_status status = finish(*writer, sha256);

    io_slices_writer_free(writer);
    return status;
}

void io_slices_writer_free(io_slices_writer **writer)
{
    if (!writer || !*writer) return;
    io_writer_free(&(*writer)->file);
    ZSTD_freeCCtx((*writer)->zstd);
    io_free(&(*writer)->content);
    io_free(&(*writer)->packed);
    io_free(&(*writer)->table);
    io_free(&(*writer)->path);
    io_free(writer);
}
