/* `samed evaluate`: the order of its phases. See evaluate.h. */
#include "jobs/evaluate.h"

#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/plural.h"
#include "jobs/commands.h"
#include "jobs/events.h"
#include "jobs/exits.h"
#include "jobs/output.h"
#include "jobs/selfcheck.h"
#include "jobs/stop.h"

/* Lines of a rank, so that a log of many ranks can be read; rank 0's bar makes way. */
static void write_line(io_log_level level, const char *line, void *context)
{
    static const char *const prefixes[] = {"error: ", "warning: ", "", ""};
    evaluate_run *run = context;
    char rank[24] = "";

    if (run->world.rank > 0) snprintf(rank, sizeof rank, "[rank %d] ", run->world.rank);
    job_progress_clear(&run->progress);
    fprintf(stderr, "samed: %s%s%s\n", rank, prefixes[level], line);
}

static void set_log(evaluate_run *run)
{
    static const io_log_level levels[] = {IO_LOG_ERROR, IO_LOG_INFO, IO_LOG_DEBUG}; /* by verbosity + 1 */

    io_log_set_level(levels[run->options->verbosity + 1]);
    io_log_set_sink(write_line, run);
}

/* Another report that does not fit is a wrong option; everything else that can fail at the end is the run's. */
static int exit_of_report(io_status status)
{
    return status == IO_ERR_FORMAT || status == IO_ERR_MISMATCH ? JOB_EXIT_USAGE : JOB_EXIT_RUN;
}

/* Rank 0: the folder is there, ours alone, and without an older report's files: no mixture of two reports can be left. */
static io_status open_output(evaluate_run *run)
{
    static const char *const names[] = {"done",         "failed.tsv",  "metrics.csv", "summary.csv", "compare.csv",
                                        "summary.json", "report.html", "table.tex",   "run.json",    "nnunet/summary.json"};

    IO_TRY(job_output_open(run->options->output, &run->lock));
    return job_output_remove(run->options->output, names, sizeof names / sizeof *names);
}

static io_status apply_map(evaluate_run *run, const char *text)
{
    bool is_for_reference, is_for_prediction;
    const char *source = job_evaluate_map_source(text, &is_for_reference, &is_for_prediction);

    if (is_for_reference) IO_TRY(pipe_label_map_apply(run->reference_map, source));
    if (is_for_prediction) IO_TRY(pipe_label_map_apply(run->prediction_map, source));
    return IO_OK;
}

/* A report to compare with that is not there, or was made in another way, is better missed now than after an hour. */
static io_status check_other(const evaluate_run *run)
{
    const char *folder = run->options->compare;
    io_status status;
    char *path = NULL;

    if (!folder) return IO_OK;
    IO_TRY(io_path_join(folder, "metrics.csv", &path));
    status =
        io_file_exists(path) ? IO_OK : IO_FAIL(IO_ERR_NOT_FOUND, "--compare: %s is not there; give the folder of another report", path);
    io_free(&path);
    return status == IO_OK ? job_evaluate_check_other(run) : status;
}

/* table.tex compares eight organs with published rows, which are in samed: HD95 in voxels, the paper's rules for empty masks. */
static pipe_study_options complete_conventions(const evaluate_run *run)
{
    pipe_study_options study = run->options->study;

    if (!run->options->latex || study.conventions >> PIPE_SAMED & 1 || !pipe_report_has_paper_organs(run->labels)) return study;
    study.conventions |= 1u << PIPE_SAMED;
    study.order[study.n_conventions++] = PIPE_SAMED;
    return study;
}

static io_status plan(evaluate_run *run)
{
    const evaluate_options *options = run->options;
    pipe_study_options study;

    IO_TRY(job_evaluate_labels(options, &run->labels, run->labels_source, sizeof run->labels_source));
    IO_TRY(pipe_label_map_create(run->labels, &run->reference_map));
    IO_TRY(pipe_label_map_create(run->labels, &run->prediction_map));
    for (int i = 0; i < options->n_maps; i++) IO_TRY(apply_map(run, options->maps[i]));
    pipe_label_map_set_ignore(run->reference_map);
    pipe_label_map_set_ignore(run->prediction_map);
    study = complete_conventions(run);
    IO_TRY(pipe_study_create(run->labels, &study, &run->study));
    if (run->study->n_organs == 0) return IO_FAIL(IO_ERR_ARGUMENT, "%s: there is no organ beside the background", run->labels_source);
    return check_other(run);
}

