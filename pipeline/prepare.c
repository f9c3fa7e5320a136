/* See prepare.h. */
#include "pipeline/prepare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/npz.h"
#include "io/plural.h"
#include "io/record.h"
#include "io/slices.h"
#include "pipeline/case.h"
#include "pipeline/label_volume.h"
#include "pipeline/slices_view.h"
#include "pipeline/zoom.h"

/* A case on its way. */
typedef struct preparation {
    const pipe_prepare_options *options;
    const pipe_source *source;
    pipe_prepare_tick tick;
    void *context;
    const char **stage;
    io_slices_writer *writer;
    io_slices_shape shape;
    float *image;     /* [S][S] */
    uint16_t *labels; /* [S][S] */
    uint16_t *wide;   /* [rows][cols] labels before the zoom */
    float *plane;     /* [rows][cols] the same as they come out of the volume */
    uint8_t *gather;  /* scratch of the label view */
    uint8_t *scratch; /* of the image's zoom */
    io_hash *sources; /* of the sources' hashes */
} preparation;

/* Every value's organ, the organs' names, and the names of masks. */
static io_status hash_map(const pipe_label_map *map, char sha256[65])
{
    io_status status = IO_OK;
    io_hash *hash = NULL;

    IO_TRY_GOTO(status, done, io_hash_create(&hash));
    IO_TRY_GOTO(status, done, io_hash_update(hash, map->organ_of, PIPE_LABEL_VALUES * sizeof *map->organ_of));
    for (size_t i = 1; i <= pipe_organ_count(map->labels); i++) {
        const char *name = pipe_organ_label(map->labels, (int)i)->name;
        IO_TRY_GOTO(status, done, io_hash_update(hash, name, strlen(name) + 1));
    }
    for (size_t i = 0; i < map->n_names; i++) {
        IO_TRY_GOTO(status, done, io_hash_update(hash, map->names[i], strlen(map->names[i]) + 1));
        IO_TRY_GOTO(status, done, io_hash_update(hash, &map->name_organs[i], sizeof map->name_organs[i]));
    }
    status = io_hash_hex(hash, sha256);
done:
    io_hash_free(&hash);
    return status;
}

io_status pipe_prepare_text(const pipe_prepare_options *options, char *text)
{
    const pipe_options *slices = &options->slices;
    char sha256[65];

    IO_TRY(hash_map(options->map, sha256));
    snprintf(text, PIPE_PREPARE_TEXT_BYTES, "%s=%.17g:%.17g orient=%s size=%d classes=%zu labels=%s grid=%.17gmm",
             slices->intensity == PIPE_WINDOW ? "window" : "percentile", slices->low, slices->high,
             slices->orient == PIPE_ORIENT_NATIVE ? "native" : "ras", slices->image_size, pipe_organ_count(options->map->labels), sha256,
             options->tolerance_mm);
    return IO_OK;
}

static io_status add_source(io_hash *hash, const char *sha256)
{
    return io_hash_update(hash, sha256, 64);
}

static io_status put_slice(preparation *p)
{
    *p->stage = "write";
    IO_TRY(io_slices_writer_add(p->writer, p->image, p->labels));
    *p->stage = "prepare";
    if (p->tick(p->context)) return IO_OK;
    return IO_FAIL(IO_ERR_STOPPED, "%s: stopped before it was complete", p->source->id);
}

static io_status open_writer(preparation *p, int64_t n_slices)
{
    io_status status;
    char *path = NULL;
    const int size = p->options->slices.image_size;
    const size_t n_pixels = (size_t)size * (size_t)size; /* at most 8192 on each side */

    p->shape = (io_slices_shape){size, size, n_slices, (int)pipe_organ_count(p->options->map->labels)};
    IO_TRY(io_alloc(n_pixels, sizeof *p->image, (void **)&p->image));
    IO_TRY(io_alloc(n_pixels, sizeof *p->labels, (void **)&p->labels));
    IO_TRY(pipe_case_path(p->options->folder, p->source->id, PIPE_PREPARE_SLICES, &path));
    status = io_slices_writer_open(path, &p->shape, &p->writer);
    io_free(&path);
    return status;
}

/* p->labels = p->wide [rows][cols], zoomed where the sizes differ. */
static void zoom_labels(const preparation *p, const pipe_zoom *zoom)
{
    const size_t n_pixels = (size_t)p->shape.rows * (size_t)p->shape.cols;

    if (zoom)
        pipe_zoom_nearest(zoom, p->wide, p->labels);
    else
        memcpy(p->labels, p->wide, n_pixels * sizeof *p->labels);
}

