/* Two threads: one opens cases, the other makes batches of slices of them, a bounded number ahead of the network. The next case is thus
 * read and inflated while slices of this one are still made: on a fast device that takes as long as computing them. See segment.h. */
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "jobs/exits.h"
#include "jobs/segment.h"

enum { MAX_CASES_AHEAD = 4 /* the case under way, the next one, and room to spare: adding never waits */ };

struct segment_reader {
    const segment_run *run;
    job_channel *places;  /* int64_t, of the queue, from the main thread */
    job_channel *opened;  /* segment_work *, from the opener to the reader */
    job_channel *items;   /* segment_item, to the main thread */
    job_channel *buffers; /* void *, empty ones */
    void *slices;         /* [batches ahead][buffer_bytes]; of the device, if it takes raw slices */
    size_t buffer_bytes;
    void *scratch; /* of the case under way */
    pthread_t opener, reader;
    bool has_opener, has_reader;
    bool has_told_scratch; /* opener */
};

void job_segment_work_free(segment_work **work)
{
    if (!work || !*work) return;
    pipe_labelmap_free(&(*work)->map);
    pipe_case_free(&(*work)->body);
    io_free(&(*work)->share);
    io_free(work);
}

static bool takes_raw(const segment_run *run)
{
    return model_flow_is_offered(run->weights.device);
}

/* The buffers were made for the slices that the headers announced. */
static io_status check_room(const segment_reader *reader, const segment_work *work)
{
    const size_t slice_bytes = pipe_slices_raw_bytes(work->body->slices);

    if (!takes_raw(reader->run) || slice_bytes * (size_t)reader->run->batch <= reader->buffer_bytes) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH, "slices of %zu bytes; at the start of the run the largest of all had %zu: was the file replaced?",
                   slice_bytes, reader->buffer_bytes / (size_t)reader->run->batch);
}

/* Opens the copy of a case in the scratch folder; the copy goes as soon as it is read. What arrived there must be what was sent. */
static io_status open_copy(const segment_run *run, const io_case *c, segment_work *work)
{
    io_status status = IO_OK;
    char *copy = NULL;
    char sha256[65];

    IO_TRY_GOTO(status, done, io_nifti_copy(c->path, job_scratch_path(run->scratch), &copy, sha256));
    IO_TRY_GOTO(status, done, pipe_case_open(c->id, copy, &run->options->pipe, &work->body, &work->stage));
    if (strcmp(work->body->volume->sha256, sha256) != 0)
        status = IO_FAIL(IO_ERR_CHECKSUM, "%s: its copy %s does not read back as it was written; is that disk well?", c->path, copy);
done:
    if (copy) (void)io_nifti_remove(copy);
    io_free(&copy);
    return status;
}

/* A scratch folder that is full, lost or read-only makes a run slower, not impossible: what the input itself gives is what counts. */
static io_status open_volume(segment_reader *reader, const io_case *c, segment_work *work)
{
    const segment_run *run = reader->run;
    char text[JOB_TEXT_BYTES] = "";

    if (run->scratch) {
        if (open_copy(run, c, work) == IO_OK) return IO_OK;
        snprintf(text, sizeof text, "%s", io_last_error_text());
        pipe_case_free(&work->body);
    }
    IO_TRY(pipe_case_open(c->id, c->path, &run->options->pipe, &work->body, &work->stage));
    if (*text && !reader->has_told_scratch) {
        io_log(IO_LOG_WARN, "--scratch: %s; such cases are read from where they are", text);
        reader->has_told_scratch = true;
    }
    return IO_OK;
}

/* The parts were cut by what the header said at the start of the run. A header that could not be read then counts as one slice. */
static io_status check_part(const io_case *c, const segment_work *work)
{
    if (work->body->n_slices == work->part.n_slices) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH, "%s: %lld slice%s; at the start of the run there were %lld: was the file replaced? start again",
                   c->path, (long long)work->body->n_slices, io_plural(work->body->n_slices), (long long)work->part.n_slices);
}

static io_status open_body(segment_reader *reader, segment_work *work)
{
    const segment_run *run = reader->run;
    const io_case *c = &run->plan.manifest->cases[work->part.case_index];

    IO_TRY(open_volume(reader, c, work));
    IO_TRY(check_part(c, work));
    return check_room(reader, work);
}

