/* Voxel values to the network's 0..1: clip to [low, high], then (v - low) / (high - low) in float32, as the reference's NumPy does
 * (spec 7 step 2). The limits are a window in the image's units or percentiles of the finite voxels of the whole volume. */
#ifndef PIPELINE_INTENSITY_H
#define PIPELINE_INTENSITY_H

#include <stdint.h>

#include "io/status.h"
#include "io/volume.h"
#include "pipeline/slices.h"

typedef struct pipe_intensity {
    float low, high; /* in the image's units */
    float range;     /* high - low, rounded once */
} pipe_intensity;

/* Fixes the limits for a volume. low < high, as a window in the image's units or as percentiles 0..100 (interpolated linearly, as
 * numpy.percentile; infinities do not count). Reads floating-point volumes through: a NaN is IO_ERR_RANGE with their number, and so are
 * percentiles of equal value, which leave nothing to see. Impossible limits are IO_ERR_ARGUMENT. */
io_status pipe_intensity_plan(const io_volume *volume, pipe_intensity_kind kind, double low, double high, pipe_intensity *out);

/* values [n] in place. Infinities clip. */
void pipe_intensity_scale(const pipe_intensity *intensity, float *values, int64_t n);

#endif
