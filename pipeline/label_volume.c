/* See label_volume.h. */
#include "pipeline/label_volume.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/manifest.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/stream.h"

enum { BLOCK_VOXELS = 1 << 16, MAX_TRAILING = 65536 /* bytes behind the voxels, as io_nifti_read allows */ };

/* What one file's voxels turn into. */
typedef struct voxel_sink {
    const char *path;
    const pipe_label_map *map;
    bool round;
    int mask_organ; /* > 0: every voxel that is not 0 belongs to this organ */
    double slope, inter;
    pipe_label_volume *volume;
    double values[BLOCK_VOXELS];
} voxel_sink;

static void convert(const void *raw, io_datatype type, double slope, double inter, size_t n, double *out)
{
#define CONVERT(name, ctype)                                                                                                               \
    case name:                                                                                                                             \
        for (size_t i = 0; i < n; i++) out[i] = slope * (double)((const ctype *)raw)[i] + inter;                                           \
        break;
    switch (type) {
        CONVERT(IO_UINT8, uint8_t)
        CONVERT(IO_INT8, int8_t)
        CONVERT(IO_UINT16, uint16_t)
        CONVERT(IO_INT16, int16_t)
        CONVERT(IO_UINT32, uint32_t)
        CONVERT(IO_INT32, int32_t)
        CONVERT(IO_UINT64, uint64_t)
        CONVERT(IO_INT64, int64_t)
        CONVERT(IO_FLOAT32, float)
        CONVERT(IO_FLOAT64, double)
    }
#undef CONVERT
}

static io_status refuse_value(const voxel_sink *sink, int64_t at, double value)
{
    const int64_t *dims = sink->volume->grid.dims;
    const bool is_fraction = value >= 0 && value <= PIPE_LABEL_VALUES - 1;

    return IO_FAIL(IO_ERR_RANGE, "%s: voxel (%lld, %lld, %lld) holds %.17g, expected a label, an integer of 0 to %d%s", sink->path,
                   (long long)(at % dims[0]), (long long)(at / dims[0] % dims[1]), (long long)(at / dims[0] / dims[1]), value,
                   PIPE_LABEL_VALUES - 1, is_fraction ? "; round it first (samed evaluate does with --round)" : "");
}

static int organ_at(const pipe_label_volume *volume, int64_t at)
{
    return volume->organ_bytes == 1 ? ((const uint8_t *)volume->organs)[at] : ((const uint16_t *)volume->organs)[at];
}

static void set_organ(pipe_label_volume *volume, int64_t at, int organ)
{
    if (volume->organ_bytes == 1)
        ((uint8_t *)volume->organs)[at] = (uint8_t)organ;
    else
        ((uint16_t *)volume->organs)[at] = (uint16_t)organ;
}

static void count_overlap(pipe_label_volume *volume, int kept, int lost)
{
    pipe_mask_overlap *entry = volume->overlaps, *const end = entry + volume->n_overlap_pairs;

    volume->n_overlaps++;
    while (entry < end && (entry->kept != kept || entry->lost != lost)) entry++;
    if (entry == end) {
        if (volume->n_overlap_pairs == PIPE_MAX_OVERLAPS) return;
        volume->n_overlap_pairs++;
        *entry = (pipe_mask_overlap){.kept = kept, .lost = lost};
    }
    entry->n_voxels++;
}

static void count_unnamed(pipe_unnamed *unnamed, int value)
{
    int64_t at = 0, behind;

    unnamed->n_voxels++;
    while (at < unnamed->n_values && unnamed->values[at] < value) at++;
    if (at == unnamed->n_values || unnamed->values[at] != value) {
        if (unnamed->n_values == PIPE_MAX_UNNAMED) return;
        for (behind = unnamed->n_values++; behind > at; behind--) {
            unnamed->values[behind] = unnamed->values[behind - 1];
            unnamed->counts[behind] = unnamed->counts[behind - 1];
        }
        unnamed->values[at] = value;
        unnamed->counts[at] = 0;
    }
    unnamed->counts[at]++;
}

static void put_value(voxel_sink *sink, int64_t at, int value)
{
    pipe_label_volume *volume = sink->volume;
    int organ = sink->mask_organ;

    if (value == 0) return;
    if (organ > 0 && organ_at(volume, at) > 0) {
        if (organ_at(volume, at) != organ) count_overlap(volume, organ_at(volume, at), organ);
        return;
    }
    if (organ == 0) organ = sink->map->organ_of[value];
    if (organ == PIPE_LABEL_UNKNOWN) {
        count_unnamed(&volume->unnamed, value);
        organ = 0;
    }
    if (organ == PIPE_LABEL_IGNORE) organ = volume->ignore_organ;
    set_organ(volume, at, organ);
}