static void open_case(segment_reader *reader, segment_work *work)
{
    work->started = job_time_now();
    work->stage = "read";
    work->status = open_body(reader, work);
    if (work->status != IO_OK) snprintf(work->text, sizeof work->text, "%s", io_last_error_text());
    if (work->status == IO_OK && work->part.number == 0)
        work->n_warnings = pipe_case_check(work->body, &reader->run->options->pipe, work->warnings, SEGMENT_MAX_WARNINGS);
    work->opening_s = job_time_now() - work->started;
}

static void fill_images(const segment_reader *reader, const segment_work *work, segment_item *item)
{
    const segment_run *run = reader->run;
    const size_t image_pixels = (size_t)run->options->pipe.image_size * (size_t)run->options->pipe.image_size;
    float *images = item->slices;

    for (int b = 0; b < item->n; b++)
        pipe_slices_image(work->body->slices, work->part.first + item->first + b, images + (size_t)b * image_pixels, reader->scratch);
}

/* Slices that are not there are zeros: every batch has the same shape. */
static void fill_raw(const segment_reader *reader, const segment_work *work, segment_item *item)
{
    const segment_run *run = reader->run;
    const size_t slice_bytes = pipe_slices_raw_bytes(work->body->slices);
    uint8_t *raw = item->slices;

    for (int b = 0; b < item->n; b++)
        pipe_slices_raw(work->body->slices, work->part.first + item->first + b, raw + (size_t)b * slice_bytes, reader->scratch);
    memset(raw + (size_t)item->n * slice_bytes, 0, (size_t)(run->batch - item->n) * slice_bytes);
}

/* Makes batch after batch of the part until its end, or until the main thread drops the case. False when the run ends. */
static bool make_batches(segment_reader *reader, segment_work *work)
{
    const segment_run *run = reader->run;

    for (int64_t first = 0; first < work->part.n && !atomic_load(&work->is_dropped); first += run->batch) {
        segment_item item = {.kind = SEGMENT_BATCH, .work = work, .first = first};
        double start;
        if (!job_channel_pop(reader->buffers, &item.slices, -1)) return false;
        item.n = work->part.n - first < run->batch ? (int)(work->part.n - first) : run->batch;
        start = job_time_now();
        if (takes_raw(run))
            fill_raw(reader, work, &item);
        else
            fill_images(reader, work, &item);
        work->zoom_s += job_time_now() - start;
        if (!job_channel_push(reader->items, &item)) return false;
    }
    return true;
}

static void *open_cases(void *argument)
{
    segment_reader *reader = argument;
    int64_t place;

    while (job_channel_pop(reader->places, &place, -1)) {
        segment_work *work = NULL;
        if (io_alloc(1, sizeof *work, (void **)&work) != IO_OK) job_abort(JOB_EXIT_RUN, "the reader has no memory left");
        work->place = place;
        work->part = *job_queue_at(reader->run->queue, place);
        atomic_init(&work->is_dropped, false);
        open_case(reader, work);
        if (job_channel_push(reader->opened, &work)) continue;
        job_segment_work_free(&work); /* the run ends: nobody will take it */
        break;
    }
    return NULL;
}

static bool read_case(segment_reader *reader, segment_work *work)
{
    const pipe_outputs *outputs = &reader->run->outputs;
    segment_item item = {.kind = SEGMENT_OPENED, .work = work};
    bool is_readable, goes_on;

    if (work->status == IO_OK) {
        work->status = io_alloc(pipe_slices_scratch_bytes(work->body->slices), 1, &reader->scratch);
        if (work->status != IO_OK) snprintf(work->text, sizeof work->text, "%s", io_last_error_text());
    }
    is_readable = work->status == IO_OK; /* once handed over, the status is the main thread's */
    goes_on = job_channel_push(reader->items, &item);
    if (goes_on && is_readable) goes_on = make_batches(reader, work);
    io_free(&reader->scratch);
    if (work->body && (work->part.number > 0 || (!outputs->preview && !outputs->stats))) pipe_case_drop_voxels(work->body);
    item.kind = SEGMENT_END;
    goes_on = goes_on && job_channel_push(reader->items, &item);
    if (!goes_on) job_segment_work_free(&work); /* the run ends: nobody will take it */
    return goes_on;
}

static void *read_cases(void *argument)
{
    segment_reader *reader = argument;
    segment_work *work;

    while (job_channel_pop(reader->opened, &work, -1))
        if (!read_case(reader, work)) break;
    return NULL;
}

int job_segment_batches_ahead(int batch)
{
    return batch < SEGMENT_AHEAD / 2 ? (SEGMENT_AHEAD + batch - 1) / batch : 2;
}

