/* See store.h. The split is split.c. */
#include "pipeline/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/memory.h"
#include "pipeline/case.h"
#include "pipeline/label_map.h"
#include "pipeline/prepare.h"

enum { MAX_INDEX_BYTES = 1 << 28, MAX_RECORD_BYTES = 1 << 20, MAX_SIZE = 4096, MAX_CLASSES = 65534 };

static const char format_name[] = "samed-store-1", index_name[] = "index.json";
static const char *const part_names[] = {"unused", "train", "val"};

/* Takes what concerns the store from a case's record. */
static io_status add_case(const char *folder, const char *id, pipe_part part, io_json *cases)
{
    io_status status = IO_OK;
    io_json *record = NULL, *entry = NULL;
    char *path = NULL;
    double n_slices = 0;
    const char *sha256;

    IO_TRY_GOTO(status, done, pipe_case_path(folder, id, PIPE_PREPARE_RECORD, &path));
    IO_TRY_GOTO(status, done, io_json_read(path, MAX_RECORD_BYTES, &record));
    sha256 = io_json_get_text(record, "output_sha256");
    if (!sha256 || !io_json_get_number(record, "slices", &n_slices)) {
        status = IO_FAIL(IO_ERR_FORMAT, "%s: it lacks output_sha256 or slices; remove it and prepare the case again", path);
        goto done;
    }
    IO_TRY_GOTO(status, done, io_json_create_object(&entry));
    IO_TRY_GOTO(status, done, io_json_put_text(entry, "id", id));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "slices", n_slices));
    IO_TRY_GOTO(status, done, io_json_put_text(entry, "split", part_names[part]));
    IO_TRY_GOTO(status, done, io_json_put_text(entry, "sha256", sha256));
    IO_TRY_GOTO(status, done, io_json_put_text(entry, "sources_sha256", io_json_get_text(record, "input_sha256")));
    status = io_json_add(cases, &entry);
done:
    io_free(&path);
    io_json_free(&entry);
    io_json_free(&record);
    return status;
}

static io_status put_cases(const pipe_store_about *about, const char *const *ids, const pipe_part *parts, const bool *has_failed, size_t n,
                           io_json *root)
{
    io_status status = IO_OK;
    io_json *cases = NULL, *failed = NULL;

    IO_TRY_GOTO(status, done, io_json_create_array(&cases));
    IO_TRY_GOTO(status, done, io_json_create_array(&failed));
    for (size_t i = 0; i < n; i++)
        IO_TRY_GOTO(status, done, has_failed[i] ? io_json_add_text(failed, ids[i]) : add_case(about->folder, ids[i], parts[i], cases));
    IO_TRY_GOTO(status, done, io_json_put(root, "cases", &cases));
    status = io_json_put(root, "failed", &failed);
done:
    io_json_free(&failed);
    io_json_free(&cases);
    return status;
}

/* In the layout that io_labels_read takes; a label's value is what the slices hold, its place in the table. */
static io_status put_labels(const io_labels *labels, io_json *root)
{
    io_status status = IO_OK;
    io_json *values = NULL, *colors = NULL;
    const int n = (int)pipe_organ_count(labels);
    char color[8];

    IO_TRY_GOTO(status, done, io_json_create_object(&values));
    IO_TRY_GOTO(status, done, io_json_create_object(&colors));
    IO_TRY_GOTO(status, done, io_json_put_number(values, "background", 0));
    for (int organ = 1; organ <= n; organ++) {
        const io_label *label = pipe_organ_label(labels, organ);
        snprintf(color, sizeof color, "#%02x%02x%02x", label->rgb[0], label->rgb[1], label->rgb[2]);
        IO_TRY_GOTO(status, done, io_json_put_number(values, label->name, organ));
        IO_TRY_GOTO(status, done, io_json_put_text(colors, label->name, color));
    }
    IO_TRY_GOTO(status, done, io_json_put(root, "labels", &values));
    status = io_json_put(root, "colors", &colors);
done:
    io_json_free(&colors);
    io_json_free(&values);
    return status;
}

