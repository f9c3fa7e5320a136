/* Which prediction belongs to which reference; see evaluate.h. A case may be a NIfTI file, or a folder with one mask per organ. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/manifest.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "jobs/evaluate.h"

enum { MAX_LIST_BYTES = 1 << 28, MAX_KEY = 160 };

/* One thing that could be half of a pair. */
typedef struct entry {
    char *path;
    char id[MAX_KEY];    /* without extension and usual suffixes: what pairs are made by */
    char loose[MAX_KEY]; /* also without a channel number and a leading word: for what found no partner */
    bool is_taken;
} entry;

typedef struct entries {
    entry *list; /* [n], ascending by id */
    size_t n, capacity;
} entries;

static void free_entries(entries *e)
{
    for (size_t i = 0; i < e->n; i++) io_free(&e->list[i].path);
    io_free(&e->list);
    e->n = e->capacity = 0;
}

/* Cuts one of the endings off, unless nothing would be left. */
static bool cut_suffix(char *id, const char *const *suffixes, size_t n_suffixes)
{
    const size_t n = strlen(id);

    for (size_t i = 0; i < n_suffixes; i++) {
        const size_t m = strlen(suffixes[i]);
        if (n <= m || strcasecmp(id + n - m, suffixes[i]) != 0) continue;
        id[n - m] = '\0';
        return true;
    }
    return false;
}

/* What tools put behind a case's name: BIDS, nnU-Net, MSD, TotalSegmentator, 3D Slicer, ITK-SNAP. */
static void strip_suffixes(char *id)
{
    static const char *const suffixes[] = {"_dseg",          "_seg",    "-seg",   ".seg",       "_segmentation", "-segmentation",
                                           "_segmentations", "_labels", "_label", "-label",     "_mask",         "_pred",
                                           "_prediction",    "_gt",     "_ref",   "_reference", "_manual",       "_out"};

    while (cut_suffix(id, suffixes, sizeof suffixes / sizeof *suffixes)) {
    }
}

/* "case_7_0000" (nnU-Net's first channel) and "case_7"; "img0035" and "label0035" (BTCV): one case. */
static void loosen(const char *id, char out[MAX_KEY])
{
    static const char *const channels[] = {"_0000"};
    static const char *const words[] = {"image", "img",        "labels", "label", "segmentation", "seg",
                                        "mask",  "prediction", "pred",   "gt",    "ref"};
    const char *start = id;

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const size_t n = strlen(words[i]);
        const char *rest = id + n;
        if (strncasecmp(id, words[i], n) != 0) continue;
        while (*rest == '_' || *rest == '-') rest++;
        if (isdigit((unsigned char)*rest)) start = rest;
    }
    snprintf(out, MAX_KEY, "%s", start);
    (void)cut_suffix(out, channels, 1);
}

static io_status add_entry(entries *e, const char *path, const char *name)
{
    char *id = NULL;
    entry *new_entry;

    if (e->n == e->capacity) {
        const size_t larger = e->capacity ? 2 * e->capacity : 64;
        IO_TRY(io_grow((void **)&e->list, e->n * sizeof *e->list, larger, sizeof *e->list));
        e->capacity = larger;
    }
    IO_TRY(io_case_id(name, &id));
    new_entry = &e->list[e->n];
    *new_entry = (entry){.path = NULL};
    snprintf(new_entry->id, sizeof new_entry->id, "%s", id);
    io_free(&id);
    strip_suffixes(new_entry->id);
    loosen(new_entry->id, new_entry->loose);
    IO_TRY(io_string_copy(path, &new_entry->path));
    e->n++;
    return IO_OK;
}

/* Does a folder hold NIfTI files, itself or in "segmentations"? */
static bool has_masks(const char *folder)
{
    char **names = NULL, *inner = NULL;
    size_t n_names = 0;
    bool has_any = false;

    if (io_folder_list(folder, &names, &n_names) != IO_OK) return false;
    for (size_t i = 0; i < n_names && !has_any; i++) {
        has_any = names[i][0] != '.' && io_nifti_is_name(names[i]);
        if (has_any || strcmp(names[i], "segmentations") != 0 || io_path_join(folder, names[i], &inner) != IO_OK) continue;
        has_any = has_masks(inner);
        io_free(&inner);
    }
    io_names_free(&names, n_names);
    return has_any;
}

