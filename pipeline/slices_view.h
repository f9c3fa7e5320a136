/* Inside of slices.c, labelmap.c and preview.c: planes of a volume along any of its axes. */
#ifndef PIPELINE_SLICES_VIEW_H
#define PIPELINE_SLICES_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/volume.h"
#include "pipeline/slices.h"

typedef struct slices_view {
    int rows, cols;
    int64_t count;                                 /* slices */
    int64_t first, col_step, row_step, slice_step; /* voxels: pixel (r, c) of slice k is first + k slice_step + r row_step + c col_step */
    bool is_stored_order;                          /* slices lie in the volume as [rows][cols] */
} slices_view;

/* Columns, rows and slices run along voxel axes axis[0], axis[1], axis[2], backwards where flip is set. Planes of more than 65536 pixels
 * a side are IO_ERR_RANGE. */
io_status pipe_view_plan(const io_volume *volume, const int axis[3], const int flip[3], slices_view *view);
/* slice [rows][cols] = the voxels of slice k as they are stored. */
void pipe_view_gather(const io_volume *volume, const slices_view *view, int64_t k, void *slice);
/* Bytes of scratch that pipe_view_read needs. */
size_t pipe_view_scratch_bytes(const io_volume *volume, const slices_view *view);
/* slice [rows][cols] = the scaled values of slice k. */
void pipe_view_read(const io_volume *volume, const slices_view *view, int64_t k, float *slice, void *scratch);

/* Borrowed, valid as long as slices. */
const slices_view *pipe_slices_view(const pipe_slices *slices);

#endif
