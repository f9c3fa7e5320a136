/* Raw slices to the network's images, labels back to the slices' grid: what pipeline/intensity.c and pipeline/zoom.c do on the host, with
 * the same operations in the same order in double, so that images have the same bits. Built without contraction to fused multiply-add.
 *
 * A zoom treats one axis after the other. strip [B][n_in][n_lines] holds the axis outside and the lines side by side: a thread filters one
 * line, neighbours read neighbouring numbers. Evaluating turns each tile, so that what comes out, [B][n_lines][n_out], has the next
 * axis outside: after rows and columns the slice lies as it did. */
#include "model/cuda/cuk.h"
#include "model/cuda/slicer.h"
#include "model/cuda/vector.h"

enum {
    TAPS = 4,
    HORIZON = 40, /* terms of the mirror sum, as in pipeline/zoom_lanes.h */
    CHUNK = 8,    /* numbers of a line that are under way from memory at once */
    TILE = 32,
    TILE_ROWS = 8,
    LINE_THREADS = 64
};

static const double pole = -0.26794919243112281; /* sqrt(3) - 2, as in pipeline/zoom_axis.h */

/* The grid of the load: voxel i of n to value and into [0, 1]. */
template <class Voxel, class Out>
static __global__ void __launch_bounds__(THREADS)
    load_kernel(Out *out, const Voxel *raw, int64_t n, double slope, double inter, float low, float high, float range)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < n) {
        const float value = (float)(slope * (double)raw[i] + inter);
        const float above = value < low ? low : value;
        out[i] = (Out)(((above > high ? high : above) - low) / range);
    }
}

/* First causal coefficient of a mirrored line (pipeline/zoom_axis.h). */
static __device__ double sum_mirror(const double *line, int n, int64_t step, double power_n)
{
    const int n_terms = n - 2 < HORIZON ? n - 2 : HORIZON;
    double power = pole, first = line[0] + power_n * line[(n - 1) * step];

    for (int i = 1; i <= n_terms; i++) {
        first += power * (line[i * step] + power_n * line[(n - 1 - i) * step]);
        power *= pole;
    }
    return first * 6.0 / (1.0 - power_n * power_n);
}

/* Coefficients 1 .. n-1 from the front. */
static __device__ void filter_forward(double *line, int n, int64_t step, double last)
{
    for (int i = 1; i < n; i += CHUNK) {
        double part[CHUNK];

#pragma unroll
        for (int j = 0; j < CHUNK; j++) part[j] = i + j < n ? line[(i + j) * step] : 0.0;
#pragma unroll
        for (int j = 0; j < CHUNK; j++) {
            last = 6.0 * part[j] + pole * last;
            if (i + j < n) line[(i + j) * step] = last;
        }
    }
}

/* Coefficients n-2 .. 0 from the back. */
static __device__ void filter_backward(double *line, int n, int64_t step, double last)
{
    for (int i = n - 2; i >= 0; i -= CHUNK) {
        double part[CHUNK];

#pragma unroll
        for (int j = 0; j < CHUNK; j++) part[j] = i - j >= 0 ? line[(i - j) * step] : 0.0;
#pragma unroll
        for (int j = 0; j < CHUNK; j++) {
            last = pole * (last - part[j]);
            if (i - j >= 0) line[(i - j) * step] = last;
        }
    }
}

/* strip [B][n][n_lines]: each line becomes its spline's coefficients. n > 1. */
static __global__ void __launch_bounds__(LINE_THREADS) filter_kernel(double *strip, int n, int n_lines)
{
    const int l = (int)blockIdx.x * LINE_THREADS + (int)threadIdx.x;

    if (l < n_lines) {
        double *line = strip + (int64_t)blockIdx.y * n * n_lines + l;
        const int64_t step = n_lines;
        double power_n = 1.0, last;

        for (int i = 1; i < n && power_n != 0.0; i++) power_n *= pole;
        last = sum_mirror(line, n, step, power_n);
        line[0] = last;
        filter_forward(line, n, step, last);
        last = (pole * line[(n - 2) * step] + line[(n - 1) * step]) * pole / (pole * pole - 1.0);
        line[(n - 1) * step] = last;
        filter_backward(line, n, step, last);
    }
}

static __device__ double evaluate(const double *line, int64_t step, const int32_t *index, const double *weight)
{
    if (index[0] < 0) return 0.0; /* outside */
    return weight[0] * line[index[0] * step] + weight[1] * line[index[1] * step] + weight[2] * line[index[2] * step] +
           weight[3] * line[index[3] * step];
}

/* out [B][n_lines][n_out] = the splines of strip [B][n_in][n_lines] at the axis' positions; is_rounded: to f32, whatever Out is. */
template <class Out>
static __global__ void __launch_bounds__(TILE *TILE_ROWS)
    evaluate_kernel(Out *out, const double *strip, cuda_axis axis, int n_lines, bool is_rounded)
{
    CUK_SHARED(double, tile, [TILE][TILE + 1]);
    const int first_line = (int)blockIdx.x * TILE, first_out = (int)blockIdx.y * TILE;
    const double *in = strip + (int64_t)blockIdx.z * axis.n_in * n_lines;
    Out *to = out + (int64_t)blockIdx.z * n_lines * axis.n_out;

    for (int r = (int)threadIdx.y; r < TILE; r += TILE_ROWS) {
        const int k = first_out + r, l = first_line + (int)threadIdx.x;
        if (k < axis.n_out && l < n_lines)
            tile[r][threadIdx.x] = evaluate(in + l, n_lines, axis.index + (int64_t)k * TAPS, axis.weight + (int64_t)k * TAPS);
    }
    __syncthreads();
    for (int r = (int)threadIdx.y; r < TILE; r += TILE_ROWS) {
        const int l = first_line + r, k = first_out + (int)threadIdx.x;
        if (l < n_lines && k < axis.n_out) {
            const double value = tile[threadIdx.x][r];
            to[(int64_t)l * axis.n_out + k] = (Out)(is_rounded ? (double)(float)value : value);
        }
    }
}

