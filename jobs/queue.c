/* See queue.h. */
#include "jobs/queue.h"

#include <stdbool.h>
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

/* Those who take cases, least loaded first: a heap, hands[i] before hands[2 i + 1] and hands[2 i + 2]. */
typedef struct hand {
    int64_t load;
    int number;
} hand;

static bool is_before(const hand *a, const hand *b)
{
    return a->load != b->load ? a->load < b->load : a->number < b->number;
}

/* Gives the first hand more, and finds it its new place. */
static void load_first(hand *hands, int n, int64_t weight)
{
    hand loaded = hands[0];
    int at = 0;

    loaded.load += weight;
    for (int child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && is_before(&hands[child + 1], &hands[child])) child++;
        if (!is_before(&hands[child], &loaded)) break;
        hands[at] = hands[child];
        at = child;
    }
    hands[at] = loaded;
}

/* Hands cases to whichever team is free first; returns when the last one ends, in slices. hands [n_teams] is scratch; hand_of (may be NULL)
 * receives each case's team by its index. */
static int64_t simulate_end(const job_queue *queue, int team_size, int n_teams, hand *hands, int *hand_of)
{
    int64_t last = 0;

    for (int t = 0; t < n_teams; t++) hands[t] = (hand){0, t}; /* a heap already */
    for (size_t i = 0; i < queue->n_entries; i++) {
        const int64_t weight = (queue->entries[i].weight + team_size - 1) / team_size;
        if (hand_of) hand_of[queue->entries[i].index] = hands[0].number;
        if (hands[0].load + weight > last) last = hands[0].load + weight;
        load_first(hands, n_teams, weight);
    }
    return last;
}

io_status job_queue_deal(const job_queue *queue, int n_hands, int *hand_of)
{
    hand *hands = NULL;

    IO_TRY(io_alloc((size_t)n_hands, sizeof *hands, (void **)&hands));
    (void)simulate_end(queue, 1, n_hands, hands, hand_of);
    io_free(&hands);
    return IO_OK;
}

int job_team_size_choose(const int64_t *n_slices, size_t n_cases, int n_ranks)
{
    job_queue *queue = NULL;
    hand *hands = NULL;
    int64_t best_end = INT64_MAX;
    int best = 1;

    if (job_queue_create(n_slices, n_cases, &queue) != IO_OK || io_alloc((size_t)n_ranks, sizeof *hands, (void **)&hands) != IO_OK)
        goto done;
    for (int size = 1; size <= n_ranks; size++) {
        if (n_ranks % size != 0) continue;
        const int64_t end = simulate_end(queue, size, n_ranks / size, hands, NULL);
        if (end < best_end) {
            best_end = end;
            best = size;
        }
    }
done:
    io_free(&hands);
    job_queue_free(&queue);
    return best;
}
