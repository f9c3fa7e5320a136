/* The reader thread: opens cases and makes batches of slices, a bounded number ahead of the network. See segment.h. */
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "jobs/exits.h"
#include "jobs/segment.h"

enum {
    MAX_CASES_AHEAD = 4 /* the case under way, the next one, and room to spare: adding never waits */
};

struct segment_reader {
    const segment_run *run;
    job_channel *cases;   /* int64_t, from the main thread */
    job_channel *items;   /* segment_item, to the main thread */
    job_channel *buffers; /* float *, empty ones */
    float *images;        /* [batches ahead][batch][S][S] */
    void *scratch;        /* of the case under way */
    pthread_t thread;
    bool is_running;
};

void job_segment_work_free(segment_work **work)
{
    if (!work || !*work) return;
    pipe_labelmap_free(&(*work)->map);
    pipe_case_free(&(*work)->body);
    io_free(&(*work)->share);
    io_free(&(*work)->share_ks);
    io_free(work);
}

static void open_case(const segment_run *run, segment_work *work)
{
    const io_case *c = &run->plan.manifest->cases[work->case_index];

    work->stage = "read";
    work->status = pipe_case_open(c->id, c->path, &run->options->pipe, &work->body, &work->stage);
    if (work->status != IO_OK) snprintf(work->text, sizeof work->text, "%s", io_last_error_text());
}

/* Makes batch after batch of this rank's share until the end, or until the main thread drops the case. False when the run ends. */
static bool make_batches(segment_reader *reader, segment_work *work)
{
    const segment_run *run = reader->run;
    const int64_t n_share = job_team_share_count(&run->team, work->body->n_slices);
    const size_t image_pixels = (size_t)run->options->pipe.image_size * (size_t)run->options->pipe.image_size;

    for (int64_t first = 0; first < n_share && !atomic_load(&work->is_dropped); first += run->options->batch) {
        segment_item item = {.kind = SEGMENT_BATCH, .work = work, .first = first};
        double start;
        if (!job_channel_pop(reader->buffers, &item.images, -1)) return false;
        start = job_time_now();
        for (; item.n < run->options->batch && first + item.n < n_share; item.n++)
            pipe_slices_image(work->body->slices, job_team_share_at(&run->team, first + item.n),
                              item.images + (size_t)item.n * image_pixels, reader->scratch);
        work->zoom_s += job_time_now() - start;
        if (!job_channel_push(reader->items, &item)) return false;
    }
    return true;
}

static bool read_case(segment_reader *reader, int64_t case_index)
{
    const pipe_outputs *outputs = &reader->run->outputs;
    segment_item item = {.kind = SEGMENT_OPENED};
    bool goes_on;

    if (io_alloc(1, sizeof *item.work, (void **)&item.work) != IO_OK) job_abort(JOB_EXIT_RUN, "the reader has no memory left");
    item.work->case_index = case_index;
    item.work->started = job_time_now();
    atomic_init(&item.work->is_dropped, false);
    open_case(reader->run, item.work);
    if (item.work->status == IO_OK) {
        item.work->status = io_alloc(pipe_slices_scratch_bytes(item.work->body->slices), 1, &reader->scratch);
        if (item.work->status != IO_OK) snprintf(item.work->text, sizeof item.work->text, "%s", io_last_error_text());
    }
    goes_on = job_channel_push(reader->items, &item);
    if (goes_on && item.work->status == IO_OK) goes_on = make_batches(reader, item.work);
    io_free(&reader->scratch);
    if (item.work->body && !outputs->preview && !outputs->stats) pipe_case_drop_voxels(item.work->body);
    item.kind = SEGMENT_END;
    goes_on = goes_on && job_channel_push(reader->items, &item);
    if (!goes_on) job_segment_work_free(&item.work); /* the run ends: nobody will take it */
    return goes_on;
}

static void *read_cases(void *argument)
{
    segment_reader *reader = argument;
    int64_t case_index;

    while (job_channel_pop(reader->cases, &case_index, -1))
        if (!read_case(reader, case_index)) break;
    return NULL;
}

int job_segment_batches_ahead(int batch)
{
    return batch < SEGMENT_AHEAD / 2 ? (SEGMENT_AHEAD + batch - 1) / batch : 2;
}

static io_status fill_buffers(segment_reader *reader, int batch, int image_size)
{
    const size_t pixels = (size_t)image_size * (size_t)image_size; /* at most 4096^2 */
    const int n_ahead = job_segment_batches_ahead(batch);

    IO_TRY(io_alloc((size_t)n_ahead * (size_t)batch, pixels * sizeof(float), (void **)&reader->images));
    for (int i = 0; i < n_ahead; i++) {
        float *images = reader->images + (size_t)i * (size_t)batch * pixels;
        (void)job_channel_push(reader->buffers, &images);
    }
    return IO_OK;
}

io_status job_segment_reader_start(const segment_run *run, segment_reader **out)
{
    io_status status = IO_OK;
    segment_reader *reader = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *reader, (void **)&reader));
    reader->run = run;
    IO_TRY_GOTO(status, done, job_channel_create(MAX_CASES_AHEAD, sizeof(int64_t), &reader->cases));
    IO_TRY_GOTO(status, done, job_channel_create(SEGMENT_AHEAD + 2, sizeof(segment_item), &reader->items));
    IO_TRY_GOTO(status, done, job_channel_create(SEGMENT_AHEAD, sizeof(float *), &reader->buffers));
    IO_TRY_GOTO(status, done, fill_buffers(reader, run->options->batch, run->options->pipe.image_size));
    if (pthread_create(&reader->thread, NULL, read_cases, reader) != 0) {
        status = IO_FAIL(IO_ERR_MEMORY, "the reader thread cannot be started; raise the limit on processes (ulimit -u)");
        goto done;
    }
    reader->is_running = true;
    *out = reader;
    reader = NULL;
done:
    job_segment_reader_free(&reader);
    return status;
}

void job_segment_reader_add(segment_reader *reader, int64_t case_index)
{
    (void)job_channel_push(reader->cases, &case_index);
}

bool job_segment_reader_take(segment_reader *reader, segment_item *item, int timeout_ms)
{
    return job_channel_pop(reader->items, item, timeout_ms);
}

void job_segment_reader_return(segment_reader *reader, float *images)
{
    (void)job_channel_push(reader->buffers, &images);
}

void job_segment_reader_free(segment_reader **reader)
{
    segment_item item;

    if (!reader || !*reader) return;
    if ((*reader)->is_running) {
        job_channel_close((*reader)->cases);
        job_channel_close((*reader)->items);
        job_channel_close((*reader)->buffers);
        pthread_join((*reader)->thread, NULL);
        while (job_channel_pop((*reader)->items, &item, 0))
            if (item.kind == SEGMENT_END) job_segment_work_free(&item.work);
    }
    job_channel_free(&(*reader)->cases);
    job_channel_free(&(*reader)->items);
    job_channel_free(&(*reader)->buffers);
    io_free(&(*reader)->images);
    io_free(reader);
}
