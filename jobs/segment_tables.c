/* Where a run stands, for samed status: cases.tsv, written once at the start, and running.tsv, written now and then. What is done and what
 * failed say the records and failed.tsv. See segment.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/file.h"
#include "io/log.h"
#include "io/memory.h"
#include "jobs/segment.h"

/* Seconds between two times that running.tsv is written, at least; and as parts of the time, at most, where a write takes long. */
static const double write_every_s = 1, most_writing = 0.02;

struct segment_tables {
    const segment_run *run;
    int *home_of;       /* [n_cases] 1 + the case's home, 0 when it is not under way */
    int64_t *under_way; /* [n_under_way] case indices; room for all */
    size_t n_under_way;
    double written, took; /* seconds: when running.tsv was written last, and how long that took */
    bool is_stale;
};

static io_status write_table(const segment_run *run, const char *name, FILE *out, char **text)
{
    io_status status;
    char *path = NULL;

    if (fclose(out) != 0) return IO_FAIL(IO_ERR_MEMORY, "%s: no memory left", name);
    status = io_path_join(run->place, name, &path);
    if (status == IO_OK) status = io_file_write_text(path, *text);
    io_free(&path);
    return status;
}

/* 0: not known. Of a case that is left out that is what an earlier run counted. */
static long long count_slices(const segment_plan *plan, size_t i)
{
    if (!plan->is_left_out[i]) return plan->n_voxels[i] > 0 ? (long long)plan->n_slices[i] : 0;
    return plan->known_slices ? (long long)plan->known_slices[i] : 0;
}

static io_status write_cases(const segment_run *run)
{
    const segment_plan *plan = &run->plan;
    io_status status;
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);

    if (!out) return IO_FAIL_ERRNO("cases.tsv");
    fprintf(out, "case\tslices\tstate\n");
    for (size_t i = 0; i < plan->manifest->n_cases; i++)
        fprintf(out, "%s\t%lld\t%s\n", plan->manifest->cases[i].id, count_slices(plan, i),
                plan->is_left_out[i] ? "left_out"
                : plan->is_done[i]   ? "done_before"
                                     : "to_do");
    status = write_table(run, "cases.tsv", out, &text);
    free(text); /* of open_memstream */
    return status;
}

static io_status write_running(segment_tables *tables)
{
    io_status status;
    char *text = NULL;
    size_t n_bytes = 0;
    const double start = job_time_now();
    FILE *out = open_memstream(&text, &n_bytes);

    if (!out) return IO_FAIL_ERRNO("running.tsv");
    fprintf(out, "case\trank\n");
    for (size_t i = 0; i < tables->n_under_way; i++)
        fprintf(out, "%s\t%d\n", tables->run->plan.manifest->cases[tables->under_way[i]].id, tables->home_of[tables->under_way[i]] - 1);
    status = write_table(tables->run, "running.tsv", out, &text);
    free(text); /* of open_memstream */
    tables->is_stale = false;
    tables->written = job_time_now();
    tables->took = tables->written - start;
    return status;
}

io_status job_segment_tables_create(const segment_run *run, segment_tables **out)
{
    io_status status = IO_OK;
    segment_tables *tables = NULL;
    const size_t n = run->plan.manifest->n_cases;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *tables, (void **)&tables));
    tables->run = run;
    IO_TRY_GOTO(status, done, io_alloc(n, sizeof *tables->home_of, (void **)&tables->home_of));
    IO_TRY_GOTO(status, done, io_alloc(n, sizeof *tables->under_way, (void **)&tables->under_way));
    IO_TRY_GOTO(status, done, write_cases(run));
    *out = tables;
    tables = NULL;
done:
    job_segment_tables_free(&tables);
    return status;
}

void job_segment_tables_free(segment_tables **tables)
{
    if (!tables || !*tables) return;
    io_free(&(*tables)->home_of);
    io_free(&(*tables)->under_way);
    io_free(tables);
}

void job_segment_tables_handed(segment_tables *tables, int64_t case_index, int home)
{
    if (tables->home_of[case_index]) return;
    tables->home_of[case_index] = home + 1;
    tables->under_way[tables->n_under_way++] = case_index;
    tables->is_stale = true;
}

void job_segment_tables_ended(segment_tables *tables, int64_t case_index)
{
    for (size_t i = 0; i < tables->n_under_way; i++) /* a few of each rank */
        if (tables->under_way[i] == case_index) tables->under_way[i] = tables->under_way[--tables->n_under_way];
    tables->home_of[case_index] = 0;
    tables->is_stale = true;
}

void job_segment_tables_show(segment_tables *tables)
{
    if (!tables->is_stale) return;
    if (tables->written > 0 && job_time_now() - tables->written < fmax(write_every_s, tables->took / most_writing)) return;
    if (write_running(tables) != IO_OK) io_log(IO_LOG_WARN, "%s", io_last_error_text());
}

io_status job_segment_tables_finish(segment_tables *tables)
{
    io_status status;
    char *path = NULL;

    tables->is_stale = false;
    IO_TRY(io_path_join(tables->run->place, "running.tsv", &path));
    status = io_file_remove(path);
    io_free(&path);
    return status;
}
