/* Inside of zoom.c: one axis of a zoom, on sixteen lines at a time. The body is written once with GCC vectors and built for the base
 * instruction set, AVX2 and AVX-512; as every lane does the same separate multiplications and additions (no contraction), all of them
 * give the same bits. */
#ifndef PIPELINE_ZOOM_LANES_H
#define PIPELINE_ZOOM_LANES_H

#include <stdbool.h>
#include <stdint.h>

#include "pipeline/zoom.h"

enum {
    ZOOM_LANES = 16,  /* lines side by side: enough independent chains to hide the latency of the recursion */
    ZOOM_TAPS = 4,    /* of the cubic B-spline */
    ZOOM_HORIZON = 40 /* terms of the mirror sum: |pole|^40 is 1e-23, far below double rounding */
};

typedef struct zoom_axis {
    int n_in, n_out;
    int32_t *index;   /* [n_out][ZOOM_TAPS] input positions, mirrored into range; index[0] is -1 where the output is outside (0) */
    double *weight;   /* [n_out][ZOOM_TAPS] */
    int32_t *nearest; /* [n_out] input position for order 0, -1 outside */
} zoom_axis;

/* Prefilters strip [n_in][ZOOM_LANES] in place and evaluates the spline into out [n_out][ZOOM_LANES]. 64-byte aligned. */
typedef void zoom_axis_function(const zoom_axis *axis, double *strip, double *out);

zoom_axis_function pipe_zoom_axis_base;
#if defined(__x86_64__)
zoom_axis_function pipe_zoom_axis_avx2;
zoom_axis_function pipe_zoom_axis_avx512;
#endif

typedef enum pipe_zoom_isa { PIPE_ZOOM_BASE, PIPE_ZOOM_AVX2, PIPE_ZOOM_AVX512 } pipe_zoom_isa;

/* Makes a plan use one instruction set, to compare them; false where this CPU has not got it. */
bool pipe_zoom_use_isa(pipe_zoom *zoom, pipe_zoom_isa isa);

#endif
