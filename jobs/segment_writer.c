/* The writer thread of a rank: label maps, previews, statistics, records. See segment.h. */
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "io/memory.h"
#include "jobs/segment.h"

enum { N_WAITING = 1, N_OUTCOMES = 8 };

struct segment_writer {
    const segment_run *run;
    job_channel *works;    /* segment_work * */
    job_channel *outcomes; /* job_outcome */
    pthread_t thread;
    bool is_running;
    bool has_told_scratch; /* used by the thread alone */
    atomic_bool is_finished;
    atomic_int n_held; /* cases added and not yet written */
};

static io_status put_warnings(const segment_work *work, io_json *details)
{
    io_status status = IO_OK;
    io_json *array = NULL;

    IO_TRY(io_json_create_array(&array));
    for (int i = 0; i < work->n_warnings && status == IO_OK; i++) status = io_json_add_text(array, work->warnings[i]);
    if (status == IO_OK) status = io_json_put(details, "suspicious", &array);
    io_json_free(&array);
    return status;
}

static io_status print_details(const segment_run *run, const segment_work *work, io_json **out)
{
    io_status status = IO_OK;
    io_json *details = NULL;
    const io_case *c = &run->plan.manifest->cases[work->part.case_index];

    IO_TRY_GOTO(status, done, io_json_create_object(&details));
    IO_TRY_GOTO(status, done, io_json_put_text(details, "case", c->id));
    IO_TRY_GOTO(status, done, io_json_put_text(details, "input", c->path));
    IO_TRY_GOTO(status, done, io_json_put_text(details, "host", job_comm_host()));
    IO_TRY_GOTO(status, done, io_json_put_text(details, "device", run->weights.device->description));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "ranks", run->world.size));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "parts", (double)work->part.n_parts));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "slices", (double)work->body->n_slices));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "read_s", work->body->read_s));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "zoom_s", work->zoom_s));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "model_s", work->model_s));
    IO_TRY_GOTO(status, done, io_json_put_number(details, "gather_s", work->gather_s));
    if (work->n_warnings > 0) IO_TRY_GOTO(status, done, put_warnings(work, details));
    *out = details;
    details = NULL;
done:
    io_json_free(&details);
    return status;
}

static io_status write_case(const segment_run *run, const segment_work *work, const void *labels, const pipe_outputs *outputs)
{
    io_json *details = NULL;
    io_status status = print_details(run, work, &details);

    if (status == IO_OK) status = pipe_case_write(work->body, labels, outputs, details);
    io_json_free(&details);
    return status;
}

/* What the system does not let a file do; memory and the labels themselves would fail again. */
static bool is_of_files(io_status status)
{
    return status == IO_ERR_FILE || status == IO_ERR_NO_SPACE || status == IO_ERR_NOT_FOUND || status == IO_ERR_CHECKSUM ||
           status == IO_ERR_TRUNCATED;
}

/* A scratch folder that is full or lost makes a run slower, not impossible, as in the reader. When the fault is the output folder's, it
 * comes again, or has passed. */
static io_status write_work(segment_writer *writer, const segment_work *work)
{
    const segment_run *run = writer->run;
    pipe_outputs outputs = run->outputs;
    char text[JOB_TEXT_BYTES];
    const void *labels;
    io_status status;

    IO_TRY(pipe_labelmap_finish(work->map, &labels));
    status = write_case(run, work, labels, &outputs);
    if (!is_of_files(status) || !outputs.scratch) return status;
    snprintf(text, sizeof text, "%s", io_last_error_text());
    outputs.scratch = NULL;
    status = write_case(run, work, labels, &outputs);
    if (status != IO_OK) return io_fail_context(status, "%s; and without --scratch", text);
    if (!writer->has_told_scratch) io_log(IO_LOG_WARN, "with --scratch: %s; such cases are written where they belong", text);
    writer->has_told_scratch = true;
    return IO_OK;
}

static void *write_works(void *argument)
{
    segment_writer *writer = argument;
    segment_work *work;

    while (job_channel_pop(writer->works, &work, -1)) {
        job_outcome outcome = {
            .case_index = work->part.case_index, .n_slices = work->body->n_slices, .stage = "write", .n_warnings = work->n_warnings};
        outcome.status = write_work(writer, work);
        if (outcome.status != IO_OK) snprintf(outcome.text, sizeof outcome.text, "%s", io_last_error_text());
        outcome.seconds = job_time_now() - work->started;
        job_segment_work_free(&work);
        atomic_fetch_sub(&writer->n_held, 1);
        (void)job_channel_push(writer->outcomes, &outcome);
    }
    atomic_store(&writer->is_finished, true);
    return NULL;
}

io_status job_segment_writer_start(const segment_run *run, segment_writer **out)
{
    io_status status = IO_OK;
    segment_writer *writer = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *writer, (void **)&writer));
    writer->run = run;
    atomic_init(&writer->is_finished, false);
    atomic_init(&writer->n_held, 0);
    IO_TRY_GOTO(status, done, job_channel_create(N_WAITING, sizeof(segment_work *), &writer->works));
    IO_TRY_GOTO(status, done, job_channel_create(N_OUTCOMES, sizeof(job_outcome), &writer->outcomes));
    if (pthread_create(&writer->thread, NULL, write_works, writer) != 0) {
        status = IO_FAIL(IO_ERR_MEMORY, "the writer thread cannot be started; raise the limit on processes (ulimit -u)");
        goto done;
    }
    writer->is_running = true;
    *out = writer;
    writer = NULL;
done:
    job_segment_writer_free(&writer);
    return status;
}

bool job_segment_writer_has_room(segment_writer *writer)
{
    return atomic_load(&writer->n_held) == 0;
}

void job_segment_writer_add(segment_writer *writer, segment_work *work)
{
    atomic_fetch_add(&writer->n_held, 1);
    (void)job_channel_push(writer->works, &work);
}

bool job_segment_writer_take(segment_writer *writer, job_outcome *outcome)
{
    return job_channel_pop(writer->outcomes, outcome, 0);
}

bool job_segment_writer_finish(segment_writer *writer)
{
    job_channel_close(writer->works);
    return atomic_load(&writer->is_finished);
}

void job_segment_writer_free(segment_writer **writer)
{
    if (!writer || !*writer) return;
    if ((*writer)->is_running) {
        job_channel_close((*writer)->works);
        pthread_join((*writer)->thread, NULL);
    }
    job_channel_free(&(*writer)->works);
    job_channel_free(&(*writer)->outcomes);
    io_free(writer);
}
