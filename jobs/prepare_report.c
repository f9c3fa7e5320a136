/* What rank 0 keeps and writes about the run as a whole. See prepare.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/plural.h"
#include "jobs/events.h"
#include "jobs/exits.h"
#include "jobs/prepare.h"
#include "jobs/stop.h"

void job_prepare_report_start(prepare_run *run)
{
    io_json *event = job_event_create(run->options->json, "start");

    job_progress_start(&run->progress, run->n_left, run->slices_left, run->options->verbosity < 0);
    run->is_open = true;
    if (!event) return;
    (void)io_json_put_text(event, "version", SAMED_VERSION);
    (void)io_json_put_number(event, "cases", (double)run->cases.n);
    (void)io_json_put_number(event, "already_done", (double)run->n_done);
    (void)io_json_put_number(event, "slices", (double)run->slices_left);
    (void)io_json_put_number(event, "ranks", run->world.size);
    (void)io_json_put_text(event, "output", run->options->output);
    job_event_print(&event);
}

void job_prepare_report_progressed(void *argument, int64_t n_slices)
{
    prepare_run *run = argument;

    run->progress.slices_done += n_slices;
}

static void print_ended(const prepare_run *run, const job_outcome *outcome)
{
    io_json *event = job_event_create(run->options->json, "case");

    if (!event) return;
    job_event_put_outcome(event, run->cases.ids[outcome->case_index], outcome);
    (void)io_json_put_number(event, "slices", (double)outcome->n_slices);
    job_event_print(&event);
}

static void keep_failure(prepare_run *run, const job_outcome *outcome)
{
    job_outcome *copy = NULL;

    io_log(IO_LOG_WARN, "case %s failed (%s): %s", run->cases.ids[outcome->case_index], outcome->stage, outcome->text);
    if (io_alloc(1, sizeof *copy, (void **)&copy) != IO_OK) job_abort(JOB_EXIT_RUN, "%s", io_last_error_text());
    *copy = *outcome;
    run->failures[run->n_failed++] = copy;
    run->has_failed[outcome->case_index] = true;
    run->progress.cases_failed++;
    run->progress.n_slices -= run->to_do[outcome->case_index];
}

void job_prepare_report_ended(void *argument, const job_outcome *outcome)
{
    prepare_run *run = argument;

    print_ended(run, outcome);
    if (outcome->status == IO_OK) {
        run->n_finished++;
        run->progress.cases_done++;
        io_log(IO_LOG_DEBUG, "case %s: %lld slice%s in %.1f s", run->cases.ids[outcome->case_index], (long long)outcome->n_slices,
               io_plural(outcome->n_slices), outcome->seconds);
    } else if (outcome->status != IO_ERR_STOPPED) {
        keep_failure(run, outcome);
    }
}

/* A table cell holds no tab and no line break. */
static void print_cell(FILE *out, const char *text, char end)
{
    for (; *text; text++) fputc(*text == '\t' || *text == '\n' || *text == '\r' ? ' ' : *text, out);
    fputc(end, out);
}

static int compare_outcomes(const void *a, const void *b)
{
    const job_outcome *const *x = a, *const *y = b;

    return (*x)->case_index < (*y)->case_index ? -1 : (*x)->case_index > (*y)->case_index;
}

static io_status write_failed(const prepare_run *run)
{
    io_status status;
    char *text = NULL, *path = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);

    if (!out) return IO_FAIL_ERRNO("failed.tsv");
    qsort(run->failures, (size_t)run->n_failed, sizeof *run->failures, compare_outcomes);
    fprintf(out, "case\tstage\treason\ttext\n");
    for (int64_t i = 0; i < run->n_failed; i++) {
        const job_outcome *outcome = run->failures[i];
        print_cell(out, run->cases.ids[outcome->case_index], '\t');
        print_cell(out, outcome->stage, '\t');
        print_cell(out, io_status_name(outcome->status), '\t');
        print_cell(out, outcome->text, '\n');
    }
    fclose(out);
    status = io_path_join(run->options->output, "failed.tsv", &path);
    if (status == IO_OK) status = io_file_write_text(path, text);
    io_free(&path);
    free(text); /* of open_memstream, not of io_alloc */
    return status;
}

static void warn_split(const prepare_run *run)
{
    size_t n_train = 0, n_val = 0;

    for (size_t i = 0; i < run->cases.n; i++) {
        n_train += run->parts[i] == PIPE_PART_TRAIN && !run->has_failed[i];
        n_val += run->parts[i] == PIPE_PART_VAL && !run->has_failed[i];
    }
    io_log(IO_LOG_INFO, "%zu case%s to train on, %zu held out", n_train, io_plural(n_train), n_val);
    if (n_train == 0) io_log(IO_LOG_WARN, "no case to train on is left in %s", run->options->output);
}

static io_status write_index(const prepare_run *run)
{
    const pipe_store_about about = {.folder = run->options->output,
                                    .options = run->text,
                                    .size = run->options->slices.image_size,
                                    .labels = run->labels,
                                    .split = &run->options->split};

    warn_split(run);
    return pipe_store_write(&about, run->cases.ids, run->parts, run->has_failed, run->cases.n);
}

static void print_end(const prepare_run *run, int64_t n_left, int exit_code)
{
    io_json *event = job_event_create(run->options->json, "end");
    char duration[32];

    if (event) {
        (void)io_json_put_number(event, "done", (double)run->n_finished);
        (void)io_json_put_number(event, "done_before", (double)run->n_done);
        (void)io_json_put_number(event, "failed", (double)run->n_failed);
        (void)io_json_put_number(event, "left", (double)n_left);
        (void)io_json_put_number(event, "seconds", job_time_now() - run->started);
        (void)io_json_put_number(event, "exit", exit_code);
        job_event_print(&event);
    }
    job_duration_text(job_time_now() - run->started, duration);
    io_log(IO_LOG_INFO, "%lld done, %lld done before, %lld failed, %lld left, in %s; the store is %s", (long long)run->n_finished,
           (long long)run->n_done, (long long)run->n_failed, (long long)n_left, duration, run->options->output);
    if (exit_code == JOB_EXIT_NOTHING)
        io_log(IO_LOG_ERROR, "no case could be prepared, so there is no store; %s/failed.tsv says why", run->options->output);
    else if (run->n_failed > 0)
        io_log(IO_LOG_INFO, "failed cases are listed in %s/failed.tsv", run->options->output);
    if (n_left > 0) io_log(IO_LOG_WARN, "stopped in good order by %s; start again with the same options to continue", job_stop_name());
}

io_status job_prepare_report_finish(prepare_run *run, int *exit_code)
{
    const int64_t n_left = run->n_left - run->n_finished - run->n_failed;
    const bool has_any = run->n_finished + run->n_done > 0;

    job_progress_clear(&run->progress);
    *exit_code = n_left > 0 ? JOB_EXIT_STOPPED : run->n_failed == 0 ? JOB_EXIT_DONE : has_any ? JOB_EXIT_CASES : JOB_EXIT_NOTHING;
    if (run->n_failed > 0) IO_TRY(write_failed(run));
    if (n_left == 0 && has_any) IO_TRY(write_index(run)); /* last: its presence says that everything else is there */
    print_end(run, n_left, *exit_code);
    return IO_OK;
}
