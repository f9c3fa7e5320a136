/* See case.h. */
#include "pipeline/case.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "pipeline/preview.h"
#include "pipeline/stats.h"

enum { MAX_RECORD_BYTES = 16 << 20 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

io_status pipe_case_open(const char *id, const char *path, const pipe_options *options, pipe_case **out, const char **stage)
{
    io_status status = IO_OK;
    pipe_case *work = NULL;
    const double start = now();

    *stage = "read";
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *work, (void **)&work));
    IO_TRY_GOTO(status, done, io_string_copy(id, &work->id));
    IO_TRY_GOTO(status, done, io_nifti_read(path, &work->volume));
    work->read_s = now() - start;
    *stage = "prepare";
    IO_TRY_GOTO(status, done, pipe_slices_create(work->volume, options, &work->slices));
    work->n_slices = pipe_slices_count(work->slices);
    pipe_slices_size(work->slices, &work->rows, &work->cols);
    *out = work;
    work = NULL;
done:
    pipe_case_free(&work);
    return status;
}

void pipe_case_free(pipe_case **work)
{
    if (!work || !*work) return;
    pipe_slices_free(&(*work)->slices);
    io_volume_free(&(*work)->volume);
    io_free(&(*work)->id);
    io_free(work);
}

void pipe_case_drop_voxels(pipe_case *work)
{
    io_free(&work->volume->voxels);
}

io_status pipe_case_path(const char *folder, const char *id, const char *suffix, char **out)
{
    io_status status;
    char *name = NULL;
    const size_t n_bytes = strlen(id) + strlen(suffix) + 1;

    IO_TRY(io_alloc(n_bytes, 1, (void **)&name));
    snprintf(name, n_bytes, "%s%s", id, suffix);
    status = io_path_join(folder, name, out);
    io_free(&name);
    return status;
}

bool pipe_case_has_record(const pipe_outputs *outputs, const char *id)
{
    char *path = NULL;
    bool exists = false;

    if (pipe_case_path(outputs->folder, id, "_dseg.json", &path) == IO_OK) exists = io_file_exists(path);
    io_free(&path);
    return exists;
}

io_status pipe_case_remove(const pipe_outputs *outputs, const char *id)
{
    static const char *const suffixes[] = {"_dseg.json", "_dseg.nii.gz", "_preview.png"};

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char *path = NULL;
        io_status status = pipe_case_path(outputs->folder, id, suffixes[i], &path);
        if (status == IO_OK) status = io_file_remove(path);
        io_free(&path);
        IO_TRY(status);
    }
    return IO_OK;
}

static bool has_equal_preview(const io_json *record, const char *preview_path)
{
    const char *expected = io_json_get_text(record, "preview_sha256");
    char found[65];

    if (expected && !*expected) return !io_file_exists(preview_path); /* it cannot be drawn, now as little as then */
    return expected && io_file_exists(preview_path) && io_hash_file(preview_path, found) == IO_OK && !strcmp(found, expected);
}

/* What was asked for beside the label map. */
static io_status check_extras(const pipe_outputs *outputs, const char *id, const char *record_path, bool *is_done, char reason[160])
{
    io_status status = IO_OK;
    io_json *record = NULL;
    char *preview_path = NULL;

    IO_TRY_GOTO(status, done, pipe_case_path(outputs->folder, id, "_preview.png", &preview_path));
    IO_TRY_GOTO(status, done, io_json_read(record_path, MAX_RECORD_BYTES, &record));
    if (outputs->stats && !io_json_get(record, "stats")) {
        *is_done = false;
        snprintf(reason, 160, "its statistics are not there");
    }
    if (outputs->preview && !has_equal_preview(record, preview_path)) {
        *is_done = false;
        snprintf(reason, 160, "its preview is not there, or not the one the record tells of");
    }
done:
    io_json_free(&record);
    io_free(&preview_path);
    return status;
}

io_status pipe_case_check_done(const pipe_outputs *outputs, const char *id, const char *path, bool *is_done, char reason[160])
{
    io_status status = IO_OK;
    char *record_path = NULL, *output_path = NULL;
    char sha256[65];
    io_record_key key = outputs->key;

    *is_done = false;
    IO_TRY_GOTO(status, done, pipe_case_path(outputs->folder, id, "_dseg.json", &record_path));
    IO_TRY_GOTO(status, done, pipe_case_path(outputs->folder, id, "_dseg.nii.gz", &output_path));
    IO_TRY_GOTO(status, done, io_nifti_hash(path, sha256));
    key.input_sha256 = sha256;
    IO_TRY_GOTO(status, done, io_record_check(record_path, output_path, &key, is_done, reason));
    if (*is_done && (outputs->preview || outputs->stats)) status = check_extras(outputs, id, record_path, is_done, reason);
done:
    io_free(&output_path);
    io_free(&record_path);
    return status;
}

