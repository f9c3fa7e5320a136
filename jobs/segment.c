/* `samed segment`: the order of its phases. See segment.h. */
#include "jobs/segment.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "io/memory.h"
#include "io/plural.h"
#include "jobs/commands.h"
#include "jobs/exits.h"
#include "jobs/output.h"
#include "jobs/selfcheck.h"
#include "jobs/stop.h"

/* Lines of a rank, so that a log of many ranks can be read; rank 0's bar makes way. */
static void write_line(io_log_level level, const char *line, void *context)
{
    static const char *const prefixes[] = {"error: ", "warning: ", "", ""};
    segment_run *run = context;
    char rank[24] = "";

    if (run->world.rank > 0) snprintf(rank, sizeof rank, "[rank %d] ", run->world.rank);
    if (run->report) job_segment_report_clear(run->report);
    fprintf(stderr, "samed: %s%s%s\n", rank, prefixes[level], line);
}

static void set_log(segment_run *run)
{
    static const io_log_level levels[] = {IO_LOG_ERROR, IO_LOG_INFO, IO_LOG_DEBUG}; /* by verbosity + 1 */

    io_log_set_level(levels[run->options->verbosity + 1]);
    io_log_set_sink(write_line, run);
}

/* Rank 0: what an earlier run said about itself is not true of this one. */
static io_status forget_last_run(const segment_run *run)
{
    static const char *const names[] = {"done", "failed.tsv", "run.json", "stats.tsv", "cases.tsv", "running.tsv"};

    return job_output_forget(run->options->output, run->options->shard, names, sizeof names / sizeof *names);
}

static void set_outputs(segment_run *run)
{
    const segment_weights *weights = &run->weights;

    run->outputs = (pipe_outputs){.folder = run->options->output,
                                  .options = &run->options->pipe,
                                  .names = weights->names,
                                  .names_xml = weights->names_xml,
                                  .label_bytes = weights->config.n_channels > 256 ? 2 : 1,
                                  .n_classes = weights->config.n_channels,
                                  .preview = run->options->preview,
                                  .stats = run->options->stats,
                                  .key = {.sam_sha256 = weights->sam_sha256,
                                          .adapter_sha256 = weights->adapter_sha256,
                                          .options = weights->options_text,
                                          .version = SAMED_VERSION}};
}

/* Collective. Finished cases leave the plan; needs the hashes only when there is something to compare. */
static io_status skip_done(segment_run *run, bool *is_identified)
{
    *is_identified = false;
    if (run->options->overwrite) return IO_OK;
    if (run->options->overwrite_before) IO_TRY(job_segment_plan_redo_before(&run->world, run->options->overwrite_before, &run->plan));
    if (!job_segment_plan_has_records(&run->world, &run->outputs, &run->plan)) return IO_OK;
    *is_identified = true;
    IO_TRY(job_segment_weights_identify(&run->world, &run->weights));
    return job_segment_plan_check_done(&run->world, &run->outputs, &run->plan);
}

static void choose_batch(segment_run *run)
{
    run->batch = model_flow_is_offered(run->weights.device) ? model_flow_batch(run->weights.device) : run->options->batch;
    if (run->world.rank == 0 && run->options->batch > 1 && run->batch != run->options->batch)
        io_log(IO_LOG_WARN, "--batch %d is not used: this device takes %d slices at a time", run->options->batch, run->batch);
}

/* A folder that is not there is a mistake of the command line; one that is full or read-only is what nodes come to. */
static io_status open_scratch(segment_run *run)
{
    const io_status status = job_scratch_create(run->options->scratch, &run->scratch);

    if (status == IO_OK) run->outputs.scratch = job_scratch_path(run->scratch);
    if (status != IO_ERR_FILE && status != IO_ERR_NO_SPACE) return status;
    io_log(IO_LOG_WARN, "%s; this rank goes on without it", io_last_error_text());
    return IO_OK;
}

static io_status start_rank(segment_run *run, const job_cutting *cutting)
{
    if (run->options->scratch) IO_TRY(open_scratch(run));
    if (run->world.rank == 0) IO_TRY(job_segment_report_create(run, &run->report));
    IO_TRY(job_queue_create_cut(run->plan.to_do, run->plan.manifest->n_cases, cutting, &run->queue));
    IO_TRY(job_segment_reader_start(run, &run->reader));
    IO_TRY(job_segment_writer_start(run, &run->writer));
    job_segment_loop_begin(run);
    return IO_OK;
}

