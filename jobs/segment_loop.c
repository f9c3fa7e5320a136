/* The main thread: parts of cases from the queue, slices through the network, labels to the case's home. See segment.h.
 *
 * One part: opened by the reader -> its slices segmented -> into the map at home, or on their way there. Meanwhile the next part is asked
 * for, when few slices are left, so that the reader goes on. Nobody waits for another rank here. */
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "io/memory.h"
#include "io/plural.h"
#include "jobs/exits.h"
#include "jobs/segment.h"
#include "jobs/stop.h"

enum {
    WAIT_MS = 20 /* how long rank 0 leaves the queue unattended while it waits for a slice */
};

/* A signal leaves 30 s at least on most clusters; a part that can be finished within this is. */
static const double grace_s = 25;

/* The labels of one network call and of one slice, reused. */
typedef struct loop_state {
    segment_run *run;
    segment_work *work;              /* under way */
    uint16_t *labels;                /* [batch][S][S]; NULL where the device brings them back to the grid */
    uint16_t *slice;                 /* [rows][cols] of the case under way, likewise */
    segment_item begun[MODEL_LANES]; /* raw batches on the device, oldest first */
    int n_begun;
    job_answer current, next;
    bool has_asked, has_answer;
    double reported; /* seconds, monotonic: when rank 0 heard last */
    double slice_s;  /* seconds of the network for each slice of the last part, 0 before */
} loop_state;

static void abort_run(segment_run *run, int64_t case_index, const char *text)
{
    job_abort(JOB_EXIT_RUN, "case %s: %s; finished cases are kept", run->plan.manifest->cases[case_index].id, text);
}

/* What the next case would meet too: a full or vanished file system, no memory. */
static bool is_fault_of_run(const job_outcome *outcome)
{
    return outcome->status == IO_ERR_NO_SPACE || outcome->status == IO_ERR_MEMORY || outcome->status == IO_ERR_FILE ||
           outcome->status == IO_ERR_NOT_FOUND;
}

/* The writer has touched nothing but the output folder. */
static void send_outcomes(segment_run *run)
{
    job_outcome outcome;

    if (!run->writer) return;
    while (job_segment_writer_take(run->writer, &outcome)) {
        if (is_fault_of_run(&outcome)) abort_run(run, outcome.case_index, outcome.text);
        job_post_outcome(run->post, &outcome);
    }
}

static void poll_once(segment_run *run)
{
    if (run->gather) job_segment_gather_poll(run->gather);
    send_outcomes(run);
    if (job_stop_asked() && !run->has_told_stop) { /* the signal may have come to this rank alone */
        run->has_told_stop = true;
        job_post_stop(run->post);
    }
    if (run->world.rank != 0) return;
    job_post_serve(run->post);
    job_segment_report_show(run->report);
}

void job_segment_poll(void *argument)
{
    segment_run *run = argument;

    if (!run->post || run->is_polling) return;
    run->is_polling = true;
    poll_once(run);
    run->is_polling = false;
}

/* Lets the next part come closer, as far as it can without waiting. */
static void advance_next(loop_state *state, bool may_ask)
{
    segment_run *run = state->run;

    if (may_ask && !state->has_asked && job_segment_gather_has_room(run->gather)) {
        job_post_ask(run->post);
        state->has_asked = true;
    }
    if (!state->has_asked || state->has_answer || !job_post_answered(run->post, &state->next)) return;
    if (state->next.place != JOB_QUEUE_EMPTY) job_segment_reader_add(run->reader, state->next.place);
    state->has_answer = true;
}

static void finish_next(loop_state *state)
{
    advance_next(state, true);
    while (!state->has_answer) {
        job_segment_poll(state->run);
        job_comm_rest();
        advance_next(state, true);
    }
    state->current = state->next;
    state->has_asked = state->has_answer = false;
}

static segment_item take_item(loop_state *state)
{
    segment_item item;

    while (!job_segment_reader_take(state->run->reader, &item, WAIT_MS)) job_segment_poll(state->run);
    return item;
}

