/* Bytes into a plain, gzip or zstd file, whichever the path's suffix says; atomic and hashed. Inside io/ only. */
#ifndef IO_SINK_H
#define IO_SINK_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct io_sink io_sink;

/* n_total is the number of bytes that will be written (a zstd frame carries it, so that readers can trust its size). */
io_status io_sink_open(const char *path, uint64_t n_total, io_sink **out);
io_status io_sink_write(io_sink *sink, const void *bytes, size_t n_bytes);
/* Finishes and renames to the final path; frees the sink either way. sha256 (may be NULL) is that of the file. */
io_status io_sink_commit(io_sink **sink, char sha256[65]);
/* Gives up: nothing is left on disk. Accepts NULL. */
void io_sink_free(io_sink **sink);

#endif
