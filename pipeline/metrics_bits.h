/* Masks of one organ as bits, 64 voxels of a row in a word: cut out of label maps, their surfaces and surfels.
 *
 * A shape is a box of dims voxels within empty pads, so that a look at a neighbour needs no check:
 *
 *   words [pad_z + nz + pad_z][pad_y + ny + pad_y][1 + ceil(nx / 64) + 1]
 *
 * Bit b of word w of a row is voxel i = 64 (w - 1) + b. Bits beyond dims are zero everywhere. */
#ifndef PIPELINE_METRICS_BITS_H
#define PIPELINE_METRICS_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "io/status.h"

typedef struct pipe_bits {
    int64_t dims[3];     /* voxels along i, j, k */
    int64_t row_words;   /* words from one row to the next */
    int64_t slice_words; /* words from one slice to the next */
    int64_t first;       /* index of the word of voxel (0, 0, 0) */
    int64_t n_words;     /* of one mask, pads included */
    bool is_planar;      /* one slice as a 2-D image: no neighbours along k */
} pipe_bits;

/* The shape for a box; reach is how far (voxels along j and k) a search may look past a voxel. */
io_status pipe_bits_plan(const int64_t dims[3], const int reach[2], bool is_planar, pipe_bits *out);

/* Index of the first word of row (j, k), pads not counted. */
static inline int64_t pipe_bits_row(const pipe_bits *shape, int64_t j, int64_t k)
{
    return shape->first + k * shape->slice_words + j * shape->row_words;
}

/* Words of a row that hold voxels. */
static inline int64_t pipe_bits_width(const pipe_bits *shape)
{
    return shape->row_words - 2;
}

/* One row of n labels (label_bytes 1 or 2 each): a bit for each that equals value, into words[ceil(n / 64)]. */
void pipe_bits_pack(const void *labels, int label_bytes, int value, int64_t n, uint64_t *words);

/* surface = voxels of mask with a face neighbour outside it; what lies beyond the box is outside. surface is zero before. */
void pipe_bits_surface(const pipe_bits *shape, const uint64_t *mask, uint64_t *surface);

/* surfels at the voxels' lower corners: those whose 2x2x2 voxels (i-1..i, j-1..j, k-1..k) are neither all in nor all out of mask.
 * surfels is zero before; mask must leave the last voxel of each axis empty. */
void pipe_bits_surfels(const pipe_bits *shape, const uint64_t *mask, uint64_t *surfels);

/* neighbours[8]: for the 64 surfels of word at, the voxel that has weight 128 >> n in the neighbour code (metrics_surfel.h). */
void pipe_bits_neighbours(const pipe_bits *shape, const uint64_t *mask, int64_t at, uint64_t neighbours[8]);

#endif
