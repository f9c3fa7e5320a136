/* NIfTI-1 and -2 headers: bytes to checked numbers, and back. Layout, codes and byte swapping are nifti_clib's (nifti1.h, nifti2.h);
 * the checks are here, because nifti_clib allocates first and believes the file. */
#include "io/nifti_header.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <nifti2_io.h>

#include "io/grid.h"

_Static_assert(sizeof(nifti_1_header) == 348, "nifti_1_header must be laid out as in the file");
_Static_assert(sizeof(nifti_2_header) == 540, "nifti_2_header must be laid out as in the file");

/* The bytes of a host integer as the other byte order would store it. */
static int32_t load_int32(const uint8_t *bytes, bool is_swapped)
{
    int32_t value;
    memcpy(&value, bytes, sizeof value);
    return is_swapped ? (int32_t)__builtin_bswap32((uint32_t)value) : value;
}

static io_status refuse_foreign(const uint8_t *bytes, size_t n_bytes, const char *name)
{
    const char *foreign = io_nifti_foreign_name(bytes, n_bytes);

    if (foreign) return IO_FAIL(IO_ERR_FORMAT, "%s: not NIfTI, but %s", name, foreign);
    if (n_bytes == 0) return IO_FAIL(IO_ERR_TRUNCATED, "%s: the file is empty; copy it again", name);
    if (n_bytes < sizeof(nifti_1_header))
        return IO_FAIL(IO_ERR_TRUNCATED, "%s: %zu bytes, a NIfTI header has at least 348; copy the file again", name, n_bytes);
    return IO_FAIL(IO_ERR_FORMAT, "%s: not NIfTI: the first four bytes are %02x %02x %02x %02x, expected 348 or 540 in either byte order",
                   name, bytes[0], bytes[1], bytes[2], bytes[3]);
}

/* Version and byte order out of sizeof_hdr; version 0 when it is neither 348 nor 540. */
static int find_version(const uint8_t *bytes, bool *is_swapped)
{
    for (int swap = 0; swap < 2; swap++) {
        const int32_t size = load_int32(bytes, swap);
        *is_swapped = swap;
        if (size == sizeof(nifti_1_header)) return 1;
        if (size == sizeof(nifti_2_header)) return 2;
    }
    return 0;
}

static io_status check_magic_1(const nifti_1_header *h, const char *name, bool *is_pair)
{
    if (memcmp(h->magic, "n+1", 4) == 0 || memcmp(h->magic, "ni1", 4) == 0) {
        *is_pair = h->magic[1] == 'i';
        return IO_OK;
    }
    if (h->magic[0] == 'n')
        return IO_FAIL(IO_ERR_FORMAT, "%s: the magic at byte 344 is %02x %02x %02x %02x, expected \"n+1\" or \"ni1\" and a zero", name,
                       (uint8_t)h->magic[0], (uint8_t)h->magic[1], (uint8_t)h->magic[2], (uint8_t)h->magic[3]);
    return IO_FAIL(
        IO_ERR_UNSUPPORTED,
        "%s: an ANALYZE 7.5 header (no NIfTI magic), which does not say left from right; convert it to NIfTI where that is known", name);
}

static io_status check_magic_2(const nifti_2_header *h, const char *name, bool *is_pair)
{
    static const char tail[4] = {'\r', '\n', '\032', '\n'}; /* damaged by transfers in text mode (nifti2.h) */

    if (memcmp(h->magic, "n+2", 4) != 0 && memcmp(h->magic, "ni2", 4) != 0)
        return IO_FAIL(IO_ERR_FORMAT, "%s: the magic at byte 4 is not \"n+2\" or \"ni2\"", name);
    if (memcmp(h->magic + 4, tail, 4) != 0)
        return IO_FAIL(IO_ERR_FORMAT,
                       "%s: the line-end bytes of the magic are damaged: the file was copied in text mode; copy it as binary", name);
    *is_pair = h->magic[1] == 'i';
    return IO_OK;
}

/* NIfTI-1's float offset as an integer; fractions, NaN and what a float cannot count exactly are refused later as -1. */
static int64_t read_offset(float offset)
{
    return offset >= 0 && offset <= 9007199254740992.0f && offset == floorf(offset) ? (int64_t)offset : -1;
}

