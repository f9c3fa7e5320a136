/* See events.h. An event that cannot be built or printed is no reason to stop a run. */
#include "jobs/events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "io/memory.h"

io_json *job_event_create(bool is_wanted, const char *name)
{
    io_json *event = NULL;

    if (!is_wanted || io_json_create_object(&event) != IO_OK) return NULL;
    if (io_json_put_text(event, "event", name) != IO_OK) io_json_free(&event);
    return event;
}

void job_event_put_outcome(io_json *event, const char *id, const job_outcome *outcome)
{
    const char *status = outcome->status == IO_OK ? "done" : outcome->status == IO_ERR_STOPPED ? "stopped" : "failed";

    (void)io_json_put_text(event, "case", id);
    (void)io_json_put_text(event, "status", status);
    (void)io_json_put_number(event, "seconds", outcome->seconds);
    if (outcome->status == IO_OK) return;
    (void)io_json_put_text(event, "stage", outcome->stage);
    (void)io_json_put_text(event, "reason", io_status_name(outcome->status));
    (void)io_json_put_text(event, "text", outcome->text);
}

void job_event_print(io_json **event)
{
    static bool is_closed;
    char *line = NULL;

    if (!is_closed && io_json_print(*event, false, &line) == IO_OK && (printf("%s\n", line) < 0 || fflush(stdout) != 0)) {
        is_closed = true;
        if (errno == EPIPE) clearerr(stdout); /* the reader left: no fault of the run */
        io_log(IO_LOG_WARN, "standard output cannot be written (%s); no more events are printed", strerror(errno));
    }
    io_free(&line);
    io_json_free(event);
}