static io_status add_folder(entries *e, const char *folder)
{
    io_status status = IO_OK;
    char **names = NULL, *path = NULL;
    size_t n_names = 0;
    const size_t n_before = e->n;

    IO_TRY_GOTO(status, done, io_folder_list(folder, &names, &n_names));
    for (size_t i = 0; i < n_names; i++) {
        if (names[i][0] == '.') continue;
        io_free(&path);
        IO_TRY_GOTO(status, done, io_path_join(folder, names[i], &path));
        if (io_folder_exists(path) ? has_masks(path) : io_nifti_is_volume_name(names[i]))
            IO_TRY_GOTO(status, done, add_entry(e, path, names[i]));
    }
    if (e->n == n_before) status = IO_FAIL(IO_ERR_NOT_FOUND, "%s: there is neither a NIfTI file nor a folder of masks in it", folder);
done:
    io_free(&path);
    io_names_free(&names, n_names);
    return status;
}

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->id, ((const entry *)b)->id);
}

/* One missing file of many is a case that fails; when nothing is there, the path is mistyped, and a report would replace the last one. */
static io_status check_paths(const char *option, const char *const *paths, size_t n_paths)
{
    for (size_t i = 0; i < n_paths; i++)
        if (io_folder_exists(paths[i]) || io_file_exists(paths[i])) return IO_OK;
    return n_paths ? IO_FAIL(IO_ERR_NOT_FOUND, "%s %s: there is no such file or folder", option, paths[0]) : IO_OK;
}

static io_status list_entries(const char *const *paths, size_t n_paths, entries *e)
{
    for (size_t i = 0; i < n_paths; i++) {
        if (io_folder_exists(paths[i]))
            IO_TRY(add_folder(e, paths[i]));
        else
            IO_TRY(add_entry(e, paths[i], io_path_name(paths[i])));
    }
    if (e->n > 0) qsort(e->list, e->n, sizeof *e->list, compare_entries);
    for (size_t i = 1; i < e->n; i++)
        if (!strcmp(e->list[i].id, e->list[i - 1].id))
            return IO_FAIL(IO_ERR_ARGUMENT, "%s and %s are both case \"%s\"; rename one, or give --list", e->list[i - 1].path,
                           e->list[i].path, e->list[i].id);
    return IO_OK;
}

/* The free entry with this loose name; NULL when there is none or more than one. */
static entry *find_loose(entries *e, const char *loose)
{
    entry *found = NULL;

    for (size_t i = 0; i < e->n; i++) {
        if (e->list[i].is_taken || strcmp(e->list[i].loose, loose) != 0) continue;
        if (found) return NULL;
        found = &e->list[i];
    }
    return found;
}

static entry *find_exact(const entries *e, const char *id)
{
    entry key;

    snprintf(key.id, sizeof key.id, "%s", id);
    return e->n ? bsearch(&key, e->list, e->n, sizeof key, compare_entries) : NULL;
}

static io_status add_pair(pipe_study *study, entry *reference, entry *prediction)
{
    const char *id = reference ? reference->id : prediction->id;

    if (reference) reference->is_taken = true;
    if (prediction) prediction->is_taken = true;
    return pipe_study_add_case(study, id, reference ? reference->path : NULL, prediction ? prediction->path : NULL, NULL);
}

/* One file on each side: they were named to be compared, whatever they are called. */
static bool is_one_each(const evaluate_options *options)
{
    return options->n_references == 1 && options->n_predictions == 1 && !io_folder_exists(options->references[0]) &&
           !io_folder_exists(options->predictions[0]);
}

/* First equal ids, then those of predictions without a channel, then both loose; what is left stays alone. */
static io_status match_entries(entries *references, entries *predictions, pipe_study *study)
{
    for (size_t i = 0; i < references->n; i++) {
        entry *partner = find_exact(predictions, references->list[i].id);
        if (partner) IO_TRY(add_pair(study, &references->list[i], partner));
    }
    for (size_t i = 0; i < references->n; i++) {
        entry *own = &references->list[i], *partner = own->is_taken ? NULL : find_loose(predictions, own->id);
        if (partner) IO_TRY(add_pair(study, own, partner));
    }
    for (size_t i = 0; i < references->n; i++) {
        entry *own = &references->list[i], *partner = own->is_taken ? NULL : find_loose(predictions, own->loose);
        if (partner && find_loose(references, own->loose) == own) IO_TRY(add_pair(study, own, partner));
    }
    for (size_t i = 0; i < references->n; i++)
        if (!references->list[i].is_taken) IO_TRY(add_pair(study, &references->list[i], NULL));
    for (size_t i = 0; i < predictions->n; i++)
        if (!predictions->list[i].is_taken) IO_TRY(add_pair(study, NULL, &predictions->list[i]));
    return IO_OK;
}