/* Every NIfTI-1 field that samed uses, into the wider NIfTI-2 structure. */
static void widen(const nifti_1_header *h, nifti_2_header *out)
{
    *out = (nifti_2_header){.sizeof_hdr = 348,
                            .datatype = h->datatype,
                            .bitpix = h->bitpix,
                            .vox_offset = read_offset(h->vox_offset),
                            .scl_slope = h->scl_slope,
                            .scl_inter = h->scl_inter,
                            .qform_code = h->qform_code,
                            .sform_code = h->sform_code,
                            .quatern_b = h->quatern_b,
                            .quatern_c = h->quatern_c,
                            .quatern_d = h->quatern_d,
                            .qoffset_x = h->qoffset_x,
                            .qoffset_y = h->qoffset_y,
                            .qoffset_z = h->qoffset_z,
                            .xyzt_units = (uint8_t)h->xyzt_units,
                            .intent_code = h->intent_code};
    for (int i = 0; i < 8; i++) {
        out->dim[i] = h->dim[i];
        out->pixdim[i] = h->pixdim[i];
    }
    for (int i = 0; i < 4; i++) {
        out->srow_x[i] = h->srow_x[i];
        out->srow_y[i] = h->srow_y[i];
        out->srow_z[i] = h->srow_z[i];
    }
    memcpy(out->descrip, h->descrip, sizeof out->descrip);
}

static io_status check_datatype(const nifti_2_header *h, const char *name)
{
    const size_t n_bytes = io_datatype_bytes((io_datatype)h->datatype);

    if (n_bytes == 0)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: voxels are of type %s (NIfTI datatype %d); samed reads integers and floats of 8 to 64 bits",
                       name, nifti_is_valid_datatype(h->datatype) ? nifti_datatype_string(h->datatype) : "unknown", h->datatype);
    if (h->bitpix != 0 && (size_t)h->bitpix != 8 * n_bytes) /* some writers leave bitpix 0 */
        return IO_FAIL(IO_ERR_MISMATCH, "%s: datatype %s has %zu bits, bitpix says %d; the header is damaged", name,
                       io_datatype_name((io_datatype)h->datatype), 8 * n_bytes, h->bitpix);
    return IO_OK;
}

/* dim[0] and every axis; the fourth and higher must be 1. */
static io_status check_dims(const nifti_2_header *h, const char *name)
{
    static const char *const axes[] = {"", "i", "j", "k", "t", "u", "v", "w"}; /* nifti1.h: dim[1..7] */

    if (h->dim[0] < 1 || h->dim[0] > 7)
        return IO_FAIL(IO_ERR_RANGE, "%s: dim[0] is %lld, expected 1 to 7 axes; the header is damaged", name, (long long)h->dim[0]);
    for (int i = 1; i <= h->dim[0]; i++)
        if (h->dim[i] < 1)
            return IO_FAIL(IO_ERR_RANGE, "%s: axis %s (dim[%d]) has length %lld, expected at least 1", name, axes[i], i,
                           (long long)h->dim[i]);
    for (int i = 4; i <= h->dim[0]; i++)
        if (h->dim[i] != 1)
            return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: axis %s (dim[%d]) has length %lld: samed segments one volume; split the file first",
                           name, axes[i], i, (long long)h->dim[i]);
    return IO_OK;
}

static io_status check_size(const nifti_2_header *h, const char *name, uint64_t *data_bytes)
{
    uint64_t n_bytes = io_datatype_bytes((io_datatype)h->datatype);

    for (int i = 1; i <= h->dim[0]; i++)
        if (__builtin_mul_overflow(n_bytes, (uint64_t)h->dim[i], &n_bytes) || n_bytes > INT64_MAX)
            return IO_FAIL(IO_ERR_RANGE, "%s: the header's dimensions multiply to more than 2^63 bytes; it is damaged", name);
    *data_bytes = n_bytes;
    return IO_OK;
}

static io_status check_offset(const io_nifti_header *header, const char *name)
{
    const int64_t offset = header->fields.vox_offset;

    if (offset < 0 || offset > INT64_MAX / 2)
        return IO_FAIL(IO_ERR_RANGE, "%s: vox_offset is not a whole number of bytes from 0 up; the header is damaged", name);
    if (!header->is_pair && offset < (int64_t)header->n_bytes)
        return IO_FAIL(IO_ERR_RANGE, "%s: vox_offset %lld puts the voxels into the header of %zu bytes; the header is damaged", name,
                       (long long)offset, header->n_bytes);
    return IO_OK;
}

