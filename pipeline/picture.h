/* Inside of preview.c: a picture in memory, and drawing on it. Nothing is drawn outside of it. */
#ifndef PIPELINE_PICTURE_H
#define PIPELINE_PICTURE_H

#include <stdint.h>

#include "io/status.h"

typedef struct picture {
    int width, height; /* pixels */
    uint8_t *rgb;      /* [height][width][3] */
} picture;

/* Filled with one colour; free rgb with io_free. */
io_status pipe_picture_create(int width, int height, const uint8_t rgb[3], picture *out);
void pipe_picture_set(picture *p, int x, int y, const uint8_t rgb[3]);
void pipe_picture_fill(picture *p, int x, int y, int width, int height, const uint8_t rgb[3]);
/* Text with its upper left corner at (x, y), points of scale x scale pixels, cut after max_width pixels. */
void pipe_picture_text(picture *p, int x, int y, int scale, int max_width, const uint8_t rgb[3], const char *text);

#endif
