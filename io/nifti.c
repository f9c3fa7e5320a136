/* Reading NIfTI files: which file holds what, the way to the voxels, the voxels. The header's numbers are nifti_header.c. */
#include "io/nifti.h"

#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"
#include "io/nifti_header.h"

/* Bytes allowed behind the last voxel: tape writers pad to blocks of up to 64 KiB; more means that the header is wrong. */
enum { MAX_TRAILING = 65536 };

enum { ESIZE_BYTES = 8 }; /* of an extension: its size and its code, two int32 (nifti1.h) */

static const char *const header_suffixes[] = {".hdr", ".hdr.gz", NULL};
static const char *const image_suffixes[] = {".img", ".img.gz", NULL};
static const char *const single_suffixes[] = {".nii", ".nii.gz", ".nii.zst", NULL};

static const char *find_suffix(const char *path, const char *const *suffixes)
{
    for (; *suffixes; suffixes++)
        if (io_path_has_suffix(path, *suffixes)) return *suffixes;
    return NULL;
}

bool io_nifti_is_name(const char *path)
{
    return find_suffix(path, single_suffixes) || find_suffix(path, header_suffixes) || find_suffix(path, image_suffixes);
}

bool io_nifti_is_volume_name(const char *path)
{
    return io_nifti_is_name(path) && !find_suffix(path, image_suffixes);
}

/* An open file (or pair of files) with its checked header, the data stream standing where voxels may be skipped to. */
typedef struct source {
    const char *name; /* borrowed; for messages */
    io_stream *header_stream;
    io_stream *image_stream; /* of a pair's second file, else NULL */
    io_nifti_header header;
    uint64_t position; /* bytes read of the data stream */
    int n_extensions;
} source;

static void close_source(source *s)
{
    io_stream_close(&s->header_stream);
    io_stream_close(&s->image_stream);
}

/* The other half of a pair: the path with its suffix exchanged for the first of suffixes that exists; *out with io_free. */
static io_status find_partner(const char *path, const char *own_suffix, const char *const *suffixes, char **out)
{
    const size_t stem_bytes = strlen(path) - strlen(own_suffix), n_bytes = stem_bytes + sizeof ".img.gz";
    char *candidate = NULL;
    void *block;

    IO_TRY(io_alloc(n_bytes, 1, &block));
    candidate = block;
    for (const char *const *suffix = suffixes; *suffix; suffix++) {
        snprintf(candidate, n_bytes, "%.*s%s", (int)stem_bytes, path, *suffix);
        for (int shout = 0; shout < 2; shout++) { /* DOS-era scanners write .HDR and .IMG */
            if (io_file_exists(candidate)) {
                *out = candidate;
                return IO_OK;
            }
            for (char *c = candidate + stem_bytes; *c; c++) *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
        }
    }
    io_free(&candidate);
    return IO_FAIL(IO_ERR_NOT_FOUND, "%s: the other half of the pair (%s or %s of the same name) is not there; copy it next to it", path,
                   suffixes[0], suffixes[1]);
}

/* Can the data file hold what the header claims? Asked before anything is allocated. */
static io_status check_bound(const source *s)
{
    const io_nifti_header *h = &s->header;
    const nifti_2_header *f = &h->fields;
    const uint64_t rest = s->image_stream ? io_stream_bound(s->image_stream) : io_stream_bound(s->header_stream);
    const uint64_t used = s->image_stream ? 0 : h->n_bytes;
    const uint64_t bound = rest > UINT64_MAX - used ? UINT64_MAX : rest + used; /* the whole data file, uncompressed */
    const uint64_t wanted = (uint64_t)f->vox_offset + h->data_bytes;            /* both below 2^63 */

    if (wanted <= bound) return IO_OK;
    return IO_FAIL(
        IO_ERR_TRUNCATED,
        "%s: the header says %lldx%lldx%lld %s = %llu bytes from byte %lld on, the file can hold at most %llu; copy the file again",
        s->name, (long long)f->dim[1], (long long)(f->dim[0] > 1 ? f->dim[2] : 1), (long long)(f->dim[0] > 2 ? f->dim[3] : 1),
        io_datatype_name((io_datatype)f->datatype), (unsigned long long)h->data_bytes, (long long)f->vox_offset, (unsigned long long)bound);
}

/* Reads n_bytes of the header stream, or fewer at its end; sets *is_there to whether all came. */
static io_status read_if_there(source *s, void *bytes, size_t n_bytes, bool *is_there)
{
    size_t n_read;

    IO_TRY(io_stream_read_some(s->header_stream, bytes, n_bytes, &n_read));
    s->position += n_read;
    *is_there = n_read == n_bytes;
    return IO_OK;
}