static void warn_memory(const segment_run *run)
{
    const double per_node = job_segment_memory_estimate(run, &run->weights.config, run->weights.device->kind) * run->share.local_size;

    if (run->world.rank != 0 || run->share.memory_limit == 0 || per_node <= (double)run->share.memory_limit) return;
    io_log(IO_LOG_WARN, "%d rank%s of this node may need %.0f MB, the cgroup allows %.0f MB: use fewer ranks or ask for more memory",
           run->share.local_size, io_plural(run->share.local_size), per_node / 1e6, (double)run->share.memory_limit / 1e6);
}

/* The first part of each rank is known without a message. */
static void note_first_parts(segment_run *run)
{
    for (int r = 0; r < run->world.size; r++) {
        const job_part *first = job_queue_at(run->queue, r);
        if (first) job_segment_report_handed(run->report, first, r);
    }
}

/* From the thread that watches for signals: mpirun kills in less than a second, and the main thread may be in the network for longer. */
static void hurry(void *argument)
{
    segment_run *run = argument;

    job_segment_report_hurry(run->report);
    job_lock_remove(run->lock);
}

/* Room on a GPU and pinned memory are taken for the largest slices of all: a single header may ask for too much. */
static io_status name_largest(const segment_run *run, io_status status)
{
    if (status != IO_ERR_MEMORY || !model_flow_is_offered(run->weights.device)) return status;
    return io_fail_context(status, "the largest slices are those of case %s",
                           run->plan.manifest->cases[job_segment_largest_case(&run->plan)].id);
}

/* Collective: rank 0's device decides how cases are cut, the same way on all ranks. */
static job_cutting agree_on_cutting(const segment_run *run)
{
    const double given_s = run->options->seconds_per_slice,
                 guess_s = job_segment_guess_slice_s(&run->weights.config, run->weights.device->kind, run->options->precision,
                                                     run->share.n_threads);
    job_cutting cutting = job_segment_cutting(run->options, run->world.size, run->batch, given_s > 0 ? given_s : guess_s);

    job_comm_bcast(&run->world, &cutting, sizeof cutting, 0);
    return cutting;
}

/* Collective. Queue and threads; then the weights, while the reader already reads. */
static io_status start(segment_run *run, bool is_identified)
{
    io_status status;
    job_cutting cutting;
    job_post_events events = {job_segment_report_progressed, job_segment_report_ended, NULL, job_segment_report_handed};

    status = job_segment_device_open(run->options, &run->share, &run->weights);
    if (status == IO_OK) status = job_segment_room(&run->plan, &run->options->pipe, &run->room);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    warn_memory(run);
    IO_TRY(job_device_check_shared(&run->world, run->weights.device->identity, run->options->share_gpu));
    choose_batch(run);
    cutting = agree_on_cutting(run);
    status = name_largest(run, start_rank(run, &cutting));
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    events.context = run->report;
    if (run->report) note_first_parts(run);
    if (run->report) job_stop_watch(hurry, run);
    IO_TRY(job_segment_gather_create(run, &run->gather));
    IO_TRY(job_post_create(&run->world, run->queue, &events, &run->post));
    status = name_largest(run, job_segment_weights_pack(&run->weights, run->outputs.label_bytes, &run->room));
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    if (!is_identified) IO_TRY(job_segment_weights_identify(&run->world, &run->weights));
    return job_selfcheck_report(&run->world, &run->share, run->weights.device->description);
}

/* Collective. Rank 0 writes what comes at the end; all ranks leave with the same code. */
static int finish(segment_run *run)
{
    io_status status = IO_OK;
    int exit_code = JOB_EXIT_RUN;

    job_stop_unwatch();
    if (run->world.rank == 0) status = job_segment_report_finish(run->report, &exit_code);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    job_comm_bcast(&run->world, &exit_code, sizeof exit_code, 0);
    return exit_code;
}

static void tell_plan(const segment_run *run)
{
    const long long n = (long long)(run->plan.n_done + run->plan.n_left);
    const job_shard shard = run->options->shard;
    char part[64] = "";

    if (shard.n > 0) snprintf(part, sizeof part, "shard %d of %d: ", shard.index, shard.n);
    io_log(IO_LOG_INFO, "%s%lld case%s%s, %lld of them done before; %lld slice%s to do", part, n, io_plural(n),
           run->options->only ? " by --only" : "", (long long)run->plan.n_done, (long long)run->plan.slices_left,
           io_plural(run->plan.slices_left));
}

