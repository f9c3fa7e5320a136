/* What a user should know before anything is measured: images without a case, maps that say nothing here; see evaluate.h. Rank 0 tells. */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "io/manifest.h"
#include "io/memory.h"
#include "io/nifti.h"
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
        io_log(IO_LOG_INFO, "--images: %zu of %zu cases have an image", n_found, study->n_cases);
    else
        io_log(IO_LOG_WARN, "--images %s: %zu of %zu cases have an image, found by name; none for %s%s", run->options->images, n_found,
               study->n_cases, told, n_told > MAX_TOLD ? ", ..." : "");
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
    for (size_t n = map->n_names - map->n_own_names; n < map->n_names; n++)
        if (!is_used(run->study, map->names[n]))
            io_log(IO_LOG_WARN,
                   "--map: no case has a mask file \"%s\"; names on the left stand for mask files, in label maps give the label's value",
                   map->names[n]);
}

/* A map for both sides gave both the same names. */
static bool has_same_names(const pipe_label_map *a, const pipe_label_map *b)
{
    if (a->n_names != b->n_names || a->n_own_names != b->n_own_names) return false;
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