static io_status resolve(const char *folder, const char *path, char **out)
{
    return path[0] == '/' ? io_string_copy(path, out) : io_path_join(folder, path, out);
}

/* Fields of a line, cut in place; an empty one is NULL. Returns how many. */
static int split_line(char *line, char *fields[4])
{
    int n = 0;

    for (char *field = line; field && n < 4; n++) {
        char *tab = strchr(field, '\t');
        if (tab) *tab = '\0';
        fields[n] = *field ? field : NULL;
        field = tab ? tab + 1 : NULL;
    }
    return n;
}

static io_status add_line(const char *list, const char *folder, size_t number, char *line, pipe_study *study)
{
    io_status status = IO_OK;
    char *fields[4] = {NULL}, *paths[4] = {NULL};
    const int n = split_line(line, fields);

    if (n < 3 || !fields[0] || (!fields[1] && !fields[2]))
        return IO_FAIL(IO_ERR_FORMAT, "%s: line %zu: expected id<TAB>prediction<TAB>reference, found %d field%s", list, number, n,
                       io_plural(n));
    for (int i = 1; i < 4; i++)
        if (fields[i]) IO_TRY_GOTO(status, done, resolve(folder, fields[i], &paths[i]));
    status = pipe_study_add_case(study, fields[0], paths[2], paths[1], paths[3]);
done:
    for (int i = 1; i < 4; i++) io_free(&paths[i]);
    return status;
}

/* Cuts the line's end; false for what is no pair: an empty line, a comment, the heading. */
static bool is_pair_line(char *line)
{
    line[strcspn(line, "\r")] = '\0';
    return *line && *line != '#' && strncmp(line, "id\t", 3) != 0;
}

static io_status read_list(const char *list, pipe_study *study)
{
    io_status status = IO_OK;
    char *text = NULL, *folder = NULL, *rest;
    size_t number = 0;

    IO_TRY_GOTO(status, done, io_file_read_text(list, MAX_LIST_BYTES, &text));
    IO_TRY_GOTO(status, done, io_path_folder(list, &folder));
    rest = text;
    for (char *line = strsep(&rest, "\n"); line; line = strsep(&rest, "\n")) {
        number++;
        if (is_pair_line(line)) IO_TRY_GOTO(status, done, add_line(list, folder, number, line, study));
    }
done:
    io_free(&folder);
    io_free(&text);
    return status;
}

static int compare_cases(const void *a, const void *b)
{
    return strcmp(((const pipe_study_case *)a)->id, ((const pipe_study_case *)b)->id);
}

static io_status pair_folders(const evaluate_options *options, pipe_study *study)
{
    io_status status = IO_OK;
    entries references = {NULL, 0, 0}, predictions = {NULL, 0, 0};

    IO_TRY_GOTO(status, done, check_paths("-r", options->references, options->n_references));
    IO_TRY_GOTO(status, done, check_paths("-p", options->predictions, options->n_predictions));
    IO_TRY_GOTO(status, done, list_entries(options->references, options->n_references, &references));
    IO_TRY_GOTO(status, done, list_entries(options->predictions, options->n_predictions, &predictions));
    status =
        is_one_each(options) ? add_pair(study, &references.list[0], &predictions.list[0]) : match_entries(&references, &predictions, study);
done:
    free_entries(&references);
    free_entries(&predictions);
    return status;
}

/* An image of --images belongs to a case by the same names as label maps belong to each other. */
static const char *find_image(entries *images, const char *id)
{
    char loose[MAX_KEY];
    const entry *found = find_exact(images, id);

    loosen(id, loose);
    if (!found) found = find_loose(images, id);
    if (!found) found = find_loose(images, loose);
    return found ? found->path : NULL;
}

/* Cases that the list gave no image. */
static io_status find_images(const evaluate_options *options, pipe_study *study)
{
    io_status status = IO_OK;
    entries images = {NULL, 0, 0};

    if (!options->images) return IO_OK;
    if (!io_folder_exists(options->images) && !io_file_exists(options->images))
        return IO_FAIL(IO_ERR_ARGUMENT, "--images %s: there is no such file or folder", options->images);
    if (study->n_cases == 1 && !io_folder_exists(options->images)) /* named for the only case, whatever it is called */
        return study->cases[0].image ? IO_OK : io_string_copy(options->images, &study->cases[0].image);
    IO_TRY_GOTO(status, done, list_entries(&options->images, 1, &images));
    for (size_t i = 0; i < study->n_cases; i++) {
        pipe_study_case *c = &study->cases[i];
        const char *path = c->image ? NULL : find_image(&images, c->id);
        if (path) IO_TRY_GOTO(status, done, io_string_copy(path, &c->image));
    }
done:
    free_entries(&images);
    return status;
}

