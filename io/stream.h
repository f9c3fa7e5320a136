/* Bytes out of a plain, gzip (RFC 1952, several members too) or zstd file, whichever its first bytes say, and gzip bytes into one.
 * Checksums are verified; what a stream yields is bounded by what the caller asks for. */
#ifndef IO_STREAM_H
#define IO_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct io_stream io_stream;

io_status io_stream_open(const char *path, io_stream **out);
/* The same over memory that stays valid until io_stream_close; name is used in messages. */
io_status io_stream_open_memory(const void *bytes, size_t n_bytes, const char *name, io_stream **out);
/* The largest number of bytes this stream can still yield, judged by the size of the file: the size itself for plain files,
 * at most 1032 times it for gzip (the limit of deflate) and 32768 times it for zstd (a block of 128 KiB from four bytes). */
uint64_t io_stream_bound(const io_stream *stream);
/* Exactly n_bytes, else IO_ERR_TRUNCATED. */
io_status io_stream_read(io_stream *stream, void *buffer, size_t n_bytes);
/* n_bytes, or fewer where the data ends. */
io_status io_stream_read_some(io_stream *stream, void *buffer, size_t n_bytes, size_t *n_read);
io_status io_stream_skip(io_stream *stream, uint64_t n_bytes);
/* Reads to the end, at most max_rest bytes more (else IO_ERR_FORMAT: more data than the header says), and verifies the checksums. */
io_status io_stream_finish(io_stream *stream, uint64_t max_rest);
/* SHA-256 of the file's own (compressed) bytes; after io_stream_finish only. */
io_status io_stream_sha256(io_stream *stream, char out[65]);
void io_stream_close(io_stream **stream);

/* gzip-compresses everything written and hands it to an atomic file (io/file.h). The bytes depend on nothing but the input. */
typedef struct io_gzip_writer io_gzip_writer;

io_status io_gzip_writer_open(const char *path, io_gzip_writer **out);
io_status io_gzip_writer_write(io_gzip_writer *writer, const void *bytes, size_t n_bytes);
/* Finishes the gzip stream, then commits as io_writer_commit does; sha256 (may be NULL) is that of the compressed file. */
io_status io_gzip_writer_commit(io_gzip_writer **writer, char sha256[65]);
void io_gzip_writer_free(io_gzip_writer **writer);

#endif
