/* A label map as organ numbers on its grid, read in pieces: beside the result only one block of voxels is in memory, whatever the file's
 * datatype. */
#ifndef PIPELINE_LABEL_VOLUME_H
#define PIPELINE_LABEL_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "io/volume.h"
#include "pipeline/label_map.h"

/* Voxels that masks of two organs claim: the first by file name keeps them. */
typedef struct pipe_mask_overlap {
    int kept, lost; /* organs, 1..n */
    int64_t n_voxels;
} pipe_mask_overlap;

enum {
    PIPE_MAX_OVERLAPS = 32, /* pairs of organs that are told apart; the rest only count in n_overlaps */
    PIPE_MAX_UNNAMED = 16   /* values that are told apart, the first of the file */
};

/* Values that nothing names; they count as background. */
typedef struct pipe_unnamed {
    int64_t n_voxels;                                           /* with any of them */
    int64_t values[PIPE_MAX_UNNAMED], counts[PIPE_MAX_UNNAMED]; /* [n_values] ascending, voxels of each; the rest is in n_voxels alone */
    int64_t n_values;
} pipe_unnamed;

typedef struct pipe_label_volume {
    io_grid grid;
    void *organs;     /* [nz][ny][nx] of organ_bytes: 0 background, 1..n_organs, ignore_organ */
    int organ_bytes;  /* 1 up to 255 of them, else 2 */
    int ignore_organ; /* n_organs + 1, of the value of voxels that nobody may judge; 0 without any such value in the map */
    int ignore_value; /* that value */
    int64_t n_voxels;
    pipe_unnamed unnamed;
    int64_t n_rounded;                             /* voxels whose value was no integer */
    double largest_step;                           /* by which one was rounded */
    int n_other_files;                             /* folder of masks: files that name no organ */
    char other_file[128];                          /* the first of them */
    int64_t n_overlaps;                            /* folder of masks: voxels that a mask wanted and another organ's had taken */
    pipe_mask_overlap overlaps[PIPE_MAX_OVERLAPS]; /* [n_overlap_pairs] */
    int n_overlap_pairs;
    char sha256[65]; /* of the file; of "name hash" lines for a folder of masks */
} pipe_label_volume;

/* path is a NIfTI file of integers, or a folder with one binary mask per organ (TotalSegmentator's layout: <organ>.nii.gz, also below
 * "segmentations/"). Values that are no integers of 0..65535 are refused, naming the first; with round they are rounded. */
io_status pipe_label_volume_read(const char *path, const pipe_label_map *map, bool round, pipe_label_volume **out);
/* Background alone, on a grid. */
io_status pipe_label_volume_create(const io_grid *grid, const pipe_label_map *map, pipe_label_volume **out);
void pipe_label_volume_free(pipe_label_volume **volume);

/* Dimensions must be equal and no corner of the grids may be farther apart than tolerance_mm; IO_ERR_MISMATCH shows both affines. */
io_status pipe_grid_compare(const io_grid *reference, const io_grid *prediction, double tolerance_mm);
/* mm between the farthest matching corners of two grids of equal dimensions. */
double pipe_grid_distance(const io_grid *a, const io_grid *b);

/* Voxels that the reference says to ignore become background on both sides, of one grid; returns how many. The value to ignore elsewhere in
 * the prediction is one that nothing names. */
int64_t pipe_label_volume_leave_out(pipe_label_volume *reference, pipe_label_volume *prediction);

/* Brings the volume to another grid: each voxel takes the organ of the nearest voxel, background outside. */
io_status pipe_label_volume_resample(pipe_label_volume *volume, const io_grid *grid);

#endif
