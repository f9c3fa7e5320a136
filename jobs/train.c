/* `samed train`: the order of its phases. See train.h. */
#include "jobs/train.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "io/memory.h"
#include "jobs/commands.h"
#include "jobs/devices.h"
#include "jobs/exits.h"
#include "jobs/output.h"
#include "jobs/selfcheck.h"
#include "jobs/stop.h"

enum { MAX_SUM = 1 << 24 }; /* numbers in one call of MPI, whose counts are int */

/* Lines of a rank, so that a log of many ranks can be read; rank 0's bar makes way. */
static void write_line(io_log_level level, const char *line, void *context)
{
    static const char *const prefixes[] = {"error: ", "warning: ", "", ""};
    train_run *run = context;
    char rank[24] = "";

    if (run->world.rank > 0) snprintf(rank, sizeof rank, "[rank %d] ", run->world.rank);
    job_train_log_clear(run);
    fprintf(stderr, "samed: %s%s%s\n", rank, prefixes[level], line);
}

static void set_log(train_run *run)
{
    static const io_log_level levels[] = {IO_LOG_ERROR, IO_LOG_INFO, IO_LOG_DEBUG}; /* by verbosity + 1 */

    io_log_set_level(levels[run->options->verbosity + 1]);
    io_log_set_sink(write_line, run);
}

/* ---- the workers of pipeline/train.h are the ranks ---- */

static void sum_ranks(void *context, int64_t *values, size_t n)
{
    const train_run *run = context;

    if (run->world.size == 1) return;
    for (size_t i = 0; i < n; i += MAX_SUM) job_comm_sum_together(&run->world, values + i, (int)(n - i < MAX_SUM ? n - i : MAX_SUM));
}

static bool agree_ranks(void *context, io_status *status)
{
    const train_run *run = context;
    return job_all_ok(&run->world, status, NULL);
}

static bool is_asked(void *context)
{
    (void)context;
    return job_stop_asked();
}

/* ---- what is opened ---- */

static io_status open_store(train_run *run)
{
    const train_options *o = run->options;
    io_status status;
    char *path = NULL;
    const pipe_dataset_options options = {.folder = o->store,
                                          .part = PIPE_PART_TRAIN,
                                          .image_size = o->image_size,
                                          .seed = o->seed,
                                          .shuffle = true,
                                          .augment = o->augment,
                                          .jitter = o->jitter};

    IO_TRY(pipe_store_open(o->store, &run->store));
    IO_TRY(io_path_join(o->store, "index.json", &path));
    status = io_labels_read(path, &run->labels);
    io_free(&path);
    if (status != IO_OK) return status;
    if (o->n_classes > 0 && o->n_classes < run->store->n_classes)
        return IO_FAIL(IO_ERR_MISMATCH, "--classes %d, but the store %s has labels up to %d; prepare it with --map, or give more classes",
                       o->n_classes, o->store, run->store->n_classes);
    return pipe_dataset_open(&options, &run->dataset);
}

/* What an adapter is cannot be changed by training on from it. */
static io_status check_adapter(const train_options *o, const model_config *config)
{
    if (o->asks_rank && config->lora_rank != o->model.lora_rank)
        return IO_FAIL(IO_ERR_ARGUMENT, "--rank %d: %s has LoRA of rank %d; leave --rank out, or --init", o->model.lora_rank, o->adapter,
                       config->lora_rank);
    if (o->asks_layout && config->layout != o->model.layout)
        return IO_FAIL(IO_ERR_ARGUMENT, "--layout: %s has the decoder %s; leave --layout out, or --init", o->adapter,
                       config->layout == MODEL_LAYOUT_SAMED_S ? "by LoRA" : "in full");
    return IO_OK;
}

static io_status create_trainer(train_run *run, const io_tensors *sam, const io_tensors *adapter)
{
    const train_options *o = run->options;
    const int n_classes = o->n_classes > 0 ? o->n_classes : run->store->n_classes;
    const int share = (o->global_batch + run->world.size - 1) / run->world.size;
    model_train_options options = o->model;
    uint64_t seed = o->seed;

    options.image_size = o->image_size;
    options.n_channels = n_classes + 1;
    options.n_kept = o->n_kept < share ? o->n_kept : share;
    IO_TRY(model_trainer_create(run->device, &options, sam, adapter, pipe_train_fresh, &seed, &run->trainer));
    if (o->last_block >= model_trainer_config(run->trainer)->depth)
        return IO_FAIL(IO_ERR_ARGUMENT, "--blocks names block %d, but the encoder of %s has blocks 0 to %d", o->last_block, o->sam,
                       model_trainer_config(run->trainer)->depth - 1);
    if (o->adapter) IO_TRY(check_adapter(o, model_trainer_config(run->trainer)));
    if (model_trainer_config(run->trainer)->n_channels == n_classes + 1) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH, "%s has channels for %d class%s, %d to be trained; start from another adapter, or from SAM", o->adapter,
                   model_trainer_config(run->trainer)->n_channels - 1, model_trainer_config(run->trainer)->n_channels == 2 ? "" : "es",
                   n_classes);
}

