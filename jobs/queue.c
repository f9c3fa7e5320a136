/* See queue.h. */
#include "jobs/queue.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "io/memory.h"

/* A part is at most this much of what is left for each rank: whoever takes the last ones, the others have enough before them. */
static const double most_of_the_rest = 0.4;
/* A part takes at least this much of its case's opening, which is done again for each part: beside the part before it, so some less is
 * hidden. */
static const double least_of_opening = 0.7;

struct job_queue {
    job_part *parts; /* [n_parts], in the order of handing out */
    size_t n_parts, n_taken;
};

static int compare_cases(const void *a, const void *b)
{
    const job_part *x = a, *y = b;
    if (x->n_slices != y->n_slices) return x->n_slices > y->n_slices ? -1 : 1;
    return x->case_index < y->case_index ? -1 : x->case_index > y->case_index;
}

io_status job_queue_create(const int64_t *weights, size_t n_cases, job_queue **out)
{
    io_status status;
    job_queue *queue = NULL;

    IO_TRY(io_alloc(1, sizeof *queue, (void **)&queue));
    status = io_alloc(n_cases, sizeof *queue->parts, (void **)&queue->parts);
    if (status != IO_OK) {
        io_free(&queue);
        return status;
    }
    for (size_t i = 0; i < n_cases; i++)
        if (weights[i] > 0)
            queue->parts[queue->n_parts++] = (job_part){.case_index = (int64_t)i, .n = weights[i], .n_parts = 1, .n_slices = weights[i]};
    qsort(queue->parts, queue->n_parts, sizeof *queue->parts, compare_cases);
    *out = queue;
    return IO_OK;
}

/* What the opening of a case takes, in slices. */
static double find_opening(const job_cutting *cutting, int64_t n_slices)
{
    return cutting->opening + cutting->opening_slice * (double)n_slices;
}

/* Slices of each part but the last of a case, before which left slices are not handed out. */
static int64_t find_part(const job_cutting *cutting, int64_t n_slices, int64_t left)
{
    double n = (double)n_slices / (double)(cutting->most_parts > 0 ? cutting->most_parts : cutting->n_ranks);
    int64_t n_parts, n_each;

    if (cutting->most_parts == 0)
        n = fmax(n, fmax(most_of_the_rest * (double)left / cutting->n_ranks, least_of_opening * find_opening(cutting, n_slices)));
    n_parts = (int64_t)((double)n_slices / fmax(n, 1) * (1 + 1e-12)); /* 10 / (10 / 3) must not be 2 */
    if (n_parts < 1) n_parts = 1;
    n_each = (n_slices + n_parts - 1) / n_parts;
    return (n_each + cutting->grain - 1) / cutting->grain * cutting->grain;
}

/* The case's parts go to out, which may be NULL; returns how many. */
static int64_t cut_case(const job_part *whole, int64_t n_each, job_part *out)
{
    const int64_t n_parts = (whole->n_slices + n_each - 1) / n_each;

    for (int64_t i = 0; out && i < n_parts; i++) {
        const int64_t first = i * n_each, rest = whole->n_slices - first;
        out[i] = (job_part){.case_index = whole->case_index,
                            .first = first,
                            .n = rest < n_each ? rest : n_each,
                            .number = i,
                            .n_parts = n_parts,
                            .n_slices = whole->n_slices};
    }
    return n_parts;
}

/* All cases, heaviest first; out may be NULL. */
static size_t cut_all(const job_queue *queue, const job_cutting *cutting, job_part *out)
{
    int64_t left = 0;
    size_t n = 0;

    for (size_t i = 0; i < queue->n_parts; i++) left += queue->parts[i].n_slices;
    for (size_t i = 0; i < queue->n_parts; i++) {
        const job_part *whole = &queue->parts[i];
        n += (size_t)cut_case(whole, find_part(cutting, whole->n_slices, left), out ? out + n : NULL);
        left -= whole->n_slices;
    }
    return n;
}

io_status job_queue_create_cut(const int64_t *n_slices, size_t n_cases, const job_cutting *cutting, job_queue **out)
{
    io_status status = IO_OK;
    job_queue *queue = NULL;
    job_part *parts = NULL;
    size_t n_parts;

    IO_TRY_GOTO(status, done, job_queue_create(n_slices, n_cases, &queue));
    n_parts = cut_all(queue, cutting, NULL);
    IO_TRY_GOTO(status, done, io_alloc(n_parts, sizeof *parts, (void **)&parts));
    (void)cut_all(queue, cutting, parts);
    io_free(&queue->parts);
    queue->parts = parts;
    queue->n_parts = n_parts;
    *out = queue;
    queue = NULL;
done:
    job_queue_free(&queue);
    return status;
}