static io_status create_buffers(const segment_run *run, size_t n_bytes, void **out)
{
    const model_device *device = run->weights.device;

    return takes_raw(run) ? device->ops->host_create(device->backend, n_bytes, out) : io_alloc(n_bytes, 1, out);
}

static io_status fill_buffers(segment_reader *reader)
{
    const segment_run *run = reader->run;
    const size_t image_pixels = (size_t)run->options->pipe.image_size * (size_t)run->options->pipe.image_size;
    const int n_ahead = takes_raw(run) ? SEGMENT_RAW_BATCHES : job_segment_batches_ahead(run->batch);
    size_t n_bytes;

    IO_TRY(io_size_mul(takes_raw(run) ? run->room.raw_bytes : image_pixels * sizeof(float), (size_t)run->batch, &reader->buffer_bytes));
    IO_TRY(io_size_mul(reader->buffer_bytes, (size_t)n_ahead, &n_bytes));
    IO_TRY(create_buffers(run, n_bytes, &reader->slices));
    for (int i = 0; i < n_ahead; i++) {
        void *slices = (uint8_t *)reader->slices + (size_t)i * reader->buffer_bytes;
        (void)job_channel_push(reader->buffers, &slices);
    }
    return IO_OK;
}

static void free_buffers(segment_reader *reader)
{
    const model_device *device = reader->run->weights.device;

    if (!reader->slices) return;
    if (takes_raw(reader->run))
        device->ops->host_free(device->backend, &reader->slices);
    else
        io_free(&reader->slices);
}

static io_status start_thread(void *(*run)(void *), segment_reader *reader, pthread_t *thread, bool *is_running)
{
    *is_running = pthread_create(thread, NULL, run, reader) == 0;
    return *is_running ? IO_OK : IO_FAIL(IO_ERR_MEMORY, "the reader threads cannot be started; raise the limit on processes (ulimit -u)");
}

io_status job_segment_reader_start(const segment_run *run, segment_reader **out)
{
    io_status status = IO_OK;
    segment_reader *reader = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *reader, (void **)&reader));
    reader->run = run;
    IO_TRY_GOTO(status, done, job_channel_create(MAX_CASES_AHEAD, sizeof(int64_t), &reader->places));
    IO_TRY_GOTO(status, done, job_channel_create(MAX_CASES_AHEAD, sizeof(segment_work *), &reader->opened));
    IO_TRY_GOTO(status, done, job_channel_create(SEGMENT_AHEAD + 2, sizeof(segment_item), &reader->items));
    IO_TRY_GOTO(status, done, job_channel_create(SEGMENT_AHEAD, sizeof(void *), &reader->buffers));
    IO_TRY_GOTO(status, done, fill_buffers(reader));
    IO_TRY_GOTO(status, done, start_thread(open_cases, reader, &reader->opener, &reader->has_opener));
    IO_TRY_GOTO(status, done, start_thread(read_cases, reader, &reader->reader, &reader->has_reader));
    *out = reader;
    reader = NULL;
done:
    job_segment_reader_free(&reader);
    return status;
}

void job_segment_reader_add(segment_reader *reader, int64_t place)
{
    (void)job_channel_push(reader->places, &place);
}

bool job_segment_reader_take(segment_reader *reader, segment_item *item, int timeout_ms)
{
    return job_channel_pop(reader->items, item, timeout_ms);
}

void job_segment_reader_return(segment_reader *reader, void *slices)
{
    (void)job_channel_push(reader->buffers, &slices);
}

/* Both threads find their channels closed and end; what was under way between them is freed. */
static void join_threads(segment_reader *reader)
{
    segment_item item;
    segment_work *work;

    job_channel_close(reader->places);
    job_channel_close(reader->opened);
    job_channel_close(reader->items);
    job_channel_close(reader->buffers);
    pthread_join(reader->opener, NULL);
    if (reader->has_reader) pthread_join(reader->reader, NULL);
    while (job_channel_pop(reader->opened, &work, 0)) job_segment_work_free(&work);
    while (job_channel_pop(reader->items, &item, 0))
        if (item.kind == SEGMENT_END) job_segment_work_free(&item.work);
}

void job_segment_reader_free(segment_reader **reader)
{
    if (!reader || !*reader) return;
    if ((*reader)->has_opener) join_threads(*reader);
    job_channel_free(&(*reader)->places);
    job_channel_free(&(*reader)->opened);
    job_channel_free(&(*reader)->items);
    job_channel_free(&(*reader)->buffers);
    free_buffers(*reader);
    io_free(reader);
}
