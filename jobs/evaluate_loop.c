/* Every rank takes items, reads the pair, measures its organs and keeps the numbers; at the end all of them go to rank 0. See evaluate.h.
 */
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "io/memory.h"
#include "jobs/evaluate.h"
#include "jobs/exits.h"
#include "jobs/stop.h"

enum { TAG_RESULTS = 31 };

/* What travels of a measured item; behind it n_organs times (organ, overlap, values [n_columns]). */
typedef struct result_head {
    int64_t case_index;
    int64_t n_organs;
    int64_t dims[3];
    double spacing_mm[3];
    char reference_sha256[65], prediction_sha256[65];
    char note[PIPE_NOTE_BYTES];
} result_head;

typedef struct result_organ {
    int64_t organ;
    pipe_overlap overlap;
} result_organ;

static size_t organ_bytes(const evaluate_run *run)
{
    return sizeof(result_organ) + run->study->n_columns * sizeof(double);
}

/* Room for n_bytes more; *at receives where. Zeroed, so that padding is the same everywhere. */
static io_status extend_results(evaluate_run *run, size_t n_bytes, uint8_t **at)
{
    const size_t needed = run->n_result_bytes + n_bytes;

    if (needed > run->results_capacity) {
        const size_t larger = needed > 2 * run->results_capacity ? needed : 2 * run->results_capacity;
        IO_TRY(io_grow((void **)&run->results, run->n_result_bytes, larger, 1));
        run->results_capacity = larger;
    }
    *at = run->results + run->n_result_bytes;
    memset(*at, 0, n_bytes);
    run->n_result_bytes = needed;
    return IO_OK;
}

static io_status put_head(evaluate_run *run, size_t index, int64_t n_organs)
{
    const pipe_study_case *c = &run->study->cases[index];
    result_head head;
    uint8_t *at = NULL;

    IO_TRY(extend_results(run, sizeof head, &at));
    memset(&head, 0, sizeof head);
    head.case_index = (int64_t)index;
    head.n_organs = n_organs;
    memcpy(head.dims, c->dims, sizeof head.dims);
    memcpy(head.spacing_mm, c->spacing_mm, sizeof head.spacing_mm);
    memcpy(head.reference_sha256, c->reference_sha256, sizeof head.reference_sha256);
    memcpy(head.prediction_sha256, c->prediction_sha256, sizeof head.prediction_sha256);
    memcpy(head.note, c->note, sizeof head.note);
    memcpy(at, &head, sizeof head);
    return IO_OK;
}

/* The organs part, part + n_parts, ... of a pair. */
static io_status measure_organs(evaluate_run *run, const pipe_pair *pair, size_t index, size_t part, pipe_metrics_scratch *scratch)
{
    const pipe_study *study = run->study;
    const size_t step = (size_t)run->n_parts;

    IO_TRY(put_head(run, index, (int64_t)((study->n_organs - part + step - 1) / step)));
    for (size_t organ = part; organ < study->n_organs; organ += step) {
        result_organ result = {.organ = (int64_t)organ};
        uint8_t *at = NULL;
        IO_TRY(extend_results(run, organ_bytes(run), &at));
        IO_TRY(
            pipe_pair_measure(pair, study, &study->cases[index], organ, scratch, &result.overlap, (double *)(void *)(at + sizeof result)));
        memcpy(at, &result, sizeof result);
        job_evaluate_poll(run);
    }
    return IO_OK;
}

pipe_pair_options job_evaluate_pair_options(const evaluate_run *run)
{
    return (pipe_pair_options){.reference_map = run->reference_map,
                               .prediction_map = run->prediction_map,
                               .round = run->options->round,
                               .resample = run->options->resample,
                               .missing_is_worst = run->options->study.missing_is_worst,
                               .tolerance_mm = run->options->grid_tolerance_mm};
}

static void measure_item(evaluate_run *run, int64_t item, pipe_metrics_scratch *scratch)
{
    const size_t index = (size_t)item / (size_t)run->n_parts, part = (size_t)item % (size_t)run->n_parts;
    const pipe_pair_options options = job_evaluate_pair_options(run);
    const size_t n_before = run->n_result_bytes;
    const double start = job_time_now();
    const char *stage = "measure";
    pipe_pair pair;
    job_outcome outcome = {.case_index = item, .n_slices = 1};

    outcome.status = pipe_pair_open(&options, &run->study->cases[index], &pair, &stage);
    if (outcome.status == IO_OK) {
        outcome.status = measure_organs(run, &pair, index, part, scratch);
        pipe_pair_close(&pair);
    }
    if (outcome.status != IO_OK) {
        run->n_result_bytes = n_before;
        snprintf(outcome.stage, sizeof outcome.stage, "%s", stage);
        snprintf(outcome.text, sizeof outcome.text, "%s", io_last_error_text());
    }
    if (outcome.status == IO_ERR_MEMORY)
        job_abort(JOB_EXIT_RUN, "case %s: %s; use fewer ranks per node", run->study->cases[index].id, outcome.text);
    outcome.seconds = job_time_now() - start;
    job_post_outcome(run->post, &outcome);
}