/* Walks over the extensions, which end at limit (bytes from the start) or, in a .hdr, at the end of the file. Sizes that are not a
 * multiple of 16 are against nifti1.h but written by several converters; like nibabel we believe them as long as they fit. */
static io_status skip_extensions(source *s, uint64_t limit)
{
    const bool is_swapped = s->header.is_big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    uint8_t flag[4];
    uint32_t size_code[2];
    bool is_there;

    if (limit - s->position < sizeof flag) return IO_OK;
    IO_TRY(read_if_there(s, flag, sizeof flag, &is_there));
    if (!is_there || flag[0] == 0) return IO_OK;
    while (limit - s->position >= ESIZE_BYTES) {
        IO_TRY(read_if_there(s, size_code, sizeof size_code, &is_there));
        const int32_t size = (int32_t)(is_swapped ? __builtin_bswap32(size_code[0]) : size_code[0]);
        if (!is_there || size == 0) return IO_OK; /* zeroes up to vox_offset are padding */
        if (size < ESIZE_BYTES || (uint64_t)size - ESIZE_BYTES > limit - s->position)
            return IO_FAIL(IO_ERR_FORMAT,
                           "%s: header extension %d claims %d bytes, expected 16 up to what lies before the voxels; the file is damaged",
                           s->name, s->n_extensions + 1, size);
        IO_TRY(io_stream_skip(s->header_stream, (uint64_t)size - ESIZE_BYTES));
        s->position += (uint64_t)size - ESIZE_BYTES;
        s->n_extensions++;
    }
    return IO_OK;
}

/* The header and, in one file, everything before the voxels. Leaves a pair's image stream at its first byte. */
static io_status read_front(source *s)
{
    uint64_t limit;

    IO_TRY(io_nifti_header_read(s->header_stream, s->name, &s->header));
    if (s->header.is_pair && !s->image_stream)
        return IO_FAIL(
            IO_ERR_FORMAT,
            "%s: the magic says that the voxels lie in a second file, but the name is not .hdr; rename the pair to .hdr and .img", s->name);
    if (!s->header.is_pair && s->image_stream)
        return IO_FAIL(IO_ERR_FORMAT, "%s: the magic says that header and voxels are one file, but the name is .hdr; rename it to .nii",
                       s->name);
    IO_TRY(check_bound(s));
    s->position = s->header.n_bytes;
    limit = s->image_stream ? UINT64_MAX : (uint64_t)s->header.fields.vox_offset;
    IO_TRY(skip_extensions(s, limit));
    if (s->image_stream) s->position = 0; /* of the data stream from here on */
    return IO_OK;
}

/* The one or two files behind path: *image is NULL for a single file. Both with io_free. */
static io_status find_files(const char *path, char **header, char **image)
{
    const char *image_suffix = find_suffix(path, image_suffixes);
    const char *header_suffix = find_suffix(path, header_suffixes);

    *header = *image = NULL;
    if (image_suffix) {
        IO_TRY(find_partner(path, image_suffix, header_suffixes, header));
        return io_string_copy(path, image);
    }
    if (header_suffix) IO_TRY(find_partner(path, header_suffix, image_suffixes, image));
    return io_string_copy(path, header);
}

static io_status open_source(const char *path, source *s)
{
    char *header = NULL, *image = NULL;
    io_status status = IO_OK;

    *s = (source){.name = path};
    IO_TRY_GOTO(status, done, find_files(path, &header, &image));
    IO_TRY_GOTO(status, done, io_stream_open(header, &s->header_stream));
    if (image) IO_TRY_GOTO(status, done, io_stream_open(image, &s->image_stream));
    IO_TRY_GOTO(status, done, read_front(s));
done:
    io_free(&header);
    io_free(&image);
    if (status != IO_OK) close_source(s);
    return status;
}

static void fill_info(const source *s, io_nifti_info *out)
{
    const nifti_2_header *f = &s->header.fields;
    const bool is_scaled = f->scl_slope != 0;

    *out = (io_nifti_info){.datatype = (io_datatype)f->datatype,
                           .slope = is_scaled ? f->scl_slope : 1,
                           .inter = is_scaled ? f->scl_inter : 0,
                           .is_big_endian = s->header.is_big_endian,
                           .is_pair = s->header.is_pair,
                           .n_dims = (int)f->dim[0],
                           .voxel_offset = (uint64_t)f->vox_offset,
                           .n_extensions = s->n_extensions,
                           .intent_code = f->intent_code};
    io_nifti_header_grid(&s->header, &out->grid);
    for (int i = 0; i < 7; i++) out->dims[i] = i < out->n_dims ? f->dim[i + 1] : 1;
    memcpy(out->description, f->descrip, sizeof f->descrip);
}

