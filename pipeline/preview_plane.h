/* Inside of preview.c: one plane of the volume with label contours, drawn into a picture at a given scale. */
#ifndef PIPELINE_PREVIEW_PLANE_H
#define PIPELINE_PREVIEW_PLANE_H

#include "io/labels.h"
#include "pipeline/intensity.h"
#include "pipeline/picture.h"
#include "pipeline/slices_view.h"

typedef struct preview_case {
    const io_volume *volume;
    const void *labels; /* [nz][ny][nx] of label_bytes */
    int label_bytes;
    const io_labels *names;
    pipe_intensity intensity;
} preview_case;

/* A direction in which planes are cut. The view's columns and rows already run as they are shown: from left to right, downwards. */
typedef struct preview_plane {
    slices_view view;
    double col_mm, row_mm;
    char left, top; /* letters of the directions the picture's left and upper edges face */
    char right, bottom;
} preview_plane;

/* Size in pixels of a plane drawn at mm per pixel. */
void pipe_preview_size(const preview_plane *plane, double mm, int *width, int *height);
/* Draws slice k with its upper left corner at (x, y). */
io_status pipe_preview_draw(const preview_case *c, const preview_plane *plane, int64_t k, double mm, int x, int y, picture *out);
/* The label's colour, from the table or made from the value. */
void pipe_preview_colour(const io_labels *names, int value, uint8_t rgb[3]);

#endif
