/* NIfTI-1 and -2 files: .nii, .nii.gz, .nii.zst, .hdr + .img (either may be .gz). Both byte orders. The format's constants and
 * structures are nifti_clib's (nifti1.h, nifti2.h); the header is checked before anything is allocated. */
#ifndef IO_NIFTI_H
#define IO_NIFTI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "io/volume.h"

/* What a header says, without its voxels. */
typedef struct io_nifti_info {
    io_grid grid;
    io_datatype datatype;
    double slope, inter;
    bool is_big_endian, is_pair;
    int n_dims;
    int64_t dims[7];
    uint64_t voxel_offset; /* bytes from the start of the uncompressed data file */
    int n_extensions;
    int intent_code;
    char description[81];
} io_nifti_info;

/* True for a name that io_nifti_read takes: .nii .nii.gz .nii.zst .hdr .hdr.gz .img .img.gz */
bool io_nifti_is_name(const char *path);
/* The same but for .img and .img.gz, which stand behind their headers: one name per volume of a folder. */
bool io_nifti_is_volume_name(const char *path);

/* Header only. Everything that io_nifti_read would refuse about the header is refused here too. */
io_status io_nifti_read_info(const char *path, io_nifti_info *out);

/* The whole volume. A fourth or higher axis must have length 1; the message names the axis that has not. Caller frees *out. */
io_status io_nifti_read(const char *path, io_volume **out);

/* The same slice by slice: visit gets [ny][nx] scaled floats (io_volume_slice) of slice k, from the first to the last. Beside one slice
 * nothing of the volume is held. */
typedef void io_nifti_visit(void *context, int64_t k, const float *slice);
io_status io_nifti_visit_slices(const char *path, io_nifti_visit *visit, void *context);

/* What io_volume.sha256 will be, without reading the voxels: the SHA-256 of the file, or of a pair's two hashes as text, header first. */
io_status io_nifti_hash(const char *path, char sha256[65]);

/* Copies the file, or both of a pair, into another folder under the same names (io_file_copy). *copy is the path to read there, with
 * io_free; sha256 is what io_volume.sha256 has to be when it is read. */
io_status io_nifti_copy(const char *path, const char *folder, char **copy, char sha256[65]);
/* Removes such a copy, both files of a pair. */
io_status io_nifti_remove(const char *path);

/* Suspicious but readable: zero spacing, sform unlike qform, NaN affine, non-orthonormal direction, ... Writes up to n_warnings
 * texts of at most 159 bytes and returns their number. */
int io_nifti_check(const io_nifti_info *info, char warnings[][160], int n_warnings);

/* Writes a label map on grid as <path> (.nii, .nii.gz or .nii.zst by its name): uint8, or uint16 when label_bytes is 2; slope 1,
 * inter 0, intent code label, qform and sform with their codes exactly as in grid. labels is [nz][ny][nx]. names_xml (may be NULL)
 * goes into a header extension with the code that TotalSegmentator uses. sha256 (may be NULL) receives that of the written file. */
io_status io_nifti_write_labels(const char *path, const io_grid *grid, const void *labels, int label_bytes, const char *names_xml,
                                char sha256[65]);

/* Writes int16 voxels on grid with the given slope and inter (the phantoms' CT). */
io_status io_nifti_write_int16(const char *path, const io_grid *grid, const int16_t *voxels, double slope, double inter);

/* A plain grid: NIfTI-1, sform and qform code 1, axes along R, A, S with the given spacing, first voxel at origin_mm. */
void io_grid_create_plain(const int64_t dims[3], const double spacing_mm[3], const double origin_mm[3], io_grid *out);

#endif