/* ---- NIfTI pairs ---- */

static io_status check_grids(const preparation *p, const io_grid *image, const io_grid *labels)
{
    const int64_t *a = image->dims, *b = labels->dims;
    const double tolerance_mm = p->options->tolerance_mm;

    if (memcmp(a, b, sizeof image->dims) != 0)
        return IO_FAIL(IO_ERR_MISMATCH, "%s has %lld x %lld x %lld voxels, its label map %s %lld x %lld x %lld", p->source->paths[0],
                       (long long)a[0], (long long)a[1], (long long)a[2], p->source->paths[1], (long long)b[0], (long long)b[1],
                       (long long)b[2]);
    if (pipe_grid_distance(image, labels) <= tolerance_mm) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH,
                   "%s and its label map %s lie %.4g mm apart (allowed %g mm); correct the header, or give --grid-tolerance",
                   p->source->paths[0], p->source->paths[1], pipe_grid_distance(image, labels), tolerance_mm);
}

static io_status check_known(const preparation *p, const pipe_label_volume *labels)
{
    if (labels->unnamed.n_voxels == 0) return IO_OK;
    return IO_FAIL(IO_ERR_RANGE,
                   "%s: %lld voxel%s with values such as %lld, which are none of the %zu classes; give --map, --labels or --classes",
                   p->source->paths[1], (long long)labels->unnamed.n_voxels, io_plural(labels->unnamed.n_voxels),
                   (long long)labels->unnamed.values[0], pipe_organ_count(p->options->map->labels));
}

static io_status prepare_slices(preparation *p, const pipe_slices *slices, const io_volume *labels, const pipe_zoom *zoom)
{
    const slices_view *view = pipe_slices_view(slices);
    const size_t n_pixels = (size_t)view->rows * (size_t)view->cols;

    for (int64_t k = 0; k < view->count; k++) {
        pipe_slices_image(slices, k, p->image, p->scratch);
        pipe_view_read(labels, view, k, p->plane, p->gather);
        for (size_t i = 0; i < n_pixels; i++) p->wide[i] = (uint16_t)p->plane[i];
        zoom_labels(p, zoom);
        IO_TRY(put_slice(p));
    }
    return IO_OK;
}

static io_status prepare_volumes(preparation *p, const io_volume *image, const pipe_label_volume *labels)
{
    io_status status = IO_OK;
    pipe_slices *slices = NULL;
    pipe_zoom *zoom = NULL;
    pipe_options options = p->options->slices;
    const int size = options.image_size;
    const slices_view *view;
    /* organs as a volume on the image's grid, so that both are cut along the same axes */
    const io_volume organs = {.grid = image->grid,
                              .datatype = labels->organ_bytes == 1 ? IO_UINT8 : IO_UINT16,
                              .slope = 1,
                              .voxels = labels->organs,
                              .n_voxels = labels->n_voxels};

    options.preset = PIPE_PRESET_DIRECT; /* one zoom, to the store's size */
    IO_TRY_GOTO(status, done, pipe_slices_create(image, &options, &slices));
    view = pipe_slices_view(slices);
    if (view->rows != size || view->cols != size) IO_TRY_GOTO(status, done, pipe_zoom_create(view->rows, view->cols, size, size, &zoom));
    IO_TRY_GOTO(status, done, io_alloc((size_t)view->rows * (size_t)view->cols, sizeof *p->plane, (void **)&p->plane));
    IO_TRY_GOTO(status, done, io_alloc((size_t)view->rows * (size_t)view->cols, sizeof *p->wide, (void **)&p->wide));
    IO_TRY_GOTO(status, done, io_alloc(pipe_view_scratch_bytes(&organs, view), 1, (void **)&p->gather));
    IO_TRY_GOTO(status, done, io_alloc(pipe_slices_scratch_bytes(slices), 1, (void **)&p->scratch));
    IO_TRY_GOTO(status, done, open_writer(p, view->count));
    status = prepare_slices(p, slices, &organs, zoom);
done:
    pipe_zoom_free(&zoom);
    pipe_slices_free(&slices);
    return status;
}

