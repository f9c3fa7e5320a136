/* Which image belongs to which label map. See prepare.h. Rank 0 alone lists folders and sends lines "id<TAB>path<TAB>path...": image and
 * label map, or the slices of one case; the first line says which. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "io/manifest.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "jobs/prepare.h"
#include "pipeline/label_volume.h"

enum { MAX_LIST_BYTES = 1 << 28, ID_BYTES = 160, BYTES_PER_SLICE = 170000 /* of 224 x 224 CT, measured */ };

/* One source file of a case. */
typedef struct found {
    char id[ID_BYTES];
    long number; /* of the slice; 0 for pairs */
    char *paths; /* "image<TAB>label", or one slice */
} found;

typedef struct finder {
    found *list; /* [n] */
    size_t n, n_max;
    bool is_npz;
} finder;

static void free_found(finder *f)
{
    for (size_t i = 0; i < f->n; i++) io_free(&f->list[i].paths);
    io_free(&f->list);
}

/* second may be NULL. */
static io_status add_found(finder *f, const char *id, long number, const char *first, const char *second)
{
    found *next;
    char *safe = NULL;
    const size_t n_bytes = strlen(first) + (second ? strlen(second) : 0) + 2;
    io_status status = io_case_id(id, &safe); /* refuses what cannot be part of a file name */

    if (status == IO_OK && strcmp(safe, id) != 0)
        status = IO_FAIL(IO_ERR_ARGUMENT, "\"%.100s\" cannot name a case: it would become \"%.100s\"", id, safe);
    io_free(&safe);
    if (status != IO_OK) return status;
    if (!strcmp(id, "index")) return IO_FAIL(IO_ERR_ARGUMENT, "%s: a case may not be called \"index\": the store's own file is", first);
    if (strpbrk(first, "\t\n") || (second && strpbrk(second, "\t\n")))
        return IO_FAIL(IO_ERR_ARGUMENT, "the path '%s' or '%s' holds a tab or a line break; rename the file", first, second ? second : "");
    if (f->n == f->n_max) {
        const size_t larger = f->n_max ? 2 * f->n_max : 64;
        IO_TRY(io_grow((void **)&f->list, f->n * sizeof *f->list, larger, sizeof *f->list));
        f->n_max = larger;
    }
    next = &f->list[f->n];
    *next = (found){.number = number};
    snprintf(next->id, sizeof next->id, "%s", id);
    IO_TRY(io_alloc(n_bytes, 1, (void **)&next->paths));
    snprintf(next->paths, n_bytes, "%s%s%s", first, second ? "\t" : "", second ? second : "");
    f->n++;
    return IO_OK;
}

/* ---- pairs of NIfTI files ---- */

static int compare_case(const void *id, const void *member)
{
    return strcmp(id, ((const io_case *)member)->id);
}

/* The label map of an image's id; BTCV calls them img0001 and label0001. */
static io_case *find_label(const io_manifest *labels, const char *id)
{
    char other[ID_BYTES + 2];
    io_case *label = bsearch(id, labels->cases, labels->n_cases, sizeof *labels->cases, compare_case);

    if (label || strncmp(id, "img", 3) != 0) return label;
    snprintf(other, sizeof other, "label%s", id + 3);
    return bsearch(other, labels->cases, labels->n_cases, sizeof *labels->cases, compare_case);
}

/* "case_7_0000" is channel 0 of "case_7" (nnU-Net): id loses the suffix. False for another channel, which is not read. */
static bool cut_channel(char *id)
{
    const size_t n = strlen(id);

    if (n <= 5 || id[n - 5] != '_' || strspn(id + n - 4, "0123456789") != 4) return true;
    if (strcmp(id + n - 4, "0000") != 0) return false;
    id[n - 5] = '\0';
    return true;
}

static io_status add_image(finder *f, const io_case *image, const io_manifest *labels, size_t *n_paired)
{
    char id[ID_BYTES];
    const io_case *label = find_label(labels, image->id);

    snprintf(id, sizeof id, "%s", image->id);
    if (!label && !cut_channel(id)) {
        io_log(IO_LOG_WARN, "%s: only the first channel of an image (_0000) is used", image->path);
        return IO_OK;
    }
    if (!label) label = find_label(labels, id);
    *n_paired += label != NULL;
    return add_found(f, id, 0, image->path, label ? label->path : "");
}

