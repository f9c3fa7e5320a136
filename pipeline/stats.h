/* Volumes and intensities per label of one case, for --stats. */
#ifndef PIPELINE_STATS_H
#define PIPELINE_STATS_H

#include <stdint.h>

#include "io/status.h"
#include "io/volume.h"

typedef struct pipe_label_stats {
    int value;
    int64_t n_voxels;
    double volume_ml;                /* n_voxels times the voxel's volume from the affine's determinant */
    double mean, sd;                 /* of the image inside, in its units; sd over n, not n - 1; 0 when empty */
    int64_t first_slice, last_slice; /* k range, -1 when empty */
    int touches_border;              /* of the volume, in any axis */
} pipe_label_stats;

/* stats [n_values]: one per label value 0..n_values-1. labels [nz][ny][nx] of label_bytes. A larger label is IO_ERR_RANGE. */
io_status pipe_stats_measure(const io_volume *volume, const void *labels, int label_bytes, int n_values, pipe_label_stats *stats);
/* Volume of a voxel, ml: |determinant| of the affine's linear part. */
double pipe_stats_voxel_ml(const io_grid *grid);

#endif
