/* Any bytes as a NIfTI file: no crash, no more memory than the bytes can fill, and a grid that survives being written and read again. */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "io/memory.h"
#include "io/nifti.h"
#include "io/nifti_header.h"

enum { MAX_VOXELS = 1 << 22 }; /* per input, to keep the fuzzer fast */

/* The header of an output on this grid, read back, must give the same grid. */
static void check_grid(const io_grid *grid)
{
    uint8_t bytes[sizeof(nifti_2_header)];
    io_nifti_header header;
    io_stream *stream = NULL;
    io_grid again;
    size_t n_bytes;

    fuzz_check(io_nifti_header_build(grid, IO_UINT8, 1, 0, 0, 544, bytes, &n_bytes) == IO_OK);
    fuzz_check(io_stream_open_memory(bytes, n_bytes, "header", &stream) == IO_OK);
    fuzz_check(io_nifti_header_read(stream, "header", &header) == IO_OK);
    io_nifti_header_grid(&header, &again);
    fuzz_check(again.nifti_version == grid->nifti_version && again.qform_code == grid->qform_code && again.sform_code == grid->sform_code);
    fuzz_check(again.xyzt_units == grid->xyzt_units && !memcmp(again.dims, grid->dims, sizeof again.dims));
    fuzz_check(!memcmp(again.pixdim, grid->pixdim, sizeof again.pixdim) && !memcmp(again.srow, grid->srow, sizeof again.srow));
    fuzz_check(!memcmp(again.quatern, grid->quatern, sizeof again.quatern) && !memcmp(again.qoffset, grid->qoffset, sizeof again.qoffset));
    io_stream_close(&stream);
}

static void check_volume(const io_volume *volume)
{
    const int64_t n_slice = volume->grid.dims[0] * volume->grid.dims[1];
    int axis_of_world[3], flip_of_world[3];
    char codes[4];
    float *slice = NULL;

    fuzz_check(volume->n_voxels == n_slice * volume->grid.dims[2]);
    fuzz_check(io_alloc((size_t)n_slice, sizeof *slice, (void **)&slice) == IO_OK);
    io_volume_slice(volume, 0, slice);
    io_volume_slice(volume, volume->grid.dims[2] - 1, slice);
    io_free(&slice);
    io_grid_axcodes(&volume->grid, codes);
    io_grid_orientation(&volume->grid, axis_of_world, flip_of_world);
    fuzz_check((1 << axis_of_world[0] | 1 << axis_of_world[1] | 1 << axis_of_world[2]) == 7);
    check_grid(&volume->grid);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes)
{
    io_stream *stream = NULL;
    io_volume *volume = NULL;

    fuzz_check(io_stream_open_memory(bytes, n_bytes, "input", &stream) == IO_OK);
    if (io_stream_bound(stream) <= MAX_VOXELS && io_nifti_read_stream(stream, "input", &volume) == IO_OK) {
        char warnings[16][160];
        io_nifti_info info = {.grid = volume->grid};
        fuzz_check(io_nifti_check(&info, warnings, 16) <= 16);
        check_volume(volume);
    }
    io_volume_free(&volume);
    io_stream_close(&stream);
    return 0;
}
