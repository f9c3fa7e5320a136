/* Steps, validation, checkpoints, stopping. See train.h. */
#include <inttypes.h>
#include <stdio.h>

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

/* Collective. The checkpoint comes last: what it claims is there. What is overwritten was good, so this must be: the loss was a number with
 * these weights (pipeline/train.h), and nothing in them or in the moments is none. */
static io_status save(train_run *run)
{
    io_status status = IO_OK;
    const train_options *o = run->options;

    if (run->world.rank == 0) {
        status = pipe_checkpoint_check(run->device, run->trainer);
        if (status == IO_OK) status = pipe_train_report_write(o->output, run->settings, run->state.best_step);
        if (status == IO_OK) status = pipe_checkpoint_write_adapter(o->output, "adapter", run->trainer);
        if (status == IO_OK)
            status = pipe_checkpoint_write(o->output, &run->state, run->settings, o->n_checkpoints, run->device, run->trainer);
        if (status == IO_OK) job_train_log_saved(run);
    }
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    run->saved_step = run->state.step;
    run->is_save_due = false;
    run->is_unsaved = false;
    return IO_OK;
}

/* Collective. At the end no step follows that would show whether the weights compute numbers: their loss is asked for. */
static io_status save_last(train_run *run)
{
    IO_TRY(pipe_train_try(run->train, run->state.step));
    return save(run);
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

/* Collective. IO_ERR_STOPPED: a signal came, and it has to be done again. */
static io_status validate(train_run *run)
{
    io_status status = IO_OK;
    const pipe_validation *result;

    IO_TRY(pipe_validator_run(run->validator, &run->workers, &result));
    if (result->mean > run->state.best_dice || (run->state.best_step == 0 && result->mean >= 0)) {
        run->state.best_dice = result->mean;
        run->state.best_step = run->state.step;
    }
    if (run->world.rank == 0) {
        status = job_train_log_validation(run, result);
        if (status == IO_OK && run->state.best_step == run->state.step) status = keep_best(run, result->n_cases);
    }
    run->state.awaits_validation = false;
    run->is_save_due = true;
    run->is_unsaved = true;
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

/* Collective. One step; between its halves the weights that it began with are saved if that is due. */
static io_status go_on(train_run *run)
{
    io_status status = IO_OK;
    pipe_step step;
    const int64_t save_every = run->options->save_every > 0 ? run->options->save_every : run->epoch_steps;

    IO_TRY(pipe_train_derive(run->train, run->state.step, &step));
    if (run->is_save_due) IO_TRY(save(run));
    IO_TRY(pipe_train_update(run->train, &step));
    run->state.step = step.number;
    run->is_unsaved = true;
    run->is_save_due = step.number % save_every == 0;
    run->state.awaits_validation = is_validation_due(run);
    if (run->world.rank == 0) status = job_train_log_step(run, &step);
    (void)job_all_ok(&run->world, &status, NULL);
    return status;
}

static void tell_end(const train_run *run, bool is_asked)
{
    if (run->world.rank != 0) return;
    if (is_asked)
        io_log(IO_LOG_INFO, "stopped by %s after step %" PRId64 "%s; start again with the same options to continue", job_stop_name(),
               run->state.step, run->state.awaits_validation ? ", before the end of its validation" : "");
    else if (run->state.step < run->n_steps)
        io_log(IO_LOG_INFO, "step %" PRId64 ": no better validation since step %" PRId64 ", training ends", run->state.step,
               run->state.best_step);
}

/* What a run that diverged leaves, and how one gets out of it: with the same settings it would come here again. */
static io_status tell_divergence(const train_run *run)
{
    const char *output = run->options->output;
    char text[1024];

    snprintf(text, sizeof text, "%s", io_last_error_text());
    if (run->saved_step == 0) return IO_FAIL(IO_ERR_DIVERGED, "%s. Nothing was saved; start again with a lower --lr, or with --clip", text);
    return IO_FAIL(IO_ERR_DIVERGED,
                   "%s. The checkpoint of step %" PRId64
                   " and %s/adapter.pth are from before that and stay; train into another folder with "
                   "a lower --lr, or with --clip, from SAM or with --init %s/adapter.pth",
                   text, run->saved_step, output, output);
}

/* Collective. Steps and validations to the end, or to a signal. */
static io_status make_steps(train_run *run, bool *is_asked)
{
    for (;;) {
        *is_asked = is_stopped(run);
        if (*is_asked) return IO_OK;
        if (run->state.awaits_validation) {
            const io_status status = validate(run);
            if (status == IO_ERR_STOPPED) continue;
            if (status != IO_OK) return status;
        }
        if (run->state.step >= run->n_steps || is_patience_over(run)) return IO_OK;
        IO_TRY(go_on(run));
    }
}

io_status job_train_loop(train_run *run, int *exit_code)
{
    bool is_asked = false;
    io_status status;

    run->saved_step = run->state.step;
    run->state.awaits_validation &= run->validator != NULL;
    status = make_steps(run, &is_asked);
    if (status == IO_OK && run->is_unsaved) status = save_last(run);
    if (status == IO_ERR_DIVERGED) return tell_divergence(run);
    if (status != IO_OK) return status;
    tell_end(run, is_asked);
    *exit_code = is_asked ? JOB_EXIT_STOPPED : JOB_EXIT_DONE;
    return IO_OK;
}
