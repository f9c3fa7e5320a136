/* Cases and shards. See status.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "io/file.h"
#include "io/memory.h"
#include "jobs/output.h"
#include "jobs/status.h"
#include "pipeline/case.h"

enum {
    MAX_TABLE_BYTES = 1 << 28,
    MAX_FIELDS = 4,
    SKEW_S = 2 /* clocks of hosts that write to one file system differ: a record a bit older than the run's start is still the run's */
};

/* The output folder's names, sorted, to find records without asking the file system for each. */
typedef struct listing {
    const char *folder;
    char **names; /* [n] */
    size_t n;
} listing;

static int compare_names(const void *key, const void *element)
{
    return strcmp(key, *(char *const *)element);
}

/* Seconds since the epoch, with their fraction: a run that has just begun has a speed too. */
static double count_seconds(struct timespec moment)
{
    return (double)moment.tv_sec + 1e-9 * (double)moment.tv_nsec;
}

/* When the case's record was written, as count_seconds; 0 when there is none. */
static double find_record(const listing *list, const char *id)
{
    char name[512];
    char *path = NULL;
    struct stat about = {0};

    snprintf(name, sizeof name, "%s_dseg.json", id);
    if (!bsearch(name, list->names, list->n, sizeof *list->names, compare_names)) return 0;
    if (io_path_join(list->folder, name, &path) != IO_OK) return 0;
    if (stat(path, &about) != 0) about = (struct stat){0};
    io_free(&path);
    return count_seconds(about.st_mtim);
}

/* The text of a place's table, NULL when it is not there. *written (may be NULL) when. */
static io_status read_table(const char *place, const char *name, char **text, double *written)
{
    io_status status = IO_OK;
    char *path = NULL;
    struct stat about;

    *text = NULL;
    IO_TRY(io_path_join(place, name, &path));
    if (stat(path, &about) == 0) {
        if (written) *written = count_seconds(about.st_mtim);
        status = io_file_read_text(path, MAX_TABLE_BYTES, text);
    }
    io_free(&path);
    return status;
}

/* The next line behind the header; NULL at the end. rest is NULL before the first call. */
static char *next_line(char *text, char **rest)
{
    if (!*rest && !strtok_r(text, "\n", rest)) return NULL;
    return strtok_r(NULL, "\n", rest);
}

/* Room for one more behind n elements of an array that this function alone has made: its length is the power of two from n on. */
static io_status make_room(void **array, size_t n, size_t element_bytes)
{
    return n & (n - 1) ? IO_OK : io_grow(array, n * element_bytes, n ? 2 * n : 1, element_bytes);
}

static int compare_failures(const void *a, const void *b)
{
    const status_failure *x = a, *y = b;
    return strcmp(x->id, y->id);
}

static io_status add_failure(const char *line, segment_status *out)
{
    status_failure *failure;
    char *fields[MAX_FIELDS];

    IO_TRY(make_room((void **)&out->failures, out->n_failures, sizeof *failure));
    failure = &out->failures[out->n_failures];
    *failure = (status_failure){.line = NULL};
    IO_TRY(io_string_copy(line, &failure->line));
    out->n_failures++;
    job_status_split(failure->line, '\t', fields, MAX_FIELDS);
    failure->id = fields[0];
    failure->stage = fields[1];
    failure->reason = fields[2];
    failure->text = fields[3];
    return IO_OK;
}

static io_status read_failures(const char *place, segment_status *out)
{
    io_status status;
    char *text = NULL, *rest = NULL;

    IO_TRY(read_table(place, "failed.tsv", &text, NULL));
    if (!text) return IO_OK;
    status = IO_OK;
    for (char *line = next_line(text, &rest); line && status == IO_OK; line = next_line(NULL, &rest)) status = add_failure(line, out);
    qsort(out->failures, out->n_failures, sizeof *out->failures, compare_failures);
    io_free(&text);
    return status;
}

static bool has_failed(const segment_status *out, const char *id)
{
    const status_failure key = {.id = id};
    return out->n_failures > 0 && bsearch(&key, out->failures, out->n_failures, sizeof key, compare_failures);
}

/* What a run that lives has under way. A record may be newer than running.tsv. */
static io_status read_running(const char *place, const listing *list, double started, segment_status *out)
{
    io_status status = IO_OK;
    char *text = NULL, *rest = NULL;

    IO_TRY(read_table(place, "running.tsv", &text, NULL));
    if (!text) return IO_OK;
    for (char *line = next_line(text, &rest); line && status == IO_OK; line = next_line(NULL, &rest)) {
        line[strcspn(line, "\t")] = '\0';
        if (find_record(list, line) >= started || has_failed(out, line)) continue;
        status = make_room((void **)&out->running, (size_t)out->n_running, sizeof *out->running);
        if (status == IO_OK) status = io_string_copy(line, &out->running[out->n_running]);
        if (status == IO_OK) out->n_running++;
    }
    io_free(&text);
    return status;
}

static void count_left(bool is_left_out, int64_t n_slices, status_place *place, segment_status *out)
{
    out->n_left++;
    out->slices_left += n_slices;
    out->n_left_out += is_left_out;
    if (is_left_out) return;
    place->n_left++;
    place->slices_left += n_slices;
}