static io_status put_number(voxel_sink *sink, int64_t at, double number)
{
    const double value = sink->round ? floor(number + 0.5) : number;

    if (!(value >= 0 && value < PIPE_LABEL_VALUES && value == (double)(int)value)) return refuse_value(sink, at, number);
    if (value != number) {
        sink->volume->n_rounded++;
        sink->volume->largest_step = fmax(sink->volume->largest_step, fabs(value - number));
    }
    put_value(sink, at, (int)value);
    return IO_OK;
}

/* raw [n] voxels of type, the first of which is voxel `at` of the volume. */
static io_status put_run(voxel_sink *sink, const void *raw, io_datatype type, int64_t at, size_t n)
{
    const bool is_plain = sink->slope == 1 && sink->inter == 0;

    if (is_plain && type == IO_UINT8) {
        for (size_t i = 0; i < n; i++) put_value(sink, at + (int64_t)i, ((const uint8_t *)raw)[i]);
        return IO_OK;
    }
    if (is_plain && type == IO_UINT16) {
        for (size_t i = 0; i < n; i++) put_value(sink, at + (int64_t)i, ((const uint16_t *)raw)[i]);
        return IO_OK;
    }
    convert(raw, type, sink->slope, sink->inter, n, sink->values);
    for (size_t i = 0; i < n; i++) IO_TRY(put_number(sink, at + (int64_t)i, sink->values[i]));
    return IO_OK;
}

/* The same for a block of at most BLOCK_VOXELS, aligned to 8 bytes. Most of a label map is background: words of zero bits are passed over
 * where they mean zero. */
static io_status put_block(voxel_sink *sink, const void *raw, io_datatype type, int64_t at, size_t n)
{
    const size_t voxel_bytes = io_datatype_bytes(type), per_word = sizeof(uint64_t) / voxel_bytes, n_words = n / per_word;
    const uint64_t *words = raw;
    size_t word = 0;

    if (sink->inter != 0) return put_run(sink, raw, type, at, n);
    while (word < n_words) {
        size_t first;
        while (word < n_words && words[word] == 0) word++;
        for (first = word; word < n_words && words[word] != 0;) word++;
        IO_TRY(put_run(sink, words + first, type, at + (int64_t)(first * per_word), (word - first) * per_word));
    }
    return put_run(sink, words + n_words, type, at + (int64_t)(n_words * per_word), n - n_words * per_word);
}

static void swap_block(void *raw, size_t n, size_t voxel_bytes)
{
    for (size_t i = 0; i < n; i++) {
        if (voxel_bytes == 2)
            ((uint16_t *)raw)[i] = __builtin_bswap16(((uint16_t *)raw)[i]);
        else if (voxel_bytes == 4)
            ((uint32_t *)raw)[i] = __builtin_bswap32(((uint32_t *)raw)[i]);
        else if (voxel_bytes == 8)
            ((uint64_t *)raw)[i] = __builtin_bswap64(((uint64_t *)raw)[i]);
    }
}

static io_status stream_voxels(voxel_sink *sink, const io_nifti_info *info, char sha256[65])
{
    io_status status = IO_OK;
    io_stream *stream = NULL;
    void *raw = NULL;
    const size_t voxel_bytes = io_datatype_bytes(info->datatype);
    const bool is_swapped = info->is_big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);

    IO_TRY_GOTO(status, done, io_stream_open(sink->path, &stream));
    IO_TRY_GOTO(status, done, io_alloc(BLOCK_VOXELS, voxel_bytes, &raw));
    IO_TRY_GOTO(status, done, io_stream_skip(stream, info->voxel_offset));
    for (int64_t at = 0; at < sink->volume->n_voxels; at += BLOCK_VOXELS) {
        const int64_t left = sink->volume->n_voxels - at;
        const size_t n = (size_t)(left < BLOCK_VOXELS ? left : BLOCK_VOXELS);
        IO_TRY_GOTO(status, done, io_stream_read(stream, raw, n * voxel_bytes));
        if (is_swapped) swap_block(raw, n, voxel_bytes);
        IO_TRY_GOTO(status, done, put_block(sink, raw, info->datatype, at, n));
    }
    IO_TRY_GOTO(status, done, io_stream_finish(stream, MAX_TRAILING));
    status = io_stream_sha256(stream, sha256);