/* Slope 0 means "not scaled" (nifti1.h); anything that is not finite would turn every voxel into NaN. */
static io_status check_scaling(const nifti_2_header *h, const char *name)
{
    if (h->scl_slope == 0) return IO_OK;
    if (!isfinite(h->scl_slope) || !isfinite(h->scl_inter))
        return IO_FAIL(IO_ERR_RANGE,
                       "%s: scl_slope is %g and scl_inter %g, expected finite numbers; set them to 1 and 0 if the voxels are unscaled",
                       name, h->scl_slope, h->scl_inter);
    return IO_OK;
}

static io_status check_header(io_nifti_header *header, const char *name)
{
    IO_TRY(check_datatype(&header->fields, name));
    IO_TRY(check_dims(&header->fields, name));
    IO_TRY(check_size(&header->fields, name, &header->data_bytes));
    IO_TRY(check_offset(header, name));
    return check_scaling(&header->fields, name);
}

static io_status parse_version_1(const uint8_t *bytes, bool is_swapped, const char *name, io_nifti_header *out)
{
    nifti_1_header h;

    memcpy(&h, bytes, sizeof h);
    if (is_swapped) nifti_swap_as_nifti1(&h);
    IO_TRY(check_magic_1(&h, name, &out->is_pair));
    widen(&h, &out->fields);
    return IO_OK;
}

static io_status parse_version_2(io_stream *stream, uint8_t *bytes, bool is_swapped, const char *name, io_nifti_header *out)
{
    const size_t n_first = sizeof(nifti_1_header);
    size_t n_read;

    IO_TRY(io_stream_read_some(stream, bytes + n_first, sizeof(nifti_2_header) - n_first, &n_read));
    if (n_first + n_read < sizeof(nifti_2_header))
        return IO_FAIL(IO_ERR_TRUNCATED, "%s: %zu bytes, a NIfTI-2 header has 540; copy the file again", name, n_first + n_read);
    memcpy(&out->fields, bytes, sizeof out->fields);
    if (is_swapped) nifti_swap_as_nifti2(&out->fields);
    return check_magic_2(&out->fields, name, &out->is_pair);
}

io_status io_nifti_header_read(io_stream *stream, const char *name, io_nifti_header *out)
{
    const bool is_host_big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
    uint8_t bytes[sizeof(nifti_2_header)];
    size_t n_read;
    bool is_swapped;

    memset(out, 0, sizeof *out);
    IO_TRY(io_stream_read_some(stream, bytes, sizeof(nifti_1_header), &n_read));
    out->version = n_read < sizeof(nifti_1_header) ? 0 : find_version(bytes, &is_swapped);
    if (out->version == 0) return refuse_foreign(bytes, n_read, name);
    out->n_bytes = out->version == 1 ? sizeof(nifti_1_header) : sizeof(nifti_2_header);
    out->is_big_endian = is_swapped != is_host_big;
    if (out->version == 1)
        IO_TRY(parse_version_1(bytes, is_swapped, name, out));
    else
        IO_TRY(parse_version_2(stream, bytes, is_swapped, name, out));
    return check_header(out, name);
}

void io_nifti_header_grid(const io_nifti_header *header, io_grid *out)
{
    const nifti_2_header *h = &header->fields;

    *out = (io_grid){.nifti_version = header->version,
                     .xyzt_units = h->xyzt_units,
                     .qform_code = h->qform_code,
                     .sform_code = h->sform_code,
                     .quatern = {h->quatern_b, h->quatern_c, h->quatern_d},
                     .qoffset = {h->qoffset_x, h->qoffset_y, h->qoffset_z}};
    for (int i = 0; i < 3; i++) out->dims[i] = i < h->dim[0] ? h->dim[i + 1] : 1;
    for (int i = 0; i < 4; i++) {
        out->pixdim[i] = h->pixdim[i];
        out->srow[0][i] = h->srow_x[i];
        out->srow[1][i] = h->srow_y[i];
        out->srow[2][i] = h->srow_z[i];
    }
    io_grid_derive(out, (int)h->dim[0]);
}