static io_status open_trainer(train_run *run)
{
    io_status status = IO_OK;
    const train_options *o = run->options;
    io_tensors *sam = NULL, *adapter = NULL;

    IO_TRY_GOTO(status, done, io_tensors_open(o->sam, &sam));
    if (o->adapter) IO_TRY_GOTO(status, done, io_tensors_open(o->adapter, &adapter));
    status = create_trainer(run, sam, adapter);
done:
    io_tensors_free(&adapter);
    io_tensors_free(&sam);
    return status;
}

static bool has_held_out(const pipe_store *store)
{
    for (size_t i = 0; i < store->n_cases; i++)
        if (store->cases[i].part == PIPE_PART_VAL) return true;
    return false;
}

static io_status open_steps(train_run *run)
{
    const train_options *o = run->options;
    const int share = (o->global_batch + run->world.size - 1) / run->world.size;
    pipe_train_options options = {.global_batch = o->global_batch,
                                  .n_kept = o->n_kept < share ? o->n_kept : share,
                                  .dice_weight = o->model.dice_weight,
                                  .clip = o->clip};

    run->epoch_steps = pipe_train_epoch_steps(pipe_dataset_count(run->dataset), o->global_batch);
    run->max_steps = o->n_epochs * run->epoch_steps;
    run->n_steps = o->n_steps > 0 && o->n_steps < run->max_steps ? o->n_steps : run->max_steps;
    options.schedule = o->schedule;
    options.schedule.max_steps = run->max_steps;
    run->workers = (pipe_workers){.rank = run->world.rank,
                                  .size = run->world.size,
                                  .sum = sum_ranks,
                                  .sums_device_memory = run->world.size == 1 || job_comm_takes_device_memory(),
                                  .agree = agree_ranks,
                                  .is_stopped = is_asked,
                                  .context = run};
    IO_TRY(pipe_train_create(run->device, run->trainer, run->dataset, &run->workers, &options, &run->train));
    if (o->patience > 0 && !has_held_out(run->store))
        return IO_FAIL(IO_ERR_ARGUMENT,
                       "--patience %lld, but no case of %s is held out to validate on; run samed prepare with --folds or --val",
                       (long long)o->patience, o->store);
    if (o->validate_every == 0 || (o->validate_every < 0 && !has_held_out(run->store))) return IO_OK;
    return pipe_validator_create(run->store, run->device, run->trainer, &run->validator);
}

/* Collective. */
static io_status open_all(train_run *run)
{
    job_device_share share;
    io_status status = open_store(run);

    if (!job_all_ok(&run->world, &status, NULL)) return status;
    status = job_device_share_find(&run->world, run->options->n_threads, &share);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    status = model_device_open(run->options->device, share.local_rank, run->options->precision, share.n_threads, &run->device);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    IO_TRY(job_device_check_shared(&run->world, run->device->identity, run->options->share_gpu));
    status = open_trainer(run);
    if (status == IO_OK) status = open_steps(run);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    IO_TRY(job_selfcheck_report(&run->world, &share, run->device->description));
    return job_train_settings(run, &run->settings);
}

/* Collective. Every rank reads the newest checkpoint; a file system that shows another one to some is noticed. */
static io_status resume(train_run *run)
{
    bool is_there = false;
    int64_t total;
    io_status status = pipe_checkpoint_read(run->options->output, run->settings, run->device, run->trainer, &run->state, &is_there);

    if (!job_all_ok(&run->world, &status, NULL)) return status;
    total = run->state.step;
    job_comm_bcast(&run->world, &total, sizeof total, 0);
    if (total != run->state.step)
        status = IO_FAIL(IO_ERR_MISMATCH,
                         "rank %d sees the checkpoint of step %" PRId64 ", rank 0 that of step %" PRId64 " in %s; is it the same folder?",
                         run->world.rank, run->state.step, total, run->options->output);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    if (is_there && run->world.rank == 0) io_log(IO_LOG_INFO, "going on from the checkpoint of step %" PRId64, run->state.step);
    return IO_OK;
}

/* ---- the run ---- */

/* Rank 0. What an earlier run left stays as it is until this one is known to be able to go on: its tables come first, its marker says
 * nothing about this run. */
static io_status begin_output(train_run *run)
{
    static const char *const names[] = {"done"};
    char *path = NULL;
    io_status status;

    IO_TRY(job_train_log_open(run));
    IO_TRY(job_output_remove(run->options->output, names, 1));
    IO_TRY(io_path_join(run->options->output, "labels.json", &path));
    status = io_labels_write_json(run->labels, path);
    io_free(&path);
    return status == IO_OK ? job_train_log_begin(run) : status;
}

/* Rank 0, last: the marker's presence says that everything else is there. A run that was stopped has none. */
static io_status mark_done(const train_run *run, int exit_code)
{
    io_status status;
    char *path = NULL;

    if (exit_code != JOB_EXIT_DONE) return IO_OK;
    IO_TRY(io_path_join(run->options->output, "done", &path));
    status = io_file_write_text(path, "0\n");
    io_free(&path);
    return status;
}