/* One line of cases.tsv. A case that the run has before it is done by a record of this run, the others by any. Returns the slices that
 * this run has done of it. */
static int64_t count_case(char *line, const listing *list, double started, status_place *place, segment_status *out)
{
    char *fields[3];
    int64_t n_slices;
    double record;
    bool is_new, is_left_out;

    job_status_split(line, '\t', fields, 3);
    n_slices = strtoll(fields[1], NULL, 10);
    record = find_record(list, fields[0]);
    is_new = !strcmp(fields[2], "to_do");
    out->n_given++;
    out->slices_given += n_slices;
    if (record > 0 && (!is_new || record >= started)) {
        out->n_done++;
        out->n_uncounted += n_slices == 0;
        out->slices_done += n_slices;
        return is_new ? n_slices : 0;
    }
    if (has_failed(out, fields[0])) {
        out->n_failed++;
        return 0;
    }
    is_left_out = !strcmp(fields[2], "left_out");
    out->n_uncounted += is_left_out && n_slices == 0; /* one to do without slices cannot be read, and is about to fail */
    count_left(is_left_out, n_slices, place, out);
    return 0;
}

static void estimate(int64_t n_slices, double seconds, status_place *place)
{
    place->seconds_left = -1;
    if (place->state != STATUS_RUNNING || n_slices == 0 || seconds <= 0) return;
    place->slices_per_second = (double)n_slices / seconds;
    place->seconds_left = (double)place->slices_left / place->slices_per_second;
}

static io_status read_cases(const char *path, const listing *list, status_place *place, segment_status *out)
{
    char *text = NULL, *rest = NULL;
    int64_t n_slices = 0;
    struct timespec now;
    double started = 0;

    IO_TRY(read_failures(path, out));
    IO_TRY(read_table(path, "cases.tsv", &text, &started));
    if (!text) return IO_OK;
    place->is_listed = true;
    out->n_listed++;
    for (char *line = next_line(text, &rest); line; line = next_line(NULL, &rest))
        n_slices += count_case(line, list, started - SKEW_S, place, out);
    io_free(&text);
    clock_gettime(CLOCK_REALTIME, &now);
    estimate(n_slices, count_seconds(now) - started, place);
    return place->state == STATUS_RUNNING ? read_running(path, list, started - SKEW_S, out) : IO_OK;
}

static io_status add_place(const listing *list, const char *name, segment_status *out)
{
    io_status status = IO_OK;
    char *path = NULL;
    status_place *place;

    IO_TRY(make_room((void **)&out->places, out->n_places, sizeof *place));
    place = &out->places[out->n_places++];
    *place = (status_place){.seconds_left = -1};
    snprintf(place->name, sizeof place->name, "%s", name);
    if (*name)
        IO_TRY(io_path_join(list->folder, name, &path));
    else
        IO_TRY(io_string_copy(list->folder, &path));
    IO_TRY_GOTO(status, done, job_status_place(path, "cases.tsv", place));
    status = read_cases(path, list, place, out);
done:
    io_free(&path);
    return status;
}

/* Of how many shards is the study? 0 when it runs whole. Runs that were split otherwise have been forgotten by the last one. */
static int count_shards(const listing *list)
{
    job_shard shard;

    for (size_t i = 0; i < list->n; i++)
        if (job_output_is_shard(list->names[i], &shard)) return shard.n;
    return 0;
}

static void sum_up(segment_status *out)
{
    out->state = STATUS_FINISHED;
    out->seconds_left = 0;
    for (size_t i = 0; i < out->n_places; i++) {
        const status_place *place = &out->places[i];
        if (place->state < out->state) out->state = place->state;
        out->slices_per_second += place->slices_per_second;
        if (place->is_listed && place->n_left == 0) continue;
        if (place->seconds_left < 0 || place->state != STATUS_RUNNING) out->seconds_left = -1;
        if (out->seconds_left >= 0 && place->seconds_left > out->seconds_left) out->seconds_left = place->seconds_left;
    }
    /* a run of some cases (--only) finishes, and others are left */
    if (out->state != STATUS_FINISHED || out->n_left == 0) return;
    out->state = STATUS_STOPPED;
    out->seconds_left = -1;
}

io_status job_status_segment(const char *folder, segment_status *out)
{
    io_status status = IO_OK;
    listing list = {.folder = folder};

    *out = (segment_status){.n_places = 0};
    IO_TRY(io_folder_list(folder, &list.names, &list.n));
    out->n_shards = count_shards(&list);
    if (out->n_shards == 0) status = add_place(&list, "", out);
    for (int i = 1; i <= out->n_shards && status == IO_OK; i++) {
        char *path = NULL;
        status = job_output_place("", (job_shard){i, out->n_shards}, &path);
        if (status == IO_OK) status = add_place(&list, io_path_name(path), out);
        io_free(&path);
    }
    sum_up(out);
    io_names_free(&list.names, list.n);
    return status;
}

void job_status_segment_free(segment_status *status)
{
    for (size_t i = 0; i < status->n_failures; i++) io_free(&status->failures[i].line);
    for (int64_t i = 0; i < status->n_running; i++) io_free(&status->running[i]);
    io_free(&status->failures);
    io_free(&status->running);
    io_free(&status->places);
}
