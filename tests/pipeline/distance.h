/* Whole maps of exact Euclidean distances on an anisotropic grid (Felzenszwalb and Huttenlocher 2012: lower envelopes of parabolas, axis
 * by axis): what the searches of pipeline/metrics_*.c, which store no map, are compared with. test_distance.c holds it against brute
 * force. */
#ifndef TESTS_PIPELINE_DISTANCE_H
#define TESTS_PIPELINE_DISTANCE_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { DISTANCE_ALIGNMENT = 64 };

/* One line's lower envelope of parabolas: from starts[p] on the parabola over places[p] is the lowest. */
typedef struct envelope {
    double *values;  /* [n], the line copied */
    double *starts;  /* [n + 1], in voxels */
    int64_t *places; /* [n] */
} envelope;

static inline size_t round_up(size_t bytes)
{
    return (bytes + DISTANCE_ALIGNMENT - 1) / DISTANCE_ALIGNMENT * DISTANCE_ALIGNMENT;
}

static inline int64_t longest_axis(const int64_t dims[3])
{
    const int64_t two = dims[0] > dims[1] ? dims[0] : dims[1];

    return two > dims[2] ? two : dims[2];
}

/* Bytes of scratch for a box, 64-byte aligned. */
static inline size_t distance_scratch_bytes(const int64_t dims[3])
{
    const size_t n = (size_t)longest_axis(dims);

    return round_up(n * sizeof(double)) + round_up((n + 1) * sizeof(double)) + round_up(n * sizeof(int64_t));
}

static inline envelope lay_out(void *scratch, int64_t n)
{
    char *at = scratch;
    envelope e;

    e.values = (double *)at;
    e.starts = (double *)(at += round_up((size_t)n * sizeof(double)));
    e.places = (int64_t *)(at + round_up((size_t)(n + 1) * sizeof(double)));
    return e;
}

/* Where the parabola over q (in voxels, unit curvature after dividing by the square of the spacing) meets the one over p < q. */
static inline double find_crossing(const envelope *e, int64_t p, int64_t q, double spacing_squared)
{
    const double rise = (e->values[q] - e->values[p]) / spacing_squared + (double)(q * q) - (double)(p * p);

    return rise / (double)(2 * (q - p));
}

/* Number of parabolas in the envelope; those at infinity are left out. */
static inline int64_t build_envelope(const envelope *e, int64_t n, double spacing_squared)
{
    int64_t n_parabolas = 0;

    for (int64_t q = 0; q < n; q++) {
        double start = -INFINITY;
        if (isinf(e->values[q])) continue;
        while (n_parabolas > 0) {
            start = find_crossing(e, e->places[n_parabolas - 1], q, spacing_squared);
            if (start > e->starts[n_parabolas - 1]) break;
            n_parabolas--; /* hidden below its neighbours */
            start = -INFINITY;
        }
        e->places[n_parabolas] = q;
        e->starts[n_parabolas++] = start;
    }
    e->starts[n_parabolas] = INFINITY;
    return n_parabolas;
}

/* line [n] with the given stride, in squared units: becomes min over q of line[q] + ((x - q) spacing)^2. */
static inline void transform_line(double *line, int64_t n, int64_t stride, double spacing, const envelope *e)
{
    int64_t p = 0, n_parabolas;

    for (int64_t x = 0; x < n; x++) e->values[x] = line[x * stride];
    n_parabolas = build_envelope(e, n, spacing * spacing);
    if (n_parabolas == 0) return;
    for (int64_t x = 0; x < n; x++) {
        while (e->starts[p + 1] < (double)x) p++;
        const double steps = (double)(x - e->places[p]) * spacing;
        line[x * stride] = e->values[e->places[p]] + steps * steps;
    }
}

/* out [nz][ny][nx] = squared distance (in the square of spacing's unit) to the nearest voxel where seeds [nz][ny][nx] is non-zero;
 * infinity when there is none. spacing along i, j, k. */
static inline void distance_squared(const int64_t dims[3], const double spacing[3], const uint8_t *seeds, double *out, void *scratch)
{
    const int64_t nx = dims[0], ny = dims[1], nz = dims[2];
    const envelope e = lay_out(scratch, longest_axis(dims));

    for (int64_t at = 0; at < nx * ny * nz; at++) out[at] = seeds[at] ? 0 : INFINITY;
    for (int64_t row = 0; row < ny * nz; row++) transform_line(out + row * nx, nx, 1, spacing[0], &e);
    for (int64_t k = 0; k < nz; k++) {
        for (int64_t i = 0; i < nx; i++) transform_line(out + k * ny * nx + i, ny, nx, spacing[1], &e);
    }
    for (int64_t at = 0; at < nx * ny; at++) transform_line(out + at, nz, nx * ny, spacing[2], &e);
}

#endif
