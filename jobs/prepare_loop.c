/* Every rank: cases from rank 0's queue, one after the other. See prepare.h. */
#include <stdio.h>

#include "io/log.h"
#include "jobs/exits.h"
#include "jobs/prepare.h"
#include "jobs/stop.h"

static void poll_once(prepare_run *run)
{
    if (job_stop_asked() && !run->has_told_stop) {
        run->has_told_stop = true;
        job_post_stop(run->post);
    }
    if (run->world.rank != 0) return;
    job_post_serve(run->post);
    job_progress_show(&run->progress);
}

/* Between slices and while waiting: the queue's messages, progress, signals. */
static void poll_run(void *argument)
{
    prepare_run *run = argument;

    if (!run->post || run->is_polling) return;
    run->is_polling = true;
    poll_once(run);
    run->is_polling = false;
}

/* Seconds between two messages about progress: a slice takes a millisecond, and rank 0 hears all ranks. */
static const double report_every_s = 0.5;

/* A case under way; its slices are reported now and then, and taken back if it fails. */
typedef struct case_state {
    prepare_run *run;
    int64_t n_made, n_reported;
    double reported; /* seconds, monotonic */
} case_state;

static void report_slices(case_state *state, int64_t n_reported)
{
    if (n_reported != state->n_reported) job_post_progress(state->run->post, n_reported - state->n_reported);
    state->n_reported = n_reported;
    state->reported = job_time_now();
}

static bool tick(void *context)
{
    case_state *state = context;

    state->n_made++;
    if (job_time_now() - state->reported > report_every_s) report_slices(state, state->n_made);
    poll_run(state->run);
    return !job_stop_asked();
}

static void prepare_case(prepare_run *run, int64_t index)
{
    const pipe_source *source = &run->cases.sources[index];
    const double start = job_time_now();
    const char *stage = "read";
    case_state state = {.run = run, .reported = start};
    job_outcome outcome = {.case_index = index};

    outcome.status = pipe_prepare_case(&run->prepare, source, tick, &state, &outcome.n_slices, &stage);
    outcome.seconds = job_time_now() - start;
    if (outcome.status != IO_OK) {
        snprintf(outcome.stage, sizeof outcome.stage, "%s", stage);
        snprintf(outcome.text, sizeof outcome.text, "%s", io_last_error_text());
    }
    report_slices(&state, outcome.status == IO_OK ? state.n_made : 0);
    if (outcome.status == IO_ERR_NO_SPACE || outcome.status == IO_ERR_MEMORY) {
        job_lock_free(&run->lock);
        job_abort(JOB_EXIT_RUN, "case %s: %s; finished cases are kept", source->id, outcome.text);
    }
    job_post_outcome(run->post, &outcome);
}

static job_answer ask_next(prepare_run *run)
{
    job_answer next;

    job_post_ask(run->post);
    while (!job_post_answered(run->post, &next)) {
        poll_run(run);
        job_comm_rest();
    }
    return next;
}

io_status job_prepare_loop(prepare_run *run)
{
    job_answer current = job_post_first(run->post);

    job_comm_set_idle(poll_run, run);
    while (current.place != JOB_QUEUE_EMPTY) {
        if (!job_stop_asked()) prepare_case(run, job_queue_at(run->queue, current.place)->case_index);
        current = ask_next(run);
    }
    poll_run(run);             /* a signal that came last */
    run->has_told_stop = true; /* too late to matter: no message may be sent behind the leaving */
    job_post_leave(run->post);
    while (run->world.rank == 0 && !job_post_all_left(run->post)) {
        poll_run(run);
        job_comm_rest();
    }
    job_comm_barrier(&run->world);
    job_comm_set_idle(NULL, NULL);
    return IO_OK;
}