/* Told to stop: can n slices of slice_s each, 0 for not known, not be finished in time? */
static bool would_take_too_long(int64_t n, double slice_s)
{
    if (!job_stop_asked()) return false;
    if (slice_s <= 0 || job_stop_is_hurried()) return true;
    return slice_s * (double)n > grace_s - job_stop_age();
}

/* Labels [rows][cols] of the part's slice i: in place at home, else kept until the part is sent there. */
static io_status take_slice(loop_state *state, int64_t i, const void *labels)
{
    segment_work *work = state->work;

    if (work->map) return pipe_labelmap_put(work->map, work->part.first + i, labels);
    memcpy(work->share + (size_t)i * work->slice_bytes, labels, work->slice_bytes);
    return IO_OK;
}

static void abort_network(const loop_state *state)
{
    const segment_run *run = state->run;

    job_abort(JOB_EXIT_RUN, "case %s: the network failed: %s", run->plan.manifest->cases[state->work->part.case_index].id, io_last_error());
}

/* slice [n] of uint16, as narrow as it will be written. */
static void narrow_labels(uint16_t *slice, size_t n)
{
    uint8_t *bytes = (uint8_t *)slice;

    for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)slice[i];
}

/* Images made here, labels brought back here. */
static io_status segment_images(loop_state *state, const segment_item *item)
{
    const segment_run *run = state->run;
    const size_t image_pixels = (size_t)run->options->pipe.image_size * (size_t)run->options->pipe.image_size;
    const double start = job_time_now();

    if (model_sam_segment(run->weights.network, item->slices, item->n, state->labels) != IO_OK) abort_network(state);
    state->work->model_s += job_time_now() - start;
    for (int b = 0; b < item->n; b++) {
        pipe_labels_zoom_back(state->work->body->slices, state->labels + (size_t)b * image_pixels, state->slice);
        if (run->outputs.label_bytes == 1) narrow_labels(state->slice, state->work->slice_bytes);
        IO_TRY(take_slice(state, item->first + b, state->slice));
    }
    return IO_OK;
}

/* The oldest batch on the device comes back. */
static io_status finish_batch(loop_state *state)
{
    segment_run *run = state->run;
    const segment_item item = state->begun[0];
    const double start = job_time_now();
    const void *labels;
    io_status status = IO_OK;

    if (model_flow_finish(run->weights.flow, &labels) != IO_OK) abort_network(state);
    state->work->model_s += job_time_now() - start;
    for (int b = 0; b < item.n && status == IO_OK; b++)
        status = take_slice(state, item.first + b, (const uint8_t *)labels + (size_t)b * state->work->slice_bytes);
    memmove(state->begun, state->begun + 1, (size_t)--state->n_begun * sizeof state->begun[0]);
    job_segment_reader_return(run->reader, item.slices);
    return status;
}

/* Raw slices: the batch before this one is finished while the device works on this one. */
static io_status segment_raw(loop_state *state, const segment_item *item)
{
    const double start = job_time_now();

    if (model_flow_begin(state->run->weights.flow, item->slices) != IO_OK) abort_network(state);
    state->work->model_s += job_time_now() - start;
    state->begun[state->n_begun++] = *item;
    return state->n_begun == MODEL_LANES ? finish_batch(state) : IO_OK;
}

/* The reader's buffer goes back as soon as it was read. */
static io_status segment_batch(loop_state *state, const segment_item *item)
{
    segment_run *run = state->run;
    io_status status;

    if (run->first_slice == 0) run->first_slice = job_time_now();
    if (run->weights.flow) return segment_raw(state, item);
    status = segment_images(state, item);
    job_segment_reader_return(run->reader, item->slices);
    return status;
}

/* What is still on the device, whether it is wanted or not. */
static io_status finish_batches(loop_state *state)
{
    io_status status = IO_OK;

    while (state->n_begun > 0) {
        const io_status finished = finish_batch(state);
        if (status == IO_OK) status = finished;
    }
    return status;
}

