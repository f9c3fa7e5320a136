/* See zoom.h. SciPy filters the whole array and then sums 16 products per pixel; here each axis is filtered and evaluated in turn, rows
 * first, which is the same sum in another order: equal to about 1e-16 before the one rounding to float. Which output is outside, and
 * every weight, comes from the same double arithmetic as SciPy's (ni_interpolation.c, NI_ZoomShift), so the zero last row of
 * 512 -> 224 (spec 5.3) falls out by itself. */
#include "pipeline/zoom.h"

#include <math.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/zoom_lanes.h"

enum { MAX_SIZE = 1 << 20 }; /* pixels per axis: keeps every index in 32 bits and refuses nonsense */

struct pipe_zoom {
    zoom_axis rows, cols;
    model_zoom tables; /* the same, to be read */
    zoom_axis_function *run;
    size_t strip_doubles;  /* of the larger input axis */
    size_t line_doubles;   /* of the larger output axis */
    size_t middle_doubles; /* rows.n_out x cols.n_in */
};

/* Position i of a line of n, mirrored at both ends with period 2n - 2. */
static int32_t mirror_index(int i, int n)
{
    const int period = 2 * n - 2;

    if (n == 1) return 0;
    i %= period;
    if (i < 0) i += period;
    return i < n ? i : period - i;
}

static void set_taps(zoom_axis *axis, int k, double x)
{
    int32_t *index = axis->index + (size_t)k * ZOOM_TAPS;
    double *weight = axis->weight + (size_t)k * ZOOM_TAPS;
    const double t = x - floor(x), u = 1.0 - t;

    for (int tap = 0; tap < ZOOM_TAPS; tap++) index[tap] = mirror_index((int)floor(x) - 1 + tap, axis->n_in);
    weight[1] = (t * t * (t - 2.0) * 3.0 + 4.0) / 6.0;
    weight[2] = (u * u * (u - 2.0) * 3.0 + 4.0) / 6.0;
    weight[0] = u * u * u / 6.0;
    weight[3] = 1.0 - weight[0] - weight[1] - weight[2];
}

static io_status plan_axis(int n_in, int n_out, zoom_axis *axis)
{
    /* SciPy takes 1 where the quotient has no meaning; the one output then lies on input 0 either way. */
    const double step = n_out > 1 ? (double)(n_in - 1) / (double)(n_out - 1) : 1.0;

    axis->n_in = n_in;
    axis->n_out = n_out;
    IO_TRY(io_alloc((size_t)n_out * ZOOM_TAPS, sizeof *axis->index, (void **)&axis->index));
    IO_TRY(io_alloc((size_t)n_out * ZOOM_TAPS, sizeof *axis->weight, (void **)&axis->weight));
    IO_TRY(io_alloc((size_t)n_out, sizeof *axis->nearest, (void **)&axis->nearest));
    for (int k = 0; k < n_out; k++) {
        const double x = (double)k * step;
        if (x > (double)(n_in - 1)) { /* strictly, in double: 223 * (511 / 223) is above 511 */
            axis->index[(size_t)k * ZOOM_TAPS] = -1;
            axis->nearest[k] = -1;
            continue;
        }
        set_taps(axis, k, x);
        axis->nearest[k] = (int32_t)floor(x + 0.5);
    }
    return IO_OK;
}

bool pipe_zoom_use_isa(pipe_zoom *zoom, pipe_zoom_isa isa)
{
    if (isa == PIPE_ZOOM_BASE) {
        zoom->run = pipe_zoom_axis_base;
        return true;
    }
#if defined(__x86_64__)
    if (isa == PIPE_ZOOM_AVX2 && __builtin_cpu_supports("avx2")) {
        zoom->run = pipe_zoom_axis_avx2;
        return true;
    }
    if (isa == PIPE_ZOOM_AVX512 && __builtin_cpu_supports("avx512f")) {
        zoom->run = pipe_zoom_axis_avx512;
        return true;
    }
#endif
    return false;
}

static void pick_isa(pipe_zoom *zoom)
{
    if (pipe_zoom_use_isa(zoom, PIPE_ZOOM_AVX512)) return;
    if (pipe_zoom_use_isa(zoom, PIPE_ZOOM_AVX2)) return;
    pipe_zoom_use_isa(zoom, PIPE_ZOOM_BASE);
}

/* n rounded up so that the next block is 64-byte aligned again. */
static size_t round_doubles(size_t n)
{
    return (n + 7) / 8 * 8;
}

static io_status plan_scratch(pipe_zoom *zoom)
{
    const int max_in = zoom->rows.n_in > zoom->cols.n_in ? zoom->rows.n_in : zoom->cols.n_in;
    const int max_out = zoom->rows.n_out > zoom->cols.n_out ? zoom->rows.n_out : zoom->cols.n_out;
    size_t ignored;

    zoom->strip_doubles = (size_t)max_in * ZOOM_LANES;
    zoom->line_doubles = (size_t)max_out * ZOOM_LANES;
    zoom->middle_doubles = round_doubles((size_t)zoom->rows.n_out * (size_t)zoom->cols.n_in);
    return io_size_mul(zoom->strip_doubles + zoom->line_doubles + zoom->middle_doubles, sizeof(double), &ignored);
}

static model_zoom_axis show_axis(const zoom_axis *axis)
{
    return (model_zoom_axis){axis->n_in, axis->n_out, axis->index, axis->weight, axis->nearest};
}

