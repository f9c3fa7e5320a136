/* The parts of a case come together at its home, the rank that got the first of them. Main thread only. See segment.h.
 *
 * What a rank did of a case at home elsewhere travels as a head (which part, how it ended) and, when it went well, its labels. At home they
 * may arrive before the case is open there; then they wait. A case with a failed part still waits for its others, so that every message
 * finds its receiver; and only when nothing of it is missing, or will ever come, is it written or reported as failed. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "jobs/exits.h"
#include "jobs/segment.h"

enum {
    TAG_HEAD = 11,
    TAG_LABELS = 12,
    MAX_WAITING = 1,    /* cases that wait here before this rank asks for no other part. One: what is missing of it may be for this rank */
    MAX_DEPARTURES = 2, /* parts on their way home before it asks for no other: homes take them between two slices */
    MAX_CASES = MAX_WAITING + 2 /* beside those: the part that was asked for before, and the one under way */
};

typedef struct part_head {
    int64_t place;
    uint64_t slice_bytes;
    double zoom_s, model_s; /* seconds that this rank took */
    char sha256[65];        /* of the file, "" when it was not read */
    io_status status;
    char stage[JOB_STAGE_BYTES];
    char text[JOB_TEXT_BYTES];
} part_head;

/* A case at home here. */
typedef struct home_case {
    segment_work *work;        /* owned */
    int64_t n_missing, n_well; /* slices of parts that have not ended; of those that ended well */
    bool has_ended;            /* the first part, which is computed here */
    double ended;              /* seconds, monotonic: when */
    double zoom_s, model_s;    /* seconds of the other parts: apart from the work's own, which the reader and the loop still use */
    io_status status;          /* of the parts so far, with stage and text */
    char stage[JOB_STAGE_BYTES];
    char text[JOB_TEXT_BYTES];
} home_case;

/* A part of another rank on its way to here. */
typedef struct arrival {
    struct arrival *next;
    part_head head;
    const job_part *part;
    uint8_t *labels; /* [part->n][slice_bytes], NULL when it failed */
    job_request request;
} arrival;

/* A part of this rank on its way home. */
typedef struct departure {
    struct departure *next;
    part_head head;
    segment_work *work; /* owned: its share is what is sent */
    job_request head_request, labels_request;
} departure;

struct segment_gather {
    segment_run *run;
    job_comm comm;               /* a copy of the world */
    home_case *cases[MAX_CASES]; /* [n_cases] */
    int n_cases;
    arrival *arrivals;
    departure *departures;
};

io_status job_segment_gather_create(segment_run *run, segment_gather **out)
{
    io_status status = io_alloc(1, sizeof **out, (void **)out);

    if (!job_all_ok(&run->world, &status, NULL)) {
        io_free(out);
        return status;
    }
    (*out)->run = run;
    job_comm_copy(&run->world, &(*out)->comm);
    return IO_OK;
}

void job_segment_gather_free(segment_gather **gather)
{
    if (!gather || !*gather) return;
    for (int i = 0; i < (*gather)->n_cases; i++) {
        job_segment_work_free(&(*gather)->cases[i]->work);
        io_free(&(*gather)->cases[i]);
    }
    job_comm_free(&(*gather)->comm);
    io_free(gather);
}

/* Memory for what must be received or kept: without it there is no way back, since the other side has sent. */
static void *allocate(const segment_gather *gather, const job_part *part, size_t n, size_t n_bytes)
{
    void *block = NULL;

    if (io_alloc(n, n_bytes, &block) != IO_OK)
        job_abort(JOB_EXIT_RUN, "case %s: gathering labels: %s; finished cases are kept",
                  gather->run->plan.manifest->cases[part->case_index].id, io_last_error_text());
    return block;
}

static home_case *find_case(const segment_gather *gather, int64_t case_index)
{
    for (int i = 0; i < gather->n_cases; i++)
        if (gather->cases[i]->work->part.case_index == case_index) return gather->cases[i];
    return NULL;
}

