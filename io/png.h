/* 8-bit pictures as PNG (libpng), written atomically. */
#ifndef IO_PNG_H
#define IO_PNG_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

/* rgb is [height][width][3]. */
io_status io_png_write(const char *path, const uint8_t *rgb, int width, int height);
/* The same in memory: *bytes [*n_bytes] with io_free. name is used in messages. */
io_status io_png_encode(const char *name, const uint8_t *rgb, int width, int height, uint8_t **bytes, size_t *n_bytes);

#endif
