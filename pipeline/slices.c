/* See slices.h. Labels on their way back are labelmap.c. */
#include "pipeline/slices.h"

#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/intensity.h"
#include "pipeline/slices_view.h"
#include "pipeline/zoom.h"

enum {
    REFERENCE_SIZE = 224, /* pixels: the reference's training slices, and its detour at test time (spec 6.1 step 1) */
    MAX_SLICE_SIDE = 1 << 16,
    MAX_IMAGE_SIZE = 1 << 13
};

struct pipe_slices {
    const io_volume *volume; /* borrowed */
    slices_view view;
    pipe_intensity intensity;
    int image_size;
    pipe_zoom *first, *second; /* NULL where that step is skipped */
    pipe_zoom *back;           /* labels; NULL where the slice has the image's size */
    /* Parts of the scratch, in bytes: [slice | gathered voxels | middle | zoom]. */
    size_t slice_bytes, gather_bytes, middle_bytes, zoom_bytes;
};

void pipe_options_default(pipe_options *out)
{
    *out = (pipe_options){.preset = PIPE_PRESET_SAMED, .intensity = PIPE_WINDOW, .low = -125, .high = 275, .image_size = 512};
}

void pipe_options_text(const pipe_options *options, char out[160])
{
    snprintf(out, 160, "preset=%s %s=%.17g:%.17g orient=%s size=%d", options->preset == PIPE_PRESET_SAMED ? "samed" : "direct",
             options->intensity == PIPE_WINDOW ? "window" : "percentile", options->low, options->high,
             options->orient == PIPE_ORIENT_NATIVE ? "native" : "ras", options->image_size);
}

const slices_view *pipe_slices_view(const pipe_slices *slices)
{
    return &slices->view;
}

static io_status plan_view(const io_volume *volume, pipe_orient orient, slices_view *view)
{
    const int64_t *dims = volume->grid.dims;
    const int64_t strides[3] = {1, dims[0], dims[0] * dims[1]}; /* voxels */
    int axis[3] = {0, 1, 2}, flip[3] = {0, 0, 0};               /* of columns, rows, slices */
    int64_t steps[3];

    if (orient == PIPE_ORIENT_RAS) io_grid_orientation(&volume->grid, axis, flip);
    *view = (slices_view){0};
    for (int w = 0; w < 3; w++) {
        steps[w] = flip[w] ? -strides[axis[w]] : strides[axis[w]];
        if (flip[w]) view->first += (dims[axis[w]] - 1) * strides[axis[w]];
    }
    if (dims[axis[0]] < 1 || dims[axis[1]] < 1 || dims[axis[0]] > MAX_SLICE_SIDE || dims[axis[1]] > MAX_SLICE_SIDE)
        return IO_FAIL(IO_ERR_RANGE, "slices of %lld x %lld pixels; expected 1 to %d on each side", (long long)dims[axis[0]],
                       (long long)dims[axis[1]], MAX_SLICE_SIDE);
    view->cols = (int)dims[axis[0]];
    view->rows = (int)dims[axis[1]];
    view->count = dims[axis[2]];
    view->col_step = steps[0];
    view->row_step = steps[1];
    view->slice_step = steps[2];
    view->is_stored_order = steps[0] == strides[0] && steps[1] == strides[1] && steps[2] == strides[2];
    return IO_OK;
}

static size_t round_bytes(size_t n_bytes)
{
    return (n_bytes + 63) / 64 * 64;
}

static io_status plan_zoom(int in_rows, int in_cols, int out_rows, int out_cols, pipe_zoom **zoom)
{
    return in_rows == out_rows && in_cols == out_cols ? IO_OK : pipe_zoom_create(in_rows, in_cols, out_rows, out_cols, zoom);
}

static io_status plan_zooms(pipe_slices *s, pipe_preset preset)
{
    const int size = s->image_size, rows = s->view.rows, cols = s->view.cols;

    IO_TRY(plan_zoom(size, size, rows, cols, &s->back));
    if (preset == PIPE_PRESET_DIRECT) return plan_zoom(rows, cols, size, size, &s->second);
    IO_TRY(plan_zoom(rows, cols, REFERENCE_SIZE, REFERENCE_SIZE, &s->first));
    return plan_zoom(REFERENCE_SIZE, REFERENCE_SIZE, size, size, &s->second);
}

static void plan_scratch(pipe_slices *s)
{
    const size_t n_pixels = (size_t)s->view.rows * (size_t)s->view.cols;
    const size_t first = s->first ? pipe_zoom_scratch_bytes(s->first) : 0, second = s->second ? pipe_zoom_scratch_bytes(s->second) : 0;

    s->slice_bytes = round_bytes(n_pixels * sizeof(float));
    s->gather_bytes = s->view.is_stored_order ? 0 : round_bytes(n_pixels * io_datatype_bytes(s->volume->datatype));
    s->middle_bytes = s->first && s->second ? round_bytes((size_t)REFERENCE_SIZE * REFERENCE_SIZE * sizeof(float)) : 0;
    s->zoom_bytes = first > second ? first : second;
}

