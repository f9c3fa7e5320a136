/* See queue.h. */
#include "jobs/queue.h"

#include <stdlib.h>

#include "io/memory.h"

typedef struct queue_entry {
    int64_t weight;
    int64_t index;
} queue_entry;

struct job_queue {
    queue_entry *entries; /* [n_entries], in the order of handing out */
    size_t n_entries, n_taken;
};

static int compare_entries(const void *a, const void *b)
{
    const queue_entry *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

io_status job_queue_create(const int64_t *weights, size_t n_cases, job_queue **out)
{
    io_status status;
    job_queue *queue = NULL;

    IO_TRY(io_alloc(1, sizeof *queue, (void **)&queue));
    status = io_alloc(n_cases, sizeof *queue->entries, (void **)&queue->entries);
    if (status != IO_OK) {
        io_free(&queue);
        return status;
    }
    for (size_t i = 0; i < n_cases; i++)
        if (weights[i] > 0) queue->entries[queue->n_entries++] = (queue_entry){weights[i], (int64_t)i};
    qsort(queue->entries, queue->n_entries, sizeof *queue->entries, compare_entries);
    *out = queue;
    return IO_OK;
}

void job_queue_free(job_queue **queue)
{
    if (!queue || !*queue) return;
    io_free(&(*queue)->entries);
    io_free(queue);
}

int64_t job_queue_next(job_queue *queue)
{
    if (queue->n_taken == queue->n_entries) return JOB_QUEUE_EMPTY;
    return queue->entries[queue->n_taken++].index;
}

size_t job_queue_left(const job_queue *queue)
{
    return queue->n_entries - queue->n_taken;
}

int64_t job_queue_at(const job_queue *queue, size_t place)
{
    return place < queue->n_entries ? queue->entries[place].index : JOB_QUEUE_EMPTY;
}

/* Hands cases to whichever team is free first; returns when the last one ends, in slices. ends [n_teams] is scratch. */
static int64_t simulate_end(const job_queue *queue, int team_size, int n_teams, int64_t *ends)
{
    int64_t last = 0;

    for (int t = 0; t < n_teams; t++) ends[t] = 0;
    for (size_t i = 0; i < queue->n_entries; i++) {
        int first_free = 0;
        for (int t = 1; t < n_teams; t++)
            if (ends[t] < ends[first_free]) first_free = t;
        ends[first_free] += (queue->entries[i].weight + team_size - 1) / team_size;
        if (ends[first_free] > last) last = ends[first_free];
    }
    return last;
}

int job_team_size_choose(const int64_t *n_slices, size_t n_cases, int n_ranks)
{
    job_queue *queue = NULL;
    int64_t *ends = NULL, best_end = INT64_MAX;
    int best = 1;

    if (job_queue_create(n_slices, n_cases, &queue) != IO_OK || io_alloc((size_t)n_ranks, sizeof *ends, (void **)&ends) != IO_OK) goto done;
    for (int size = 1; size <= n_ranks; size++) {
        if (n_ranks % size != 0) continue;
        const int64_t end = simulate_end(queue, size, n_ranks / size, ends);
        if (end < best_end) {
            best_end = end;
            best = size;
        }
    }
done:
    io_free(&ends);
    job_queue_free(&queue);
    return best;
}