static io_status find_pairs(finder *f, const char *images_folder, const char *masks_folder)
{
    io_status status = IO_OK;
    io_manifest *images = NULL, *masks = NULL;
    size_t n_paired = 0;

    IO_TRY_GOTO(status, done, io_manifest_from_paths(&images_folder, 1, &images));
    IO_TRY_GOTO(status, done, io_manifest_from_paths(&masks_folder, 1, &masks));
    for (size_t i = 0; i < images->n_cases; i++) IO_TRY_GOTO(status, done, add_image(f, &images->cases[i], masks, &n_paired));
    if (n_paired == 0)
        status = IO_FAIL(IO_ERR_NOT_FOUND, "none of the %zu image%s in %s has a label map of its name in %s; give --list", images->n_cases,
                         io_plural(images->n_cases), images_folder, masks_folder);
    else if (n_paired < masks->n_cases)
        io_log(IO_LOG_WARN, "%zu of %zu label maps in %s have no image", masks->n_cases - n_paired, masks->n_cases, masks_folder);
done:
    io_manifest_free(&masks);
    io_manifest_free(&images);
    return status;
}

static io_status find_study(finder *f, const char *study)
{
    io_status status = IO_OK;
    char *images = NULL, *masks = NULL;

    IO_TRY_GOTO(status, done, io_path_join(study, "imagesTr", &images));
    IO_TRY_GOTO(status, done, io_path_join(study, "labelsTr", &masks));
    if (!io_folder_exists(images) || !io_folder_exists(masks))
        status =
            IO_FAIL(IO_ERR_NOT_FOUND, "%s: expected the folders imagesTr and labelsTr, or .npz slices; give --images and --masks", study);
    else
        status = find_pairs(f, images, masks);
done:
    io_free(&masks);
    io_free(&images);
    return status;
}

/* Relative paths are relative to the list's folder. *out with io_free. */
static io_status resolve(const char *list, const char *path, char **out)
{
    const size_t n_folder = (size_t)(io_path_name(list) - list);
    const size_t n_bytes = n_folder + strlen(path) + 1;

    if (path[0] == '/' || n_folder == 0) return io_string_copy(path, out);
    IO_TRY(io_alloc(n_bytes, 1, (void **)out));
    snprintf(*out, n_bytes, "%.*s%s", (int)n_folder, list, path);
    return IO_OK;
}

static io_status add_line(finder *f, const char *list, int number, char *line)
{
    io_status status = IO_OK;
    char *first = strchr(line, '\t'), *second = first ? strchr(first + 1, '\t') : NULL, *image = NULL, *label = NULL;

    if (!second || strchr(second + 1, '\t') || strlen(line) >= ID_BYTES + (first ? strlen(first) : 0) || !second[1])
        return IO_FAIL(IO_ERR_FORMAT, "%s line %d: expected a case name, tab, image, tab, label map; found \"%.80s\"", list, number, line);
    *first++ = *second++ = '\0';
    IO_TRY_GOTO(status, done, resolve(list, first, &image));
    IO_TRY_GOTO(status, done, resolve(list, second, &label));
    status = add_found(f, line, 0, image, label);
done:
    io_free(&label);
    io_free(&image);
    return status;
}

/* ---- SAMed's slices ---- */

/* "case0005_slice012", also with ".npz". */
static io_status add_slice(finder *f, const char *folder, const char *name)
{
    io_status status = IO_OK;
    char stem[ID_BYTES], file[ID_BYTES + 8], *tail = NULL, *path = NULL;
    const size_t n = strlen(name) - (io_path_has_suffix(name, ".npz") ? 4 : 0);

    if (n < sizeof stem) {
        snprintf(stem, sizeof stem, "%.*s", (int)n, name);
        for (char *at = strstr(stem, "_slice"); at; at = strstr(at + 1, "_slice")) tail = at;
    }
    if (!tail || !tail[6] || strspn(tail + 6, "0123456789") != strlen(tail + 6) || strlen(tail + 6) > 9)
        return IO_FAIL(IO_ERR_ARGUMENT, "%s: \"%.100s\" is not called like a slice of SAMed (case0005_slice012.npz)", folder, name);
    snprintf(file, sizeof file, "%s.npz", stem);
    *tail = '\0';
    IO_TRY(io_path_join(folder, file, &path));
    status = add_found(f, stem, strtol(tail + 6, NULL, 10), path, NULL);
    io_free(&path);
    return status;
}