static io_status list_pairs(evaluate_run *run)
{
    IO_TRY(job_evaluate_pairs(run->options, run->study));
    IO_TRY(job_evaluate_check_output(run->options, run->study));
    return io_alloc(run->study->n_cases, sizeof *run->tallies, (void **)&run->tallies);
}

/* Bytes of a file, or of a folder's files. What cannot be looked at weighs nothing: reading it will tell. */
static uint64_t weigh_files(const char *path)
{
    char **names = NULL, *file = NULL;
    size_t n_names = 0;
    uint64_t n_bytes = 0, sum = 0;

    if (!path) return 0;
    if (!io_folder_exists(path)) return io_file_exists(path) && io_file_size(path, &n_bytes) == IO_OK ? n_bytes : 0;
    if (io_folder_list(path, &names, &n_names) != IO_OK) return 0;
    for (size_t i = 0; i < n_names; i++) {
        if (io_path_join(path, names[i], &file) == IO_OK) sum += io_folder_exists(file) ? 0 : weigh_files(file);
        io_free(&file);
    }
    io_names_free(&names, n_names);
    return sum;
}

/* Work of a case: the size of its files stands for it; masks may lie in "segmentations". */
static int64_t weigh_case(const pipe_study_case *c)
{
    const char *const paths[] = {c->reference, c->prediction};
    uint64_t sum = 1;
    char *inner = NULL;

    for (int i = 0; i < 2; i++) {
        sum += weigh_files(paths[i]);
        if (!paths[i] || io_path_join(paths[i], "segmentations", &inner) != IO_OK) continue;
        if (io_folder_exists(inner)) sum += weigh_files(inner);
        io_free(&inner);
    }
    return (int64_t)sum;
}

/* Items are case * n_parts + part. With fewer cases than ranks the organs of a case are shared. */
static io_status create_queue(evaluate_run *run)
{
    io_status status;
    int64_t *weights = NULL;
    const int64_t n_cases = (int64_t)run->study->n_cases, n_organs = (int64_t)run->study->n_organs;
    int64_t n_parts = (run->world.size + n_cases - 1) / n_cases;

    n_parts = n_parts > n_organs ? n_organs : n_parts;
    run->n_parts = (int)n_parts;
    IO_TRY(io_alloc((size_t)(n_cases * n_parts), sizeof *weights, (void **)&weights));
    for (int64_t i = 0; i < n_cases; i++) {
        const int64_t weight = weigh_case(&run->study->cases[i]);
        for (int64_t p = 0; p < n_parts; p++) weights[i * n_parts + p] = weight;
    }
    status = job_queue_create(weights, (size_t)(n_cases * n_parts), &run->queue);
    io_free(&weights);
    return status;
}

/* Every rank listed the folders by itself; a file system that shows them differently must not mix cases up. */
static io_status check_agreement(const evaluate_run *run)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    int64_t sums[2];

    for (size_t i = 0; i < run->study->n_cases; i++)
        for (const char *c = run->study->cases[i].id; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    hash = hash % 1000003 * 1000 + run->study->n_cases % 1000;
    sums[0] = (int64_t)hash;
    sums[1] = (int64_t)hash * (int64_t)(hash % 1009);
    job_comm_sum(&run->world, sums, 2);
    if (sums[0] == (int64_t)hash * run->world.size && sums[1] == (int64_t)hash * (int64_t)(hash % 1009) * run->world.size) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH, "the ranks see different files in the folders; do all nodes see the same file system?");
}

static void on_progress(void *context, int64_t n)
{
    (void)context;
    (void)n;
}

