/* Areas of surfels: the surface that marching cubes lays through a 2x2x2 neighbourhood, as surface-distance defines it. */
#ifndef PIPELINE_METRICS_SURFEL_H
#define PIPELINE_METRICS_SURFEL_H

#include <stdbool.h>
#include <stdint.h>

enum { PIPE_SURFEL_CODES = 256 };

/* Codes have bit 128 for voxel (i-1, j-1, k-1), 64 for (i-1, j-1, k), 32 for (i-1, j, k-1), 16 for (i-1, j, k) and 8, 4, 2, 1 for the
 * same with i. */
typedef struct pipe_surfels {
    int n_classes;
    uint8_t classes[PIPE_SURFEL_CODES]; /* which area a code has */
    double areas[PIPE_SURFEL_CODES];    /* [n_classes], ascending; in the square of spacing's unit */
} pipe_surfels;

void pipe_surfels_build(const double spacing[3], bool is_planar, pipe_surfels *out);

#endif
