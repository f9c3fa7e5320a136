/* See intensity.h. Percentiles are exact: order statistics by counting the upper, then the lower 16 bits of the values, so nothing of
 * the volume's size is allocated or sorted. */
#include "pipeline/intensity.h"

#include <math.h>
#include <string.h>

#include "io/memory.h"

enum { N_BINS = 1 << 16, N_RANKS = 4 }; /* the two neighbours of either percentile */

/* Where the order statistics are being looked for. */
typedef struct search {
    uint64_t rank[N_RANKS];  /* 0-based among the finite values, then within the bin found */
    uint32_t upper[N_RANKS]; /* upper 16 bits, once found */
    uint64_t n_finite, n_nan;
    uint64_t *upper_counts; /* [N_BINS] */
    uint64_t *lower_counts; /* [N_RANKS][N_BINS] */
} search;

/* Bits that compare as unsigned integers the way the floats compare. */
static uint32_t order_bits(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float restore_value(uint32_t ordered)
{
    const uint32_t bits = ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered;
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static void count_upper(search *s, const float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (isnan(values[i])) s->n_nan++;
        if (!isfinite(values[i])) continue;
        s->n_finite++;
        s->upper_counts[order_bits(values[i]) >> 16]++;
    }
}

static void count_lower(search *s, const float *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint32_t ordered = order_bits(values[i]);
        if (!isfinite(values[i])) continue;
        for (int r = 0; r < N_RANKS; r++)
            if (ordered >> 16 == s->upper[r]) s->lower_counts[(size_t)r * N_BINS + (ordered & 0xffffu)]++;
    }
}

static void visit_slices(const io_volume *volume, float *slice, search *s, void (*visit)(search *, const float *, int64_t))
{
    const int64_t n = volume->grid.dims[0] * volume->grid.dims[1];

    for (int64_t k = 0; k < volume->grid.dims[2]; k++) {
        io_volume_slice(volume, k, slice);
        visit(s, slice, n);
    }
}

/* The bin that holds the value of this rank; *rank becomes the rank within the bin. */
static uint32_t find_bin(const uint64_t *counts, uint64_t *rank)
{
    uint32_t bin = 0;

    while (*rank >= counts[bin]) *rank -= counts[bin++];
    return bin;
}

/* a + (b - a) t, from the nearer end as numpy does. */
static double interpolate(double a, double b, double t)
{
    return t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
}

static void find_percentiles(const io_volume *volume, float *slice, search *s, const double percent[2], double out[2])
{
    double fraction[2], value[N_RANKS];

    for (int p = 0; p < 2; p++) {
        const double position = percent[p] / 100 * (double)(s->n_finite - 1);
        fraction[p] = position - floor(position);
        s->rank[2 * p] = (uint64_t)floor(position);
        s->rank[2 * p + 1] = (uint64_t)ceil(position);
    }
    for (int r = 0; r < N_RANKS; r++) s->upper[r] = find_bin(s->upper_counts, &s->rank[r]);
    visit_slices(volume, slice, s, count_lower);
    for (int r = 0; r < N_RANKS; r++)
        value[r] = restore_value(s->upper[r] << 16 | find_bin(s->lower_counts + (size_t)r * N_BINS, &s->rank[r]));
    for (int p = 0; p < 2; p++) out[p] = interpolate(value[2 * p], value[2 * p + 1], fraction[p]);
}

/* Counts NaN, and for percentiles replaces limits by values. */
static io_status scan_volume(const io_volume *volume, pipe_intensity_kind kind, double limits[2])
{
    const double percent[2] = {limits[0], limits[1]};
    io_status status = IO_OK;
    search s = {0};
    float *slice = NULL;
    size_t n_pixels;

    IO_TRY_GOTO(status, done, io_size_mul((size_t)volume->grid.dims[0], (size_t)volume->grid.dims[1], &n_pixels));
    IO_TRY_GOTO(status, done, io_alloc(n_pixels, sizeof *slice, (void **)&slice));
    IO_TRY_GOTO(status, done, io_alloc(N_BINS, sizeof *s.upper_counts, (void **)&s.upper_counts));
    IO_TRY_GOTO(status, done, io_alloc((size_t)N_RANKS * N_BINS, sizeof *s.lower_counts, (void **)&s.lower_counts));
    visit_slices(volume, slice, &s, count_upper);
    if (s.n_nan > 0)
        status = IO_FAIL(IO_ERR_RANGE, "%llu of %lld voxels are not a number (NaN); replace them with a value of the background",
                         (unsigned long long)s.n_nan, (long long)volume->n_voxels);
    else if (kind == PIPE_PERCENTILE && s.n_finite == 0)
        status = IO_FAIL(IO_ERR_RANGE, "none of %lld voxels is finite, so there are no percentiles", (long long)volume->n_voxels);
    else if (kind == PIPE_PERCENTILE)
        find_percentiles(volume, slice, &s, percent, limits);
done:
    io_free(&s.lower_counts);
    io_free(&s.upper_counts);
    io_free(&slice);
    return status;
}

static io_status check_limits(pipe_intensity_kind kind, double low, double high)
{
    if (!isfinite(low) || !isfinite(high) || !(low < high))
        return IO_FAIL(IO_ERR_ARGUMENT, "intensity limits %g to %g; expected two finite numbers, the lower one first", low, high);
    if (kind == PIPE_PERCENTILE && (low < 0 || high > 100))
        return IO_FAIL(IO_ERR_ARGUMENT, "percentiles %g to %g; expected numbers from 0 to 100", low, high);
    return IO_OK;
}

io_status pipe_intensity_plan(const io_volume *volume, pipe_intensity_kind kind, double low, double high, pipe_intensity *out)
{
    const bool may_hold_nan = volume->datatype == IO_FLOAT32 || volume->datatype == IO_FLOAT64;
    double limits[2] = {low, high};

    IO_TRY(check_limits(kind, low, high));
    if (may_hold_nan || kind == PIPE_PERCENTILE) IO_TRY(scan_volume(volume, kind, limits));
    *out = (pipe_intensity){(float)limits[0], (float)limits[1], (float)(limits[1] - limits[0])};
    if (!isfinite(out->range) || !(out->range > 0))
        return IO_FAIL(
            IO_ERR_RANGE,
            "the image goes from %g to %g between the limits asked for (%g to %g%s), which leaves nothing to see; choose other limits",
            limits[0], limits[1], low, high, kind == PIPE_PERCENTILE ? " percent" : "");
    return IO_OK;
}

void pipe_intensity_scale(const pipe_intensity *intensity, float *values, int64_t n)
{
    const float low = intensity->low, high = intensity->high, range = intensity->range;

    for (int64_t i = 0; i < n; i++) {
        const float above = values[i] < low ? low : values[i];
        values[i] = ((above > high ? high : above) - low) / range;
    }
}
