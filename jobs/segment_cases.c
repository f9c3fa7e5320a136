/* Which cases a run takes: from files, folders or a list, a shard of them, or those that --only names. See segment.h. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "io/file.h"
#include "io/log.h"
#include "io/memory.h"
#include "jobs/segment.h"

enum { MAX_LIST_BYTES = 1 << 28 };

static bool is_named(const job_segment_options *options, const char *path)
{
    for (size_t i = 0; i < options->n_inputs; i++)
        if (!strcmp(options->inputs[i], path)) return true;
    return options->list != NULL;
}

/* Label maps in a folder of images are no volumes to segment: our own of an earlier run, when the folder is also the output, or another
 * tool's, which BIDS too names _dseg. What the user named is taken as it is. */
static void drop_label_maps(const job_segment_options *options, io_manifest *manifest)
{
    size_t n_kept = 0, n_foreign = 0;
    char folder[PATH_MAX] = "", real[PATH_MAX];
    const bool has_output = realpath(options->output, folder) != NULL;

    for (size_t i = 0; i < manifest->n_cases; i++) {
        io_case *c = &manifest->cases[i];
        const bool is_here = has_output && realpath(c->path, real) && !strncmp(real, folder, strlen(folder)) &&
                             real[strlen(folder)] == '/' && !strchr(real + strlen(folder) + 1, '/');
        if (!io_path_has_suffix(c->id, "_dseg") || !(is_here || !is_named(options, c->path))) {
            manifest->cases[n_kept++] = *c;
            continue;
        }
        n_foreign += !is_here;
        io_free(&c->id);
        io_free(&c->path);
    }
    manifest->n_cases = n_kept;
    if (n_foreign > 0)
        io_log(IO_LOG_WARN, "%zu label map%s (*_dseg) among the images %s not segmented; name one with -i if it is a volume", n_foreign,
               n_foreign == 1 ? "" : "s", n_foreign == 1 ? "is" : "are");
}

/* A list may name anything: a case whose image would be replaced by its own label map is refused. */
static io_status check_overlap(const char *output_folder, const io_manifest *manifest)
{
    for (size_t i = 0; i < manifest->n_cases; i++) {
        const io_case *c = &manifest->cases[i];
        struct stat input, output;
        char *path = NULL;
        bool is_same;
        IO_TRY(pipe_case_path(output_folder, c->id, "_dseg.nii.gz", &path));
        is_same = stat(path, &output) == 0 && stat(c->path, &input) == 0 && input.st_dev == output.st_dev && input.st_ino == output.st_ino;
        io_free(&path);
        if (is_same)
            return IO_FAIL(IO_ERR_ARGUMENT, "case %s: its label map would replace its image %s; give another output folder or name", c->id,
                           c->path);
    }
    return IO_OK;
}

static io_status find_cases(const job_segment_options *options, io_manifest **out)
{
    if (options->list && !io_file_exists(options->list))
        return IO_FAIL(IO_ERR_ARGUMENT, "--list: there is no file %s; give a table with one 'id<TAB>path' per line", options->list);
    if (options->list)
        IO_TRY(io_manifest_read(options->list, out));
    else
        IO_TRY(io_manifest_from_paths(options->inputs, options->n_inputs, out));
    drop_label_maps(options, *out);
    if ((*out)->n_cases > 0) return check_overlap(options->output, *out);
    io_manifest_free(out);
    return IO_FAIL(IO_ERR_NOT_FOUND, "no case was given; expected NIfTI files (.nii, .nii.gz, .nii.zst, .hdr + .img)");
}

/* Shards are dealt by the sizes of the files, which every shard finds without opening one. A shard of more shards than cases is empty. */
static io_status keep_shard(job_shard shard, io_manifest *manifest)
{
    io_status status = IO_OK;
    const size_t n = manifest->n_cases;
    int64_t *weights = NULL;
    int *hand_of = NULL;
    job_queue *queue = NULL;
    size_t n_kept = 0;

    IO_TRY_GOTO(status, done, io_alloc(n, sizeof *weights, (void **)&weights));
    IO_TRY_GOTO(status, done, io_alloc(n, sizeof *hand_of, (void **)&hand_of));
    for (size_t i = 0; i < n; i++) weights[i] = 1 + (int64_t)manifest->cases[i].file_bytes;
    IO_TRY_GOTO(status, done, job_queue_create(weights, n, &queue));
    IO_TRY_GOTO(status, done, job_queue_deal(queue, shard.n, hand_of));
    for (size_t i = 0; i < n; i++) {
        io_case *c = &manifest->cases[i];
        if (hand_of[i] == shard.index - 1) {
            manifest->cases[n_kept++] = *c;
            continue;
        }
        io_free(&c->id);
        io_free(&c->path);
    }
    manifest->n_cases = n_kept;
done:
    job_queue_free(&queue);
    io_free(&hand_of);
    io_free(&weights);
    return status;
}

