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
    int64_t n_ignored;
    pipe_unnamed unnamed[PIPE_N_SIDES];
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

/* Organs of a part: part, part + n_parts, ... */
static size_t count_organs(const evaluate_run *run, size_t part)
{
    const size_t step = (size_t)run->n_parts;

    return (run->study->n_organs - part + step - 1) / step;
}

static void put_head(const pipe_study_case *c, size_t index, size_t n_organs, uint8_t *at)
{
    result_head head;

    memset(&head, 0, sizeof head);
    head.case_index = (int64_t)index;
    head.n_organs = (int64_t)n_organs;
    memcpy(head.dims, c->dims, sizeof head.dims);
    memcpy(head.spacing_mm, c->spacing_mm, sizeof head.spacing_mm);
    head.n_ignored = c->n_ignored;
    memcpy(head.unnamed, c->unnamed, sizeof head.unnamed);
    memcpy(head.reference_sha256, c->reference_sha256, sizeof head.reference_sha256);
    memcpy(head.prediction_sha256, c->prediction_sha256, sizeof head.prediction_sha256);
    memcpy(head.note, c->note, sizeof head.note);
    memcpy(at, &head, sizeof head);
}

/* A part's organs as they travel: *out, the caller's. */
static io_status measure_organs(evaluate_run *run, const pipe_pair *pair, size_t index, size_t part, pipe_metrics_scratch *scratch,
                                uint8_t **out)
{
    const pipe_study *study = run->study;
    const size_t n_organs = count_organs(run, part);
    uint8_t *at;

    IO_TRY(io_alloc(sizeof(result_head) + n_organs * organ_bytes(run), 1, (void **)out));
    put_head(&study->cases[index], index, n_organs, *out);
    at = *out + sizeof(result_head);
    for (size_t organ = part; organ < study->n_organs; organ += (size_t)run->n_parts) {
        result_organ result = {.organ = (int64_t)organ};
        IO_TRY(
            pipe_pair_measure(pair, study, &study->cases[index], organ, scratch, &result.overlap, (double *)(void *)(at + sizeof result)));
        memcpy(at, &result, sizeof result);
        at += organ_bytes(run);
        job_evaluate_poll(run);
    }
    return IO_OK;
}

static void take_head(pipe_study *study, const result_head *head)
{
    pipe_study_case *c = &study->cases[head->case_index];

    memcpy(c->dims, head->dims, sizeof c->dims);
    memcpy(c->spacing_mm, head->spacing_mm, sizeof c->spacing_mm);
    c->n_ignored = head->n_ignored;
    memcpy(c->unnamed, head->unnamed, sizeof c->unnamed);
    memcpy(c->reference_sha256, head->reference_sha256, sizeof c->reference_sha256);
    memcpy(c->prediction_sha256, head->prediction_sha256, sizeof c->prediction_sha256);
    memcpy(c->note, head->note, sizeof c->note);
}

/* Rank 0: puts one result into the study. A case is done when none of its parts failed. */
static void take_result(pipe_study *study, const uint8_t *at)
{
    const size_t values_bytes = study->n_columns * sizeof(double);
    result_head head;
    result_organ organ;

    memcpy(&head, at, sizeof head);
    at += sizeof head;
    take_head(study, &head);
    if (!study->cases[head.case_index].text) study->cases[head.case_index].is_done = true;
    for (int64_t i = 0; i < head.n_organs; i++) {
        memcpy(&organ, at, sizeof organ);
        const size_t cell = (size_t)head.case_index * study->n_organs + (size_t)organ.organ;
        study->overlaps[cell] = organ.overlap;
        memcpy(study->raw + cell * study->n_columns, at + sizeof organ, values_bytes);
        at += sizeof organ + values_bytes;
    }
}

/* Rank 0 has the study to put a result into; the others keep it until they send it. Takes *result. */
static io_status keep_result(evaluate_run *run, uint8_t **result)
{
    const size_t n = run->n_results;

    if (run->world.rank == 0) {
        take_result(run->study, *result);
        io_free(result);
        return IO_OK;
    }
    if ((n & (n - 1)) == 0) IO_TRY(io_grow((void **)&run->results, n * sizeof *run->results, n ? 2 * n : 1, sizeof *run->results));
    run->results[run->n_results++] = *result;
    *result = NULL;
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
    const double start = job_time_now();
    const char *stage = "measure";
    uint8_t *result = NULL;
    pipe_pair pair;
    job_outcome outcome = {.case_index = item, .n_slices = 1};

    outcome.status = pipe_pair_open(&options, &run->study->cases[index], &pair, &stage);
    if (outcome.status == IO_OK) {
        outcome.status = measure_organs(run, &pair, index, part, scratch, &result);
        pipe_pair_close(&pair);
    }
    if (outcome.status == IO_OK) outcome.status = keep_result(run, &result);
    io_free(&result);
    if (outcome.status != IO_OK) {
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

static job_answer wait_answer(evaluate_run *run)
{
    job_answer next;

    while (!job_post_answered(run->post, &next)) {
        job_evaluate_poll(run);
        job_comm_rest();
    }
    return next;
}

/* The next item is asked for before this one is measured, so that its number is there when it is needed. */
static void run_items(evaluate_run *run, pipe_metrics_scratch *scratch)
{
    job_answer current = job_post_first(run->post);

    while (current.place != JOB_QUEUE_EMPTY) {
        job_post_ask(run->post);
        measure_item(run, job_queue_at(run->queue, current.place)->case_index, scratch);
        current = wait_answer(run);
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

/* Rank 0: every rank's results, one at a time. counts [ranks]. */
static void collect(evaluate_run *run, uint8_t *buffer, size_t n_bytes, const uint64_t *counts)
{
    for (int r = 1; r < run->world.size; r++) {
        for (uint64_t i = 0; i < counts[r]; i++) {
            job_comm_receive(&run->world, buffer, n_bytes, r, TAG_RESULTS);
            take_result(run->study, buffer);
        }
    }
}

static void send_results(evaluate_run *run)
{
    for (size_t i = 0; i < run->n_results; i++) {
        result_head head;
        memcpy(&head, run->results[i], sizeof head);
        job_comm_send(&run->world, run->results[i], sizeof head + (size_t)head.n_organs * organ_bytes(run), 0, TAG_RESULTS);
        io_free(&run->results[i]);
    }
}

io_status job_evaluate_gather(evaluate_run *run)
{
    uint64_t *counts = NULL;
    uint8_t *buffer = NULL;
    const uint64_t own = run->n_results;
    const size_t n_bytes = sizeof(result_head) + run->study->n_organs * organ_bytes(run);
    io_status status = io_alloc((size_t)run->world.size, sizeof *counts, (void **)&counts);

    if (status == IO_OK) status = io_alloc(n_bytes, 1, (void **)&buffer);
    if (!job_all_ok(&run->world, &status, NULL)) goto done;
    job_comm_allgather(&run->world, &own, counts, sizeof own);
    if (run->world.rank == 0)
        collect(run, buffer, n_bytes, counts);
    else
        send_results(run);
done:
    job_evaluate_free_results(run);
    io_free(&buffer);
    io_free(&counts);
    return status;
}

void job_evaluate_free_results(evaluate_run *run)
{
    for (size_t i = 0; i < run->n_results; i++) io_free(&run->results[i]);
    io_free(&run->results);
    run->n_results = 0;
}