done:
    io_free(&raw);
    io_stream_close(&stream);
    return status;
}

/* Header and voxels lie in two files: read at once. */
static io_status load_pair(voxel_sink *sink, char sha256[65])
{
    io_status status;
    io_volume *volume = NULL;
    size_t voxel_bytes;

    IO_TRY(io_nifti_read(sink->path, &volume));
    voxel_bytes = io_datatype_bytes(volume->datatype);
    status = IO_OK;
    for (int64_t at = 0; status == IO_OK && at < volume->n_voxels; at += BLOCK_VOXELS) {
        const int64_t left = volume->n_voxels - at;
        status = put_block(sink, (const uint8_t *)volume->voxels + (size_t)at * voxel_bytes, volume->datatype, at,
                           (size_t)(left < BLOCK_VOXELS ? left : BLOCK_VOXELS));
    }
    memcpy(sha256, volume->sha256, 65);
    io_volume_free(&volume);
    return status;
}

/* A fault of the case (not IO_ERR_MEMORY): a few bytes of a compressed file can claim more voxels than this process may hold. */
static io_status check_memory(const io_grid *grid, size_t n_bytes)
{
    const uint64_t limit = io_memory_limit();

    if (n_bytes <= limit) return IO_OK;
    return IO_FAIL(IO_ERR_RANGE,
                   "the label map's %lldx%lldx%lld voxels take %zu bytes, samed may use %llu here; if its header is right use a larger "
                   "machine or ask for more memory",
                   (long long)grid->dims[0], (long long)grid->dims[1], (long long)grid->dims[2], n_bytes, (unsigned long long)limit);
}

static io_status allocate(pipe_label_volume *volume, const io_grid *grid, int largest_organ)
{
    size_t n = 1, n_bytes;

    for (int a = 0; a < 3; a++) IO_TRY(io_size_mul(n, (size_t)grid->dims[a], &n));
    volume->grid = *grid;
    volume->n_voxels = (int64_t)n;
    volume->organ_bytes = largest_organ > UINT8_MAX ? 2 : 1;
    IO_TRY(io_size_mul(n, (size_t)volume->organ_bytes, &n_bytes));
    IO_TRY(check_memory(grid, n_bytes));
    return io_alloc(n, (size_t)volume->organ_bytes, &volume->organs);
}

/* Room for all that the map knows. */
static io_status allocate_for(pipe_label_volume *volume, const io_grid *grid, const pipe_label_map *map)
{
    const int n_organs = (int)pipe_organ_count(map->labels);

    volume->ignore_organ = pipe_label_map_has_ignore(map) ? n_organs + 1 : 0;
    volume->ignore_value = map->labels->ignore_value;
    return allocate(volume, grid, volume->ignore_organ ? volume->ignore_organ : n_organs);
}

io_status pipe_label_volume_create(const io_grid *grid, const pipe_label_map *map, pipe_label_volume **out)
{
    io_status status;
    pipe_label_volume *volume = NULL;

    IO_TRY(io_alloc(1, sizeof *volume, (void **)&volume));
    status = allocate_for(volume, grid, map);
    if (status != IO_OK) pipe_label_volume_free(&volume);
    *out = volume;
    return status;
}

static io_status read_file(voxel_sink *sink, char sha256[65])
{
    io_nifti_info info;
    pipe_label_volume *volume = sink->volume;
    io_status status = IO_OK;

    IO_TRY(io_nifti_read_info(sink->path, &info));
    if (!volume->organs) status = allocate_for(volume, &info.grid, sink->map);
    if (status != IO_OK) return io_fail_context(status, "%s", sink->path);
    if (pipe_grid_compare(&volume->grid, &info.grid, 1e-3) != IO_OK)
        return io_fail_context(IO_ERR_MISMATCH, "%s: lies on another grid than the masks beside it", sink->path);
    sink->slope = info.slope;
    sink->inter = info.inter;
    return info.is_pair ? load_pair(sink, sha256) : stream_voxels(sink, &info, sha256);
}

