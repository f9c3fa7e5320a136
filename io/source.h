/* Inside io/ only: where a stream's bytes come from and what a codec makes of them. Used by stream.c, gzip.c and zstd.c. */
#ifndef IO_SOURCE_H
#define IO_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/hash.h"
#include "io/status.h"

/* A file or a piece of memory, block after block, hashed on the way. */
typedef struct io_source {
    char *name;     /* for messages */
    int descriptor; /* -1 for memory */
    io_hash *hash;
    uint64_t n_total;    /* bytes of the whole file */
    uint64_t n_fetched;  /* bytes that have been in a block so far */
    const uint8_t *next; /* [n_left] bytes of the current block that are not consumed yet */
    size_t n_left;
    uint8_t *store; /* file: [one block]; NULL for memory */
} io_source;

/* Makes n_left > 0 unless the end is reached (then n_left stays 0 and IO_OK is returned). Only valid when n_left is 0. */
io_status io_source_fetch(io_source *source);
/* Bytes consumed so far: the offset of next in the file. */
uint64_t io_source_offset(const io_source *source);

/* Decodes up to n_bytes into buffer; *n_read below n_bytes only at the end of the data, after its checksums were verified. */
typedef struct io_gzip_decoder io_gzip_decoder;
io_status io_gzip_decoder_create(io_gzip_decoder **out);
io_status io_gzip_decoder_read(io_gzip_decoder *decoder, io_source *source, uint8_t *buffer, size_t n_bytes, size_t *n_read);
void io_gzip_decoder_free(io_gzip_decoder **decoder);

typedef struct io_zstd_decoder io_zstd_decoder;
io_status io_zstd_decoder_create(io_zstd_decoder **out);
io_status io_zstd_decoder_read(io_zstd_decoder *decoder, io_source *source, uint8_t *buffer, size_t n_bytes, size_t *n_read);
void io_zstd_decoder_free(io_zstd_decoder **decoder);

#endif
