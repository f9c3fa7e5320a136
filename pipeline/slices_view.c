/* See slices_view.h. */
#include "pipeline/slices_view.h"

#include <string.h>

enum { MAX_SIDE = 1 << 16 }; /* pixels */

io_status pipe_view_plan(const io_volume *volume, const int axis[3], const int flip[3], slices_view *view)
{
    const int64_t *dims = volume->grid.dims;
    const int64_t strides[3] = {1, dims[0], dims[0] * dims[1]}; /* voxels */
    int64_t steps[3];

    *view = (slices_view){0};
    for (int w = 0; w < 3; w++) {
        steps[w] = flip[w] ? -strides[axis[w]] : strides[axis[w]];
        if (flip[w]) view->first += (dims[axis[w]] - 1) * strides[axis[w]];
    }
    if (dims[axis[0]] < 1 || dims[axis[1]] < 1 || dims[axis[0]] > MAX_SIDE || dims[axis[1]] > MAX_SIDE)
        return IO_FAIL(IO_ERR_RANGE, "slices of %lld x %lld pixels; expected 1 to %d on each side", (long long)dims[axis[0]],
                       (long long)dims[axis[1]], MAX_SIDE);
    view->cols = (int)dims[axis[0]];
    view->rows = (int)dims[axis[1]];
    view->count = dims[axis[2]];
    view->col_step = steps[0];
    view->row_step = steps[1];
    view->slice_step = steps[2];
    view->is_stored_order = steps[0] == strides[0] && steps[1] == strides[1] && steps[2] == strides[2];
    return IO_OK;
}

size_t pipe_view_scratch_bytes(const io_volume *volume, const slices_view *view)
{
    return view->is_stored_order ? 0 : (size_t)view->rows * (size_t)view->cols * io_datatype_bytes(volume->datatype);
}

void pipe_view_gather(const io_volume *volume, const slices_view *view, int64_t k, void *slice)
{
    const size_t voxel_bytes = io_datatype_bytes(volume->datatype);
    const uint8_t *from = volume->voxels;
    uint8_t *next = slice;

    if (view->is_stored_order) {
        const size_t slice_bytes = (size_t)view->rows * (size_t)view->cols * voxel_bytes;
        memcpy(slice, from + (size_t)k * slice_bytes, slice_bytes);
        return;
    }
    for (int r = 0; r < view->rows; r++) {
        int64_t voxel = view->first + k * view->slice_step + r * view->row_step;
        for (int c = 0; c < view->cols; c++, voxel += view->col_step, next += voxel_bytes)
            memcpy(next, from + (size_t)voxel * voxel_bytes, voxel_bytes);
    }
}

void pipe_view_read(const io_volume *volume, const slices_view *view, int64_t k, float *slice, void *scratch)
{
    io_volume picked = *volume; /* the gathered slice as a volume of its own, for the conversion to float */

    if (view->is_stored_order) {
        io_volume_slice(volume, k, slice);
        return;
    }
    pipe_view_gather(volume, view, k, scratch);
    picked.grid.dims[0] = view->cols;
    picked.grid.dims[1] = view->rows;
    picked.grid.dims[2] = 1;
    picked.voxels = scratch;
    io_volume_slice(&picked, 0, slice);
}