static io_status prepare_pair(preparation *p)
{
    io_status status = IO_OK;
    io_volume *image = NULL;
    pipe_label_volume *labels = NULL;
    const pipe_source *source = p->source;

    if (!*source->paths[1]) return IO_FAIL(IO_ERR_NOT_FOUND, "%s: there is no label map of this name", source->paths[0]);
    IO_TRY_GOTO(status, done, io_nifti_read(source->paths[0], &image));
    *p->stage = "labels";
    IO_TRY_GOTO(status, done, pipe_label_volume_read(source->paths[1], p->options->map, false, &labels));
    IO_TRY_GOTO(status, done, check_grids(p, &image->grid, &labels->grid));
    IO_TRY_GOTO(status, done, check_known(p, labels));
    *p->stage = "prepare";
    IO_TRY_GOTO(status, done, add_source(p->sources, image->sha256));
    IO_TRY_GOTO(status, done, add_source(p->sources, labels->sha256));
    status = prepare_volumes(p, image, labels);
done:
    pipe_label_volume_free(&labels);
    io_volume_free(&image);
    return status;
}

/* ---- SAMed's .npz slices: clipped and scaled already ---- */

static io_status take_labels(const preparation *p, const io_npz_array *labels, const char *path)
{
    const size_t n_pixels = (size_t)labels->rows * (size_t)labels->cols;

    for (size_t i = 0; i < n_pixels; i++) {
        const float value = labels->values[i];
        const bool is_label = value >= 0 && value < PIPE_LABEL_VALUES && value == floorf(value);
        const uint16_t organ = is_label ? p->options->map->organ_of[(int)value] : PIPE_LABEL_UNKNOWN;
        if (organ == PIPE_LABEL_UNKNOWN)
            return IO_FAIL(IO_ERR_RANGE, "%s: label %g is none of the %zu classes; give --map, --labels or --classes", path, (double)value,
                           pipe_organ_count(p->options->map->labels));
        p->wide[i] = organ;
    }
    return IO_OK;
}

static io_status zoom_slice(preparation *p, const io_npz_array *image, const char *path)
{
    io_status status = IO_OK;
    pipe_zoom *zoom = NULL;
    const size_t n_pixels = (size_t)image->rows * (size_t)image->cols;

    for (size_t i = 0; i < n_pixels; i++)
        if (!isfinite(image->values[i])) return IO_FAIL(IO_ERR_RANGE, "%s: its image holds values that are not finite", path);
    if (image->rows == p->shape.rows && image->cols == p->shape.cols) {
        memcpy(p->image, image->values, n_pixels * sizeof *p->image);
        zoom_labels(p, NULL);
        return IO_OK;
    }
    IO_TRY_GOTO(status, done, pipe_zoom_create(image->rows, image->cols, p->shape.rows, p->shape.cols, &zoom));
    IO_TRY_GOTO(status, done, io_alloc(pipe_zoom_scratch_bytes(zoom), 1, (void **)&p->scratch));
    pipe_zoom_cubic(zoom, image->values, p->image, p->scratch);
    zoom_labels(p, zoom);
done:
    io_free(&p->scratch);
    pipe_zoom_free(&zoom);
    return status;
}

static io_status prepare_npz(preparation *p, const char *path)
{
    io_status status = IO_OK;
    io_npz_array image = {0}, labels = {0};
    char sha256[65];

    *p->stage = "read";
    IO_TRY_GOTO(status, done, io_npz_read(path, "image", &image));
    IO_TRY_GOTO(status, done, io_npz_read(path, "label", &labels));
    IO_TRY_GOTO(status, done, io_hash_file(path, sha256));
    IO_TRY_GOTO(status, done, add_source(p->sources, sha256));
    *p->stage = "labels";
    if (image.rows != labels.rows || image.cols != labels.cols) {
        status = IO_FAIL(IO_ERR_MISMATCH, "%s: its image has %d x %d pixels, its label %d x %d", path, image.rows, image.cols, labels.rows,
                         labels.cols);
        goto done;
    }
    io_free(&p->wide);
    IO_TRY_GOTO(status, done, io_alloc((size_t)image.rows * (size_t)image.cols, sizeof *p->wide, (void **)&p->wide));
    IO_TRY_GOTO(status, done, take_labels(p, &labels, path));
    *p->stage = "prepare";
    IO_TRY_GOTO(status, done, zoom_slice(p, &image, path));
    status = put_slice(p);
done:
    io_free(&image.values);
    io_free(&labels.values);
    return status;
}

static io_status prepare_npz_slices(preparation *p)
{
    IO_TRY(open_writer(p, (int64_t)p->source->n_paths));
    for (size_t i = 0; i < p->source->n_paths; i++) IO_TRY(prepare_npz(p, p->source->paths[i]));
    return IO_OK;
}

/* ---- records ---- */

static void fill_key(const pipe_prepare_options *options, const char *sources, io_record_key *key)
{
    *key = (io_record_key){
        .input_sha256 = sources, .sam_sha256 = "", .adapter_sha256 = "", .options = options->text, .version = SAMED_VERSION};
}

