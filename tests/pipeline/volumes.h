/* Small volumes built in code, for the tests of this room. */
#ifndef TESTS_PIPELINE_VOLUMES_H
#define TESTS_PIPELINE_VOLUMES_H

#include "tests/check.h"

#include "io/memory.h"
#include "io/nifti.h"
#include "io/volume.h"

/* Zeroed voxels on a plain RAS grid. Free with volume_clear. */
static inline void volume_build(io_volume *volume, io_datatype type, int64_t nx, int64_t ny, int64_t nz, double sx, double sy, double sz)
{
    const int64_t dims[3] = {nx, ny, nz};

    *volume = (io_volume){.datatype = type, .slope = 1, .n_voxels = nx * ny * nz};
    io_grid_create_plain(dims, (const double[3]){sx, sy, sz}, (const double[3]){0, 0, 0}, &volume->grid);
    check_ok(io_alloc((size_t)volume->n_voxels, io_datatype_bytes(type), &volume->voxels));
}

/* Voxel axis a runs along world axis world[a], against it where sign[a] is -1; spacing as it was. */
static inline void volume_turn(io_volume *volume, const int world[3], const int sign[3])
{
    memset(volume->grid.affine, 0, sizeof volume->grid.affine);
    for (int a = 0; a < 3; a++) volume->grid.affine[world[a]][a] = sign[a] * volume->grid.spacing_mm[a];
}

static inline void volume_clear(io_volume *volume)
{
    io_free(&volume->voxels);
}

#endif
