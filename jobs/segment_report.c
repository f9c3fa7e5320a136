/* What rank 0 keeps and writes about the run as a whole. See segment.h. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "io/file.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/plural.h"
#include "jobs/events.h"
#include "jobs/exits.h"
#include "jobs/segment.h"
#include "jobs/stop.h"
#include "jobs/weights.h"

enum { MAX_RECORD_BYTES = 16 << 20, WRITE_FAILED_EVERY_S = 5 };

struct segment_report {
    const segment_run *run;
    job_progress progress;
    job_outcome **failed; /* [n_failed], room for all cases */
    int64_t n_failed, n_finished, n_suspicious;
    double started, failed_written;
    bool is_failed_stale; /* failed.tsv lacks something */
    char started_at[32];
    segment_tables *tables;
    char *choices;         /* model_ops.choices, at the end; NULL before */
    pthread_mutex_t mutex; /* of everything above: the thread that hurries reads it too */
};

/* "2026-01-31T12:00:00Z" */
static void print_time(char out[32])
{
    const time_t now = time(NULL);
    struct tm utc;

    gmtime_r(&now, &utc);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static const char *case_id(const segment_report *report, int64_t index)
{
    return report->run->plan.manifest->cases[index].id;
}

static void print_start(const segment_report *report)
{
    const segment_run *run = report->run;
    io_json *event = job_event_create(report->run->options->json, "start");

    if (!event) return;
    (void)io_json_put_text(event, "version", SAMED_VERSION);
    (void)io_json_put_number(event, "cases", (double)(run->plan.n_done + run->plan.n_left));
    (void)io_json_put_number(event, "already_done", (double)run->plan.n_done);
    (void)io_json_put_number(event, "slices", (double)run->plan.slices_left);
    (void)io_json_put_number(event, "ranks", run->world.size);
    (void)io_json_put_text(event, "output", run->options->output);
    job_event_print(&event);
}

/* Label tables beside the label maps, in the formats that viewers open. */
static io_status write_tables(const segment_run *run)
{
    static const struct {
        const char *name;
        io_status (*write)(const io_labels *labels, const char *path);
    } tables[] = {{"labels.tsv", io_labels_write_bids},
                  {"labels_itksnap.txt", io_labels_write_itksnap},
                  {"labels_slicer.csv", io_labels_write_slicer}};

    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        char *path = NULL;
        io_status status = io_path_join(run->options->output, tables[i].name, &path);
        if (status == IO_OK) status = tables[i].write(run->weights.names, path);
        io_free(&path);
        IO_TRY(status);
    }
    return IO_OK;
}

static bool has_old_failures(const segment_report *report)
{
    return report->run->plan.old_failures && *report->run->plan.old_failures;
}

io_status job_segment_report_create(const segment_run *run, segment_report **out)
{
    io_status status = IO_OK;
    segment_report *report = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *report, (void **)&report));
    IO_TRY_GOTO(status, done, io_alloc(run->plan.manifest->n_cases, sizeof *report->failed, (void **)&report->failed));
    report->run = run;
    pthread_mutex_init(&report->mutex, NULL);
    report->started = job_time_now();
    print_time(report->started_at);
    IO_TRY_GOTO(status, done, write_tables(run));
    IO_TRY_GOTO(status, done, job_segment_tables_create(run, &report->tables));
    report->is_failed_stale = has_old_failures(report);
    job_progress_start(&report->progress, run->plan.n_left, run->plan.slices_left, run->options->verbosity < 0);
    print_start(report);
    *out = report;
    report = NULL;
done:
    job_segment_report_free(&report);
    return status;
}

void job_segment_report_free(segment_report **report)
{
    if (!report || !*report) return;
    for (int64_t i = 0; i < (*report)->n_failed; i++) io_free(&(*report)->failed[i]);
    job_segment_tables_free(&(*report)->tables);
    if ((*report)->run) pthread_mutex_destroy(&(*report)->mutex);
    io_free(&(*report)->failed);
    io_free(&(*report)->choices);
    io_free(report);
}

void job_segment_report_progressed(void *argument, int64_t n_slices)
{
    segment_report *report = argument;

    pthread_mutex_lock(&report->mutex);
    report->progress.slices_done += n_slices;
    pthread_mutex_unlock(&report->mutex);
}

/* A table cell holds no tab and no line break. */
static void print_cell(FILE *out, const char *text, char end)
{
    for (; *text; text++) fputc(*text == '\t' || *text == '\n' || *text == '\r' ? ' ' : *text, out);
    fputc(end, out);
}

static io_status write_text(const segment_run *run, const char *name, const char *text)
{
    char *path = NULL;
    io_status status = io_path_join(run->place, name, &path);

    if (status == IO_OK) status = io_file_write_text(path, text);
    io_free(&path);
    return status;
}

