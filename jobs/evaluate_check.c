/* What a user should know before anything is measured: images without a case, maps that say nothing here; see evaluate.h. Rank 0 tells. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/log.h"
#include "io/manifest.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "jobs/evaluate.h"

enum { MAX_TOLD = 5, TOLD_BYTES = 600 };

static void check_images(const evaluate_run *run)
{
    const pipe_study *study = run->study;
    char told[TOLD_BYTES] = "";
    size_t n_found = 0, n_told = 0;

    if (!run->options->images) return;
    for (size_t i = 0; i < study->n_cases; i++) {
        const size_t at = strlen(told);
        n_found += study->cases[i].image != NULL;
        if (!study->cases[i].image && n_told++ < MAX_TOLD)
            snprintf(told + at, sizeof told - at, "%s%s", at ? ", " : "", study->cases[i].id);
    }
    if (n_told == 0)
        io_log(IO_LOG_INFO, "--images: %zu of %zu case%s with an image", n_found, study->n_cases, io_plural(study->n_cases));
    else
        io_log(IO_LOG_WARN, "--images %s: %zu of %zu case%s with an image, found by name; none for %s%s", run->options->images, n_found,
               study->n_cases, io_plural(study->n_cases), told, n_told > MAX_TOLD ? ", ..." : "");
}

/* Has a folder of masks, itself or in "segmentations", a file of this name? */
static bool has_mask(const char *folder, const char *name)
{
    char **files = NULL, *inner = NULL;
    size_t n_files = 0;
    bool is_found = false;

    if (io_path_join(folder, "segmentations", &inner) != IO_OK) return false;
    if (io_folder_list(io_folder_exists(inner) ? inner : folder, &files, &n_files) != IO_OK) n_files = 0;
    for (size_t i = 0; i < n_files && !is_found; i++) {
        char *stem = NULL;
        is_found = io_nifti_is_name(files[i]) && io_case_id(files[i], &stem) == IO_OK && io_label_is_same_name(stem, name);
        io_free(&stem);
    }
    io_names_free(&files, n_files);
    io_free(&inner);
    return is_found;
}

static bool is_used(const pipe_study *study, const char *name)
{
    for (size_t i = 0; i < study->n_cases; i++) {
        const pipe_study_case *c = &study->cases[i];
        if (c->reference && io_folder_exists(c->reference) && has_mask(c->reference, name)) return true;
        if (c->prediction && io_folder_exists(c->prediction) && has_mask(c->prediction, name)) return true;
    }
    return false;
}

/* The names of a user's own map stand for mask files: without a file of that name the map does not do what was meant. */
static void check_names(const evaluate_run *run, const pipe_label_map *map)
{
    for (size_t n = 0; n < map->n_names; n++)
        if (map->is_own[n] && !is_used(run->study, map->names[n]))
            io_log(IO_LOG_WARN,
                   "--map: no case has a mask file \"%s\"; names on the left stand for mask files, in label maps give the label's value",
                   map->names[n]);
}

/* A map for both sides gave both the same names. */
static bool has_same_names(const pipe_label_map *a, const pipe_label_map *b)
{
    if (a->n_names != b->n_names) return false;
    for (size_t n = 0; n < a->n_names; n++)
        if (strcmp(a->names[n], b->names[n]) != 0) return false;
    return true;
}

void job_evaluate_check(const evaluate_run *run)
{
    char reference[PIPE_LABEL_TEXT], prediction[PIPE_LABEL_TEXT];

    for (size_t organ = 0; organ < run->study->n_organs; organ++) {
        pipe_label_map_describe(run->reference_map, (int)organ + 1, reference, sizeof reference);
        pipe_label_map_describe(run->prediction_map, (int)organ + 1, prediction, sizeof prediction);
        io_log(IO_LOG_DEBUG, "organ \"%s\": reference %s, prediction %s", pipe_study_organ(run->study, organ)->name, reference, prediction);
    }
    check_images(run);
    check_names(run, run->reference_map);
    if (!has_same_names(run->reference_map, run->prediction_map)) check_names(run, run->prediction_map);
}

