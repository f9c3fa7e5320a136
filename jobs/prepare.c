/* `samed prepare`: the order of its phases. See prepare.h. */
#include "jobs/prepare.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "jobs/commands.h"
#include "jobs/exits.h"
#include "jobs/output.h"
#include "jobs/selfcheck.h"
#include "jobs/stop.h"
#include "pipeline/case.h"

/* Lines of a rank, so that a log of many ranks can be read; rank 0's bar makes way. */
static void write_line(io_log_level level, const char *line, void *context)
{
    static const char *const prefixes[] = {"error: ", "warning: ", "", ""};
    prepare_run *run = context;
    char rank[24] = "";

    if (run->world.rank > 0) snprintf(rank, sizeof rank, "[rank %d] ", run->world.rank);
    if (run->is_open) job_progress_clear(&run->progress);
    fprintf(stderr, "samed: %s%s%s\n", rank, prefixes[level], line);
}

static void set_log(prepare_run *run)
{
    static const io_log_level levels[] = {IO_LOG_ERROR, IO_LOG_INFO, IO_LOG_DEBUG}; /* by verbosity + 1 */

    io_log_set_level(levels[run->options->verbosity + 1]);
    io_log_set_sink(write_line, run);
}

/* ---- labels ---- */

/* The study's own dataset.json names its classes, unless the user does or a map leads to SAMed's organs. */
static io_status read_labels(const prepare_options *o, io_labels **out)
{
    io_status status;
    char *path = NULL;

    if (o->labels) return io_labels_read(o->labels, out);
    if (o->study && !o->map && !o->n_classes) {
        IO_TRY(io_path_join(o->study, "dataset.json", &path));
        if (io_file_exists(path)) {
            status = io_labels_read(path, out);
            io_free(&path);
            return status;
        }
        io_free(&path);
    }
    return io_labels_default(o->n_classes ? o->n_classes + 1 : 9, out);
}

/* A loss over all pixels cannot leave voxels out, and calling them background would teach what nobody said. */
static io_status refuse_ignore(const pipe_label_map *map)
{
    const int value = map->labels->ignore_value;

    if (value < 0 || map->is_mapped[value]) return IO_OK;
    return IO_FAIL(IO_ERR_UNSUPPORTED,
                   "the label table says that value %d is to ignore, but training cannot leave voxels out; say what they are with --map, a "
                   "file such as {\"%d\": 0}, and give the table with --labels",
                   value, value);
}

static io_status open_labels(prepare_run *run)
{
    const prepare_options *o = run->options;
    size_t n_classes;

    IO_TRY(read_labels(o, &run->labels));
    n_classes = pipe_organ_count(run->labels);
    if (n_classes == 0) return IO_FAIL(IO_ERR_ARGUMENT, "%s: it names no class beside the background", o->labels ? o->labels : o->study);
    if (o->n_classes && (size_t)o->n_classes != n_classes)
        return IO_FAIL(IO_ERR_ARGUMENT, "--classes %d, but %s names %zu", o->n_classes, o->labels, n_classes);
    IO_TRY(pipe_label_map_create(run->labels, &run->map));
    if (o->map) IO_TRY(pipe_label_map_apply(run->map, o->map));
    IO_TRY(refuse_ignore(run->map));
    run->prepare = (pipe_prepare_options){
        .folder = o->output, .slices = o->slices, .map = run->map, .tolerance_mm = o->tolerance_mm, .text = run->text};
    return pipe_prepare_text(&run->prepare, run->text);
}

/* ---- plan ---- */

/* A header that cannot be read counts as one slice; reading it again as a case gives the failure its place in failed.tsv. */
static int64_t count_slices(const pipe_source *source)
{
    io_nifti_info info;

    if (source->is_npz) return (int64_t)source->n_paths;
    return io_nifti_read_info(source->paths[0], &info) == IO_OK ? info.grid.dims[2] : 1;
}

static io_status allocate_plan(prepare_run *run)
{
    const size_t n = run->cases.n;

    IO_TRY(io_alloc(n, sizeof *run->n_slices, (void **)&run->n_slices));
    IO_TRY(io_alloc(n, sizeof *run->is_done, (void **)&run->is_done));
    IO_TRY(io_alloc(n, sizeof *run->to_do, (void **)&run->to_do));
    IO_TRY(io_alloc(n, sizeof *run->parts, (void **)&run->parts));
    IO_TRY(io_alloc(n, sizeof *run->has_failed, (void **)&run->has_failed));
    return io_alloc(n, sizeof *run->failures, (void **)&run->failures);
}

static void add_up(prepare_run *run)
{
    run->n_done = run->n_left = run->slices_left = 0;
    for (size_t i = 0; i < run->cases.n; i++) {
        run->to_do[i] = run->is_done[i] ? 0 : run->n_slices[i];
        run->n_done += run->is_done[i] != 0;
        run->n_left += run->is_done[i] == 0;
        run->slices_left += run->to_do[i];
    }
}