static io_status put_split(const pipe_split *split, io_json *root)
{
    io_status status = IO_OK;
    io_json *entry = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&entry));
    IO_TRY_GOTO(status, done,
                io_json_put_text(entry, "by",
                                 split->n_folds > 0                     ? "folds"
                                 : split->train_list || split->val_list ? "lists"
                                                                        : "all"));
    if (split->n_folds > 0) {
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "folds", split->n_folds));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "fold", split->fold));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "seed", (double)split->seed));
    }
    status = io_json_put(root, "split", &entry);
done:
    io_json_free(&entry);
    return status;
}

io_status pipe_store_write(const pipe_store_about *about, const char *const *ids, const pipe_part *parts, const bool *has_failed, size_t n)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    char *path = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "format", format_name));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "version", SAMED_VERSION));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "options", about->options));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "size", about->size));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "classes", (double)pipe_organ_count(about->labels)));
    IO_TRY_GOTO(status, done, put_labels(about->labels, root));
    IO_TRY_GOTO(status, done, put_split(about->split, root));
    IO_TRY_GOTO(status, done, put_cases(about, ids, parts, has_failed, n, root));
    IO_TRY_GOTO(status, done, io_path_join(about->folder, index_name, &path));
    status = io_json_write(root, path);
done:
    io_free(&path);
    io_json_free(&root);
    return status;
}

/* ---- reading ---- */

static bool read_whole(const io_json *object, const char *key, double low, double high, double *out)
{
    return io_json_get_number(object, key, out) && *out >= low && *out <= high && *out == (double)(int64_t)*out;
}

static io_status read_case(const io_json *entry, const pipe_store_case *before, pipe_store_case *out)
{
    const char *id = io_json_get_text(entry, "id"), *sha256 = io_json_get_text(entry, "sha256"), *part = io_json_get_text(entry, "split");
    double n_slices;

    if (!id || !sha256 || !part || strlen(sha256) != 64 || !read_whole(entry, "slices", 1, 1 << 20, &n_slices))
        return IO_FAIL(IO_ERR_FORMAT, "a case lacks id, sha256, split or slices");
    /* ids become parts of paths, and duplicates would be trained on twice */
    if (!*id || strchr(id, '/') || (before && strcmp(before->id, id) >= 0))
        return IO_FAIL(IO_ERR_FORMAT, "case \"%.150s\" is no case name, or not in ascending order", id);
    out->n_slices = (int64_t)n_slices;
    memcpy(out->sha256, sha256, sizeof out->sha256);
    for (int i = 0; i < 3; i++) {
        if (strcmp(part, part_names[i]) != 0) continue;
        out->part = (pipe_part)i;
        return io_string_copy(id, &out->id);
    }
    return IO_FAIL(IO_ERR_FORMAT, "case %.150s: split \"%.40s\"; expected train, val or unused", id, part);
}

static io_status read_index(const io_json *root, pipe_store *store)
{
    const char *format = io_json_get_text(root, "format");
    const io_json *cases = io_json_get(root, "cases");
    double size, n_classes;

    if (!format || strcmp(format, format_name) != 0) return IO_FAIL(IO_ERR_FORMAT, "it is no index of samed prepare (%s)", format_name);
    if (!read_whole(root, "size", 1, MAX_SIZE, &size) || !read_whole(root, "classes", 1, MAX_CLASSES, &n_classes) ||
        !io_json_is_array(cases) || io_json_size(cases) == 0)
        return IO_FAIL(IO_ERR_FORMAT, "it lacks a size, classes or cases");
    store->size = (int)size;
    store->n_classes = (int)n_classes;
    IO_TRY(io_alloc(io_json_size(cases), sizeof *store->cases, (void **)&store->cases));
    for (const io_json *entry = io_json_at(cases, 0); entry; entry = io_json_next(entry)) {
        pipe_store_case *next = &store->cases[store->n_cases];
        IO_TRY(read_case(entry, store->n_cases ? next - 1 : NULL, next));
        store->n_cases++;
    }
    return IO_OK;
}