static io_status prepare_device(loop_state *state, size_t n_pixels)
{
    model_slicing slicing;

    if (state->run->weights.flow) {
        io_status status;
        pipe_slices_slicing(state->work->body->slices, &slicing);
        status = model_flow_volume(state->run->weights.flow, &slicing);
        if (status != IO_OK && status != IO_ERR_MISMATCH) abort_network(state); /* the next case would meet it too */
        return status;
    }
    io_free(&state->slice);
    return io_alloc(n_pixels, sizeof *state->slice, (void **)&state->slice);
}

/* Room for the part's labels. */
static io_status prepare_part(loop_state *state)
{
    const segment_run *run = state->run;
    segment_work *work = state->work;
    size_t n_pixels;

    IO_TRY(io_size_mul((size_t)work->body->rows, (size_t)work->body->cols, &n_pixels));
    IO_TRY(io_size_mul(n_pixels, (size_t)run->outputs.label_bytes, &work->slice_bytes));
    IO_TRY(prepare_device(state, n_pixels));
    if (work->part.number == 0) return pipe_labelmap_create(work->body->slices, run->outputs.label_bytes, &work->map);
    return io_alloc((size_t)work->part.n, work->slice_bytes, (void **)&work->share);
}

/* Not more often than rank 0 can hear of so many ranks. */
static void tell_progress(loop_state *state, int64_t n_done)
{
    const segment_run *run = state->run;
    segment_work *work = state->work;
    const double now = job_time_now();

    if (n_done < work->part.n && now - state->reported < job_queue_news_every(run->world.size)) return;
    job_post_progress(run->post, n_done - work->n_reported);
    work->n_reported = n_done;
    state->reported = now;
}

/* n_done slices of this part took seconds. One batch at least is left: it may be the whole part. */
static int64_t find_ask_before(const loop_state *state, int64_t n_done, double seconds)
{
    const int64_t n = job_queue_ask_before(state->work->opening_s, n_done > 0 ? seconds / (double)n_done : 0);
    return n > state->run->batch ? n : state->run->batch;
}

static void note_failure(segment_work *work, io_status status, const char *stage)
{
    work->status = status;
    work->stage = stage;
    snprintf(work->text, sizeof work->text, "%s", io_last_error_text());
}

/* One batch, or nothing of it after a failure or where time lacks. */
static void do_batch(loop_state *state, const segment_item *item, double slice_s)
{
    segment_work *work = state->work;
    const int64_t n_left = work->part.n - item->first;
    io_status status = IO_OK;

    if (work->status == IO_OK && would_take_too_long(n_left, slice_s))
        status = IO_FAIL(IO_ERR_STOPPED, "dropped for %s: %lld slice%s left", job_stop_name(), (long long)n_left, io_plural(n_left));
    if (work->status == IO_OK && status == IO_OK)
        status = segment_batch(state, item);
    else
        job_segment_reader_return(state->run->reader, item->slices);
    if (status != IO_OK) note_failure(work, status, "segment");
    if (work->status == IO_OK)
        tell_progress(state, item->first + item->n);
    else
        atomic_store(&work->is_dropped, true);
}

/* The part, batch by batch, until the reader's END. */
static void segment_slices(loop_state *state)
{
    const double started = job_time_now();
    segment_work *work = state->work;
    io_status status;

    for (segment_item item = take_item(state); item.kind != SEGMENT_END; item = take_item(state)) {
        const int64_t n_left = work->part.n - item.first;
        const int64_t ask_before = find_ask_before(state, item.first, job_time_now() - started);
        advance_next(state, n_left <= ask_before); /* before the call too: one batch may be the whole part */
        do_batch(state, &item, item.first > 0 ? work->model_s / (double)item.first : state->slice_s);
        advance_next(state, n_left - item.n <= ask_before);
        job_segment_poll(state->run);
    }
    status = finish_batches(state);
    if (status != IO_OK && work->status == IO_OK) note_failure(work, status, "segment");
    if (work->status == IO_OK) state->slice_s = work->model_s / (double)work->part.n;
}