void job_queue_free(job_queue **queue)
{
    if (!queue || !*queue) return;
    io_free(&(*queue)->parts);
    io_free(queue);
}

int64_t job_queue_next(job_queue *queue)
{
    return queue->n_taken == queue->n_parts ? JOB_QUEUE_EMPTY : (int64_t)queue->n_taken++;
}

size_t job_queue_size(const job_queue *queue)
{
    return queue->n_parts;
}

size_t job_queue_left(const job_queue *queue)
{
    return queue->n_parts - queue->n_taken;
}

const job_part *job_queue_at(const job_queue *queue, int64_t place)
{
    return place >= 0 && (size_t)place < queue->n_parts ? &queue->parts[place] : NULL;
}

int64_t job_queue_most_parts(const job_queue *queue)
{
    int64_t most = 0;

    for (size_t i = 0; i < queue->n_parts; i++)
        if (queue->parts[i].n_parts > most) most = queue->parts[i].n_parts;
    return most;
}

int64_t job_queue_ask_before(double opening_s, double slice_s)
{
    const double n = slice_s > 0 ? ceil(1.5 * opening_s / slice_s) + 2 : 0;
    return n > JOB_ASK_BEFORE ? (int64_t)fmin(n, 1e6) : JOB_ASK_BEFORE;
}

double job_queue_news_every(int n_ranks)
{
    return fmax(0.25, 0.001 * n_ranks);
}

/* Who takes parts, the one that is free first in front: a heap, hands[i] before hands[2 i + 1] and hands[2 i + 2]. */
typedef struct hand {
    double ends, asks, opened; /* in slices, of its last part: when the next one may be asked for, when this one is read */
    int number;
} hand;

static bool is_before(const hand *a, const hand *b)
{
    return a->ends < b->ends || (!(a->ends > b->ends) && a->number < b->number);
}

/* The first hand has changed: finds its new place. */
static void sift_first(hand *hands, int n)
{
    const hand moved = hands[0];
    int at = 0;

    for (int child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && is_before(&hands[child + 1], &hands[child])) child++;
        if (!is_before(&hands[child], &moved)) break;
        hands[at] = hands[child];
        at = child;
    }
    hands[at] = moved;
}

/* The first hand takes n slices: opened while those before are computed. */
static void give_first(hand *hands, int n_hands, int64_t n, double opening)
{
    hand *first = &hands[0];

    first->opened = fmax(first->opened, first->asks) + opening;
    first->ends = fmax(first->ends, first->opened) + (double)n;
    first->asks = first->ends - fmin((double)n, fmax(JOB_ASK_BEFORE, 1.5 * opening + 2)) + 1; /* rank 0 answers after its slice */
    sift_first(hands, n_hands);
}

static io_status create_hands(int n, hand **out)
{
    IO_TRY(io_alloc((size_t)n, sizeof **out, (void **)out));
    for (int i = 0; i < n; i++) (*out)[i] = (hand){.number = i}; /* a heap already */
    return IO_OK;
}

io_status job_queue_deal(const job_queue *queue, int n_hands, int *hand_of)
{
    hand *hands = NULL;

    IO_TRY(create_hands(n_hands, &hands));
    for (size_t i = 0; i < queue->n_parts; i++) {
        hand_of[queue->parts[i].case_index] = hands[0].number;
        give_first(hands, n_hands, queue->parts[i].n, 0);
    }
    io_free(&hands);
    return IO_OK;
}

io_status job_queue_simulate(const job_queue *queue, const job_cutting *cutting, double *slices)
{
    hand *hands = NULL;
    double last = 0;

    IO_TRY(create_hands(cutting->n_ranks, &hands));
    for (size_t i = 0; i < queue->n_parts; i++)
        give_first(hands, cutting->n_ranks, queue->parts[i].n, find_opening(cutting, queue->parts[i].n_slices));
    for (int i = 0; i < cutting->n_ranks; i++) last = fmax(last, hands[i].ends);
    io_free(&hands);
    *slices = last;
    return IO_OK;
}