static int compare_outcomes(const void *a, const void *b)
{
    const job_outcome *const *x = a, *const *y = b;
    return (*x)->case_index < (*y)->case_index ? -1 : (*x)->case_index > (*y)->case_index;
}

static io_status write_failed(segment_report *report)
{
    io_status status;
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);

    if (!out) return IO_FAIL_ERRNO("failed.tsv");
    qsort(report->failed, (size_t)report->n_failed, sizeof *report->failed, compare_outcomes);
    fprintf(out, "case\tstage\treason\ttext\n");
    for (int64_t i = 0; i < report->n_failed; i++) {
        const job_outcome *outcome = report->failed[i];
        print_cell(out, case_id(report, outcome->case_index), '\t');
        print_cell(out, outcome->stage, '\t');
        print_cell(out, io_status_name(outcome->status), '\t');
        print_cell(out, outcome->text, '\n');
    }
    if (report->run->plan.old_failures) fputs(report->run->plan.old_failures, out);
    fclose(out);
    status = write_text(report->run, "failed.tsv", text);
    free(text); /* of open_memstream, not of io_alloc */
    report->is_failed_stale = status != IO_OK;
    report->failed_written = job_time_now();
    return status;
}

static void print_ended(segment_report *report, const job_outcome *outcome)
{
    io_json *event = job_event_create(report->run->options->json, "case");

    if (!event) return;
    job_event_put_outcome(event, case_id(report, outcome->case_index), outcome);
    (void)io_json_put_number(event, "slices", (double)outcome->n_slices);
    job_event_print(&event);
}

static void keep_failure(segment_report *report, const job_outcome *outcome)
{
    job_outcome *copy = NULL;

    io_log(IO_LOG_WARN, "case %s failed (%s): %s", case_id(report, outcome->case_index), outcome->stage, outcome->text);
    if (io_alloc(1, sizeof *copy, (void **)&copy) != IO_OK) job_abort(JOB_EXIT_RUN, "%s", io_last_error_text());
    *copy = *outcome;
    report->failed[report->n_failed++] = copy;
    report->progress.cases_failed++;
    report->progress.n_slices -= report->run->plan.to_do[outcome->case_index];
    report->is_failed_stale = true;
}

void job_segment_report_ended(void *argument, const job_outcome *outcome)
{
    segment_report *report = argument;

    print_ended(report, outcome);
    pthread_mutex_lock(&report->mutex);
    job_segment_tables_ended(report->tables, outcome->case_index);
    report->n_suspicious += outcome->n_warnings > 0;
    report->n_finished += outcome->status == IO_OK;
    report->progress.cases_done += outcome->status == IO_OK;
    if (outcome->status != IO_OK && outcome->status != IO_ERR_STOPPED) keep_failure(report, outcome);
    pthread_mutex_unlock(&report->mutex);
    if (outcome->status == IO_OK && report->run->options->verbosity > 0)
        io_log(IO_LOG_INFO, "case %s: %lld slice%s in %.1f s", case_id(report, outcome->case_index), (long long)outcome->n_slices,
               io_plural(outcome->n_slices), outcome->seconds);
}

void job_segment_report_handed(void *argument, const job_part *part, int rank)
{
    segment_report *report = argument;

    if (part->number > 0) return; /* its case is under way already, at home elsewhere */
    pthread_mutex_lock(&report->mutex);
    job_segment_tables_handed(report->tables, part->case_index, rank);
    pthread_mutex_unlock(&report->mutex);
}

void job_segment_report_show(segment_report *report)
{
    if (!report) return;
    job_progress_show(&report->progress);
    pthread_mutex_lock(&report->mutex);
    job_segment_tables_show(report->tables);
    if (report->is_failed_stale && job_time_now() - report->failed_written > WRITE_FAILED_EVERY_S && write_failed(report) != IO_OK)
        io_log(IO_LOG_WARN, "%s", io_last_error_text());
    pthread_mutex_unlock(&report->mutex);
}

void job_segment_report_clear(segment_report *report)
{
    job_progress_clear(&report->progress);
}

static int choose_exit(const segment_report *report, int64_t n_left)
{
    const bool has_any = report->n_finished > 0 || report->run->plan.n_done > 0;

    if (n_left > 0) return JOB_EXIT_STOPPED;
    if (report->n_failed == 0) return JOB_EXIT_DONE;
    return has_any ? JOB_EXIT_CASES : JOB_EXIT_NOTHING;
}