static io_status read_mask(voxel_sink *sink, const char *folder, const char *name, io_hash *hash)
{
    io_status status = IO_OK;
    char *path = NULL, *stem = NULL, sha256[65], line[400];

    IO_TRY_GOTO(status, done, io_case_id(name, &stem));
    sink->mask_organ = pipe_label_map_find(sink->map, stem);
    if (sink->mask_organ < 0 && sink->volume->n_other_files++ == 0)
        snprintf(sink->volume->other_file, sizeof sink->volume->other_file, "%s", name);
    if (sink->mask_organ <= 0) goto done;
    IO_TRY_GOTO(status, done, io_path_join(folder, name, &path));
    sink->path = path;
    IO_TRY_GOTO(status, done, read_file(sink, sha256));
    snprintf(line, sizeof line, "%s %s\n", name, sha256);
    status = io_hash_update(hash, line, strlen(line));
done:
    sink->path = folder;
    io_free(&stem);
    io_free(&path);
    return status;
}

static io_status read_masks(voxel_sink *sink, const char *folder)
{
    io_status status = IO_OK;
    io_hash *hash = NULL;
    char **names = NULL;
    size_t n_names = 0;

    IO_TRY_GOTO(status, done, io_hash_create(&hash));
    IO_TRY_GOTO(status, done, io_folder_list(folder, &names, &n_names));
    for (size_t i = 0; i < n_names; i++)
        if (names[i][0] != '.' && io_nifti_is_volume_name(names[i])) IO_TRY_GOTO(status, done, read_mask(sink, folder, names[i], hash));
    if (!sink->volume->organs)
        status = IO_FAIL(IO_ERR_NOT_FOUND, "%s: none of its files is named after an organ of the label table; rename them or give --map",
                         folder);
    else
        status = io_hash_hex(hash, sink->volume->sha256);
done:
    io_names_free(&names, n_names);
    io_hash_free(&hash);
    return status;
}

static io_status read_folder(voxel_sink *sink)
{
    io_status status;
    char *inner = NULL;
    const char *folder = sink->path;

    IO_TRY(io_path_join(folder, "segmentations", &inner));
    status = read_masks(sink, io_folder_exists(inner) ? inner : folder);
    io_free(&inner);
    return status;
}

io_status pipe_label_volume_read(const char *path, const pipe_label_map *map, bool round, pipe_label_volume **out)
{
    io_status status = IO_OK;
    pipe_label_volume *volume = NULL;
    voxel_sink *sink = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *volume, (void **)&volume));
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *sink, (void **)&sink));
    sink->path = path;
    sink->map = map;
    sink->round = round;
    sink->volume = volume;
    if (io_folder_exists(path))
        IO_TRY_GOTO(status, done, read_folder(sink));
    else
        IO_TRY_GOTO(status, done, read_file(sink, volume->sha256));
    *out = volume;
    volume = NULL; /* now the caller's */
done:
    io_free(&sink);
    pipe_label_volume_free(&volume);
    return status;
}

void pipe_label_volume_free(pipe_label_volume **volume)
{
    if (!volume || !*volume) return;
    io_free(&(*volume)->organs);
    io_free(volume);
}

int64_t pipe_label_volume_leave_out(pipe_label_volume *reference, pipe_label_volume *prediction)
{
    const int in_reference = reference->ignore_organ, in_prediction = prediction->ignore_organ;
    int64_t n = 0;

    if (in_reference == 0 && in_prediction == 0) return 0;
    for (int64_t at = 0; at < reference->n_voxels; at++) {
        const bool is_left_out = in_reference > 0 && organ_at(reference, at) == in_reference;
        const bool is_unnamed = !is_left_out && in_prediction > 0 && organ_at(prediction, at) == in_prediction;
        n += is_left_out;
        if (is_left_out) set_organ(reference, at, 0);
        if (is_unnamed) count_unnamed(&prediction->unnamed, prediction->ignore_value);
        if (is_left_out || is_unnamed) set_organ(prediction, at, 0);
    }
    return n;
}

static void map_point(const double affine[3][4], const double voxel[3], double out[3])
{
    for (int r = 0; r < 3; r++) out[r] = affine[r][0] * voxel[0] + affine[r][1] * voxel[1] + affine[r][2] * voxel[2] + affine[r][3];
}

double pipe_grid_distance(const io_grid *a, const io_grid *b)
{
    double worst = 0;

    for (int corner = 0; corner < 8; corner++) {
        double voxel[3], x[3], y[3], square = 0;
        for (int i = 0; i < 3; i++) voxel[i] = corner >> i & 1 ? (double)(a->dims[i] - 1) : 0;
        map_point(a->affine, voxel, x);
        map_point(b->affine, voxel, y);
        for (int i = 0; i < 3; i++) square += (x[i] - y[i]) * (x[i] - y[i]);
        if (!(sqrt(square) <= worst)) worst = isnan(square) ? INFINITY : sqrt(square);
    }
    return worst;
}