void job_segment_gather_begin(segment_gather *gather, segment_work *work)
{
    home_case *c = allocate(gather, &work->part, 1, sizeof *c);

    assert(gather->n_cases < MAX_CASES);
    c->work = work;
    c->n_missing = work->part.n_slices;
    c->status = IO_OK;
    gather->cases[gather->n_cases++] = c;
}

/* A failure says more than a stop, and the home's own more than another's: it is there on every number of ranks. */
static void note_end(home_case *c, const job_part *part, io_status status, const char *stage, const char *text)
{
    const bool is_worse = c->status == IO_OK || c->status == IO_ERR_STOPPED || (part->number == 0 && status != IO_ERR_STOPPED);

    c->n_missing -= part->n;
    if (status == IO_OK) c->n_well += part->n;
    if (status == IO_OK || !is_worse) return;
    c->status = status;
    snprintf(c->stage, sizeof c->stage, "%s", stage);
    snprintf(c->text, sizeof c->text, "%s", text);
}

static void end_at_home(segment_gather *gather, segment_work *work)
{
    home_case *c = find_case(gather, work->part.case_index);

    c->has_ended = true;
    c->ended = job_time_now();
    note_end(c, &work->part, work->status, work->stage, work->text);
}

static void send_home(segment_gather *gather, segment_work *work)
{
    departure *d = allocate(gather, &work->part, 1, sizeof *d);

    d->work = work;
    d->head = (part_head){
        .place = work->place, .slice_bytes = work->slice_bytes, .zoom_s = work->zoom_s, .model_s = work->model_s, .status = work->status};
    if (work->body) memcpy(d->head.sha256, work->body->volume->sha256, sizeof d->head.sha256);
    snprintf(d->head.stage, sizeof d->head.stage, "%s", work->stage);
    snprintf(d->head.text, sizeof d->head.text, "%s", work->text);
    d->head_request = job_comm_send_begin(&gather->comm, &d->head, sizeof d->head, work->home, TAG_HEAD);
    if (work->status == IO_OK)
        d->labels_request =
            job_comm_send_rows_begin(&gather->comm, work->share, (size_t)work->part.n, work->slice_bytes, work->home, TAG_LABELS);
    d->next = gather->departures;
    gather->departures = d;
}

void job_segment_gather_end(segment_gather *gather, segment_work *work)
{
    if (work->status != IO_OK && work->n_reported > 0) job_post_progress(gather->run->post, -work->n_reported);
    if (work->part.number == 0)
        end_at_home(gather, work);
    else
        send_home(gather, work);
}

/* ---- what arrives ---- */

/* Labels follow their head from the same rank, in the same order. */
static void take_heads(segment_gather *gather)
{
    part_head head;
    int from;

    while (job_comm_take(&gather->comm, &head, sizeof head, TAG_HEAD, &from)) {
        const job_part *part = job_queue_at(gather->run->queue, head.place);
        arrival *a = allocate(gather, part, 1, sizeof *a);
        a->head = head;
        a->part = part;
        if (head.status == IO_OK) {
            a->labels = allocate(gather, part, (size_t)part->n, head.slice_bytes);
            a->request = job_comm_receive_rows_begin(&gather->comm, a->labels, (size_t)a->part->n, head.slice_bytes, from, TAG_LABELS);
        }
        a->next = gather->arrivals;
        gather->arrivals = a;
    }
}

/* Each rank read the file by itself, perhaps minutes apart. */
static io_status check_same(const segment_gather *gather, const segment_work *work, const part_head *head)
{
    if (head->slice_bytes == work->slice_bytes && !strcmp(head->sha256, work->body->volume->sha256)) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH, "%s: another rank read another file under this name; was it replaced? start again",
                   gather->run->plan.manifest->cases[work->part.case_index].path);
}

