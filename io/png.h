/* 8-bit pictures as PNG (libpng), written atomically. */
#ifndef IO_PNG_H
#define IO_PNG_H

#include <stdint.h>

#include "io/status.h"

/* rgb is [height][width][3]. */
io_status io_png_write(const char *path, const uint8_t *rgb, int width, int height);

#endif
