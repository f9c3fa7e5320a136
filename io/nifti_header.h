/* A NIfTI header of either version as checked numbers. Inside io/ only; the public side is nifti.h. */
#ifndef IO_NIFTI_HEADER_H
#define IO_NIFTI_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nifti1.h>
#include <nifti2.h>

#include "io/status.h"
#include "io/stream.h"
#include "io/volume.h"

typedef struct io_nifti_header {
    nifti_2_header fields; /* native byte order; a NIfTI-1 header is widened into it, which loses nothing */
    int version;           /* 1 or 2 */
    size_t n_bytes;        /* 348 or 540, as read from the stream */
    bool is_big_endian, is_pair;
    uint64_t data_bytes; /* of all voxels */
} io_nifti_header;

/* Reads the header's bytes from a fresh stream and checks every field that matters: what comes back can be multiplied and allocated.
 * name is used in messages. */
io_status io_nifti_header_read(io_stream *stream, const char *name, io_nifti_header *out);

/* The grid that a checked header describes. */
void io_nifti_header_grid(const io_nifti_header *header, io_grid *out);

/* Header bytes of the version that grid asks for, native byte order, everything about the place copied from grid: out [540],
 * *n_bytes of them used. IO_ERR_RANGE when NIfTI-1 cannot hold a dimension. */
io_status io_nifti_header_build(const io_grid *grid, io_datatype type, double slope, double inter, int intent_code, int64_t voxel_offset,
                                uint8_t *out, size_t *n_bytes);

/* "a DICOM file; convert it with dcm2niix" and the like for the first n_bytes of a file that is not NIfTI; NULL when unknown. */
const char *io_nifti_foreign_name(const uint8_t *bytes, size_t n_bytes);

/* A single-file volume from an open stream; what io_nifti_read does with a .nii. */
io_status io_nifti_read_stream(io_stream *stream, const char *name, io_volume **out);

#endif