static io_status find_npz(finder *f, const char *folder)
{
    io_status status = IO_OK;
    char **names = NULL;
    size_t n_names = 0;

    IO_TRY_GOTO(status, done, io_folder_list(folder, &names, &n_names));
    for (size_t i = 0; i < n_names; i++)
        if (names[i][0] != '.' && io_path_has_suffix(names[i], ".npz")) IO_TRY_GOTO(status, done, add_slice(f, folder, names[i]));
done:
    io_names_free(&names, n_names);
    return status;
}

/* Lines of a list: pairs, or slices when there is a folder of them. */
static io_status read_list(finder *f, const char *list, const char *npz_folder)
{
    io_status status = IO_OK;
    char *text = NULL;
    int number = 1;

    IO_TRY_GOTO(status, done, io_file_read_text(list, MAX_LIST_BYTES, &text));
    for (char *line = text, *next; line; line = next, number++) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        line[strcspn(line, "\r")] = '\0';
        if (!*line || *line == '#' || (number == 1 && strncmp(line, "id\t", 3) == 0)) continue;
        IO_TRY_GOTO(status, done, npz_folder ? add_slice(f, npz_folder, line) : add_line(f, list, number, line));
    }
done:
    io_free(&text);
    return status;
}

/* ---- together ---- */

static int compare_found(const void *a, const void *b)
{
    const found *x = a, *y = b;
    const int order = strcmp(x->id, y->id);

    return order ? order : (x->number > y->number) - (x->number < y->number);
}

static io_status order_found(finder *f)
{
    qsort(f->list, f->n, sizeof *f->list, compare_found);
    for (size_t i = 1; i < f->n; i++) {
        const found *x = &f->list[i - 1], *y = &f->list[i];
        if (compare_found(x, y) == 0)
            return IO_FAIL(IO_ERR_ARGUMENT, "%.*s and %.*s are both %s of case \"%s\"; rename one", (int)strcspn(x->paths, "\t"), x->paths,
                           (int)strcspn(y->paths, "\t"), y->paths, f->is_npz ? "the same slice" : "the image", x->id);
    }
    if (f->n > 0) return IO_OK;
    return IO_FAIL(IO_ERR_NOT_FOUND, "there is no case to prepare");
}

static io_status find_sources(const prepare_options *o, finder *f)
{
    if (o->list && !io_file_exists(o->list)) return IO_FAIL(IO_ERR_ARGUMENT, "--list: there is no file %s", o->list);
    if (o->list) {
        f->is_npz = o->study != NULL;
        IO_TRY(read_list(f, o->list, o->study));
    } else if (o->images) {
        IO_TRY(find_pairs(f, o->images, o->masks));
    } else {
        IO_TRY(find_npz(f, o->study));
        f->is_npz = f->n > 0;
        if (!f->is_npz) IO_TRY(find_study(f, o->study));
    }
    return order_found(f);
}

static io_status print_sources(const finder *f, char **out)
{
    io_status status;
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *stream = open_memstream(&text, &n_bytes);

    if (!stream) return IO_FAIL_ERRNO("the list of cases");
    fputs(f->is_npz ? "npz" : "pairs", stream);
    for (size_t i = 0; i < f->n; i++) {
        const bool is_same_case = i > 0 && !strcmp(f->list[i].id, f->list[i - 1].id);
        fprintf(stream, "%s%s\t%s", is_same_case ? "" : "\n", is_same_case ? "" : f->list[i].id, f->list[i].paths);
    }
    fclose(stream);
    status = io_string_copy(text, out);
    free(text); /* of open_memstream */
    return status;
}

/* Cuts cases->text into sources. */
static io_status cut_sources(prepare_cases *cases)
{
    size_t n_lines = 0, n_tabs = 0, n_paths = 0;
    const bool is_npz = !strncmp(cases->text, "npz\n", 4);
    char *rest = strchr(cases->text, '\n');

    for (const char *at = cases->text; *at; at++) {
        n_lines += *at == '\n';
        n_tabs += *at == '\t';
    }
    IO_TRY(io_alloc(n_lines, sizeof *cases->sources, (void **)&cases->sources));
    IO_TRY(io_alloc(n_lines, sizeof *cases->ids, (void **)&cases->ids));
    IO_TRY(io_alloc(n_tabs, sizeof *cases->paths, (void **)&cases->paths));
    for (rest = rest ? rest + 1 : NULL; rest;) {
        char *line = strsep(&rest, "\n");
        pipe_source *source = &cases->sources[cases->n];
        *source = (pipe_source){.paths = cases->paths + n_paths, .is_npz = is_npz};
        source->id = cases->ids[cases->n++] = strsep(&line, "\t");
        for (; line; source->n_paths++) cases->paths[n_paths++] = strsep(&line, "\t");
    }
    return IO_OK;
}