/* False while the case is not open here. */
static bool put_part(segment_gather *gather, const arrival *a)
{
    home_case *c = find_case(gather, a->part->case_index);
    io_status status = a->head.status;

    if (!c || (!c->work->map && !c->has_ended)) return false;
    if (status == IO_OK && c->work->map) status = check_same(gather, c->work, &a->head);
    for (int64_t i = 0; i < a->part->n && status == IO_OK && c->work->map; i++)
        status = pipe_labelmap_put(c->work->map, a->part->first + i, a->labels + (size_t)i * a->head.slice_bytes);
    if (status != IO_OK && a->head.status == IO_OK) job_post_progress(gather->run->post, -a->part->n);
    c->zoom_s += a->head.zoom_s;
    c->model_s += a->head.model_s;
    note_end(c, a->part, status, a->head.status == IO_OK ? "segment" : a->head.stage,
             a->head.status == IO_OK ? io_last_error_text() : a->head.text);
    return true;
}

static void put_parts(segment_gather *gather)
{
    for (arrival **at = &gather->arrivals; *at;) {
        arrival *a = *at;
        if (!job_comm_test(&a->request) || !put_part(gather, a)) {
            at = &a->next;
            continue;
        }
        *at = a->next;
        io_free(&a->labels);
        io_free(&a);
    }
}

static void forget_departures(segment_gather *gather)
{
    for (departure **at = &gather->departures; *at;) {
        departure *d = *at;
        const bool has_head = job_comm_test(&d->head_request), has_labels = job_comm_test(&d->labels_request);
        if (!has_head || !has_labels) {
            at = &d->next;
            continue;
        }
        *at = d->next;
        job_segment_work_free(&d->work);
        io_free(&d);
    }
}

/* ---- what becomes of a case ---- */

static void report_failure(segment_gather *gather, const home_case *c)
{
    job_outcome outcome = {.case_index = c->work->part.case_index, .status = c->status};

    outcome.seconds = job_time_now() - c->work->started;
    memcpy(outcome.stage, c->stage, sizeof outcome.stage);
    memcpy(outcome.text, c->text, sizeof outcome.text);
    if (c->n_well > 0) job_post_progress(gather->run->post, -c->n_well); /* done in vain */
    job_post_outcome(gather->run->post, &outcome);
}

/* False while the case has to wait. */
static bool finish_case(segment_gather *gather, home_case *c)
{
    if (c->n_missing > 0 || !c->has_ended) return false;
    if (c->status != IO_OK) {
        report_failure(gather, c);
        job_segment_work_free(&c->work);
        return true;
    }
    if (!job_segment_writer_has_room(gather->run->writer)) return false;
    c->work->gather_s = job_time_now() - c->ended;
    c->work->zoom_s += c->zoom_s;
    c->work->model_s += c->model_s;
    job_segment_writer_add(gather->run->writer, c->work);
    return true;
}

void job_segment_gather_poll(segment_gather *gather)
{
    int n_kept = 0;

    forget_departures(gather);
    take_heads(gather);
    put_parts(gather);
    for (int i = 0; i < gather->n_cases; i++) {
        if (finish_case(gather, gather->cases[i]))
            io_free(&gather->cases[i]);
        else
            gather->cases[n_kept++] = gather->cases[i];
    }
    gather->n_cases = n_kept;
}

bool job_segment_gather_has_room(const segment_gather *gather)
{
    int n_waiting = 0, n_departures = 0;

    for (int i = 0; i < gather->n_cases; i++) n_waiting += gather->cases[i]->has_ended;
    for (const departure *d = gather->departures; d; d = d->next) n_departures++;
    return n_waiting <= MAX_WAITING && n_departures <= MAX_DEPARTURES;
}

void job_segment_gather_close(segment_gather *gather, int64_t n_handed)
{
    for (int i = 0; i < gather->n_cases; i++) {
        home_case *c = gather->cases[i];
        const int64_t first = c->work->place;
        for (int64_t number = 1; number < c->work->part.n_parts; number++)
            if (first + number >= n_handed)
                note_end(c, job_queue_at(gather->run->queue, first + number), IO_ERR_STOPPED, "segment",
                         "dropped: parts of it were not begun");
    }
}

bool job_segment_gather_is_done(const segment_gather *gather)
{
    return gather->n_cases == 0 && !gather->departures;
}