static void drain_part(loop_state *state)
{
    atomic_store(&state->work->is_dropped, true);
    for (segment_item item = take_item(state); item.kind != SEGMENT_END; item = take_item(state))
        job_segment_reader_return(state->run->reader, item.slices);
}

/* If the case fails now, nothing of an earlier run may stand for it. */
static void remove_last_result(loop_state *state)
{
    segment_run *run = state->run;
    const int64_t case_index = state->work->part.case_index;

    if (job_stop_asked()) return;
    if (pipe_case_remove(&run->outputs, run->plan.manifest->cases[case_index].id) != IO_OK)
        abort_run(run, case_index, io_last_error_text());
}

/* Opened, and not told to stop? Else nothing of the part is left with the reader. */
static bool is_opened(loop_state *state)
{
    segment_work *work = state->work;
    io_status status = IO_OK;

    if (work->status != IO_OK) {
        (void)take_item(state); /* END follows at once */
        return false;
    }
    /* no new case; what is missing of one that is under way elsewhere is done where there is time */
    if (job_stop_asked() && (work->part.number == 0 || would_take_too_long(work->part.n, state->slice_s)))
        status = IO_FAIL(IO_ERR_STOPPED, "not begun because of %s", job_stop_name());
    else
        status = prepare_part(state);
    if (status == IO_OK) return true;
    note_failure(work, status, work->stage);
    drain_part(state);
    return false;
}

/* Said once of each case, at home. */
static void warn_of_case(const loop_state *state)
{
    const segment_work *work = state->work;

    for (int i = 0; i < work->n_warnings; i++)
        io_log(IO_LOG_WARN, "case %s: %s", state->run->plan.manifest->cases[work->part.case_index].id, work->warnings[i]);
}

static void segment_part(loop_state *state)
{
    segment_gather *gather = state->run->gather;
    segment_work *work = take_item(state).work; /* OPENED */

    state->work = work;
    work->home = state->current.home;
    if (work->part.number == 0) {
        remove_last_result(state);
        job_segment_gather_begin(gather, work);
    }
    if (is_opened(state)) {
        warn_of_case(state);
        segment_slices(state);
    }
    state->work = NULL;
    job_segment_gather_end(gather, work);
}

static void run_parts(loop_state *state)
{
    segment_run *run = state->run;

    state->current = job_post_first(run->post);
    while (state->current.place != JOB_QUEUE_EMPTY) {
        segment_part(state);
        finish_next(state);
    }
    job_segment_gather_close(run->gather, state->current.n_handed);
}

/* This rank's cases are whole and written, rank 0 has heard of all of them, and everybody knows that the end is there. Collective. */
static void end_loop(segment_run *run)
{
    while (!job_segment_gather_is_done(run->gather) || !job_segment_writer_finish(run->writer)) {
        job_segment_poll(run);
        job_comm_rest();
    }
    send_outcomes(run);
    job_post_leave(run->post);
    run->has_told_stop = true; /* too late to matter: no message may be sent behind the barrier */
    while (run->world.rank == 0 && !job_post_all_left(run->post)) {
        job_segment_poll(run);
        job_comm_rest();
    }
    job_comm_barrier(&run->world);
}

void job_segment_loop_begin(segment_run *run)
{
    if (job_queue_at(run->queue, run->world.rank)) job_segment_reader_add(run->reader, run->world.rank);
}

io_status job_segment_loop(segment_run *run)
{
    io_status status = IO_OK;
    loop_state state = {.run = run};
    const size_t pixels = (size_t)run->options->pipe.image_size * (size_t)run->options->pipe.image_size;

    if (!run->weights.flow) status = io_alloc((size_t)run->batch * pixels, sizeof *state.labels, (void **)&state.labels);
    if (!job_all_ok(&run->world, &status, NULL)) goto done;
    job_comm_set_idle(job_segment_poll, run);
    run_parts(&state);
    end_loop(run);
    job_comm_set_idle(NULL, NULL);
done:
    io_free(&state.slice);
    io_free(&state.labels);
    return status;
}
