/* SHA-256 (libcrypto). Hex strings are lower case, 64 digits and a zero byte. */
#ifndef IO_HASH_H
#define IO_HASH_H

#include <stddef.h>

#include "io/status.h"

typedef struct io_hash io_hash;

io_status io_hash_create(io_hash **out);
io_status io_hash_update(io_hash *hash, const void *bytes, size_t n_bytes);
/* May be called again after more updates. */
io_status io_hash_hex(const io_hash *hash, char out[65]);
void io_hash_free(io_hash **hash);

io_status io_hash_bytes(const void *bytes, size_t n_bytes, char out[65]);
io_status io_hash_file(const char *path, char out[65]);

#endif