/* The path from the root without links; what of it does not exist yet stays as it was written. */
static bool resolve(const char *path, char out[PATH_MAX])
{
    char whole[PATH_MAX] = "", known[PATH_MAX];
    size_t n;

    if (path[0] != '/' && !getcwd(whole, sizeof whole)) return false;
    n = strlen(whole);
    if (n + strlen(path) + 2 > sizeof whole) return false;
    snprintf(whole + n, sizeof whole - n, "/%s", path);
    for (n = strlen(whole); n > 1 && whole[n - 1] == '/'; n--) whole[n - 1] = '\0';
    memcpy(known, whole, sizeof known);
    while (!realpath(*known ? known : "/", out)) *strrchr(known, '/') = '\0';
    n = strlen(out);
    if (n + strlen(whole + strlen(known)) + 1 > PATH_MAX) return false;
    snprintf(out + n, PATH_MAX - n, "%s", whole + strlen(known));
    return true;
}

/* An input folder whose files would stand among the report's. */
static io_status refuse_folder(const char *output, const char *option, const char *path)
{
    char folder[PATH_MAX];

    if (!path || !io_folder_exists(path) || !resolve(path, folder) || strcmp(folder, output) != 0) return IO_OK;
    return IO_FAIL(IO_ERR_ARGUMENT,
                   "-o %s is the folder of %s, whose files it would mix with or replace; give the report a folder of its own", output,
                   option);
}

/* The folder in which the files of a case lie, or a case's own folder of masks. parent [PATH_MAX] is that of the case before. */
static io_status refuse_case(const char *output, const char *path, char *parent, char *resolved)
{
    const char *name = path ? io_path_name(path) : NULL;
    char folder[PATH_MAX];
    size_t n;

    if (!path || name - path >= PATH_MAX) return IO_OK;
    snprintf(folder, sizeof folder, "%.*s", (int)(name - path), path);
    if (!*folder) snprintf(folder, sizeof folder, ".");
    if (strcmp(folder, parent) != 0 && !resolve(folder, resolved)) return IO_OK;
    snprintf(parent, PATH_MAX, "%s", folder);
    n = strlen(resolved);
    if (strncmp(output, resolved, n) != 0 || (output[n] && output[n] != '/')) return IO_OK;
    if (!output[n]) return IO_FAIL(IO_ERR_ARGUMENT, "-o %s is where %s lies; give the report a folder of its own", output, path);
    n++;
    if (strncmp(output + n, name, strlen(name)) != 0 || (output[n + strlen(name)] && output[n + strlen(name)] != '/')) return IO_OK;
    return IO_FAIL(IO_ERR_ARGUMENT, "-o %s is inside of the case %s; give the report a folder of its own", output, path);
}

io_status job_evaluate_check_output(const evaluate_options *options, const pipe_study *study)
{
    char output[PATH_MAX], parent[PATH_MAX] = "", resolved[PATH_MAX] = "";

    if (!resolve(options->output, output)) return IO_OK; /* opening it will tell */
    for (size_t i = 0; i < options->n_predictions; i++) IO_TRY(refuse_folder(output, "-p", options->predictions[i]));
    for (size_t i = 0; i < options->n_references; i++) IO_TRY(refuse_folder(output, "-r", options->references[i]));
    IO_TRY(refuse_folder(output, "--images", options->images));
    IO_TRY(refuse_folder(output, "--compare", options->compare));
    for (size_t i = 0; i < study->n_cases; i++) IO_TRY(refuse_case(output, study->cases[i].reference, parent, resolved));
    for (size_t i = 0; i < study->n_cases; i++) IO_TRY(refuse_case(output, study->cases[i].prediction, parent, resolved));
    for (size_t i = 0; i < study->n_cases; i++) IO_TRY(refuse_case(output, study->cases[i].image, parent, resolved));
    return IO_OK;
}