static int compare_id(const void *key, const void *element)
{
    return strcmp(key, ((const io_case *)element)->id);
}

/* Cases are sorted by id. */
static size_t find_case(const io_manifest *manifest, const char *id)
{
    const io_case *found = bsearch(id, manifest->cases, manifest->n_cases, sizeof *manifest->cases, compare_id);
    return found ? (size_t)(found - manifest->cases) : manifest->n_cases;
}

/* The id in front of a line's first tab; NULL for an empty line, a comment and the header of a table. */
static char *cut_id(char *line)
{
    line[strcspn(line, "\t\r")] = '\0';
    return !*line || *line == '#' || !strcmp(line, "case") || !strcmp(line, "id") ? NULL : line;
}

/* Everything is left out, then what the list names is taken back. A list of a whole study may be given to each of its shards: only a run
 * of the whole knows that an id is nobody's. */
static io_status take_only(const job_segment_options *options, segment_plan *plan)
{
    io_status status = IO_OK;
    char *text = NULL, *rest;
    size_t n_found = 0;

    if (!io_file_exists(options->only)) return IO_FAIL(IO_ERR_ARGUMENT, "--only: there is no file %s", options->only);
    IO_TRY(io_file_read_text(options->only, MAX_LIST_BYTES, &text));
    for (size_t i = 0; i < plan->manifest->n_cases; i++) plan->is_left_out[i] = 1;
    for (char *line = strtok_r(text, "\n", &rest); line && status == IO_OK; line = strtok_r(NULL, "\n", &rest)) {
        const char *id = cut_id(line);
        const size_t i = id ? find_case(plan->manifest, id) : plan->manifest->n_cases;
        if (!id) continue;
        if (i < plan->manifest->n_cases)
            plan->is_left_out[i] = 0;
        else if (options->shard.n == 0)
            status = IO_FAIL(IO_ERR_ARGUMENT, "--only: %s names case %s, which is not among the %zu given", options->only, id,
                             plan->manifest->n_cases);
        n_found++;
    }
    if (status == IO_OK && n_found == 0) status = IO_FAIL(IO_ERR_NOT_FOUND, "--only: %s names no case", options->only);
    io_free(&text);
    return status;
}

/* Lines of a failed.tsv that still hold after this run: of cases that it leaves out and that have no record. */
static io_status keep_failures(const char *place, const job_segment_options *options, const segment_plan *plan, FILE *out)
{
    io_status status;
    char *path = NULL, *text = NULL, *rest;
    const pipe_outputs outputs = {.folder = options->output};

    IO_TRY_GOTO(status, done, io_path_join(place, "failed.tsv", &path));
    if (!io_file_exists(path)) goto done;
    IO_TRY_GOTO(status, done, io_file_read_text(path, MAX_LIST_BYTES, &text));
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char id[256];
        size_t i;
        snprintf(id, sizeof id, "%.*s", (int)strcspn(line, "\t"), line);
        i = find_case(plan->manifest, id);
        if (i < plan->manifest->n_cases && plan->is_left_out[i] && !pipe_case_has_record(&outputs, id)) fprintf(out, "%s\n", line);
    }
done:
    io_free(&text);
    io_free(&path);
    return status;
}

/* The slices of cases that this run leaves out, for samed status: their headers are not read. */
static io_status keep_slices(const char *place, segment_plan *plan)
{
    io_status status;
    char *path = NULL, *text = NULL, *rest;

    IO_TRY_GOTO(status, done, io_path_join(place, "cases.tsv", &path));
    if (!io_file_exists(path)) goto done;
    IO_TRY_GOTO(status, done, io_file_read_text(path, MAX_LIST_BYTES, &text));
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *end = strchr(line, '\t');
        const int64_t n_slices = end ? strtoll(end + 1, NULL, 10) : 0;
        size_t i;
        if (end) *end = '\0';
        i = find_case(plan->manifest, line);
        if (i < plan->manifest->n_cases && n_slices > 0) plan->known_slices[i] = n_slices;
    }
done:
    io_free(&text);
    io_free(&path);
    return status;
}

static io_status keep_place(const char *place, const job_segment_options *options, segment_plan *plan, FILE *failures)
{
    IO_TRY(keep_slices(place, plan));
    return keep_failures(place, options, plan, failures);
}

