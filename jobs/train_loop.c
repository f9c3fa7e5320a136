/* Steps, validation, checkpoints, stopping. See train.h. */
#include <inttypes.h>

#include "io/log.h"
#include "jobs/exits.h"
#include "jobs/stop.h"
#include "jobs/train.h"
#include "pipeline/train_picture.h"
#include "pipeline/train_report.h"

/* Collective: has any rank got a signal? */
static bool is_stopped(const train_run *run)
{
    int64_t n_asked = job_stop_asked();

    job_comm_sum(&run->world, &n_asked, 1);
    if (n_asked > 0) job_stop_ask();
    return n_asked > 0;
}

/* Collective. The checkpoint comes last: what it claims is there. */
static io_status save(train_run *run)
{
    io_status status = IO_OK;
    const train_options *o = run->options;

    if (run->world.rank == 0) {
        status = pipe_train_report_write(o->output, run->settings, run->state.best_step);
        if (status == IO_OK) status = pipe_checkpoint_write_adapter(o->output, "adapter", run->trainer);
        if (status == IO_OK)
            status = pipe_checkpoint_write(o->output, &run->state, run->settings, o->n_checkpoints, run->device, run->trainer);
        if (status == IO_OK) job_train_log_saved(run);
    }
    (void)job_all_ok(&run->world, &status, NULL);
    return status;
}

static bool is_validation_due(const train_run *run)
{
    const int64_t every = run->options->validate_every > 0 ? run->options->validate_every : 1;

    if (!run->validator) return false;
    return run->state.step % (every * run->epoch_steps) == 0 || run->state.step == run->max_steps;
}

/* Rank 0: what is kept of the best weights so far. */
static io_status keep_best(train_run *run, size_t n_cases)
{
    IO_TRY(pipe_train_picture_write(run->validator, n_cases, run->options->output));
    return pipe_checkpoint_write_adapter(run->options->output, "adapter_best", run->trainer);
}

/* Collective. */
static io_status validate(train_run *run)
{
    io_status status;
    const pipe_validation *result;

    IO_TRY(pipe_validator_run(run->validator, &run->workers, &result));
    if (result->mean > run->state.best_dice || (run->state.best_step == 0 && result->mean >= 0)) {
        run->state.best_dice = result->mean;
        run->state.best_step = run->state.step;
    }
    status = IO_OK;
    if (run->world.rank == 0) {
        status = job_train_log_validation(run, result);
        if (status == IO_OK && run->state.best_step == run->state.step) status = keep_best(run, result->n_cases);
    }
    (void)job_all_ok(&run->world, &status, NULL);
    return status;
}

/* No validation for so long was better than the best one. */
static bool is_patience_over(const train_run *run)
{
    const int64_t every = run->options->validate_every > 0 ? run->options->validate_every : 1;

    if (!run->validator || run->options->patience == 0 || run->state.best_step == 0) return false;
    return run->state.step - run->state.best_step >= run->options->patience * every * run->epoch_steps;
}

/* Collective. One step and what follows it. */
static io_status go_on(train_run *run, bool *is_saved)
{
    io_status status = IO_OK;
    pipe_step step;
    const int64_t save_every = run->options->save_every > 0 ? run->options->save_every : run->epoch_steps;

    IO_TRY(pipe_train_step(run->train, run->state.step, &step));
    run->state.step = step.number;
    if (run->world.rank == 0) status = job_train_log_step(run, &step);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    *is_saved = is_validation_due(run);
    if (*is_saved) IO_TRY(validate(run));
    *is_saved |= step.number % save_every == 0 || step.number == run->n_steps;
    return *is_saved ? save(run) : IO_OK;
}

static void tell_end(const train_run *run, bool is_asked)
{
    if (run->world.rank != 0) return;
    if (is_asked)
        io_log(IO_LOG_INFO, "stopped by %s after step %" PRId64 "; start again with the same options to continue", job_stop_name(),
               run->state.step);
    else if (run->state.step < run->n_steps)
        io_log(IO_LOG_INFO, "step %" PRId64 ": no better validation since step %" PRId64 ", training ends", run->state.step,
               run->state.best_step);
}

io_status job_train_loop(train_run *run, int *exit_code)
{
    bool is_saved = true, is_asked = false;

    while (run->state.step < run->n_steps && !is_patience_over(run)) {
        is_asked = is_stopped(run);
        if (is_asked) break;
        IO_TRY(go_on(run, &is_saved));
    }
    if (!is_saved) IO_TRY(save(run));
    tell_end(run, is_asked);
    *exit_code = is_asked ? JOB_EXIT_STOPPED : JOB_EXIT_DONE;
    return IO_OK;
}