io_status job_evaluate_pairs(const evaluate_options *options, pipe_study *study)
{
    if (options->list)
        IO_TRY(read_list(options->list, study));
    else
        IO_TRY(pair_folders(options, study));
    if (study->n_cases == 0) return IO_FAIL(IO_ERR_NOT_FOUND, "%s: there is no pair in it", options->list);
    IO_TRY(find_images(options, study));
    qsort(study->cases, study->n_cases, sizeof *study->cases, compare_cases);
    for (size_t i = 1; i < study->n_cases; i++)
        if (!strcmp(study->cases[i].id, study->cases[i - 1].id))
            return IO_FAIL(IO_ERR_ARGUMENT, "case \"%s\" is there twice; ids must differ", study->cases[i].id);
    return IO_OK;
}

/* Looks into path and the folders above it, n_folders in all. */
static io_status read_beside(const char *path, int n_folders, io_labels **out, char *source, size_t n_source)
{
    io_status status = IO_OK;
    char *folder = NULL, *file = NULL;

    IO_TRY_GOTO(status, done, io_string_copy(path, &folder));
    for (int up = 0; up < n_folders && !*out; up++) {
        io_free(&file);
        IO_TRY_GOTO(status, done, io_path_join(*folder ? folder : ".", "dataset.json", &file));
        if (io_file_exists(file)) {
            IO_TRY_GOTO(status, done, io_labels_read(file, out));
            snprintf(source, n_source, "%s", file);
        }
        for (size_t n = strlen(folder); n > 1 && folder[n - 1] == '/'; n--) folder[n - 1] = '\0';
        folder[io_path_name(folder) - folder] = '\0'; /* the folder above */
    }
done:
    io_free(&file);
    io_free(&folder);
    return status;
}

/* The first reference of a list: *out with io_free, NULL without any. */
static io_status find_listed(const char *list, char **out)
{
    io_status status = IO_OK;
    char *text = NULL, *folder = NULL, *rest;

    IO_TRY_GOTO(status, done, io_file_read_text(list, MAX_LIST_BYTES, &text));
    IO_TRY_GOTO(status, done, io_path_folder(list, &folder));
    rest = text;
    for (char *line = strsep(&rest, "\n"); line && !*out; line = strsep(&rest, "\n")) {
        char *fields[4] = {NULL};
        if (!is_pair_line(line)) continue;
        if (split_line(line, fields) >= 3 && fields[2]) IO_TRY_GOTO(status, done, resolve(folder, fields[2], out));
    }
done:
    io_free(&folder);
    io_free(&text);
    return status;
}

/* The dataset.json beside the first reference: *out NULL without one. */
static io_status find_beside(const evaluate_options *options, io_labels **out, char *source, size_t n_source)
{
    io_status status = IO_OK;
    char *listed = NULL;

    if (options->n_references > 0)
        return read_beside(options->references[0], io_folder_exists(options->references[0]) ? 2 : 3, out, source, n_source);
    IO_TRY_GOTO(status, done, find_listed(options->list, &listed));
    if (listed) status = read_beside(listed, 3, out, source, n_source);
done:
    io_free(&listed);
    return status;
}

/* The ready map that says what the references hold; NULL for none. */
static const char *find_ready_map(const evaluate_options *options)
{
    for (int i = 0; i < options->n_maps; i++) {
        bool is_for_reference, is_for_prediction;
        const char *source = job_evaluate_map_source(options->maps[i], &is_for_reference, &is_for_prediction);
        if (is_for_reference && pipe_label_map_is_ready(source)) return source;
    }
    return NULL;
}

io_status job_evaluate_labels(const evaluate_options *options, io_labels **out, char *source, size_t n_source)
{
    const char *ready = find_ready_map(options);

    *out = NULL;
    if (options->labels) {
        snprintf(source, n_source, "%s", options->labels);
        return io_labels_read(options->labels, out);
    }
    if (!ready) IO_TRY(find_beside(options, out, source, n_source));
    if (*out) return IO_OK;
    if (ready)
        snprintf(source, n_source, "SAMed's eight organs (no --labels; --map %s leads to them)", ready);
    else
        snprintf(source, n_source, "SAMed's eight organs (no --labels, no dataset.json beside the references)");
    return io_labels_default(9, out);
}