static void print_grid(const io_grid *grid, char *out, size_t n_bytes)
{
    const double(*m)[4] = grid->affine;

    snprintf(out, n_bytes, "%lldx%lldx%lld [%.7g %.7g %.7g %.7g; %.7g %.7g %.7g %.7g; %.7g %.7g %.7g %.7g]", (long long)grid->dims[0],
             (long long)grid->dims[1], (long long)grid->dims[2], m[0][0], m[0][1], m[0][2], m[0][3], m[1][0], m[1][1], m[1][2], m[1][3],
             m[2][0], m[2][1], m[2][2], m[2][3]);
}

io_status pipe_grid_compare(const io_grid *reference, const io_grid *prediction, double tolerance_mm)
{
    char expected[400], found[400];
    const bool is_same_size = memcmp(reference->dims, prediction->dims, sizeof reference->dims) == 0;
    const double distance = is_same_size ? pipe_grid_distance(reference, prediction) : 0;

    if (is_same_size && distance <= tolerance_mm) return IO_OK;
    print_grid(reference, expected, sizeof expected);
    print_grid(prediction, found, sizeof found);
    if (!is_same_size)
        return IO_FAIL(IO_ERR_MISMATCH, "grids differ in size: reference %s, prediction %s; --resample nearest brings the prediction over",
                       expected, found);
    return IO_FAIL(IO_ERR_MISMATCH,
                   "grids lie %.4g mm apart (allowed %g mm): reference %s, prediction %s; --resample nearest brings the "
                   "prediction over",
                   distance, tolerance_mm, expected, found);
}

/* out = inverse(from) * to, both with a last row of 0 0 0 1: voxels of `to` -> voxels of `from`. */
static io_status combine_affines(const double from[3][4], const double to[3][4], double out[3][4])
{
    double inverse[3][3];
    double det = 0;

    for (int r = 0; r < 3; r++) {
        for (int c = 0; c < 3; c++) {
            const int r1 = (r + 1) % 3, r2 = (r + 2) % 3, c1 = (c + 1) % 3, c2 = (c + 2) % 3;
            inverse[c][r] = from[r1][c1] * from[r2][c2] - from[r1][c2] * from[r2][c1];
        }
    }
    for (int c = 0; c < 3; c++) det += from[0][c] * inverse[c][0];
    if (!(fabs(det) > 0)) return IO_FAIL(IO_ERR_RANGE, "the prediction's affine cannot be inverted; check its header");
    for (int r = 0; r < 3; r++) {
        for (int c = 0; c < 4; c++) {
            out[r][c] = 0;
            for (int i = 0; i < 3; i++) out[r][c] += inverse[r][i] / det * (to[i][c] - (c == 3 ? from[i][3] : 0));
        }
    }
    return IO_OK;
}

static void sample_nearest(const pipe_label_volume *from, const double affine[3][4], pipe_label_volume *to)
{
    const int64_t *n = to->grid.dims, *m = from->grid.dims;
    int64_t at = 0;

    for (int64_t k = 0; k < n[2]; k++) {
        for (int64_t j = 0; j < n[1]; j++) {
            for (int64_t i = 0; i < n[0]; i++, at++) {
                double p[3];
                map_point(affine, (const double[3]){(double)i, (double)j, (double)k}, p);
                for (int a = 0; a < 3; a++) p[a] = floor(p[a] + 0.5);
                if (!(p[0] >= 0 && p[1] >= 0 && p[2] >= 0 && p[0] < (double)m[0] && p[1] < (double)m[1] && p[2] < (double)m[2])) continue;
                set_organ(to, at, organ_at(from, ((int64_t)p[2] * m[1] + (int64_t)p[1]) * m[0] + (int64_t)p[0]));
            }
        }
    }
}

io_status pipe_label_volume_resample(pipe_label_volume *volume, const io_grid *grid)
{
    double affine[3][4];
    pipe_label_volume moved = *volume;

    IO_TRY(combine_affines(volume->grid.affine, grid->affine, affine));
    moved.organs = NULL;
    IO_TRY(allocate(&moved, grid, volume->organ_bytes == 1 ? UINT8_MAX : UINT16_MAX));
    sample_nearest(volume, affine, &moved);
    io_free(&volume->organs);
    *volume = moved;
    return IO_OK;
}
