/* The slices of one prepared case, each addressable by itself: <case>.slices, a zstd file in zstd's seekable format
 * (contrib/seekable_format/zstd_seekable_compression_format.md of zstd), so `zstd -dc` unpacks all of it too.
 *
 *   skippable frame 0x184D2A50, 32 bytes: "SAMEDSL1", then little-endian u32 rows, cols, n_slices, n_classes, label_bytes, CRC-32 of these 28
 *   n_slices zstd frames with content size and checksum: the image [rows][cols] as float32, exactly, in four planes (byte 0 of every
 *     value, least significant first, then byte 1, ...: smooth images shrink by another tenth), then labels [rows][cols] of label_bytes
 *   skippable frame 0x184D2A5E: the seek table, 8 bytes for each of the 1 + n_slices frames above, and its footer */
#ifndef IO_SLICES_H
#define IO_SLICES_H

#include <stdint.h>

#include "io/status.h"

typedef struct io_slices_shape {
    int rows, cols; /* pixels, 1..4096 */
    int64_t n_slices;
    int n_classes;  /* labels are 0..n_classes, 0 the background; above 255 they take two bytes */
} io_slices_shape;

typedef struct io_slices_writer io_slices_writer;

/* The file appears whole or not at all, when committed with all n_slices slices. Its bytes depend on the slices and on libzstd's version. */
io_status io_slices_writer_open(const char *path, const io_slices_shape *shape, io_slices_writer **out);
/* The next slice: image [rows][cols], labels [rows][cols]; a label above n_classes is IO_ERR_RANGE. */
io_status io_slices_writer_add(io_slices_writer *writer, const float *image, const uint16_t *labels);
/* sha256 (may be NULL) is that of the file. Frees the writer either way. */
io_status io_slices_writer_commit(io_slices_writer **writer, char sha256[65]);
void io_slices_writer_free(io_slices_writer **writer);

/* An opened file: its shape and where each slice lies. No descriptor stays open, so thousands may be open at once. */
typedef struct io_slices io_slices;

io_status io_slices_open(const char *path, io_slices **out);
void io_slices_free(io_slices **slices);
const io_slices_shape *io_slices_get_shape(const io_slices *slices); /* borrowed */
/* Slice k, 0-based: image [rows][cols], labels [rows][cols]. Verifies the checksum and the range of the labels. Thread-safe. */
io_status io_slices_read(const io_slices *slices, int64_t k, float *image, uint16_t *labels);

#endif