/* Rank 0: a case failed, or all its parts are measured. */
static void tell_case(evaluate_run *run, const pipe_study_case *c, const job_outcome *outcome)
{
    io_json *event = job_event_create(run->options->json, "case");

    if (outcome->status == IO_OK)
        io_log(IO_LOG_DEBUG, "case %s: %.2f s", c->id, outcome->seconds);
    else
        io_log(IO_LOG_WARN, "case %s failed (%s): %s", c->id, outcome->stage, outcome->text);
    run->progress.cases_done += outcome->status == IO_OK;
    run->progress.cases_failed += outcome->status != IO_OK;
    if (!event) return;
    job_event_put_outcome(event, c->id, outcome);
    job_event_print(&event);
}

/* Rank 0: one item ended. A case fails with the first of its parts that does; all of them read the same files and fail alike. */
static void on_ended(void *context, const job_outcome *outcome)
{
    evaluate_run *run = context;
    const size_t index = (size_t)(outcome->case_index / run->n_parts);
    const pipe_study_case *c = &run->study->cases[index];
    evaluate_tally *tally = &run->tallies[index];
    job_outcome whole = *outcome;

    run->progress.slices_done++;
    tally->seconds += outcome->seconds;
    tally->n_ended++;
    if (c->text || (outcome->status == IO_OK && tally->n_ended < run->n_parts)) return;
    whole.seconds = tally->seconds;
    tell_case(run, c, &whole);
    if (outcome->status != IO_OK &&
        pipe_study_fail(run->study, index, outcome->stage, io_status_name(outcome->status), outcome->text) != IO_OK)
        job_abort(JOB_EXIT_RUN, "%s", io_last_error_text());
}

/* Collective. */
static io_status measure_all(evaluate_run *run)
{
    const int64_t n_cases = (int64_t)run->study->n_cases;
    const job_post_events events = {.progressed = on_progress, .ended = on_ended, .context = run};
    io_status status;

    IO_TRY(job_post_create(&run->world, run->queue, &events, &run->post));
    job_progress_start(&run->progress, n_cases, n_cases * run->n_parts, run->options->verbosity < 0 || run->world.rank > 0);
    run->progress.unit = run->n_parts > 1 ? "parts" : "cases";
    status = job_evaluate_loop(run);
    job_progress_clear(&run->progress);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    IO_TRY(job_evaluate_gather(run));
    return IO_OK;
}

/* Rank 0 knows how it went; all leave with the same code. */
static int choose_exit(const evaluate_run *run)
{
    const size_t n_done = pipe_study_count_done(run->study);

    if (n_done == 0) return JOB_EXIT_NOTHING;
    return n_done == run->study->n_cases ? JOB_EXIT_DONE : JOB_EXIT_CASES;
}

/* Collective: did a signal stop the run before all items were measured? */
static bool was_stopped(evaluate_run *run)
{
    int64_t n_left = 0;

    if (run->world.rank == 0) n_left = (int64_t)job_queue_left(run->queue);
    job_comm_bcast(&run->world, &n_left, sizeof n_left, 0);
    return n_left > 0;
}

static void tell_start(const evaluate_run *run)
{
    io_json *event = job_event_create(run->options->json, "start");

    io_log(IO_LOG_INFO, "%zu case%s, %zu organ%s of %s, %zu metric%s", run->study->n_cases, io_plural(run->study->n_cases),
           run->study->n_organs, io_plural(run->study->n_organs), run->labels_source, run->study->n_columns,
           io_plural(run->study->n_columns));
    if (!event) return;
    (void)io_json_put_text(event, "version", SAMED_VERSION);
    (void)io_json_put_number(event, "cases", (double)run->study->n_cases);
    (void)io_json_put_number(event, "organs", (double)run->study->n_organs);
    (void)io_json_put_number(event, "metrics", (double)run->study->n_columns);
    (void)io_json_put_number(event, "ranks", run->world.size);
    (void)io_json_put_text(event, "output", run->options->output);
    job_event_print(&event);
}

