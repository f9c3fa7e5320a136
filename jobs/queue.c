/* See queue.h. */
#include "jobs/queue.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "io/memory.h"

enum { CASES_ENOUGH = 50 /* of each rank: whatever the last ones are, they are a fiftieth of the whole */ };

static const double waits = 0.5; /* slices that a case costs a team because its members wait for the slowest, and for the gathering */
static const double worth_a_team = 0.995; /* half a percent less time pays for the talk in larger teams */

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

int64_t job_queue_ask_before(double opening_s, double slice_s)
{
    const double n = slice_s > 0 ? ceil(1.5 * opening_s / slice_s) + 2 : 0;
    return n > JOB_ASK_BEFORE ? (int64_t)fmin(n, 1e6) : JOB_ASK_BEFORE;
}

double job_queue_news_every(int n_teams)
{
    return fmax(0.25, 0.001 * n_teams);
}

/* Who takes cases, the one that is free first in front: a heap, hands[i] before hands[2 i + 1] and hands[2 i + 2]. */
typedef struct hand {
    double ends, asks, opened; /* in slices, of its last case: when the next one may be asked for, when this one is read */
    int number, size;          /* size: ranks */
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

/* The first hand takes a case: read while the one before is computed, its slices dealt to the hand's ranks. */
static void give_first(hand *hands, int n, int64_t weight, double opening)
{
    hand *first = &hands[0];
    const double rounds = (double)((weight + first->size - 1) / first->size) + (first->size > 1 ? waits : 0);

    first->opened = fmax(first->opened, first->asks) + opening * (double)weight;
    first->ends = fmax(first->ends, first->opened) + rounds;
    first->asks = first->ends - fmin(rounds, JOB_ASK_BEFORE) + 1; /* rank 0 answers after the slice that it is at */
    sift_first(hands, n);
}

/* Hands cases to whichever team is free first; returns when the last one ends, in slices. hands [n_teams] is scratch. */
static double simulate_end(const job_queue *queue, const job_teams *teams, double opening, hand *hands)
{
    double last = 0;

    for (int t = 0; t < teams->n; t++) hands[t] = (hand){.number = t, .size = job_teams_size(teams, t)}; /* a heap already */
    for (size_t i = 0; i < queue->n_entries; i++) give_first(hands, teams->n, queue->entries[i].weight, opening);
    for (int t = 0; t < teams->n; t++)
        if (hands[t].ends > last) last = hands[t].ends;
    return last;
}

io_status job_queue_deal(const job_queue *queue, int n_hands, int *hand_of)
{
    hand *hands = NULL;

    IO_TRY(io_alloc((size_t)n_hands, sizeof *hands, (void **)&hands));
    for (int t = 0; t < n_hands; t++) hands[t] = (hand){.number = t, .size = 1};
    for (size_t i = 0; i < queue->n_entries; i++) {
        hand_of[queue->entries[i].index] = hands[0].number;
        give_first(hands, n_hands, queue->entries[i].weight, 0);
    }
    io_free(&hands);
    return IO_OK;
}

int job_teams_size(const job_teams *teams, int team)
{
    return teams->leaders[team + 1] - teams->leaders[team];
}

int job_teams_of(const job_teams *teams, int rank)
{
    int low = 0, high = teams->n;

    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (teams->leaders[middle] <= rank)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void job_teams_free(job_teams *teams)
{
    io_free(&teams->leaders);
    teams->n = 0;
}

static io_status allocate_teams(int n_ranks, job_teams *out)
{
    out->n = 0;
    return io_alloc((size_t)n_ranks + 1, sizeof *out->leaders, (void **)&out->leaders);
}

/* Sizes differ by at most one, the larger ones first. */
static void cut_evenly(int n_ranks, int n_teams, job_teams *teams)
{
    teams->n = n_teams;
    for (int t = 0, at = 0; t <= n_teams; t++) {
        teams->leaders[t] = at;
        at += n_ranks / n_teams + (t < n_ranks % n_teams);
    }
}

io_status job_teams_even(int n_ranks, int n_teams, job_teams *out)
{
    IO_TRY(allocate_teams(n_ranks, out));
    cut_evenly(n_ranks, n_teams, out);
    return IO_OK;
}

/* One team for each of the largest cases, in their order, as large as the case needs to end by the time end (in slices), until the ranks or
 * the cases are used up. Ranks that are left over go to the teams in turn. Smaller cases are then for whoever is free first. */
static void cut_to_measure(const job_queue *queue, int n_ranks, double end, job_teams *teams)
{
    int used = 0, n = 0;

    for (size_t i = 0; i < queue->n_entries && used < n_ranks; i++) {
        const int wanted = (int)ceil((double)queue->entries[i].weight / end), left = n_ranks - used;
        teams->leaders[n++] = used;
        used += wanted < left ? wanted : left;
    }
    for (int t = 0; t < n; t++) { /* leaders move by what the teams before them got */
        const int extra = n_ranks - used;
        teams->leaders[t] += extra / n * t + (t < extra % n ? t : extra % n);
    }
    teams->leaders[n] = n_ranks;
    teams->n = n;
}

/* The next smaller number of teams that is worth a look: all up to 32, then sixteen of each octave. */
static int find_next(int n_teams)
{
    int step = 1;

    while (n_teams / step > 32) step *= 2;
    return n_teams - step;
}

static int64_t count_work(const job_queue *queue)
{
    int64_t n_slices = 0;

    for (size_t i = 0; i < queue->n_entries; i++) n_slices += queue->entries[i].weight;
    return n_slices;
}

/* What is tried: candidate replaces best when it is worth it. */
typedef struct search {
    const job_queue *queue;
    double opening, best_end;
    hand *hands;
    job_teams best, candidate;
} search;

static void judge(search *s)
{
    const double end = simulate_end(s->queue, &s->candidate, s->opening, s->hands);
    const job_teams replaced = s->best;

    if (s->best.n > 0 && !(end < s->best_end * worth_a_team)) return;
    s->best = s->candidate;
    s->candidate = replaced;
    s->best_end = end;
}

/* Teams made to measure for a first round of cases that fills an eighth of the time in which everybody would be busy to the last slice, up
 * to twice that time. */
static void try_all(search *s, int n_ranks)
{
    const double shortest = (double)count_work(s->queue) / n_ranks;

    cut_evenly(n_ranks, n_ranks, &s->candidate);
    judge(s);
    if (s->queue->n_entries == 0 || s->queue->n_entries / CASES_ENOUGH >= (size_t)n_ranks) return;
    for (int n = find_next(n_ranks); n > 0; n = find_next(n)) {
        cut_evenly(n_ranks, n, &s->candidate);
        judge(s);
    }
    for (double end = shortest / 8; end < 2 * shortest; end *= 1.02) {
        cut_to_measure(s->queue, n_ranks, end, &s->candidate);
        judge(s);
    }
}

io_status job_teams_choose(const int64_t *n_slices, size_t n_cases, int n_ranks, double opening, job_teams *out)
{
    io_status status = IO_OK;
    job_queue *queue = NULL;
    search s = {.opening = opening};

    IO_TRY_GOTO(status, done, job_queue_create(n_slices, n_cases, &queue));
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_ranks, sizeof *s.hands, (void **)&s.hands));
    IO_TRY_GOTO(status, done, allocate_teams(n_ranks, &s.best));
    IO_TRY_GOTO(status, done, allocate_teams(n_ranks, &s.candidate));
    s.queue = queue;
    try_all(&s, n_ranks);
    *out = s.best;
    s.best = (job_teams){0};
done:
    job_teams_free(&s.best);
    job_teams_free(&s.candidate);
    io_free(&s.hands);
    job_queue_free(&queue);
    return status;
}

io_status job_teams_simulate(const int64_t *n_slices, size_t n_cases, double opening, const job_teams *teams, double *slices)
{
    io_status status = IO_OK;
    job_queue *queue = NULL;
    hand *hands = NULL;

    IO_TRY_GOTO(status, done, job_queue_create(n_slices, n_cases, &queue));
    IO_TRY_GOTO(status, done, io_alloc((size_t)teams->n, sizeof *hands, (void **)&hands));
    *slices = simulate_end(queue, teams, opening, hands);
done:
    io_free(&hands);
    job_queue_free(&queue);
    return status;
}