io_status pipe_zoom_create(int in_rows, int in_cols, int out_rows, int out_cols, pipe_zoom **out)
{
    io_status status = IO_OK;
    pipe_zoom *zoom = NULL;

    *out = NULL;
    if (in_rows < 1 || in_cols < 1 || out_rows < 1 || out_cols < 1 || in_rows > MAX_SIZE || in_cols > MAX_SIZE || out_rows > MAX_SIZE ||
        out_cols > MAX_SIZE)
        return IO_FAIL(IO_ERR_ARGUMENT, "zoom from %dx%d to %dx%d pixels; expected 1 to %d on each axis", in_rows, in_cols, out_rows,
                       out_cols, MAX_SIZE);
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *zoom, (void **)&zoom));
    IO_TRY_GOTO(status, done, plan_axis(in_rows, out_rows, &zoom->rows));
    IO_TRY_GOTO(status, done, plan_axis(in_cols, out_cols, &zoom->cols));
    IO_TRY_GOTO(status, done, plan_scratch(zoom));
    pick_isa(zoom);
    zoom->tables = (model_zoom){show_axis(&zoom->rows), show_axis(&zoom->cols)};
    *out = zoom;
    zoom = NULL;
done:
    pipe_zoom_free(&zoom);
    return status;
}

const model_zoom *pipe_zoom_tables(const pipe_zoom *zoom)
{
    return &zoom->tables;
}

static void free_axis(zoom_axis *axis)
{
    io_free(&axis->index);
    io_free(&axis->weight);
    io_free(&axis->nearest);
}

void pipe_zoom_free(pipe_zoom **zoom)
{
    if (!zoom || !*zoom) return;
    free_axis(&(*zoom)->rows);
    free_axis(&(*zoom)->cols);
    io_free(zoom);
}

size_t pipe_zoom_scratch_bytes(const pipe_zoom *zoom)
{
    return (zoom->strip_doubles + zoom->line_doubles + zoom->middle_doubles) * sizeof(double);
}

/* strip [n][ZOOM_LANES] = columns first .. first + n_lanes of in [n][stride]; lanes beyond are zero. */
static void load_columns(const float *in, int n, int stride, int n_lanes, double *strip)
{
    if (n_lanes < ZOOM_LANES) memset(strip, 0, (size_t)n * ZOOM_LANES * sizeof *strip);
    for (int r = 0; r < n; r++) {
        const float *from = in + (size_t)r * (size_t)stride;
        double *to = strip + (size_t)r * ZOOM_LANES;
        if (n_lanes == ZOOM_LANES)
            for (int lane = 0; lane < ZOOM_LANES; lane++) to[lane] = from[lane];
        else
            for (int lane = 0; lane < n_lanes; lane++) to[lane] = from[lane];
    }
}

/* strip [n][ZOOM_LANES] = n_lanes rows of in [..][n], transposed. */
static void load_rows(const double *in, int n, int n_lanes, double *strip)
{
    if (n_lanes < ZOOM_LANES) memset(strip, 0, (size_t)n * ZOOM_LANES * sizeof *strip);
    for (int lane = 0; lane < n_lanes; lane++)
        for (int c = 0; c < n; c++) strip[(size_t)c * ZOOM_LANES + (size_t)lane] = in[(size_t)lane * (size_t)n + (size_t)c];
}

static void zoom_down(const pipe_zoom *zoom, const float *in, double *strip, double *lines, double *middle)
{
    const int n_cols = zoom->cols.n_in;

    for (int first = 0; first < n_cols; first += ZOOM_LANES) {
        const int n_lanes = n_cols - first < ZOOM_LANES ? n_cols - first : ZOOM_LANES;
        load_columns(in + first, zoom->rows.n_in, n_cols, n_lanes, strip);
        zoom->run(&zoom->rows, strip, lines);
        for (int r = 0; r < zoom->rows.n_out; r++)
            memcpy(middle + (size_t)r * (size_t)n_cols + (size_t)first, lines + (size_t)r * ZOOM_LANES, (size_t)n_lanes * sizeof *lines);
    }
}

static void zoom_across(const pipe_zoom *zoom, const double *middle, double *strip, double *lines, float *out)
{
    const int n_rows = zoom->rows.n_out, n_cols = zoom->cols.n_out;

    for (int first = 0; first < n_rows; first += ZOOM_LANES) {
        const int n_lanes = n_rows - first < ZOOM_LANES ? n_rows - first : ZOOM_LANES;
        float *to = out + (size_t)first * (size_t)n_cols;
        load_rows(middle + (size_t)first * (size_t)zoom->cols.n_in, zoom->cols.n_in, n_lanes, strip);
        zoom->run(&zoom->cols, strip, lines);
        for (int lane = 0; lane < n_lanes; lane++)
            for (int c = 0; c < n_cols; c++)
                to[(size_t)lane * (size_t)n_cols + (size_t)c] = (float)lines[(size_t)c * ZOOM_LANES + (size_t)lane];
    }
}

void pipe_zoom_cubic(const pipe_zoom *zoom, const float *in, float *out, void *scratch)
{
    double *strip = scratch, *lines = strip + zoom->strip_doubles, *middle = lines + zoom->line_doubles;

    zoom_down(zoom, in, strip, lines, middle);
    zoom_across(zoom, middle, strip, lines, out);
}

void pipe_zoom_nearest(const pipe_zoom *zoom, const uint16_t *in, uint16_t *out)
{
    for (int r = 0; r < zoom->rows.n_out; r++) {
        const int from_row = zoom->rows.nearest[r];
        uint16_t *to = out + (size_t)r * (size_t)zoom->cols.n_out;
        for (int c = 0; c < zoom->cols.n_out; c++) {
            const int from_col = zoom->cols.nearest[c];
            to[c] = from_row < 0 || from_col < 0 ? 0 : in[(size_t)from_row * (size_t)zoom->cols.n_in + (size_t)from_col];
        }
    }
}