io_status io_nifti_read_info(const char *path, io_nifti_info *out)
{
    source s;

    IO_TRY(open_source(path, &s));
    fill_info(&s, out);
    close_source(&s);
    return IO_OK;
}

/* Turns n values of n_bytes each to the other byte order, in place. */
static void swap_bytes(void *voxels, int64_t n, size_t n_bytes)
{
    uint16_t *v16 = voxels;
    uint32_t *v32 = voxels;
    uint64_t *v64 = voxels;

    if (n_bytes == 2)
        for (int64_t i = 0; i < n; i++) v16[i] = __builtin_bswap16(v16[i]);
    else if (n_bytes == 4)
        for (int64_t i = 0; i < n; i++) v32[i] = __builtin_bswap32(v32[i]);
    else if (n_bytes == 8)
        for (int64_t i = 0; i < n; i++) v64[i] = __builtin_bswap64(v64[i]);
}

/* A compressed file may truly hold more than this process may use: better said now than by the kernel's memory killer. A fault of the case
 * (not IO_ERR_MEMORY): others may fit. */
static io_status check_memory(const source *s)
{
    const uint64_t limit = io_memory_limit();

    if (s->header.data_bytes <= limit) return IO_OK;
    return IO_FAIL(IO_ERR_RANGE, "%s: the voxels take %llu bytes, samed may use %llu here; use a larger machine or ask for more memory",
                   s->name, (unsigned long long)s->header.data_bytes, (unsigned long long)limit);
}

static io_status read_voxels(source *s, io_volume *volume)
{
    io_stream *data = s->image_stream ? s->image_stream : s->header_stream;
    const size_t voxel_bytes = io_datatype_bytes(volume->datatype);
    io_status status;

    IO_TRY(check_memory(s));
    IO_TRY(io_stream_skip(data, (uint64_t)s->header.fields.vox_offset - s->position));
    IO_TRY(
        io_grow(&volume->voxels, 0, s->header.data_bytes, 1)); /* not io_alloc: zeroing 80 MB that the next line overwrites takes 20 ms */
    status = io_stream_read(data, volume->voxels, s->header.data_bytes);
    if (status != IO_OK)
        return io_fail_context(status, "%s: reading %lldx%lldx%lld voxels of %s", s->name, (long long)volume->grid.dims[0],
                               (long long)volume->grid.dims[1], (long long)volume->grid.dims[2], io_datatype_name(volume->datatype));
    IO_TRY(io_stream_finish(data, MAX_TRAILING));
    if (s->header.is_big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)) swap_bytes(volume->voxels, volume->n_voxels, voxel_bytes);
    return IO_OK;
}

/* raw, slice: room for one slice. */
static io_status visit_stream(source *s, const io_nifti_info *info, void *raw, float *slice, io_nifti_visit *visit, void *context)
{
    io_stream *data = s->image_stream ? s->image_stream : s->header_stream;
    const size_t voxel_bytes = io_datatype_bytes(info->datatype), n = (size_t)(info->grid.dims[0] * info->grid.dims[1]);
    const io_volume one = {
        .grid = info->grid, .datatype = info->datatype, .slope = info->slope, .inter = info->inter, .voxels = raw, .n_voxels = (int64_t)n};

    IO_TRY(io_stream_skip(data, (uint64_t)s->header.fields.vox_offset - s->position));
    for (int64_t k = 0; k < info->grid.dims[2]; k++) {
        IO_TRY(io_stream_read(data, raw, n * voxel_bytes));
        if (s->header.is_big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)) swap_bytes(raw, (int64_t)n, voxel_bytes);
        io_volume_slice(&one, 0, slice);
        visit(context, k, slice);
    }
    return io_stream_finish(data, MAX_TRAILING);
}

io_status io_nifti_visit_slices(const char *path, io_nifti_visit *visit, void *context)
{
    io_status status = IO_OK;
    io_nifti_info info;
    source s;
    void *raw = NULL;
    float *slice = NULL;
    size_t n;

    IO_TRY(open_source(path, &s));
    fill_info(&s, &info);
    IO_TRY_GOTO(status, done, io_size_mul((size_t)info.grid.dims[0], (size_t)info.grid.dims[1], &n));
    IO_TRY_GOTO(status, done, io_alloc(n, io_datatype_bytes(info.datatype), &raw));
    IO_TRY_GOTO(status, done, io_alloc(n, sizeof *slice, (void **)&slice));
    status = visit_stream(&s, &info, raw, slice, visit, context);
    if (status != IO_OK) status = io_fail_context(status, "%s", path);
done:
    io_free(&slice);
    io_free(&raw);
    close_source(&s);
    return status;
}