/* Rank 0: run.json of a run that failed. It may fail for the same reason, which is the one that is told. */
static void end_failed(train_run *run, io_status status)
{
    char text[1024];

    snprintf(text, sizeof text, "%s", io_last_error_text());
    (void)job_train_log_ended(run, JOB_EXIT_RUN, text);
    (void)IO_FAIL(status, "%s", text);
}

static void tell_result(const train_run *run)
{
    const train_options *o = run->options;
    const bool has_best = run->state.best_step > 0;
    const char *verb = run->state.step == 1 ? " is" : "s are";

    if (has_best)
        io_log(IO_LOG_INFO, "%" PRId64 " step%s done; the best mean DSC is %.4f, of step %" PRId64, run->state.step, verb,
               run->state.best_dice, run->state.best_step);
    else
        io_log(IO_LOG_INFO, "%" PRId64 " step%s done; none was validated", run->state.step, verb);
    io_log(IO_LOG_INFO, "next: samed segment -i IMAGES -o OUT --sam %s --adapter %s/%s --image-size %d", o->sam, o->output,
           has_best ? "adapter_best.pth" : "adapter.pth", o->image_size);
}

/* From the thread that watches for signals: mpirun kills in less than a second, and a step may take longer. The steps since the newest
 * checkpoint are lost, nothing else. */
static void hurry(void *argument)
{
    const train_run *run = argument;

    (void)job_train_log_exit(run, JOB_EXIT_STOPPED);
    job_lock_remove(run->lock);
}

/* Collective. */
static int train(train_run *run)
{
    int exit_code = JOB_EXIT_RUN;
    io_status status = IO_OK;

    if (run->world.rank == 0) status = job_output_open(run->options->output, &run->lock);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    status = resume(run);
    if (status != IO_OK) return job_exit_leave(&run->world, status, job_exit_of(status));
    if (run->world.rank == 0) job_train_plan_tell(run);
    if (run->world.rank == 0) status = begin_output(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, job_exit_of(status));
    if (run->world.rank == 0) job_stop_watch(hurry, run);
    status = job_train_loop(run, &exit_code);
    job_stop_unwatch();
    if (!job_all_ok(&run->world, &status, NULL)) {
        if (run->world.rank == 0) end_failed(run, status);
        return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    }
    if (run->world.rank == 0) status = job_train_log_ended(run, exit_code, NULL);
    if (run->world.rank == 0 && status == IO_OK) status = mark_done(run, exit_code);
    if (run->world.rank == 0 && status == IO_OK && exit_code == JOB_EXIT_DONE) tell_result(run);
    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_RUN);
    return job_exit_leave(&run->world, status, status == IO_OK ? exit_code : JOB_EXIT_RUN);
}

/* Collective. Everything was opened as for a run; nothing is written. */
static int plan(train_run *run)
{
    io_status status = IO_OK;

    if (io_folder_exists(run->options->output)) status = resume(run);
    if (status == IO_OK && run->world.rank == 0) job_train_plan_print(run);
    if (status == IO_OK) status = job_train_plan_check(run);
    return job_exit_leave(&run->world, status, job_exit_of(status));
}

/* Collective. */
static int open_and_train(train_run *run)
{
    io_status status = job_selfcheck_launch(run->options->n_ranks, job_comm_claimed_size(), &run->world);
    bool is_empty;

    if (!job_all_ok(&run->world, &status, NULL)) return job_exit_leave(&run->world, status, JOB_EXIT_USAGE);
    status = open_all(run);
    if (status == IO_OK) return run->options->dry_run ? plan(run) : train(run);
    /* Opened were the store and not its part to train on, or everything but the part to validate on. */
    is_empty = status == IO_ERR_NOT_FOUND && run->store && (!run->dataset || run->train);
    return job_exit_leave(&run->world, status, is_empty ? JOB_EXIT_NOTHING : job_exit_of(status));
}

static void free_run(train_run *run)
{
    job_train_log_close(run);
    pipe_validator_free(&run->validator);
    pipe_train_free(&run->train);
    model_trainer_free(&run->trainer);
    model_device_free(&run->device);
    pipe_dataset_free(&run->dataset);
    io_labels_free(&run->labels);
    pipe_store_free(&run->store);
    io_free(&run->settings);
    job_lock_free(&run->lock);
}

int job_train_main(int argc, char **argv)
{
    train_run run = {0};
    train_options options;
    io_status status;
    int code = job_options_train(argc, argv, &options);

    if (code >= 0) return code;
    run.options = &options;
    status = job_comm_init(&run.world);
    set_log(&run);
    code = status == IO_OK ? open_and_train(&run) : job_exit_leave(&run.world, status, JOB_EXIT_RUN);
    free_run(&run);
    io_log_set_sink(NULL, NULL);
    job_comm_finalize();
    return code;
}
