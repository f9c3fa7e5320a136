/* --json: what happens, as one JSON object per line on standard output. */
#ifndef JOBS_EVENTS_H
#define JOBS_EVENTS_H

#include <stdbool.h>

#include "io/json.h"
#include "jobs/post.h"

/* {"event": name}; NULL when events are not wanted or memory lacks. Members are added by the caller. */
io_json *job_event_create(bool is_wanted, const char *name);
/* The members that tell how a case ended, as every command calls them. */
void job_event_put_outcome(io_json *event, const char *id, const job_outcome *outcome);
/* Prints the event as one line and frees it. Nobody may be reading any more: that is said once. */
void job_event_print(io_json **event);

#endif
