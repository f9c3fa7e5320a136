/* Writing NIfTI files: label maps on an input's exact grid, and the phantoms' CT. */
#include "io/nifti.h"

#include <string.h>

#include <nifti2_io.h>

#include "io/memory.h"
#include "io/nifti_header.h"
#include "io/sink.h"

/* An extension of ecode 0 that holds text, zero-padded to a multiple of 16 as nifti1.h demands; TotalSegmentator's label names use this
 * code (nifti_ext_header.py). *out with io_free. */
static io_status build_extension(const char *text, uint8_t **out, size_t *n_bytes)
{
    const size_t text_bytes = strlen(text);
    const size_t size = (8 + text_bytes + 15) / 16 * 16;
    const int32_t size_code[2] = {(int32_t)size, NIFTI_ECODE_IGNORE};

    if (size > INT32_MAX) return IO_FAIL(IO_ERR_RANGE, "label names of %zu bytes do not fit a NIfTI extension", text_bytes);
    IO_TRY(io_alloc(size, 1, (void **)out));
    memcpy(*out, size_code, sizeof size_code);
    memcpy(*out + sizeof size_code, text, text_bytes);
    *n_bytes = size;
    return IO_OK;
}

/* What lies before the voxels: header, the four extension bytes, the extension. */
typedef struct front {
    uint8_t header[sizeof(nifti_2_header) + 4];
    size_t header_bytes; /* with the four */
    uint8_t *extension;
    size_t extension_bytes;
} front;

static io_status build_front(const io_grid *grid, io_datatype type, double slope, double inter, int intent_code, const char *text,
                             front *out)
{
    const size_t plain_bytes = grid->nifti_version == 2 ? sizeof(nifti_2_header) : sizeof(nifti_1_header);

    memset(out, 0, sizeof *out);
    if (text) IO_TRY(build_extension(text, &out->extension, &out->extension_bytes));
    IO_TRY(io_nifti_header_build(grid, type, slope, inter, intent_code, (int64_t)(plain_bytes + 4 + out->extension_bytes), out->header,
                                 &out->header_bytes));
    out->header[out->header_bytes] = text != NULL; /* the first of the four bytes says that extensions follow */
    out->header_bytes += 4;
    return IO_OK;
}

static io_status count_voxel_bytes(const io_grid *grid, io_datatype type, size_t *out)
{
    *out = io_datatype_bytes(type);
    for (int axis = 0; axis < 3; axis++) {
        if (grid->dims[axis] < 1)
            return IO_FAIL(IO_ERR_ARGUMENT, "a volume to write has length %lld along axis %d, expected at least 1",
                           (long long)grid->dims[axis], axis);
        IO_TRY(io_size_mul(*out, (size_t)grid->dims[axis], out));
    }
    return IO_OK;
}

static io_status write_file(const char *path, const front *f, const void *voxels, size_t voxel_bytes, char sha256[65])
{
    io_sink *sink = NULL;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, io_sink_open(path, f->header_bytes + f->extension_bytes + voxel_bytes, &sink));
    IO_TRY_GOTO(status, done, io_sink_write(sink, f->header, f->header_bytes));
    if (f->extension) IO_TRY_GOTO(status, done, io_sink_write(sink, f->extension, f->extension_bytes));
    IO_TRY_GOTO(status, done, io_sink_write(sink, voxels, voxel_bytes));
    IO_TRY_GOTO(status, done, io_sink_commit(&sink, sha256));
done:
    io_sink_free(&sink);
    return status;
}

io_status io_nifti_write_labels(const char *path, const io_grid *grid, const void *labels, int label_bytes, const char *names_xml,
                                char sha256[65])
{
    const io_datatype type = label_bytes == 2 ? IO_UINT16 : IO_UINT8;
    front f = {.extension = NULL};
    size_t voxel_bytes;
    io_status status = IO_OK;

    if (label_bytes != 1 && label_bytes != 2) return IO_FAIL(IO_ERR_ARGUMENT, "%s: labels of %d bytes; expected 1 or 2", path, label_bytes);
    IO_TRY_GOTO(status, done, count_voxel_bytes(grid, type, &voxel_bytes));
    IO_TRY_GOTO(status, done, build_front(grid, type, 1, 0, NIFTI_INTENT_LABEL, names_xml, &f));
    IO_TRY_GOTO(status, done, write_file(path, &f, labels, voxel_bytes, sha256));
done:
    io_free(&f.extension);
    return status;
}

io_status io_nifti_write_int16(const char *path, const io_grid *grid, const int16_t *voxels, double slope, double inter)
{
    front f;
    size_t voxel_bytes;

    IO_TRY(count_voxel_bytes(grid, IO_INT16, &voxel_bytes));
    IO_TRY(build_front(grid, IO_INT16, slope, inter, NIFTI_INTENT_NONE, NULL, &f));
    return write_file(path, &f, voxels, voxel_bytes, NULL);
}
