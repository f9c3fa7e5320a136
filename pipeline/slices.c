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
    int axis[3] = {0, 1, 2}, flip[3] = {0, 0, 0}; /* of columns, rows, slices */

    if (orient == PIPE_ORIENT_RAS) io_grid_orientation(&volume->grid, axis, flip);
    return pipe_view_plan(volume, axis, flip, view);
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
    s->gather_bytes = round_bytes(pipe_view_scratch_bytes(s->volume, &s->view));
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

void pipe_slices_image(const pipe_slices *slices, int64_t k, float *image, void *scratch)
{
    const int64_t n_pixels = (int64_t)slices->view.rows * slices->view.cols;
    const bool is_zoomed = slices->first || slices->second;
    float *slice = is_zoomed ? scratch : image;
    uint8_t *gather = (uint8_t *)scratch + slices->slice_bytes;
    float *middle = (float *)(gather + slices->gather_bytes);
    void *rest = (uint8_t *)middle + slices->middle_bytes;

    pipe_view_read(slices->volume, &slices->view, k, slice, gather);
    pipe_intensity_scale(&slices->intensity, slice, n_pixels);
    if (slices->first && slices->second) {
        pipe_zoom_cubic(slices->first, slice, middle, rest);
        pipe_zoom_cubic(slices->second, middle, image, rest);
    } else if (is_zoomed) {
        pipe_zoom_cubic(slices->first ? slices->first : slices->second, slice, image, rest);
    }
}

/* The device's name for a voxel type; wider ones are converted here. */
static bool find_voxel(io_datatype type, model_voxel *out)
{
    switch (type) {
    case IO_INT8: *out = MODEL_VOXEL_INT8; return true;
    case IO_UINT8: *out = MODEL_VOXEL_UINT8; return true;
    case IO_INT16: *out = MODEL_VOXEL_INT16; return true;
    case IO_UINT16: *out = MODEL_VOXEL_UINT16; return true;
    case IO_INT32: *out = MODEL_VOXEL_INT32; return true;
    case IO_UINT32: *out = MODEL_VOXEL_UINT32; return true;
    case IO_FLOAT32: *out = MODEL_VOXEL_F32; return true;
    default: *out = MODEL_VOXEL_F32; return false;
    }
}

void pipe_slices_slicing(const pipe_slices *slices, model_slicing *out)
{
    model_voxel voxel;
    const bool is_direct = find_voxel(slices->volume->datatype, &voxel);

    *out = (model_slicing){.rows = slices->view.rows,
                           .cols = slices->view.cols,
                           .image_size = slices->image_size,
                           .voxel = voxel,
                           .slope = is_direct ? slices->volume->slope : 1,
                           .inter = is_direct ? slices->volume->inter : 0,
                           .low = slices->intensity.low,
                           .high = slices->intensity.high,
                           .range = slices->intensity.range,
                           .first = slices->first ? pipe_zoom_tables(slices->first) : NULL,
                           .second = slices->second ? pipe_zoom_tables(slices->second) : NULL,
                           .back = slices->back ? pipe_zoom_tables(slices->back) : NULL};
}

size_t pipe_slices_raw_bytes(const pipe_slices *slices)
{
    const size_t own = io_datatype_bytes(slices->volume->datatype), n_pixels = (size_t)slices->view.rows * (size_t)slices->view.cols;

    return n_pixels * (own > sizeof(float) ? sizeof(float) : own);
}

static void grow(size_t *largest, size_t n)
{
    if (n > *largest) *largest = n;
}

/* plan_zooms for the largest slices: a zoom treats rows first, so that rows out x columns in lie between its axes. */
io_status pipe_slices_room(const pipe_options *options, size_t n_bytes, size_t n_pixels, size_t side, model_slicing_room *out)
{
    const bool is_direct = options->preset == PIPE_PRESET_DIRECT;
    const size_t size = (size_t)options->image_size, first = is_direct ? size : REFERENCE_SIZE;
    size_t between;

    *out = (model_slicing_room){.raw_bytes = n_bytes, .n_pixels = n_pixels, .n_strip = n_pixels};
    IO_TRY(io_size_mul(first, side, &between));
    grow(&out->n_strip, between);
    if (!is_direct) grow(&out->n_strip, REFERENCE_SIZE * (REFERENCE_SIZE > size ? REFERENCE_SIZE : size));
    IO_TRY(io_size_add(2 * side, 2 * size + (is_direct ? 0 : 2 * REFERENCE_SIZE), &out->n_outputs));
    return IO_OK;
}

void pipe_slices_raw(const pipe_slices *slices, int64_t k, void *raw, void *scratch)
{
    model_voxel voxel;

    if (find_voxel(slices->volume->datatype, &voxel))
        pipe_view_gather(slices->volume, &slices->view, k, raw);
    else
        pipe_view_read(slices->volume, &slices->view, k, raw, (uint8_t *)scratch + slices->slice_bytes);
}

void pipe_labels_zoom_back(const pipe_slices *slices, const uint16_t *labels, uint16_t *out)
{
    if (slices->back)
        pipe_zoom_nearest(slices->back, labels, out);
    else
        memcpy(out, labels, (size_t)slices->view.rows * (size_t)slices->view.cols * sizeof *out);
}
