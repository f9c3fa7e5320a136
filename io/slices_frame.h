/* Inside of io/slices*.c: the numbers of the file and how a slice lies in its frame. */
#ifndef IO_SLICES_FRAME_H
#define IO_SLICES_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "io/slices.h"

enum {
    SLICES_MAX_SIDE = 4096,     /* pixels */
    SLICES_MAX_COUNT = 1 << 20, /* slices of one case */
    SLICES_MAX_CLASSES = 65534,
    SLICES_HEAD_BYTES = 40,      /* the first skippable frame: 8 of zstd, 32 of ours */
    SLICES_FRAME_HEAD_BYTES = 8, /* magic and size of a skippable frame */
    SLICES_ENTRY_BYTES = 8,      /* compressed and decompressed size */
    SLICES_FOOTER_BYTES = 9      /* number of frames, descriptor, magic */
};

#define SLICES_HEAD_MAGIC 0x184D2A50u
#define SLICES_TABLE_MAGIC 0x184D2A5Eu
#define SLICES_SEEKABLE_MAGIC 0x8F92EAB1u

/* Bytes of a slice before compression; shape was checked. */
size_t io_slices_content_bytes(const io_slices_shape *shape);
io_status io_slices_check_shape(const io_slices_shape *shape, const char *path);
void io_slices_put_u32(uint8_t *to, uint32_t value);
uint32_t io_slices_get_u32(const uint8_t *from);

#endif
