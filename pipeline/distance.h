/* Exact Euclidean distances on an anisotropic grid (Felzenszwalb and Huttenlocher 2012: lower envelopes of parabolas, axis by axis). */
#ifndef PIPELINE_DISTANCE_H
#define PIPELINE_DISTANCE_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

/* Bytes of scratch for a box, 64-byte aligned. */
size_t pipe_distance_scratch_bytes(const int64_t dims[3]);

/* out [nz][ny][nx] = squared distance (in the square of spacing's unit) to the nearest voxel where seeds [nz][ny][nx] is non-zero;
 * infinity when there is none. spacing along i, j, k. */
void pipe_distance_squared(const int64_t dims[3], const double spacing[3], const uint8_t *seeds, double *out, void *scratch);

#endif