/* The NIfTI-2 fields of an output on grid. */
static void fill_fields(const io_grid *grid, io_datatype type, nifti_2_header *h)
{
    *h = (nifti_2_header){.sizeof_hdr = sizeof *h,
                          .datatype = (int16_t)type,
                          .bitpix = (int16_t)(8 * io_datatype_bytes(type)),
                          .qform_code = grid->qform_code,
                          .sform_code = grid->sform_code,
                          .quatern_b = grid->quatern[0],
                          .quatern_c = grid->quatern[1],
                          .quatern_d = grid->quatern[2],
                          .qoffset_x = grid->qoffset[0],
                          .qoffset_y = grid->qoffset[1],
                          .qoffset_z = grid->qoffset[2],
                          .xyzt_units = grid->xyzt_units};
    memcpy(h->magic, "n+2\0\r\n\032\n", sizeof h->magic);
    h->dim[0] = 3;
    for (int i = 0; i < 3; i++) h->dim[i + 1] = grid->dims[i];
    for (int i = 4; i < 8; i++) h->dim[i] = h->pixdim[i] = 1;
    for (int i = 0; i < 4; i++) {
        h->pixdim[i] = grid->pixdim[i];
        h->srow_x[i] = grid->srow[0][i];
        h->srow_y[i] = grid->srow[1][i];
        h->srow_z[i] = grid->srow[2][i];
    }
    snprintf(h->descrip, sizeof h->descrip, "samed %s", SAMED_VERSION);
}

/* The inverse of widen: exact for whatever came out of a NIfTI-1 header. */
static void narrow(const nifti_2_header *h, nifti_1_header *out)
{
    *out = (nifti_1_header){.sizeof_hdr = sizeof *out,
                            .regular = 'r',
                            .datatype = h->datatype,
                            .bitpix = h->bitpix,
                            .vox_offset = (float)h->vox_offset,
                            .scl_slope = (float)h->scl_slope,
                            .scl_inter = (float)h->scl_inter,
                            .qform_code = (short)h->qform_code,
                            .sform_code = (short)h->sform_code,
                            .quatern_b = (float)h->quatern_b,
                            .quatern_c = (float)h->quatern_c,
                            .quatern_d = (float)h->quatern_d,
                            .qoffset_x = (float)h->qoffset_x,
                            .qoffset_y = (float)h->qoffset_y,
                            .qoffset_z = (float)h->qoffset_z,
                            .xyzt_units = (char)h->xyzt_units,
                            .intent_code = (short)h->intent_code,
                            .magic = "n+1"};
    for (int i = 0; i < 8; i++) {
        out->dim[i] = (short)h->dim[i];
        out->pixdim[i] = (float)h->pixdim[i];
    }
    for (int i = 0; i < 4; i++) {
        out->srow_x[i] = (float)h->srow_x[i];
        out->srow_y[i] = (float)h->srow_y[i];
        out->srow_z[i] = (float)h->srow_z[i];
    }
    memcpy(out->descrip, h->descrip, sizeof out->descrip);
}

io_status io_nifti_header_build(const io_grid *grid, io_datatype type, double slope, double inter, int intent_code, int64_t voxel_offset,
                                uint8_t *out, size_t *n_bytes)
{
    nifti_2_header wide;
    nifti_1_header narrowed;

    fill_fields(grid, type, &wide);
    wide.scl_slope = slope;
    wide.scl_inter = inter;
    wide.intent_code = intent_code;
    wide.vox_offset = voxel_offset;
    *n_bytes = grid->nifti_version == 2 ? sizeof wide : sizeof narrowed;
    if (grid->nifti_version == 2) {
        memcpy(out, &wide, sizeof wide);
        return IO_OK;
    }
    for (int i = 0; i < 3; i++)
        if (grid->dims[i] > INT16_MAX)
            return IO_FAIL(IO_ERR_RANGE, "a NIfTI-1 header holds axes up to 32767 voxels, axis %d has %lld; use NIfTI-2", i,
                           (long long)grid->dims[i]);
    narrow(&wide, &narrowed);
    memcpy(out, &narrowed, sizeof narrowed);
    return IO_OK;
}