static io_status print_details(const preparation *p, io_json **out)
{
    io_status status = IO_OK;
    io_json *details = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&details));
    IO_TRY_GOTO(status, done, io_json_put_text(details, "case", p->source->id));
    IO_TRY_GOTO(status, done, io_json_put_text(details, p->source->is_npz ? "first_slice" : "image", p->source->paths[0]));
    if (!p->source->is_npz) IO_TRY_GOTO(status, done, io_json_put_text(details, "label", p->source->paths[1]));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "slices", (double)p->shape.n_slices));
    *out = details;
    details = NULL; /* now the caller's */
done:
    io_json_free(&details);
    return status;
}

/* The file under its name, then the record that vouches for it. */
static io_status finish_case(preparation *p)
{
    io_status status = IO_OK;
    io_json *details = NULL;
    io_record_key key;
    char *path = NULL, output_sha256[65], sources[65];

    *p->stage = "write";
    IO_TRY_GOTO(status, done, io_hash_hex(p->sources, sources));
    IO_TRY_GOTO(status, done, print_details(p, &details));
    IO_TRY_GOTO(status, done, pipe_case_path(p->options->folder, p->source->id, PIPE_PREPARE_RECORD, &path));
    IO_TRY_GOTO(status, done, io_slices_writer_commit(&p->writer, output_sha256));
    fill_key(p->options, sources, &key);
    status = io_record_write(path, &key, output_sha256, details);
done:
    io_free(&path);
    io_json_free(&details);
    return status;
}

io_status pipe_prepare_case(const pipe_prepare_options *options, const pipe_source *source, pipe_prepare_tick tick, void *context,
                            int64_t *n_slices, const char **stage)
{
    io_status status = IO_OK;
    preparation p = {.options = options, .source = source, .tick = tick, .context = context, .stage = stage};

    *stage = "read";
    IO_TRY_GOTO(status, done, io_hash_create(&p.sources));
    IO_TRY_GOTO(status, done, source->is_npz ? prepare_npz_slices(&p) : prepare_pair(&p));
    IO_TRY_GOTO(status, done, finish_case(&p));
    if (n_slices) *n_slices = p.shape.n_slices;
done:
    io_slices_writer_free(&p.writer);
    io_hash_free(&p.sources);
    io_free(&p.image);
    io_free(&p.labels);
    io_free(&p.wide);
    io_free(&p.plane);
    io_free(&p.gather);
    io_free(&p.scratch);
    return status;
}

/* A folder of masks has the hash that reading it gives. */
static io_status hash_labels(const pipe_prepare_options *options, const char *path, char sha256[65])
{
    pipe_label_volume *labels = NULL;

    if (!io_folder_exists(path)) return io_nifti_hash(path, sha256);
    IO_TRY(pipe_label_volume_read(path, options->map, false, &labels));
    memcpy(sha256, labels->sha256, 65);
    pipe_label_volume_free(&labels);
    return IO_OK;
}

static io_status hash_sources(const pipe_prepare_options *options, const pipe_source *source, char sources[65])
{
    io_status status = IO_OK;
    io_hash *hash = NULL;
    char sha256[65];

    IO_TRY_GOTO(status, done, io_hash_create(&hash));
    for (size_t i = 0; i < source->n_paths; i++) {
        const char *path = source->paths[i];
        if (source->is_npz)
            IO_TRY_GOTO(status, done, io_hash_file(path, sha256));
        else
            IO_TRY_GOTO(status, done, i == 0 ? io_nifti_hash(path, sha256) : hash_labels(options, path, sha256));
        IO_TRY_GOTO(status, done, add_source(hash, sha256));
    }
    status = io_hash_hex(hash, sources);
done:
    io_hash_free(&hash);
    return status;
}

io_status pipe_prepare_check_done(const pipe_prepare_options *options, const pipe_source *source, bool *is_done, char reason[160])
{
    io_status status = IO_OK;
    io_record_key key;
    char *record_path = NULL, *output_path = NULL, sources[65];

    *is_done = false;
    IO_TRY_GOTO(status, done, pipe_case_path(options->folder, source->id, PIPE_PREPARE_RECORD, &record_path));
    IO_TRY_GOTO(status, done, pipe_case_path(options->folder, source->id, PIPE_PREPARE_SLICES, &output_path));
    IO_TRY_GOTO(status, done, hash_sources(options, source, sources));
    fill_key(options, sources, &key);
    status = io_record_check(record_path, output_path, &key, is_done, reason);
done:
    io_free(&output_path);
    io_free(&record_path);
    return status;
}
