/* The stream: a source of bytes, a codec chosen by the first of them, and the counting. See stream.h. The codecs are gzip.c and zstd.c. */
#include "io/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/source.h"

enum {
    BLOCK_BYTES = 1 << 18,  /* stays in the second-level cache between reading, hashing and decoding */
    SCRATCH_BYTES = 1 << 16 /* for bytes nobody wants */
};

/* Most bytes that one byte of a file can stand for. */
#define GZIP_MAX_RATIO 1032  /* deflate: 258 bytes from two bits */
#define ZSTD_MAX_RATIO 32768 /* RFC 8878: a block of 128 KiB from a header of three bytes and one byte to repeat */

typedef enum io_codec { IO_CODEC_PLAIN, IO_CODEC_GZIP, IO_CODEC_ZSTD } io_codec;

struct io_stream {
    io_source source;
    io_codec codec;
    io_gzip_decoder *gzip;
    io_zstd_decoder *zstd;
    uint64_t n_yielded;
    bool is_finished;
    io_status failure; /* the first one; decoders must not be called again after it */
};

/* ---- the source ---- */

uint64_t io_source_offset(const io_source *source)
{
    return source->n_fetched - source->n_left;
}

/* read(2) until n_bytes are there or the file ends. */
static io_status read_descriptor(const io_source *source, uint8_t *buffer, size_t n_bytes, size_t *n_read)
{
    *n_read = 0;
    while (*n_read < n_bytes) {
        const ssize_t n = read(source->descriptor, buffer + *n_read, n_bytes - *n_read);
        if (n == 0) break;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return IO_FAIL_ERRNO("%s: cannot read at offset %" PRIu64, source->name, source->n_fetched + *n_read);
        *n_read += (size_t)n;
    }
    return IO_OK;
}

io_status io_source_fetch(io_source *source)
{
    size_t n_read;

    if (!source->store) return IO_OK; /* memory is one block, there from the start */
    IO_TRY(read_descriptor(source, source->store, BLOCK_BYTES, &n_read));
    if (n_read > 0) IO_TRY(io_hash_update(source->hash, source->store, n_read));
    source->n_fetched += n_read;
    source->next = source->store;
    source->n_left = n_read;
    return IO_OK;
}

static io_status open_descriptor(io_source *source, const char *path)
{
    IO_TRY(io_file_open(path, &source->descriptor, &source->n_total));
    (void)posix_fadvise(source->descriptor, 0, 0, POSIX_FADV_SEQUENTIAL);
    IO_TRY(io_alloc(BLOCK_BYTES, 1, (void **)&source->store));
    return io_source_fetch(source);
}

/* ---- the stream ---- */

/* RFC 1952 2.3.1; RFC 8878 3.1.1 and 3.1.2 (skippable frames). No NIfTI or safetensors header begins with these bytes. */
static io_codec detect_codec(const uint8_t *first, size_t n_bytes)
{
    if (n_bytes >= 2 && first[0] == 0x1f && first[1] == 0x8b) return IO_CODEC_GZIP;
    if (n_bytes >= 4 && !memcmp(first, "\x28\xb5\x2f\xfd", 4)) return IO_CODEC_ZSTD;
    if (n_bytes >= 4 && (first[0] & 0xf0) == 0x50 && !memcmp(first + 1, "\x2a\x4d\x18", 3)) return IO_CODEC_ZSTD;
    return IO_CODEC_PLAIN;
}

static io_status choose_codec(io_stream *stream)
{
    stream->codec = detect_codec(stream->source.next, stream->source.n_left);
    if (stream->codec == IO_CODEC_GZIP) return io_gzip_decoder_create(&stream->gzip);
    if (stream->codec == IO_CODEC_ZSTD) return io_zstd_decoder_create(&stream->zstd);
    return IO_OK;
}

static io_status create_stream(const char *name, io_stream **out)
{
    IO_TRY(io_alloc(1, sizeof **out, (void **)out));
    (*out)->source.descriptor = -1;
    IO_TRY(io_string_copy(name, &(*out)->source.name));
    return io_hash_create(&(*out)->source.hash);
}

io_status io_stream_open(const char *path, io_stream **out)
{
    io_status status = IO_OK;
    io_stream *stream = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, create_stream(path, &stream));
    IO_TRY_GOTO(status, done, open_descriptor(&stream->source, path));
    IO_TRY_GOTO(status, done, choose_codec(stream));
    *out = stream;
    stream = NULL;
done:
    io_stream_close(&stream);
    return status;
}

io_status io_stream_open_memory(const void *bytes, size_t n_bytes, const char *name, io_stream **out)
{
    io_status status = IO_OK;
    io_stream *stream = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, create_stream(name, &stream));
    stream->source.next = bytes;
    stream->source.n_left = stream->source.n_total = stream->source.n_fetched = n_bytes;
    IO_TRY_GOTO(status, done, io_hash_update(stream->source.hash, bytes, n_bytes));
    IO_TRY_GOTO(status, done, choose_codec(stream));
    *out = stream;
    stream = NULL;
done:
    io_stream_close(&stream);
    return status;
}

uint64_t io_stream_bound(const io_stream *stream)
{
    const uint64_t ratio = stream->codec == IO_CODEC_GZIP ? GZIP_MAX_RATIO : stream->codec == IO_CODEC_ZSTD ? ZSTD_MAX_RATIO : 1;
    uint64_t bound;

    if (__builtin_mul_overflow(stream->source.n_total, ratio, &bound)) return UINT64_MAX;
    return bound > stream->n_yielded ? bound - stream->n_yielded : 0;
}