void job_evaluate_poll(void *argument)
{
    evaluate_run *run = argument;

    if (!run->post || run->is_polling) return;
    run->is_polling = true;
    if (job_stop_asked() && !run->has_told_stop) {
        run->has_told_stop = true;
        job_post_stop(run->post);
    }
    if (run->world.rank == 0) {
        job_post_serve(run->post);
        job_progress_show(&run->progress);
    }
    run->is_polling = false;
}

static int64_t wait_answer(evaluate_run *run)
{
    int64_t next = JOB_QUEUE_EMPTY;

    while (!job_post_answer(run->post, &next)) {
        job_evaluate_poll(run);
        job_comm_rest();
    }
    return next;
}

/* The next item is asked for before this one is measured, so that its number is there when it is needed. */
static void run_items(evaluate_run *run, pipe_metrics_scratch *scratch)
{
    int64_t item = job_queue_at(run->queue, (size_t)run->world.rank);

    while (item != JOB_QUEUE_EMPTY) {
        job_post_ask(run->post);
        measure_item(run, item, scratch);
        item = wait_answer(run);
    }
    job_post_leave(run->post);
    run->has_told_stop = true; /* too late to matter: no message may be sent behind the leaving */
    while (run->world.rank == 0 && !job_post_all_left(run->post)) {
        job_evaluate_poll(run);
        job_comm_rest();
    }
    job_comm_barrier(&run->world);
}

io_status job_evaluate_loop(evaluate_run *run)
{
    pipe_metrics_scratch *scratch = NULL;
    io_status status = pipe_metrics_scratch_create(&scratch);

    if (job_all_ok(&run->world, &status, NULL)) {
        job_comm_set_idle(job_evaluate_poll, run);
        run_items(run, scratch);
        job_comm_set_idle(NULL, NULL);
    }
    pipe_metrics_scratch_free(&scratch);
    return status;
}

static void take_head(pipe_study *study, const result_head *head)
{
    pipe_study_case *c = &study->cases[head->case_index];

    memcpy(c->dims, head->dims, sizeof c->dims);
    memcpy(c->spacing_mm, head->spacing_mm, sizeof c->spacing_mm);
    memcpy(c->reference_sha256, head->reference_sha256, sizeof c->reference_sha256);
    memcpy(c->prediction_sha256, head->prediction_sha256, sizeof c->prediction_sha256);
    memcpy(c->note, head->note, sizeof c->note);
}

/* Puts a rank's results [n_bytes] into the study. A case is done when none of its parts failed. */
static void take_results(pipe_study *study, const uint8_t *bytes, size_t n_bytes)
{
    const size_t values_bytes = study->n_columns * sizeof(double);
    result_head head;
    result_organ organ;

    for (size_t at = 0; at < n_bytes;) {
        memcpy(&head, bytes + at, sizeof head);
        at += sizeof head;
        take_head(study, &head);
        if (!study->cases[head.case_index].text) study->cases[head.case_index].is_done = true;
        for (int64_t i = 0; i < head.n_organs; i++) {
            memcpy(&organ, bytes + at, sizeof organ);
            const size_t cell = (size_t)head.case_index * study->n_organs + (size_t)organ.organ;
            study->overlaps[cell] = organ.overlap;
            memcpy(study->raw + cell * study->n_columns, bytes + at + sizeof organ, values_bytes);
            at += sizeof organ + values_bytes;
        }
    }
}

/* sizes [ranks] in bytes. */
static io_status collect(evaluate_run *run, const uint64_t *sizes)
{
    uint8_t *bytes = NULL;
    uint64_t largest = 0;

    take_results(run->study, run->results, run->n_result_bytes);
    for (int r = 1; r < run->world.size; r++) largest = sizes[r] > largest ? sizes[r] : largest;
    if (io_alloc(largest, 1, (void **)&bytes) != IO_OK) job_abort(JOB_EXIT_RUN, "%s", io_last_error_text());
    for (int r = 1; r < run->world.size; r++) {
        job_comm_receive(&run->world, bytes, sizes[r], r, TAG_RESULTS);
        take_results(run->study, bytes, sizes[r]);
    }
    io_free(&bytes);
    return IO_OK;
}

io_status job_evaluate_gather(evaluate_run *run)
{
    uint64_t *sizes = NULL;
    const uint64_t own = run->n_result_bytes;
    io_status status = io_alloc((size_t)run->world.size, sizeof *sizes, (void **)&sizes);

    if (!job_all_ok(&run->world, &status, NULL)) goto done;
    job_comm_allgather(&run->world, &own, sizes, sizeof own);
    if (run->world.rank == 0)
        status = collect(run, sizes);
    else
        job_comm_send(&run->world, run->results, own, 0, TAG_RESULTS);
    io_free(&run->results);
    run->n_result_bytes = run->results_capacity = 0;
done:
    io_free(&sizes);
    return status;
}
