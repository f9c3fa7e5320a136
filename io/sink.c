/* See sink.h. gzip is stream.h's (ISA-L); zstd is here because only label maps are ever written with it. */
#include "io/sink.h"

#include <zstd.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/stream.h"

enum { ZSTD_LEVEL = 3 }; /* zstd's own default; label maps shrink 200-fold at any level */

struct io_sink {
    io_gzip_writer *gzip; /* one of gzip and file is set */
    io_writer *file;
    ZSTD_CCtx *zstd; /* before file, for .zst */
    void *block;     /* [block_bytes] compressed bytes on their way to file */
    size_t block_bytes;
};

static io_status check_zstd(size_t code)
{
    if (ZSTD_isError(code)) return IO_FAIL(IO_ERR_MEMORY, "zstd cannot compress: %s", ZSTD_getErrorName(code));
    return IO_OK;
}

static io_status start_zstd(io_sink *sink, uint64_t n_total)
{
    sink->zstd = ZSTD_createCCtx();
    if (!sink->zstd) return IO_FAIL(IO_ERR_MEMORY, "out of memory: zstd could not start");
    sink->block_bytes = ZSTD_CStreamOutSize();
    IO_TRY(io_alloc(sink->block_bytes, 1, &sink->block));
    IO_TRY(check_zstd(ZSTD_CCtx_setParameter(sink->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL)));
    IO_TRY(check_zstd(ZSTD_CCtx_setParameter(sink->zstd, ZSTD_c_checksumFlag, 1)));
    return check_zstd(ZSTD_CCtx_setPledgedSrcSize(sink->zstd, n_total));
}

io_status io_sink_open(const char *path, uint64_t n_total, io_sink **out)
{
    io_sink *sink = NULL;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *sink, (void **)&sink));
    if (io_path_has_suffix(path, ".gz"))
        IO_TRY_GOTO(status, done, io_gzip_writer_open(path, &sink->gzip));
    else
        IO_TRY_GOTO(status, done, io_writer_open(path, &sink->file));
    if (io_path_has_suffix(path, ".zst")) IO_TRY_GOTO(status, done, start_zstd(sink, n_total));
    *out = sink;
    sink = NULL; /* now the caller's */
done:
    io_sink_free(&sink);
    return status;
}

/* Compresses until the input is used up or, with ZSTD_e_end, until the frame is complete. */
static io_status push_zstd(io_sink *sink, const void *bytes, size_t n_bytes, ZSTD_EndDirective mode)
{
    ZSTD_inBuffer in = {bytes, n_bytes, 0};
    size_t left;

    do {
        ZSTD_outBuffer packed = {sink->block, sink->block_bytes, 0};
        left = ZSTD_compressStream2(sink->zstd, &packed, &in, mode);
        IO_TRY(check_zstd(left));
        IO_TRY(io_writer_write(sink->file, sink->block, packed.pos));
    } while (mode == ZSTD_e_end ? left > 0 : in.pos < in.size);
    return IO_OK;
}

io_status io_sink_write(io_sink *sink, const void *bytes, size_t n_bytes)
{
    if (sink->gzip) return io_gzip_writer_write(sink->gzip, bytes, n_bytes);
    if (sink->zstd) return push_zstd(sink, bytes, n_bytes, ZSTD_e_continue);
    return io_writer_write(sink->file, bytes, n_bytes);
}

static io_status finish(io_sink *sink, char sha256[65])
{
    if (sink->gzip) return io_gzip_writer_commit(&sink->gzip, sha256);
    if (sink->zstd) IO_TRY(push_zstd(sink, NULL, 0, ZSTD_e_end));
    if (sha256) IO_TRY(io_writer_sha256(sink->file, sha256));
    return io_writer_commit(&sink->file);
}

io_status io_sink_commit(io_sink **sink, char sha256[65])
{
    const io_status status = finish(*sink, sha256);
    io_sink_free(sink);
    return status;
}

void io_sink_free(io_sink **sink)
{
    if (!sink || !*sink) return;
    io_gzip_writer_free(&(*sink)->gzip);
    io_writer_free(&(*sink)->file);
    ZSTD_freeCCtx((*sink)->zstd);
    io_free(&(*sink)->block);
    io_free(sink);
}
