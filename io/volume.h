/* A 3D image in memory, and its place in the patient. Axes as in NIfTI: i runs fastest, then j, then k; a slice is one k, stored as
 * [ny][nx] rows of j. World coordinates are NIfTI's (RAS+, mm). */
#ifndef IO_VOLUME_H
#define IO_VOLUME_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

/* Values are the NIfTI datatype codes (nifti1.h). */
typedef enum io_datatype {
    IO_UINT8 = 2,
    IO_INT16 = 4,
    IO_INT32 = 8,
    IO_FLOAT32 = 16,
    IO_FLOAT64 = 64,
    IO_INT8 = 256,
    IO_UINT16 = 512,
    IO_UINT32 = 768,
    IO_INT64 = 1024,
    IO_UINT64 = 1280
} io_datatype;

size_t io_datatype_bytes(io_datatype type);      /* 0 for an unknown one */
const char *io_datatype_name(io_datatype type);  /* "int16" */

/* Everything a header says about where voxels lie, kept as stored so that an output can repeat it bit for bit. */
typedef struct io_grid {
    int64_t dims[3];       /* voxels along i, j, k */
    int nifti_version;     /* 1 or 2: an output is written in the same version */
    double pixdim[4];      /* pixdim[0] is qfac as stored, [1..3] the spacing as stored */
    int xyzt_units;
    int qform_code, sform_code;
    double quatern[3];     /* b, c, d */
    double qoffset[3];     /* mm */
    double srow[3][4];     /* sform rows, mm */
    double affine[3][4];   /* voxel (i,j,k,1) -> world mm: sform if its code > 0, else qform if its code > 0, else spacing with the
                              centre of the grid at the origin and the first axis flipped, as nibabel's base affine */
    double spacing_mm[3];  /* lengths of the affine's columns */
} io_grid;

typedef struct io_volume {
    io_grid grid;
    io_datatype datatype;  /* of voxels */
    double slope, inter;   /* value = slope * voxel + inter; 1 and 0 where the header has no scaling */
    void *voxels;          /* [nz][ny][nx] of datatype, native byte order */
    int64_t n_voxels;
    char sha256[65];       /* of the file's bytes; of both files for a pair (io_nifti_hash) */
} io_volume;

void io_volume_free(io_volume **volume);

/* Slice k as scaled floats: out [ny][nx] = (float)(slope * voxel + inter), computed in double as nibabel does. */
void io_volume_slice(const io_volume *volume, int64_t k, float *out);

/* Three letters of the world directions that i, j, k point to, for example "RAS", as nibabel's aff2axcodes. */
void io_grid_axcodes(const io_grid *grid, char out[4]);

/* For each world axis R, A, S: which voxel axis runs along it (permutation) and whether it is flipped. */
void io_grid_orientation(const io_grid *grid, int axis_of_world[3], int flip_of_world[3]);

#endif