/* One line per case and label, over all finished cases of the study. */
static void print_case_stats(FILE *out, const char *id, const io_json *stats)
{
    static const char *const columns[] = {"value", "name",        "voxels",     "volume_ml",     "mean",
                                          "sd",    "first_slice", "last_slice", "touches_border"};

    for (size_t i = 0; i < io_json_size(stats); i++) {
        const io_json *entry = io_json_at(stats, i);
        print_cell(out, id, '\t');
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
            const io_json *node = io_json_get(entry, columns[c]);
            double number;
            const char end = c + 1 < sizeof columns / sizeof *columns ? '\t' : '\n';
            if (node && io_json_text(node))
                print_cell(out, io_json_text(node), end);
            else if (node && io_json_number(node, &number))
                fprintf(out, "%.10g%c", number, end);
            else
                fprintf(out, "%s%c", node && c == 8 ? (io_json_is_true(node) ? "1" : "0") : "n/a", end);
        }
    }
}

static io_status write_stats(const segment_run *run)
{
    io_status status;
    char *text = NULL;
    size_t n_bytes = 0;
    FILE *out = open_memstream(&text, &n_bytes);

    if (!out) return IO_FAIL_ERRNO("stats.tsv");
    fprintf(out, "case\tlabel\tname\tvoxels\tvolume_ml\tmean\tsd\tfirst_slice\tlast_slice\ttouches_border\n");
    for (size_t i = 0; i < run->plan.manifest->n_cases; i++) {
        char *path = NULL;
        io_json *record = NULL;
        const char *id = run->plan.manifest->cases[i].id;
        if (pipe_case_path(run->options->output, id, "_dseg.json", &path) == IO_OK && io_file_exists(path) &&
            io_json_read(path, MAX_RECORD_BYTES, &record) == IO_OK)
            print_case_stats(out, id, io_json_get(record, "stats"));
        io_json_free(&record);
        io_free(&path);
    }
    fclose(out);
    status = write_text(run, "stats.tsv", text);
    free(text); /* of open_memstream */
    return status;
}

static io_status add_counts(const segment_report *report, int64_t n_left, io_json *root)
{
    io_status status = IO_OK;
    io_json *cases = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&cases));
    IO_TRY_GOTO(status, done, io_json_put_number(cases, "given", (double)(report->run->plan.n_done + report->run->plan.n_left)));
    IO_TRY_GOTO(status, done, io_json_put_number(cases, "done_before", (double)report->run->plan.n_done));
    IO_TRY_GOTO(status, done, io_json_put_number(cases, "done", (double)report->n_finished));
    IO_TRY_GOTO(status, done, io_json_put_number(cases, "failed", (double)report->n_failed));
    IO_TRY_GOTO(status, done, io_json_put_number(cases, "left", (double)n_left));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "suspicious_cases", (double)report->n_suspicious));
    status = io_json_put(root, "cases", &cases);
done:
    io_json_free(&cases);
    return status;
}

static io_status add_settings(const segment_report *report, io_json *root)
{
    const segment_run *run = report->run;
    const char *published = job_weights_published_name(run->weights.sam_sha256);

    IO_TRY(io_json_put_text(root, "version", SAMED_VERSION));
    IO_TRY(io_json_put_text(root, "started", report->started_at));
    IO_TRY(io_json_put_text(root, "host", job_comm_host()));
    if (run->options->shard.n > 0) {
        IO_TRY(io_json_put_number(root, "shard", run->options->shard.index));
        IO_TRY(io_json_put_number(root, "shards", run->options->shard.n));
    }
    IO_TRY(io_json_put_number(root, "ranks", run->world.size));
    IO_TRY(io_json_put_number(root, "parts", run->queue ? (double)job_queue_size(run->queue) : 0));
    IO_TRY(io_json_put_number(root, "threads_of_rank_0", run->share.n_threads));
    IO_TRY(io_json_put_text(root, "device", run->weights.device ? run->weights.device->description : ""));
    IO_TRY(io_json_put_text(root, "options", run->weights.options_text));
    IO_TRY(io_json_put_text(root, "sam", run->options->sam));
    IO_TRY(io_json_put_text(root, "sam_sha256", run->weights.sam_sha256));
    IO_TRY(io_json_put_text(root, "sam_published_as", published ? published : ""));
    IO_TRY(io_json_put_text(root, "adapter", run->options->adapter ? run->options->adapter : ""));
    return io_json_put_text(root, "adapter_sha256", run->weights.adapter_sha256);
}

/* The algorithm that the device chose for each kind of product: what can tell two runs on "the same" GPU apart. */
static io_status add_choices(const segment_report *report, io_json *root)
{
    io_status status = IO_OK;
    io_json *list = NULL;
    char *text = NULL, *rest;

    if (!report->choices) return IO_OK;
    IO_TRY_GOTO(status, done, io_string_copy(report->choices, &text));
    IO_TRY_GOTO(status, done, io_json_create_array(&list));
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        IO_TRY_GOTO(status, done, io_json_add_text(list, line));
    status = io_json_put(root, "algorithms", &list);
done:
    io_json_free(&list);
    io_free(&text);
    return status;
}