io_status pipe_slices_create(const io_volume *volume, const pipe_options *options, pipe_slices **out)
{
    io_status status = IO_OK;
    pipe_slices *s = NULL;

    *out = NULL;
    if (options->image_size < 1 || options->image_size > MAX_IMAGE_SIZE)
        return IO_FAIL(IO_ERR_ARGUMENT, "image size %d; expected 1 to %d pixels", options->image_size, MAX_IMAGE_SIZE);
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *s, (void **)&s));
    s->volume = volume;
    s->image_size = options->image_size;
    IO_TRY_GOTO(status, done, plan_view(volume, options->orient, &s->view));
    IO_TRY_GOTO(status, done, pipe_intensity_plan(volume, options->intensity, options->low, options->high, &s->intensity));
    IO_TRY_GOTO(status, done, plan_zooms(s, options->preset));
    plan_scratch(s);
    *out = s;
    s = NULL;
done:
    pipe_slices_free(&s);
    return status;
}

void pipe_slices_free(pipe_slices **slices)
{
    if (!slices || !*slices) return;
    pipe_zoom_free(&(*slices)->first);
    pipe_zoom_free(&(*slices)->second);
    pipe_zoom_free(&(*slices)->back);
    io_free(slices);
}

int64_t pipe_slices_count(const pipe_slices *slices)
{
    return slices->view.count;
}

void pipe_slices_size(const pipe_slices *slices, int *rows, int *cols)
{
    *rows = slices->view.rows;
    *cols = slices->view.cols;
}

size_t pipe_slices_scratch_bytes(const pipe_slices *slices)
{
    return slices->slice_bytes + slices->gather_bytes + slices->middle_bytes + slices->zoom_bytes;
}

/* Copies the voxels of slice k, of any type, side by side: to [rows][cols] of voxel_bytes. */
static void gather_voxels(const io_volume *volume, const slices_view *view, int64_t k, void *to)
{
    const size_t voxel_bytes = io_datatype_bytes(volume->datatype);
    const uint8_t *from = volume->voxels;
    uint8_t *next = to;

    for (int r = 0; r < view->rows; r++) {
        int64_t voxel = view->first + k * view->slice_step + r * view->row_step;
        for (int c = 0; c < view->cols; c++, voxel += view->col_step, next += voxel_bytes)
            memcpy(next, from + (size_t)voxel * voxel_bytes, voxel_bytes);
    }
}

/* slice [rows][cols] = the values of slice k. */
static void read_slice(const pipe_slices *s, int64_t k, float *slice, void *gather)
{
    io_volume picked = *s->volume; /* the gathered slice as a volume of its own, for the conversion to float */

    if (s->view.is_stored_order) {
        io_volume_slice(s->volume, k, slice);
        return;
    }
    gather_voxels(s->volume, &s->view, k, gather);
    picked.grid.dims[0] = s->view.cols;
    picked.grid.dims[1] = s->view.rows;
    picked.grid.dims[2] = 1;
    picked.voxels = gather;
    io_volume_slice(&picked, 0, slice);
}

void pipe_slices_image(const pipe_slices *slices, int64_t k, float *image, void *scratch)
{
    const int64_t n_pixels = (int64_t)slices->view.rows * slices->view.cols;
    const bool is_zoomed = slices->first || slices->second;
    float *slice = is_zoomed ? scratch : image;
    uint8_t *gather = (uint8_t *)scratch + slices->slice_bytes;
    float *middle = (float *)(gather + slices->gather_bytes);
    void *rest = (uint8_t *)middle + slices->middle_bytes;

    read_slice(slices, k, slice, gather);
    pipe_intensity_scale(&slices->intensity, slice, n_pixels);
    if (slices->first && slices->second) {
        pipe_zoom_cubic(slices->first, slice, middle, rest);
        pipe_zoom_cubic(slices->second, middle, image, rest);
    } else if (is_zoomed) {
        pipe_zoom_cubic(slices->first ? slices->first : slices->second, slice, image, rest);
    }
}

void pipe_labels_zoom_back(const pipe_slices *slices, const uint16_t *labels, uint16_t *out)
{
    if (slices->back)
        pipe_zoom_nearest(slices->back, labels, out);
    else
        memcpy(out, labels, (size_t)slices->view.rows * (size_t)slices->view.cols * sizeof *out);
}