io_status job_prepare_cases_find(const job_comm *world, const prepare_options *options, prepare_cases *out)
{
    io_status status = IO_OK;
    finder f = {0};

    if (world->rank == 0) status = find_sources(options, &f);
    if (world->rank == 0 && status == IO_OK) status = print_sources(&f, &out->text);
    if (!job_all_ok(world, &status, NULL)) goto done;
    IO_TRY_GOTO(status, done, job_comm_bcast_text(world, &out->text, 0));
    status = cut_sources(out);
    if (status == IO_OK && out->n > INT_MAX) status = IO_FAIL(IO_ERR_RANGE, "%zu cases are more than one run can take", out->n);
    (void)job_all_ok(world, &status, NULL);
done:
    free_found(&f);
    return status;
}

void job_prepare_cases_free(prepare_cases *cases)
{
    io_free(&cases->sources);
    io_free(&cases->ids);
    io_free(&cases->paths);
    io_free(&cases->text);
}

/* What the headers of a pair already tell of its failure; "" when nothing. */
static void find_failure(const prepare_run *run, const pipe_source *source, io_nifti_info *image, char out[400])
{
    io_nifti_info label;

    out[0] = '\0';
    if (!*source->paths[1]) {
        snprintf(out, 400, "no label map");
        return;
    }
    if (io_nifti_read_info(source->paths[0], image) != IO_OK) {
        snprintf(out, 400, "%s", io_last_error_text());
        return;
    }
    if (io_folder_exists(source->paths[1])) return;
    if (io_nifti_read_info(source->paths[1], &label) != IO_OK)
        snprintf(out, 400, "%s", io_last_error_text());
    else if (memcmp(image->grid.dims, label.grid.dims, sizeof label.grid.dims) != 0)
        snprintf(out, 400, "image and label map differ in size");
    else if (!(pipe_grid_distance(&image->grid, &label.grid) <= run->options->tolerance_mm))
        snprintf(out, 400, "image and label map lie %.4g mm apart", pipe_grid_distance(&image->grid, &label.grid));
}

static void show_case(const prepare_run *run, const pipe_source *source, const char *part, int64_t n_slices)
{
    io_nifti_info image;
    char failure[400];

    if (source->is_npz) {
        printf("  %s: %lld slice%s, %s\n", source->id, (long long)n_slices, io_plural(n_slices), part);
        return;
    }
    find_failure(run, source, &image, failure);
    if (*failure)
        printf("  %s: would fail: %s\n", source->id, failure);
    else
        printf("  %s: %lld x %lld x %lld %s, %s, labels in %s\n", source->id, (long long)image.grid.dims[0], (long long)image.grid.dims[1],
               (long long)image.grid.dims[2], io_datatype_name(image.datatype), part, source->paths[1]);
}

io_status job_prepare_dry_run(const prepare_run *run)
{
    static const char *const names[] = {"unused", "train", "val"};
    const int64_t size = run->options->slices.image_size;
    const double bytes = (double)run->slices_left * BYTES_PER_SLICE * (double)(size * size) / (224.0 * 224.0);
    uint64_t free_bytes = 0, total_bytes = 0;
    size_t n_parts[3] = {0};
    const size_t n_classes = pipe_organ_count(run->labels);

    printf("cases:\n");
    for (size_t i = 0; i < run->cases.n; i++) {
        show_case(run, &run->cases.sources[i], names[run->parts[i]], run->n_slices[i]);
        n_parts[run->parts[i]]++;
    }
    printf("plan: %zu case%s, %lld slice%s of %lld pixels, %zu class%s; %zu case%s to train on, %zu held out, %zu unused; %d rank%s\n",
           run->cases.n, io_plural(run->cases.n), (long long)run->slices_left, io_plural(run->slices_left), (long long)size, n_classes,
           n_classes == 1 ? "" : "es", n_parts[PIPE_PART_TRAIN], io_plural(n_parts[PIPE_PART_TRAIN]), n_parts[PIPE_PART_VAL],
           n_parts[PIPE_PART_NONE], run->world.size, io_plural(run->world.size));
    if (io_disk_free(io_folder_exists(run->options->output) ? run->options->output : ".", &free_bytes, &total_bytes) == IO_OK)
        printf("disk: about %.0f MB, %.0f MB free\n", bytes / 1e6, (double)free_bytes / 1e6);
    return IO_OK;
}
