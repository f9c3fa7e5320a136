/* See stats.h. Sums run slice by slice in double, shifted by the first value of each label so that large offsets (CT: -1000) cost no
 * digits of the deviation. */
#include "pipeline/stats.h"

#include <math.h>

#include "io/memory.h"

typedef struct sums {
    double shift, sum, squares; /* of value - shift */
} sums;

double pipe_stats_voxel_ml(const io_grid *grid)
{
    const double(*a)[4] = grid->affine;
    const double determinant = a[0][0] * (a[1][1] * a[2][2] - a[1][2] * a[2][1]) - a[0][1] * (a[1][0] * a[2][2] - a[1][2] * a[2][0]) +
                               a[0][2] * (a[1][0] * a[2][1] - a[1][1] * a[2][0]);

    return fabs(determinant) / 1000;
}

static void add_voxel(pipe_label_stats *stats, sums *s, double value, int64_t k, int is_border)
{
    if (stats->n_voxels == 0) {
        s->shift = value;
        stats->first_slice = k;
    }
    s->sum += value - s->shift;
    s->squares += (value - s->shift) * (value - s->shift);
    stats->n_voxels++;
    stats->last_slice = k;
    stats->touches_border |= is_border;
}

/* values [ny][nx] of slice k; labels the whole volume's. */
static io_status add_slice(const io_grid *grid, int64_t k, const float *values, const void *labels, int label_bytes, int n_values,
                           pipe_label_stats *stats, sums *s)
{
    const int64_t nx = grid->dims[0], ny = grid->dims[1];
    const uint8_t *bytes = (const uint8_t *)labels + k * nx * ny * label_bytes;
    const uint16_t *words = (const uint16_t *)(const void *)bytes;
    const int is_end = k == 0 || k == grid->dims[2] - 1;

    for (int64_t j = 0, at = 0; j < ny; j++) {
        for (int64_t i = 0; i < nx; i++, at++) {
            const int label = label_bytes == 1 ? bytes[at] : words[at];
            const int is_border = is_end || j == 0 || j == ny - 1 || i == 0 || i == nx - 1;
            if (label >= n_values)
                return IO_FAIL(IO_ERR_RANGE, "voxel (%lld, %lld, %lld) has label %d; expected 0 to %d", (long long)i, (long long)j,
                               (long long)k, label, n_values - 1);
            add_voxel(&stats[label], &s[label], (double)values[at], k, is_border);
        }
    }
    return IO_OK;
}

static void finish(pipe_label_stats *stats, const sums *s, double voxel_ml)
{
    const double n = (double)stats->n_voxels;

    stats->volume_ml = n * voxel_ml;
    if (stats->n_voxels == 0) return;
    stats->mean = s->shift + s->sum / n;
    stats->sd = sqrt(fmax(0, s->squares / n - (s->sum / n) * (s->sum / n)));
}

io_status pipe_stats_measure(const io_volume *volume, const void *labels, int label_bytes, int n_values, pipe_label_stats *stats)
{
    io_status status = IO_OK;
    float *slice = NULL;
    sums *s = NULL;
    size_t n_pixels;

    if ((label_bytes != 1 && label_bytes != 2) || n_values < 1)
        return IO_FAIL(IO_ERR_ARGUMENT, "%d label values of %d bytes; expected at least one, of 1 or 2 bytes", n_values, label_bytes);
    IO_TRY_GOTO(status, done, io_size_mul((size_t)volume->grid.dims[0], (size_t)volume->grid.dims[1], &n_pixels));
    IO_TRY_GOTO(status, done, io_alloc(n_pixels, sizeof *slice, (void **)&slice));
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_values, sizeof *s, (void **)&s));
    for (int v = 0; v < n_values; v++) stats[v] = (pipe_label_stats){.value = v, .first_slice = -1, .last_slice = -1};
    for (int64_t k = 0; k < volume->grid.dims[2]; k++) {
        io_volume_slice(volume, k, slice);
        IO_TRY_GOTO(status, done, add_slice(&volume->grid, k, slice, labels, label_bytes, n_values, stats, s));
    }
    for (int v = 0; v < n_values; v++) finish(&stats[v], &s[v], pipe_stats_voxel_ml(&volume->grid));
done:
    io_free(&s);
    io_free(&slice);
    return status;
}
