/* A bounded first-in-first-out line between two threads of a rank. Items are copied in and out. */
#ifndef JOBS_CHANNEL_H
#define JOBS_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>

#include "io/status.h"

typedef struct job_channel job_channel;

/* Room for n_items of item_bytes each. */
io_status job_channel_create(size_t n_items, size_t item_bytes, job_channel **out);
void job_channel_free(job_channel **channel);
/* Waits for room. False once the channel is closed: the item was not taken. */
bool job_channel_push(job_channel *channel, const void *item);
/* Waits for an item, at most timeout_ms (for ever when negative). False when none came: closed and empty, or the time is over. */
bool job_channel_pop(job_channel *channel, void *item, int timeout_ms);
/* No more pushes; what is in can still be popped. */
void job_channel_close(job_channel *channel);
size_t job_channel_count(job_channel *channel);

#endif