/* out [B][rows][cols] = labels [B][S][S] at the nearest positions, or where they are without a zoom. */
template <class Out>
static __global__ void __launch_bounds__(THREADS)
    labels_back_kernel(Out *out, const uint16_t *labels, const int32_t *rows, const int32_t *cols, int n_rows, int n_cols, int S, int64_t n)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < n) {
        const int64_t b = i / ((int64_t)n_rows * n_cols);
        const int pixel = (int)(i % ((int64_t)n_rows * n_cols)), r = pixel / n_cols, c = pixel % n_cols;
        const int from_row = rows ? rows[r] : r, from_col = cols ? cols[c] : c;
        out[i] = from_row < 0 || from_col < 0 ? 0 : (Out)labels[(b * S + from_row) * S + from_col];
    }
}

template <class Voxel, class Out>
static void launch_load(model_backend *backend, Out *out, const void *raw, const model_slicer *s, int64_t n)
{
    CUK_LAUNCH((load_kernel<Voxel, Out>), count_blocks(n, THREADS), THREADS, 0, backend->stream, out, (const Voxel *)raw, n, s->slope,
               s->inter, s->low, s->high, s->range);
}

template <class Out> static io_status load_slices(model_backend *backend, Out *out, const void *raw, const model_slicer *s, int B)
{
    const int64_t n = (int64_t)B * s->rows * s->cols;

    switch (s->voxel) {
    case MODEL_VOXEL_INT8: launch_load<int8_t>(backend, out, raw, s, n); break;
    case MODEL_VOXEL_UINT8: launch_load<uint8_t>(backend, out, raw, s, n); break;
    case MODEL_VOXEL_INT16: launch_load<int16_t>(backend, out, raw, s, n); break;
    case MODEL_VOXEL_UINT16: launch_load<uint16_t>(backend, out, raw, s, n); break;
    case MODEL_VOXEL_INT32: launch_load<int32_t>(backend, out, raw, s, n); break;
    case MODEL_VOXEL_UINT32: launch_load<uint32_t>(backend, out, raw, s, n); break;
    case MODEL_VOXEL_F32: launch_load<float>(backend, out, raw, s, n); break;
    }
    return cuda_launch_check(backend, "loading of slices");
}

/* strip is used up. */
template <class Out>
static io_status zoom_axis(model_backend *backend, Out *out, double *strip, const cuda_axis *axis, int n_lines, bool is_rounded, int B)
{
    const dim3 lines(count_blocks(n_lines, LINE_THREADS), (unsigned)B);
    const dim3 tiles(count_blocks(n_lines, TILE), count_blocks(axis->n_out, TILE), (unsigned)B);

    if (axis->n_in > 1) { /* SciPy leaves an axis of one alone */
        CUK_LAUNCH(filter_kernel, lines, LINE_THREADS, 0, backend->stream, strip, axis->n_in, n_lines);
        IO_TRY(cuda_launch_check(backend, "spline filter"));
    }
    CUK_LAUNCH((evaluate_kernel<Out>), tiles, dim3(TILE, TILE_ROWS), 0, backend->stream, out, (const double *)strip, *axis, n_lines,
               is_rounded);
    return cuda_launch_check(backend, "spline evaluation");
}

/* out [B][rows out][cols out], rounded to f32; strip and middle are scratch, the first one full. */
template <class Out>
static io_status zoom_slices(model_backend *backend, Out *out, double *strip, double *middle, const cuda_zoom *zoom, int B)
{
    IO_TRY(zoom_axis(backend, middle, strip, &zoom->rows, zoom->cols.n_in, false, B));
    return zoom_axis(backend, out, middle, &zoom->cols, zoom->rows.n_out, true, B);
}

io_status images_forward_cuda(model_backend *backend, float *images, const void *raw, const model_slicer *slicer, int B)
{
    const cuda_zoom *last = slicer->second.is_there ? &slicer->second : &slicer->first;
    double *strip = (double *)slicer->strips, *middle = strip + slicer->n_strip;

    if (!last->is_there) return load_slices(backend, images, raw, slicer, B);
    IO_TRY(load_slices(backend, strip, raw, slicer, B));
    if (slicer->first.is_there && slicer->second.is_there) IO_TRY(zoom_slices(backend, strip, strip, middle, &slicer->first, B));
    return zoom_slices(backend, images, strip, middle, last, B);
}

template <class Out> static void launch_back(model_backend *backend, Out *out, const uint16_t *labels, const model_slicer *s, int64_t n)
{
    CUK_LAUNCH((labels_back_kernel<Out>), count_blocks(n, THREADS), THREADS, 0, backend->stream, out, labels, s->back.rows.nearest,
               s->back.cols.nearest, s->rows, s->cols, s->image_size, n);
}

io_status labels_back_cuda(model_backend *backend, void *out, const uint16_t *labels, const model_slicer *slicer, int label_bytes, int B)
{
    const int64_t n = (int64_t)B * slicer->rows * slicer->cols;

    if (label_bytes == 1)
        launch_back(backend, (uint8_t *)out, labels, slicer, n);
    else
        launch_back(backend, (uint16_t *)out, labels, slicer, n);
    return cuda_launch_check(backend, "labels to the grid");
}