static void tell_end(const evaluate_run *run, int exit_code)
{
    io_json *event = job_event_create(run->options->json, "end");
    size_t n_done = 0, n_failed = 0;

    if (exit_code == JOB_EXIT_STOPPED)
        io_log(IO_LOG_WARN, "stopped by %s before all pairs were measured; no report was written", job_stop_name());
    if (exit_code == JOB_EXIT_NOTHING) io_log(IO_LOG_ERROR, "no pair could be measured; %s/failed.tsv says why", run->options->output);
    if (!event) return;
    for (size_t i = 0; i < run->study->n_cases; i++) {
        n_failed += run->study->cases[i].text != NULL;
        n_done += !run->study->cases[i].text && run->tallies[i].n_ended == run->n_parts;
    }
    (void)io_json_put_number(event, "done", (double)n_done);
    (void)io_json_put_number(event, "failed", (double)n_failed);
    (void)io_json_put_number(event, "left", (double)(run->study->n_cases - n_done - n_failed));
    (void)io_json_put_number(event, "seconds", job_time_now() - run->started);
    (void)io_json_put_number(event, "exit", exit_code);
    job_event_print(&event);
}

/* Collective. */
static int evaluate_all(evaluate_run *run)
{
    io_status status = IO_OK;
    int exit_code = JOB_EXIT_RUN;

    if (run->world.rank == 0) status = open_output(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    if (run->world.rank == 0) tell_start(run);
    status = measure_all(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    if (was_stopped(run)) {
        if (run->world.rank == 0) tell_end(run, JOB_EXIT_STOPPED);
        return JOB_EXIT_STOPPED;
    }
    if (run->world.rank == 0) exit_code = choose_exit(run);
    job_comm_bcast(&run->world, &exit_code, sizeof exit_code, 0);
    status = job_evaluate_report(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, exit_of_report(status));
    if (run->world.rank == 0) tell_end(run, exit_code);
    return exit_code;
}

/* Collective. */
static int dry_run(const evaluate_run *run)
{
    int exit_code = JOB_EXIT_DONE;

    if (run->world.rank == 0) exit_code = job_evaluate_dry_run(run);
    job_comm_bcast(&run->world, &exit_code, sizeof exit_code, 0);
    return exit_code;
}

/* Collective. */
static int plan_and_evaluate(evaluate_run *run)
{
    io_status status = job_selfcheck_launch(run->options->n_ranks, job_comm_claimed_size(), &run->world);

    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_USAGE);
    status = plan(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    status = list_pairs(run);
    if (!job_all_ok(&run->world, &status, NULL))
        return job_exit_leave(&run->world, status, status == IO_ERR_NOT_FOUND ? JOB_EXIT_NOTHING : job_exit_of(status));
    status = check_agreement(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    if (run->world.rank == 0) job_evaluate_check(run);
    if (run->options->dry_run) return dry_run(run);
    status = create_queue(run);
    if (status == IO_OK && run->world.rank == 0) status = pipe_study_allocate(run->study); /* the others hold their own results alone */
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    return evaluate_all(run);
}

static void free_run(evaluate_run *run)
{
    job_post_free(&run->post);
    job_queue_free(&run->queue);
    pipe_label_map_free(&run->reference_map);
    pipe_label_map_free(&run->prediction_map);
    pipe_study_free(&run->study);
    io_labels_free(&run->labels);
    job_evaluate_free_results(run);
    io_free(&run->tallies);
    job_lock_free(&run->lock);
}

int job_evaluate_main(int argc, char **argv)
{
    evaluate_run run = {.n_parts = 1};
    evaluate_options options;
    io_status status;
    int code = job_options_evaluate(argc, argv, &options);

    if (code >= 0) goto done;
    run.options = &options;
    run.started = job_time_now();
    status = job_comm_init(&run.world);
    set_log(&run);
    code = status == IO_OK ? plan_and_evaluate(&run) : job_exit_leave(&run.world, status, JOB_EXIT_RUN);
    io_log_set_sink(NULL, NULL);
    free_run(&run);
    job_comm_finalize();
done:
    job_options_evaluate_free(&options);
    return code;
}