static io_status add_label(io_json *array, const pipe_label_stats *stats, const io_labels *names)
{
    io_status status = IO_OK;
    io_json *entry = NULL;
    const io_label *name = io_labels_find(names, stats->value);

    IO_TRY_GOTO(status, done, io_json_create_object(&entry));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "value", stats->value));
    IO_TRY_GOTO(status, done, io_json_put_text(entry, "name", name ? name->name : ""));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "voxels", (double)stats->n_voxels));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "volume_ml", stats->volume_ml));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "mean", stats->mean));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "sd", stats->sd));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "first_slice", (double)stats->first_slice));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "last_slice", (double)stats->last_slice));
    IO_TRY_GOTO(status, done, io_json_put_bool(entry, "touches_border", stats->touches_border != 0));
    status = io_json_add(array, &entry);
done:
    io_json_free(&entry);
    return status;
}

static io_status add_stats(const pipe_case *work, const void *labels, const pipe_outputs *outputs, io_json *details)
{
    io_status status = IO_OK;
    pipe_label_stats *stats = NULL;
    io_json *array = NULL;

    IO_TRY_GOTO(status, done, io_alloc((size_t)outputs->n_classes, sizeof *stats, (void **)&stats));
    IO_TRY_GOTO(status, done, pipe_stats_measure(work->volume, labels, outputs->label_bytes, outputs->n_classes, stats));
    IO_TRY_GOTO(status, done, io_json_create_array(&array));
    for (int i = 0; i < outputs->n_classes; i++) IO_TRY_GOTO(status, done, add_label(array, &stats[i], outputs->names));
    status = io_json_put(details, "stats", &array);
done:
    io_json_free(&array);
    io_free(&stats);
    return status;
}

static const char *find_work_folder(const pipe_outputs *outputs)
{
    return outputs->scratch ? outputs->scratch : outputs->folder;
}

/* From the scratch folder to its place. */
static io_status deliver(const pipe_outputs *outputs, const char *id, const char *suffix, const char *sha256)
{
    io_status status = IO_OK;
    char *from = NULL, *to = NULL;

    if (!outputs->scratch) return IO_OK;
    IO_TRY_GOTO(status, done, pipe_case_path(outputs->scratch, id, suffix, &from));
    IO_TRY_GOTO(status, done, pipe_case_path(outputs->folder, id, suffix, &to));
    status = io_file_move(from, to, sha256);
done:
    if (status != IO_OK && from) (void)io_file_remove(from);
    io_free(&to);
    io_free(&from);
    return status;
}

/* A picture of earlier labels must not stay beside these, whether a new one is wanted or not. One that cannot be drawn costs no case its
 * labels; the record then says so. */
static io_status write_preview(const pipe_case *work, const void *labels, const pipe_outputs *outputs, io_json *details)
{
    io_status status = IO_OK;
    char *path = NULL;
    char sha256[65] = "";

    IO_TRY_GOTO(status, done, pipe_case_path(outputs->folder, work->id, "_preview.png", &path));
    IO_TRY_GOTO(status, done, io_file_remove(path));
    if (!outputs->preview) goto done;
    io_free(&path);
    IO_TRY_GOTO(status, done, pipe_case_path(find_work_folder(outputs), work->id, "_preview.png", &path));
    status = pipe_preview_write(path, work->volume, labels, outputs->label_bytes, outputs->names, outputs->options);
    if (status == IO_ERR_NO_SPACE || status == IO_ERR_FILE || status == IO_ERR_NOT_FOUND) goto done;
    if (status == IO_OK) {
        IO_TRY_GOTO(status, done, io_hash_file(path, sha256));
        IO_TRY_GOTO(status, done, deliver(outputs, work->id, "_preview.png", sha256));
    } else {
        io_log(IO_LOG_WARN, "case %s has no preview: %s", work->id, io_last_error_text());
        IO_TRY_GOTO(status, done, io_json_put_text(details, "preview_fault", io_last_error_text()));
    }
    status = io_json_put_text(details, "preview_sha256", sha256);
done:
    io_free(&path);
    return status;
}

io_status pipe_case_write(const pipe_case *work, const void *labels, const pipe_outputs *outputs, io_json *details)
{
    io_status status = IO_OK;
    char *output_path = NULL, *record_path = NULL;
    char sha256[65];
    const double start = now();
    io_record_key key = outputs->key;

    key.input_sha256 = work->volume->sha256;
    IO_TRY_GOTO(status, done, pipe_case_path(find_work_folder(outputs), work->id, "_dseg.nii.gz", &output_path));
    IO_TRY_GOTO(status, done, pipe_case_path(outputs->folder, work->id, "_dseg.json", &record_path));
    IO_TRY_GOTO(status, done,
                io_nifti_write_labels(output_path, &work->volume->grid, labels, outputs->label_bytes, outputs->names_xml, sha256));
    IO_TRY_GOTO(status, done, deliver(outputs, work->id, "_dseg.nii.gz", sha256));
    IO_TRY_GOTO(status, done, write_preview(work, labels, outputs, details));
    if (outputs->stats) IO_TRY_GOTO(status, done, add_stats(work, labels, outputs, details));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "write_s", now() - start));
    status = io_record_write(record_path, &key, sha256, details);
done:
    io_free(&record_path);
    io_free(&output_path);
    return status;
}
