/* Synthetic abdominal CT with its label map, for demos, tests and scaling runs: a torso with SAMed's eight organs (ids of spec 7), lungs,
 * spine and ribs at realistic HU, sizes and positions, anatomy varied by the seed, noise and partial volume. Same seed, same bytes. */
#ifndef PIPELINE_PHANTOM_H
#define PIPELINE_PHANTOM_H

#include <stdint.h>

#include "io/status.h"
#include "io/volume.h"

typedef struct pipe_phantom_options {
    int64_t dims[3];
    double spacing_mm[3];
    uint64_t seed;       /* of the study */
    uint64_t case_index; /* with the seed it keys the anatomy and the noise */
    double noise_hu;     /* standard deviation, 12 by default */
} pipe_phantom_options;

/* image [nz][ny][nx] int16 HU and labels [nz][ny][nx] uint8, both the caller's, n voxels each. */
io_status pipe_phantom_draw(const pipe_phantom_options *options, int16_t *image, uint8_t *labels);

#endif