/* A pair's hash is that of its two hashes' texts, header first: a changed slope in the .hdr is a changed input. */
static io_status join_hashes(const char header[65], const char image[65], char out[65])
{
    char both[129];

    snprintf(both, sizeof both, "%s%s", header, image);
    return io_hash_bytes(both, strlen(both), out);
}

/* After the voxels were read: verifies what is left (the .hdr.gz has a checksum too) and hashes. */
static io_status finish_source(source *s, char sha256[65])
{
    char header[65], image[65];

    if (!s->image_stream) return io_stream_sha256(s->header_stream, sha256);
    IO_TRY(io_stream_finish(s->header_stream, MAX_TRAILING));
    IO_TRY(io_stream_sha256(s->header_stream, header));
    IO_TRY(io_stream_sha256(s->image_stream, image));
    return join_hashes(header, image, sha256);
}

io_status io_nifti_hash(const char *path, char sha256[65])
{
    char *header = NULL, *image = NULL;
    char header_sha256[65], image_sha256[65];
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, find_files(path, &header, &image));
    IO_TRY_GOTO(status, done, io_hash_file(header, image ? header_sha256 : sha256));
    if (image) IO_TRY_GOTO(status, done, io_hash_file(image, image_sha256));
    if (image) IO_TRY_GOTO(status, done, join_hashes(header_sha256, image_sha256, sha256));
done:
    io_free(&header);
    io_free(&image);
    return status;
}

static io_status copy_half(const char *path, const char *folder, char **copy, char sha256[65])
{
    IO_TRY(io_path_join(folder, io_path_name(path), copy));
    return io_file_copy(path, *copy, sha256);
}

io_status io_nifti_copy(const char *path, const char *folder, char **copy, char sha256[65])
{
    char *header = NULL, *image = NULL, *image_copy = NULL, *header_copy = NULL;
    char header_sha256[65], image_sha256[65];
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, find_files(path, &header, &image));
    IO_TRY_GOTO(status, done, copy_half(header, folder, &header_copy, image ? header_sha256 : sha256));
    if (image) IO_TRY_GOTO(status, done, copy_half(image, folder, &image_copy, image_sha256));
    if (image) IO_TRY_GOTO(status, done, join_hashes(header_sha256, image_sha256, sha256));
    *copy = header_copy;
    header_copy = NULL;
done:
    if (header_copy) (void)io_file_remove(header_copy);
    io_free(&header_copy);
    io_free(&image_copy);
    io_free(&header);
    io_free(&image);
    return status;
}

io_status io_nifti_remove(const char *path)
{
    char *header = NULL, *image = NULL;
    io_status status = IO_OK;

    IO_TRY_GOTO(status, done, find_files(path, &header, &image));
    IO_TRY_GOTO(status, done, io_file_remove(header));
    if (image) status = io_file_remove(image);
done:
    io_free(&header);
    io_free(&image);
    return status;
}

/* Volume out of an open source, which stays the caller's to close. */
static io_status read_volume(source *s, io_volume **out)
{
    io_volume *volume = NULL;
    io_nifti_info info;
    io_status status = IO_OK;

    fill_info(s, &info);
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *volume, (void **)&volume));
    volume->grid = info.grid;
    volume->datatype = info.datatype;
    volume->slope = info.slope;
    volume->inter = info.inter;
    volume->n_voxels = (int64_t)(s->header.data_bytes / io_datatype_bytes(info.datatype));
    IO_TRY_GOTO(status, done, read_voxels(s, volume));
    IO_TRY_GOTO(status, done, finish_source(s, volume->sha256));
    *out = volume;
    volume = NULL; /* now the caller's */
done:
    io_volume_free(&volume);
    return status;
}

io_status io_nifti_read(const char *path, io_volume **out)
{
    source s;
    io_status status;

    IO_TRY(open_source(path, &s));
    status = read_volume(&s, out);
    close_source(&s);
    return status;
}

io_status io_nifti_read_stream(io_stream *stream, const char *name, io_volume **out)
{
    source s = {.name = name, .header_stream = stream};

    IO_TRY(read_front(&s));
    return read_volume(&s, out);
}