io_status pipe_store_open(const char *folder, pipe_store **out)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    pipe_store *store = NULL;
    char *path = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, io_path_join(folder, index_name, &path));
    if (!io_file_exists(path)) {
        status = IO_FAIL(IO_ERR_NOT_FOUND, "%s: there is no index; run samed prepare -o %s to its end", path, folder);
        goto done;
    }
    IO_TRY_GOTO(status, done, io_json_read(path, MAX_INDEX_BYTES, &root));
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *store, (void **)&store));
    IO_TRY_GOTO(status, done, io_string_copy(folder, &store->folder));
    status = read_index(root, store);
    if (status != IO_OK) {
        status = io_fail_context(status, "%s", path);
        goto done;
    }
    *out = store;
    store = NULL; /* now the caller's */
done:
    pipe_store_free(&store);
    io_json_free(&root);
    io_free(&path);
    return status;
}

void pipe_store_free(pipe_store **store)
{
    if (!store || !*store) return;
    for (size_t i = 0; i < (*store)->n_cases; i++) io_free(&(*store)->cases[i].id);
    io_free(&(*store)->cases);
    io_free(&(*store)->folder);
    io_free(store);
}

io_status pipe_store_open_case(const pipe_store *store, const pipe_store_case *about, io_slices **out)
{
    io_status status = IO_OK;
    const io_slices_shape *shape;
    io_slices *file = NULL;
    char *path = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, pipe_case_path(store->folder, about->id, PIPE_PREPARE_SLICES, &path));
    IO_TRY_GOTO(status, done, io_slices_open(path, &file));
    shape = io_slices_get_shape(file);
    if (shape->rows != store->size || shape->cols != store->size || shape->n_slices != about->n_slices ||
        shape->n_classes != store->n_classes) {
        status = IO_FAIL(IO_ERR_MISMATCH,
                         "%s: %lld slices of %d x %d pixels with %d classes, the index tells %lld of %d x %d with %d; "
                         "run samed prepare again",
                         path, (long long)shape->n_slices, shape->rows, shape->cols, shape->n_classes, (long long)about->n_slices,
                         store->size, store->size, store->n_classes);
        goto done;
    }
    *out = file;
    file = NULL; /* now the caller's */
done:
    io_slices_free(&file);
    io_free(&path);
    return status;
}

io_status pipe_store_check_case(const pipe_store *store, const pipe_store_case *about)
{
    io_status status = IO_OK;
    io_slices *file = NULL;
    char *path = NULL, sha256[65];

    IO_TRY_GOTO(status, done, pipe_store_open_case(store, about, &file));
    IO_TRY_GOTO(status, done, pipe_case_path(store->folder, about->id, PIPE_PREPARE_SLICES, &path));
    IO_TRY_GOTO(status, done, io_hash_file(path, sha256));
    if (strcmp(sha256, about->sha256) != 0)
        status = IO_FAIL(IO_ERR_CHECKSUM,
                         "%s: its SHA-256 is %.12s..., the index tells %.12s...; it was changed or damaged, prepare the "
                         "case again",
                         path, sha256, about->sha256);
done:
    io_free(&path);
    io_slices_free(&file);
    return status;
}

io_status pipe_store_read(const pipe_store *store, const pipe_store_case *about, const io_slices *file, int64_t k, float *image,
                          uint16_t *labels)
{
    const size_t n = (size_t)store->size * (size_t)store->size;

    IO_TRY(io_slices_read(file, k, image, labels));
    for (size_t i = 0; i < n; i++)
        if (!isfinite(image[i]))
            return IO_FAIL(IO_ERR_FORMAT, "%s: case %s, slice %lld: its image holds %g; prepare the case again", store->folder, about->id,
                           (long long)k, (double)image[i]);
    return IO_OK;
}
