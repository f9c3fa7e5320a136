/* See channel.h. */
#include "jobs/channel.h"

#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "io/memory.h"

struct job_channel {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint8_t *items; /* [n_items][item_bytes], a ring */
    size_t n_items, item_bytes;
    size_t first, count; /* items */
    bool is_closed;
};

io_status job_channel_create(size_t n_items, size_t item_bytes, job_channel **out)
{
    io_status status;
    job_channel *channel = NULL;
    pthread_condattr_t attributes;

    IO_TRY(io_alloc(1, sizeof *channel, (void **)&channel));
    status = io_alloc(n_items, item_bytes, (void **)&channel->items);
    if (status != IO_OK) {
        io_free(&channel);
        return status;
    }
    channel->n_items = n_items;
    channel->item_bytes = item_bytes;
    pthread_mutex_init(&channel->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&channel->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *out = channel;
    return IO_OK;
}

void job_channel_free(job_channel **channel)
{
    if (!channel || !*channel) return;
    pthread_cond_destroy(&(*channel)->changed);
    pthread_mutex_destroy(&(*channel)->lock);
    io_free(&(*channel)->items);
    io_free(channel);
}

bool job_channel_push(job_channel *channel, const void *item)
{
    bool is_open;

    pthread_mutex_lock(&channel->lock);
    while (channel->count == channel->n_items && !channel->is_closed) pthread_cond_wait(&channel->changed, &channel->lock);
    is_open = !channel->is_closed;
    if (is_open) {
        const size_t slot = (channel->first + channel->count) % channel->n_items;
        memcpy(channel->items + slot * channel->item_bytes, item, channel->item_bytes);
        channel->count++;
        pthread_cond_broadcast(&channel->changed);
    }
    pthread_mutex_unlock(&channel->lock);
    return is_open;
}

static struct timespec time_after(int timeout_ms)
{
    struct timespec end;

    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += timeout_ms / 1000;
    end.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    return end;
}

/* The lock is held. False when the time is over. */
static bool wait_for_change(job_channel *channel, int timeout_ms, const struct timespec *end)
{
    if (timeout_ms < 0) return pthread_cond_wait(&channel->changed, &channel->lock) == 0;
    return pthread_cond_timedwait(&channel->changed, &channel->lock, end) == 0;
}

bool job_channel_pop(job_channel *channel, void *item, int timeout_ms)
{
    const struct timespec end = time_after(timeout_ms < 0 ? 0 : timeout_ms);
    bool has_item;

    pthread_mutex_lock(&channel->lock);
    while (channel->count == 0 && !channel->is_closed)
        if (!wait_for_change(channel, timeout_ms, &end)) break;
    has_item = channel->count > 0;
    if (has_item) {
        memcpy(item, channel->items + channel->first * channel->item_bytes, channel->item_bytes);
        channel->first = (channel->first + 1) % channel->n_items;
        channel->count--;
        pthread_cond_broadcast(&channel->changed);
    }
    pthread_mutex_unlock(&channel->lock);
    return has_item;
}

void job_channel_close(job_channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    channel->is_closed = true;
    pthread_cond_broadcast(&channel->changed);
    pthread_mutex_unlock(&channel->lock);
}

size_t job_channel_count(job_channel *channel)
{
    size_t count;

    pthread_mutex_lock(&channel->lock);
    count = channel->count;
    pthread_mutex_unlock(&channel->lock);
    return count;
}