/* A large read goes straight from the file into the caller's buffer; it is hashed there, block by block, while it is in the cache. */
static io_status read_plain(io_source *source, uint8_t *buffer, size_t n_bytes, size_t *n_read)
{
    size_t n;

    for (*n_read = 0; *n_read < n_bytes; *n_read += n) {
        if (source->n_left == 0 && source->store && n_bytes - *n_read >= BLOCK_BYTES) {
            IO_TRY(read_descriptor(source, buffer + *n_read, BLOCK_BYTES, &n));
            IO_TRY(io_hash_update(source->hash, buffer + *n_read, n));
            source->n_fetched += n;
            if (n == 0) return IO_OK;
            continue;
        }
        if (source->n_left == 0) IO_TRY(io_source_fetch(source));
        if (source->n_left == 0) return IO_OK;
        n = n_bytes - *n_read < source->n_left ? n_bytes - *n_read : source->n_left;
        memcpy(buffer + *n_read, source->next, n);
        source->next += n;
        source->n_left -= n;
    }
    return IO_OK;
}

static io_status decode(io_stream *stream, uint8_t *buffer, size_t n_bytes, size_t *n_read)
{
    switch (stream->codec) {
    case IO_CODEC_GZIP: return io_gzip_decoder_read(stream->gzip, &stream->source, buffer, n_bytes, n_read);
    case IO_CODEC_ZSTD: return io_zstd_decoder_read(stream->zstd, &stream->source, buffer, n_bytes, n_read);
    default: return read_plain(&stream->source, buffer, n_bytes, n_read);
    }
}

io_status io_stream_read_some(io_stream *stream, void *buffer, size_t n_bytes, size_t *n_read)
{
    *n_read = 0;
    if (stream->failure != IO_OK) return IO_FAIL(stream->failure, "%s: an earlier read of it failed", stream->source.name);
    stream->failure = decode(stream, buffer, n_bytes, n_read);
    stream->n_yielded += *n_read;
    return stream->failure;
}

static io_status fail_short(const io_stream *stream, uint64_t n_missing)
{
    return IO_FAIL(IO_ERR_TRUNCATED,
                   "%s: its data ends after %" PRIu64 " bytes, expected at least %" PRIu64 " more; the file was cut off, copy it again",
                   stream->source.name, stream->n_yielded, n_missing);
}

io_status io_stream_read(io_stream *stream, void *buffer, size_t n_bytes)
{
    size_t n_read;

    IO_TRY(io_stream_read_some(stream, buffer, n_bytes, &n_read));
    return n_read == n_bytes ? IO_OK : fail_short(stream, n_bytes - n_read);
}

/* Reads and forgets up to n_bytes. */
static io_status drop(io_stream *stream, uint64_t n_bytes, uint64_t *n_dropped)
{
    io_status status = IO_OK;
    uint8_t *scratch = NULL; /* [SCRATCH_BYTES] */
    size_t n_read = 1;

    *n_dropped = 0;
    IO_TRY_GOTO(status, done, io_alloc(SCRATCH_BYTES, 1, (void **)&scratch));
    while (*n_dropped < n_bytes && n_read > 0) {
        const uint64_t n_wanted = n_bytes - *n_dropped;
        IO_TRY_GOTO(status, done, io_stream_read_some(stream, scratch, n_wanted < SCRATCH_BYTES ? n_wanted : SCRATCH_BYTES, &n_read));
        *n_dropped += n_read;
    }
done:
    io_free(&scratch);
    return status;
}

io_status io_stream_skip(io_stream *stream, uint64_t n_bytes)
{
    uint64_t n_dropped;

    IO_TRY(drop(stream, n_bytes, &n_dropped));
    return n_dropped == n_bytes ? IO_OK : fail_short(stream, n_bytes - n_dropped);
}

io_status io_stream_finish(io_stream *stream, uint64_t max_rest)
{
    uint64_t n_dropped;

    IO_TRY(drop(stream, max_rest < UINT64_MAX ? max_rest + 1 : max_rest, &n_dropped));
    if (n_dropped > max_rest)
        return IO_FAIL(IO_ERR_FORMAT,
                       "%s: more data than its header says: expected the end after %" PRIu64 " bytes, at most %" PRIu64
                       " more, found others",
                       stream->source.name, stream->n_yielded - n_dropped, max_rest);
    stream->is_finished = true;
    return IO_OK;
}

io_status io_stream_sha256(io_stream *stream, char out[65])
{
    if (!stream->is_finished)
        return IO_FAIL(IO_ERR_ARGUMENT, "%s: its SHA-256 was asked for before the whole file was read", stream->source.name);
    return io_hash_hex(stream->source.hash, out);
}

void io_stream_close(io_stream **owner)
{
    io_stream *stream = *owner;

    if (!stream) return;
    if (stream->source.descriptor >= 0) close(stream->source.descriptor);
    io_gzip_decoder_free(&stream->gzip);
    io_zstd_decoder_free(&stream->zstd);
    io_hash_free(&stream->source.hash);
    io_free(&stream->source.store);
    io_free(&stream->source.name);
    io_free(owner);
}
