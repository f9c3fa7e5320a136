/* Inside of slices.c and labelmap.c: where pixel (r, c) of slice k lies in the volume. */
#ifndef PIPELINE_SLICES_VIEW_H
#define PIPELINE_SLICES_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "pipeline/slices.h"

typedef struct slices_view {
    int rows, cols;
    int64_t count;                                 /* slices */
    int64_t first, col_step, row_step, slice_step; /* voxels: pixel (r, c) of slice k is first + k slice_step + r row_step + c col_step */
    bool is_stored_order;                          /* slices lie in the volume as [rows][cols] */
} slices_view;

/* Borrowed, valid as long as slices. */
const slices_view *pipe_slices_view(const pipe_slices *slices);

#endif