/* Collective. */
static int segment_all(segment_run *run)
{
    io_status status = IO_OK;
    bool is_identified;

    status = job_output_place(run->options->output, run->options->shard, &run->place);
    if (run->world.rank == 0 && status == IO_OK)
        status = job_output_open_shard(run->options->output, run->place, run->options->shard, &run->lock);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    status = job_segment_weights_open(&run->world, run->options, &run->weights);
    if (status != IO_OK) return job_exit_leave(&run->world, status, job_exit_of(status));
    set_outputs(run);
    if (run->world.rank == 0) status = forget_last_run(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    status = skip_done(run, &is_identified);
    if (status != IO_OK) return job_exit_leave(&run->world, status, job_exit_of(status));
    if (run->world.rank == 0) tell_plan(run);
    if (run->plan.n_left == 0 && run->world.rank == 0) {
        status = job_segment_report_create(run, &run->report);
    } else if (run->plan.n_left > 0) {
        status = start(run, is_identified);
        if (status == IO_OK) status = job_segment_loop(run);
    }
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    return finish(run);
}

static int exit_of_plan(io_status status)
{
    return status == IO_ERR_NOT_FOUND ? JOB_EXIT_NOTHING : job_exit_of(status);
}

/* Collective. Rank 0 shows what would be done. --ranks is what is planned for, not what is here. */
static int show_plan(segment_run *run)
{
    io_status status = IO_OK;
    segment_dry *dry = NULL;
    int exit_code = JOB_EXIT_DONE;

    if (run->world.rank == 0) status = job_segment_dry_begin(run, &dry);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    status = job_segment_plan_create(&run->world, run->options, dry, &run->plan);
    if (status != IO_OK) {
        job_segment_dry_free(&dry);
        return job_exit_leave(&run->world, status, exit_of_plan(status));
    }
    if (dry) status = job_segment_room(&run->plan, &run->options->pipe, &run->room);
    if (dry && status == IO_OK) status = job_segment_dry_end(dry, &exit_code);
    job_segment_dry_free(&dry);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    job_comm_bcast(&run->world, &exit_code, sizeof exit_code, 0);
    return exit_code;
}

/* Collective. */
static int plan_and_segment(segment_run *run)
{
    const int expected = run->options->dry_run ? 0 : run->options->n_ranks;
    io_status status = job_selfcheck_launch(expected, job_comm_claimed_size(), &run->world);

    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_USAGE);
    status = job_device_share_find(&run->world, run->options->n_threads, &run->share);
    if (status != IO_OK) return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    if (run->options->dry_run) return show_plan(run);
    status = job_segment_plan_create(&run->world, run->options, NULL, &run->plan);
    if (status != IO_OK) return job_exit_leave(&run->world, status, exit_of_plan(status));
    return segment_all(run);
}

/* A run that aborts leaves the folder to the next one, and nothing on the node's disk. */
static void leave(void *argument)
{
    segment_run *run = argument;

    job_scratch_abandon(run->scratch);
    job_lock_free(&run->lock);
}

static void free_run(segment_run *run)
{
    job_stop_unwatch();
    job_segment_reader_free(&run->reader);
    job_segment_writer_free(&run->writer);
    job_segment_gather_free(&run->gather);
    job_post_free(&run->post);
    job_queue_free(&run->queue);
    job_segment_report_free(&run->report);
    job_segment_weights_free(&run->weights);
    job_segment_plan_free(&run->plan);
    job_scratch_free(&run->scratch);
    job_lock_free(&run->lock);
    io_free(&run->place);
}

int job_segment_main(int argc, char **argv)
{
    segment_run run = {0};
    job_segment_options options;
    io_status status;
    int code = job_options_segment(argc, argv, &options);

    if (code >= 0) goto done;
    run.started = job_time_now();
    run.options = &options;
    if (options.json) signal(SIGPIPE, SIG_IGN); /* `--json | head` ends the reading, not the run */
    status = job_comm_init(&run.world);
    set_log(&run);
    job_comm_set_abort(leave, &run);
    code = status == IO_OK ? plan_and_segment(&run) : job_exit_leave(&run.world, status, JOB_EXIT_RUN);
    io_log_set_sink(NULL, NULL);
    free_run(&run);
    job_comm_finalize();
done:
    job_options_free(&options);
    return code;
}
