/* What a picture of a case shows of its image: three planes and a range of grey, whatever the image's size. */
#ifndef PIPELINE_OVERLAY_IMAGE_H
#define PIPELINE_OVERLAY_IMAGE_H

#include <stdint.h>

#include "io/status.h"
#include "io/volume.h"
#include "pipeline/intensity.h"

typedef struct pipe_overlay_image {
    int64_t dims[3], cut[3];
    float *planes[3]; /* across each voxel axis at its cut: [nz][ny], [nz][nx], [ny][nx] */
    pipe_intensity intensity;
} pipe_overlay_image;

/* Reads the planes at cut of an image on this grid (corners at most 1 mm apart), slice by slice. Air far below zero means Hounsfield units,
 * shown in a window for soft tissue; else the range is that of percentiles, from at most some millions of voxels, evenly spaced. */
io_status pipe_overlay_image_read(const char *path, const io_grid *grid, const int64_t cut[3], pipe_overlay_image **out);
void pipe_overlay_image_free(pipe_overlay_image **image);
/* 0..1 of a voxel on one of the planes; at counts voxels in the order of the file. */
float pipe_overlay_image_grey(const pipe_overlay_image *image, int64_t at);

#endif
