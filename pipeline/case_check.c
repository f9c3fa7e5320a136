/* What is readable and yet looks wrong about a case, before the network sees it. See case.h. */
#include "pipeline/case.h"

#include <math.h>
#include <stdio.h>

#include "io/nifti.h"

/* Is a voxel of this type below limit? Stops at the first: a CT has air in its first corner. */
#define HAS_BELOW(type)                                                                                                                    \
    for (int64_t i = 0; i < volume->n_voxels; i++)                                                                                         \
        if ((double)((const type *)volume->voxels)[i] < limit) return true;                                                                \
    return false

static bool has_voxel_below(const io_volume *volume, double limit)
{
    switch (volume->datatype) {
    case IO_UINT8: HAS_BELOW(uint8_t);
    case IO_INT8: HAS_BELOW(int8_t);
    case IO_INT16: HAS_BELOW(int16_t);
    case IO_UINT16: HAS_BELOW(uint16_t);
    case IO_INT32: HAS_BELOW(int32_t);
    case IO_UINT32: HAS_BELOW(uint32_t);
    case IO_INT64: HAS_BELOW(int64_t);
    case IO_UINT64: HAS_BELOW(uint64_t);
    case IO_FLOAT32: HAS_BELOW(float);
    case IO_FLOAT64: HAS_BELOW(double);
    }
    return true;
}

#undef HAS_BELOW

/* Is there any value below 0? value = slope * voxel + inter; a falling scale is rare enough to be believed. */
static bool has_negative(const io_volume *volume)
{
    return !(volume->slope > 0) || has_voxel_below(volume, -volume->inter / volume->slope);
}

/* A window that begins below 0 is meant for HU. */
static bool is_window_odd(const pipe_case *work, const pipe_options *options)
{
    return options->intensity == PIPE_WINDOW && options->low < 0 && !has_negative(work->volume);
}

int pipe_case_check(const pipe_case *work, const pipe_options *options, char texts[][160], int n_max)
{
    const io_nifti_info info = {.grid = work->volume->grid};
    int n;

    if (n_max <= 0) return 0;
    n = io_nifti_check(&info, texts, n_max);
    if (n < n_max && is_window_odd(work, options))
        snprintf(texts[n++], 160, "no value is below 0, so this is no CT in HU, but is clipped to %g ... %g; for MR give --percentile 1 99",
                 options->low, options->high);
    return n;
}