/* A run of some cases must not make forgotten what earlier ones say of the others: failures, numbers of slices. */
static io_status remember_others(const job_segment_options *options, segment_plan *plan)
{
    io_status status = IO_OK;
    char **names = NULL, *place = NULL, *text = NULL;
    size_t n_names = 0, n_bytes = 0;
    job_shard shard;
    FILE *out;

    if (!io_folder_exists(options->output)) return IO_OK;
    IO_TRY(io_alloc(plan->manifest->n_cases, sizeof *plan->known_slices, (void **)&plan->known_slices));
    out = open_memstream(&text, &n_bytes);
    if (!out) return IO_FAIL_ERRNO("failed.tsv");
    IO_TRY_GOTO(status, done, keep_place(options->output, options, plan, out));
    IO_TRY_GOTO(status, done, io_folder_list(options->output, &names, &n_names));
    for (size_t i = 0; i < n_names; i++) {
        if (!job_output_is_shard(names[i], &shard)) continue;
        io_free(&place);
        IO_TRY_GOTO(status, done, io_path_join(options->output, names[i], &place));
        IO_TRY_GOTO(status, done, keep_place(place, options, plan, out));
    }
done:
    fclose(out);
    if (status == IO_OK) status = io_string_copy(text, &plan->old_failures);
    free(text); /* of open_memstream */
    io_free(&place);
    io_names_free(&names, n_names);
    return status;
}

/* Rank 0. */
static io_status choose_cases(const job_segment_options *options, segment_plan *plan)
{
    IO_TRY(find_cases(options, &plan->manifest));
    if (options->shard.n > 0) IO_TRY(keep_shard(options->shard, plan->manifest));
    IO_TRY(io_alloc(plan->manifest->n_cases, sizeof *plan->is_left_out, (void **)&plan->is_left_out));
    if (!options->only) return IO_OK;
    IO_TRY(take_only(options, plan));
    return remember_others(options, plan);
}

/* One line per case: left out?, id, path. Rank 0 alone lists folders: a thousand ranks would be a storm on the file server. */
static io_status print_manifest(const segment_plan *plan, char **out)
{
    const io_manifest *manifest = plan->manifest;
    size_t n_bytes = 1, used = 0;

    for (size_t i = 0; i < manifest->n_cases; i++) n_bytes += strlen(manifest->cases[i].id) + strlen(manifest->cases[i].path) + 32;
    IO_TRY(io_alloc(n_bytes, 1, (void **)out));
    for (size_t i = 0; i < manifest->n_cases; i++) {
        const io_case *c = &manifest->cases[i];
        if (strchr(c->id, '\n') || strchr(c->path, '\n'))
            return IO_FAIL(IO_ERR_ARGUMENT, "the path '%s' holds a line break; rename the file", c->path);
        used += (size_t)snprintf(*out + used, n_bytes - used, "%d\t%s\t%s\n", (int)plan->is_left_out[i], c->id, c->path);
    }
    return IO_OK;
}

static io_status add_case(segment_plan *plan, char *line)
{
    char *id = strchr(line, '\t'), *path = id ? strchr(id + 1, '\t') : NULL;
    io_manifest *manifest = plan->manifest;
    io_case *c = &manifest->cases[manifest->n_cases];

    if (!path) return IO_FAIL(IO_ERR_FORMAT, "rank 0 sent an unreadable case line");
    *path++ = '\0';
    plan->is_left_out[manifest->n_cases++] = *line == '1';
    IO_TRY(io_string_copy(id + 1, &c->id));
    return io_string_copy(path, &c->path);
}

static io_status read_manifest(char *text, segment_plan *plan)
{
    size_t n_lines = 0;
    char *rest;

    for (const char *at = text; *at; at++) n_lines += *at == '\n';
    IO_TRY(io_alloc(1, sizeof *plan->manifest, (void **)&plan->manifest));
    IO_TRY(io_alloc(n_lines, sizeof *plan->manifest->cases, (void **)&plan->manifest->cases));
    IO_TRY(io_alloc(n_lines, sizeof *plan->is_left_out, (void **)&plan->is_left_out));
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) IO_TRY(add_case(plan, line));
    return IO_OK;
}

io_status job_segment_cases_find(const job_comm *world, const job_segment_options *options, segment_plan *plan)
{
    io_status status = IO_OK;
    char *text = NULL;

    if (world->rank == 0) status = choose_cases(options, plan);
    if (world->rank == 0 && status == IO_OK) status = print_manifest(plan, &text);
    if (!job_all_ok(world, &status, NULL)) goto done;
    IO_TRY_GOTO(status, done, job_comm_bcast_text(world, &text, 0));
    if (world->rank != 0) status = read_manifest(text, plan);
    (void)job_all_ok(world, &status, NULL);
done:
    io_free(&text);
    return status;
}