/* Collective. Labels, split; headers read by all ranks. */
static io_status plan(prepare_run *run)
{
    io_status status = allocate_plan(run);

    if (status == IO_OK) status = open_labels(run);
    if (status == IO_OK && run->world.rank == 0) status = pipe_split_assign(&run->options->split, run->cases.ids, run->cases.n, run->parts);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    for (size_t i = (size_t)run->world.rank; i < run->cases.n; i += (size_t)run->world.size)
        run->n_slices[i] = count_slices(&run->cases.sources[i]);
    job_comm_sum(&run->world, run->n_slices, (int)run->cases.n);
    add_up(run);
    return IO_OK;
}

static bool has_record(const prepare_run *run, const char *id)
{
    char *path = NULL;
    bool exists = false;

    if (pipe_case_path(run->options->output, id, PIPE_PREPARE_RECORD, &path) == IO_OK) exists = io_file_exists(path);
    io_free(&path);
    return exists;
}

/* Collective. Finds finished cases; all ranks share the reading. A signal ends it: what was not looked at counts as left. */
static void check_done(prepare_run *run)
{
    for (size_t i = (size_t)run->world.rank; i < run->cases.n && !run->options->overwrite && !job_stop_asked();
         i += (size_t)run->world.size) {
        const pipe_source *source = &run->cases.sources[i];
        char reason[160] = "";
        bool is_done = false;
        if (!has_record(run, source->id)) continue;
        if (pipe_prepare_check_done(&run->prepare, source, &is_done, reason) != IO_OK)
            snprintf(reason, sizeof reason, "%.150s", io_last_error_text());
        run->is_done[i] = is_done;
        if (!is_done) io_log(IO_LOG_INFO, "case %s is done again: %s", source->id, reason);
    }
    job_comm_sum(&run->world, run->is_done, (int)run->cases.n);
    add_up(run);
}

/* ---- the run ---- */

/* Rank 0: the folder is there, ours alone, and free of what an earlier run left half-done. */
static io_status open_output(prepare_run *run)
{
    static const char *const names[] = {"index.json", "failed.tsv"};

    IO_TRY(job_output_open(run->options->output, &run->lock));
    return job_output_remove(run->options->output, names, sizeof names / sizeof *names);
}

/* Collective. */
static io_status prepare_left(prepare_run *run)
{
    io_status status;
    const job_post_events events = {.progressed = job_prepare_report_progressed, .ended = job_prepare_report_ended, .context = run};

    status = job_queue_create(run->to_do, run->cases.n, &run->queue);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    IO_TRY(job_post_create(&run->world, run->queue, &events, &run->post));
    return job_prepare_loop(run);
}

/* Collective. */
static int prepare_all(prepare_run *run)
{
    io_status status = IO_OK;
    int exit_code = JOB_EXIT_RUN;

    if (run->world.rank == 0) status = open_output(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    check_done(run);
    if (run->world.rank == 0) {
        io_log(IO_LOG_INFO, "%zu case%s, %lld of them done before; %lld slice%s to do", run->cases.n, io_plural(run->cases.n),
               (long long)run->n_done, (long long)run->slices_left, io_plural(run->slices_left));
        job_prepare_report_start(run);
    }
    if (run->n_left > 0) status = prepare_left(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    if (run->world.rank == 0) status = job_prepare_report_finish(run, &exit_code);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    job_comm_bcast(&run->world, &exit_code, sizeof exit_code, 0);
    return exit_code;
}

/* Collective. */
static int plan_and_prepare(prepare_run *run)
{
    io_status status = job_selfcheck_launch(run->options->n_ranks, job_comm_claimed_size(), &run->world);

    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_USAGE);
    status = job_prepare_cases_find(&run->world, run->options, &run->cases);
    if (status != IO_OK) return job_exit_leave(&run->world, status, status == IO_ERR_NOT_FOUND ? JOB_EXIT_NOTHING : job_exit_of(status));
    status = plan(run);
    if (status != IO_OK) return job_exit_leave(&run->world, status, job_exit_of(status));
    if (!run->options->dry_run) return prepare_all(run);
    if (run->world.rank == 0) status = job_prepare_dry_run(run);
    (void)job_all_ok(&run->world, &status, NULL);
    return job_exit_leave(&run->world, status, job_exit_of(status));
}

static void free_run(prepare_run *run)
{
    job_post_free(&run->post);
    job_queue_free(&run->queue);
    for (int64_t i = 0; i < run->n_failed; i++) io_free(&run->failures[i]);
    io_free(&run->failures);
    io_free(&run->has_failed);
    io_free(&run->parts);
    io_free(&run->n_slices);
    io_free(&run->is_done);
    io_free(&run->to_do);
    pipe_label_map_free(&run->map);
    io_labels_free(&run->labels);
    job_prepare_cases_free(&run->cases);
    job_lock_free(&run->lock);
}

int job_prepare_main(int argc, char **argv)
{
    prepare_run run = {0};
    prepare_options options;
    io_status status;
    int code = job_options_prepare(argc, argv, &options);

    if (code >= 0) return code;
    run.started = job_time_now();
    run.options = &options;
    signal(SIGPIPE, SIG_IGN); /* `--json | head` ends the reading, not the run */
    status = job_comm_init(&run.world);
    set_log(&run);
    code = status == IO_OK ? plan_and_prepare(&run) : job_exit_leave(&run.world, status, JOB_EXIT_RUN);
    io_log_set_sink(NULL, NULL);
    free_run(&run);
    job_comm_finalize();
    return code;
}