static io_status write_summary(const segment_report *report, int64_t n_left, int exit_code)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    char *path = NULL;
    struct rusage usage;
    const double seconds = job_time_now() - report->started;
    const double first_slice = report->run->first_slice > 0 ? report->run->first_slice - report->run->started : 0;

    getrusage(RUSAGE_SELF, &usage);
    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, add_settings(report, root));
    IO_TRY_GOTO(status, done, add_choices(report, root));
    IO_TRY_GOTO(status, done, add_counts(report, n_left, root));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "slices", (double)report->progress.slices_done));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "seconds", seconds));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "slices_per_second", (double)report->progress.slices_done / seconds));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "seconds_to_first_slice", first_slice));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "peak_memory_mb_of_rank_0", (double)usage.ru_maxrss / 1024));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "exit", exit_code));
    IO_TRY_GOTO(status, done, io_path_join(report->run->place, "run.json", &path));
    status = io_json_write(root, path);
done:
    io_free(&path);
    io_json_free(&root);
    return status;
}

static void print_end(segment_report *report, int64_t n_left, int exit_code)
{
    io_json *event = job_event_create(report->run->options->json, "end");
    char duration[32];

    if (event) {
        (void)io_json_put_number(event, "done", (double)report->n_finished);
        (void)io_json_put_number(event, "done_before", (double)report->run->plan.n_done);
        (void)io_json_put_number(event, "failed", (double)report->n_failed);
        (void)io_json_put_number(event, "left", (double)n_left);
        (void)io_json_put_number(event, "suspicious", (double)report->n_suspicious);
        (void)io_json_put_number(event, "seconds", job_time_now() - report->started);
        (void)io_json_put_number(event, "exit", exit_code);
        job_event_print(&event);
    }
    job_duration_text(job_time_now() - report->started, duration);
    io_log(IO_LOG_INFO, "%lld done, %lld done before, %lld failed, %lld left, in %s; results in %s", (long long)report->n_finished,
           (long long)report->run->plan.n_done, (long long)report->n_failed, (long long)n_left, duration, report->run->options->output);
    if (exit_code == JOB_EXIT_NOTHING)
        io_log(IO_LOG_ERROR, "no case could be segmented; %s/failed.tsv says why", report->run->place);
    else if (report->n_failed > 0)
        io_log(IO_LOG_INFO, "failed cases are listed in %s/failed.tsv", report->run->place);
    if (report->n_suspicious > 0)
        io_log(IO_LOG_WARN, "%lld case%s of this run look%s suspicious: see the warnings above, or \"suspicious\" in the records",
               (long long)report->n_suspicious, io_plural(report->n_suspicious), report->n_suspicious == 1 ? "s" : "");
    if (n_left > 0) io_log(IO_LOG_WARN, "stopped in good order by %s; start again with the same options to continue", job_stop_name());
}

static io_status finish_report(segment_report *report, int *exit_code)
{
    const segment_run *run = report->run;
    const int64_t n_left = run->plan.n_left - report->n_finished - report->n_failed;
    char text[16];

    job_progress_clear(&report->progress);
    *exit_code = choose_exit(report, n_left);
    if (report->n_failed > 0 || has_old_failures(report)) IO_TRY(write_failed(report));
    if (run->options->stats) IO_TRY(write_stats(run));
    IO_TRY(job_segment_tables_finish(report->tables));
    IO_TRY(write_summary(report, n_left, *exit_code));
    print_end(report, n_left, *exit_code);
    snprintf(text, sizeof text, "%d\n", *exit_code);
    if (n_left == 0) return write_text(run, "done", text); /* last: its presence says that everything else is there */
    return IO_OK;
}

io_status job_segment_report_finish(segment_report *report, int *exit_code)
{
    io_status status = IO_OK;
    const model_device *device = report->run->weights.device;

    pthread_mutex_lock(&report->mutex);
    if (device && device->ops->choices) status = device->ops->choices(device->backend, &report->choices);
    if (status == IO_OK) status = finish_report(report, exit_code);
    pthread_mutex_unlock(&report->mutex);
    return status;
}

/* Nothing can be said if this fails: the process has half a second left. */
void job_segment_report_hurry(segment_report *report)
{
    pthread_mutex_lock(&report->mutex);
    if (report->is_failed_stale) (void)write_failed(report);
    (void)job_segment_tables_finish(report->tables);
    (void)write_summary(report, report->run->plan.n_left - report->n_finished - report->n_failed, JOB_EXIT_STOPPED);
    pthread_mutex_unlock(&report->mutex);
}
