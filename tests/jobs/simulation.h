/* A run of samed segment without devices, files and MPI: the program's own queue and cutting of cases, driven by simulated times. What the
 * times are made of is below; what is not simulated is the network between ranks, and that a rank asks for no more while two of its own
 * cases wait for the parts of others.
 *
 * Cases: slices are log-normal, median 140, sigma 0.6, cut to 20 ... 1000. That is an assumption, not a fit: abdominal CTs are said to have
 * between some 70 and 1000 slices, most of them 85 to 350, and no collection was at hand to count. The width is on the safe side: a few
 * long cases decide how well a study can be shared out, and narrower distributions share out better. Devices: a slice takes slice_s; ranks
 * differ by 1 % (standard deviation), each slice by 3 %. Opening a case takes 50 ms, an assumption for a shared file system, and 1.2 ms a
 * slice, as measured (io/README.md: 150 slices of 512 x 512, inflated and hashed in 0.18 s), one after the other, ahead of the network.
 * Slices that go to another rank cost 0.3 ms each. Rank 0 answers when its slice is done: half a slice later on average. */
#ifndef TESTS_JOBS_SIMULATION_H
#define TESTS_JOBS_SIMULATION_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/queue.h"

static const double open_s = 0.05, open_slice_s = 0.0012, send_slice_s = 0.0003;

typedef struct simulation {
    int n_ranks, n_cases;
    double slice_s;
    uint64_t seed;
    double guess; /* what cases are cut by, over slice_s; 0 for 1 */
} simulation;

typedef struct simulated {
    int64_t n_slices, n_parts, most_parts; /* of all cases; of the one with most */
    double makespan_s;
    double bound_s;   /* no schedule is faster, however cases are cut: the larger of the next two */
    double work_s;    /* every rank opens the case that opens soonest and then computes whole slices to the last moment */
    double longest_s; /* the heaviest case, opened and dealt to all ranks */
    int64_t n_messages;
} simulated;

static inline double draw_uniform(uint64_t *state) /* splitmix64; (0, 1) */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return ((double)((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
}

static inline double draw_normal(uint64_t *state)
{
    const double radius = sqrt(-2 * log(draw_uniform(state)));
    return radius * cos(6.283185307179586 * draw_uniform(state));
}

/* slices [n] */
static inline void draw_cases(uint64_t seed, int n, int64_t *slices)
{
    for (int i = 0; i < n; i++) {
        const double drawn = 140 * exp(0.6 * draw_normal(&seed));
        slices[i] = (int64_t)fmin(1000, fmax(20, drawn));
    }
}

/* One rank: when it asks next, and when it is done with what it has. */
typedef struct simulated_rank {
    double asks, ends, reader_free; /* seconds */
    double speed;                   /* seconds per slice over slice_s */
    bool has_left;
} simulated_rank;

typedef struct simulated_run {
    const simulation *what;
    simulated_rank *ranks, **heap; /* [n_ranks] */
    uint64_t random;
    double makespan;
    int64_t n_messages; /* to rank 0 */
} simulated_run;

static inline double find_opening_s(int64_t n_slices)
{
    return open_s + open_slice_s * (double)n_slices;
}

/* The rank gets a part at time: its case is opened behind what it has, computed once that is done. */
static inline void take_part(simulated_run *run, simulated_rank *rank, const job_part *part, double time)
{
    const double slice_s = run->what->slice_s * rank->speed, opening = find_opening_s(part->n_slices);
    const double ready = fmax(time, rank->reader_free) + opening, begins = fmax(ready, rank->ends);
    const double took = slice_s * ((double)part->n + 0.03 * sqrt((double)part->n) * draw_normal(&run->random));
    const double before = fmin((double)part->n, (double)job_queue_ask_before(opening, slice_s)) / (double)part->n;

    rank->reader_free = ready;
    rank->ends = begins + took + (part->number > 0 ? send_slice_s * (double)part->n : 0);
    rank->asks = begins + took * (1 - before);
    /* question, end of the slices, end; progress */
    run->n_messages += 3 + (int64_t)(took / fmax(slice_s, job_queue_news_every(run->what->n_ranks)));
    if (rank->ends > run->makespan) run->makespan = rank->ends;
}

static inline void sift_down(simulated_run *run, int at)
{
    simulated_rank **h = run->heap, *moved = h[at];
    const int n = run->what->n_ranks;

    for (int child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && h[child + 1]->asks < h[child]->asks) child++;
        if (h[child]->asks >= moved->asks) break;
        h[at] = h[child];
        at = child;
    }
    h[at] = moved;
}

/* Ranks ask in the order of time; rank 0 hands out what the queue says. */
static inline void drain_queue(simulated_run *run, job_queue *queue)
{
    for (int r = 0; r < run->what->n_ranks; r++) {
        const job_part *part = job_queue_at(queue, job_queue_next(queue));
        run->heap[r] = &run->ranks[r];
        run->ranks[r].asks = INFINITY;
        if (part) take_part(run, &run->ranks[r], part, 0);
    }
    for (int i = run->what->n_ranks / 2 - 1; i >= 0; i--) sift_down(run, i);
    while (isfinite(run->heap[0]->asks)) {
        simulated_rank *rank = run->heap[0];
        const job_part *part = job_queue_at(queue, job_queue_next(queue));
        const double answered = rank->asks + draw_uniform(&run->random) * run->what->slice_s;
        rank->asks = INFINITY;
        if (part) take_part(run, rank, part, answered);
        sift_down(run, 0);
    }
}

/* When all ranks together have computed n whole slices, each at its own speed. */
static inline double find_work_s(const simulated_run *run, int64_t n)
{
    double low = 0, high = run->what->slice_s * 2 * ((double)n / run->what->n_ranks + 1);

    for (int i = 0; i < 60; i++) {
        const double middle = (low + high) / 2;
        int64_t n_done = 0;
        for (int r = 0; r < run->what->n_ranks; r++) n_done += (int64_t)(middle / (run->what->slice_s * run->ranks[r].speed));
        *(n_done >= n ? &high : &low) = middle;
    }
    return high;
}

/* slices [n_cases] */
static inline void find_bound(const simulated_run *run, const int64_t *slices, simulated *out)
{
    int64_t least = slices[0], most = slices[0];

    out->n_slices = 0;
    for (int i = 0; i < run->what->n_cases; i++) {
        out->n_slices += slices[i];
        least = slices[i] < least ? slices[i] : least;
        most = slices[i] > most ? slices[i] : most;
    }
    out->work_s = find_opening_s(least) + find_work_s(run, out->n_slices);
    out->longest_s = find_opening_s(most) + find_work_s(run, most);
    out->bound_s = fmax(out->work_s, out->longest_s);
}

/* Returns 0 when memory lacks. */
static inline int simulate(const simulation *what, simulated *out)
{
    const double guess_s = what->slice_s * (what->guess > 0 ? what->guess : 1);
    const job_cutting cutting = {
        .n_ranks = what->n_ranks, .grain = 1, .opening = open_s / guess_s, .opening_slice = open_slice_s / guess_s};
    int64_t *slices = malloc((size_t)what->n_cases * sizeof *slices);
    simulated_rank *ranks = calloc((size_t)what->n_ranks, sizeof *ranks), **heap = malloc((size_t)what->n_ranks * sizeof *heap);
    job_queue *queue = NULL;
    simulated_run run = {.what = what, .ranks = ranks, .heap = heap, .random = what->seed + 1};
    const int is_well = slices && ranks && heap;

    if (!is_well) goto done;
    draw_cases(what->seed, what->n_cases, slices);
    for (int r = 0; r < what->n_ranks; r++) ranks[r].speed = 1 + 0.01 * draw_normal(&run.random);
    if (job_queue_create_cut(slices, (size_t)what->n_cases, &cutting, &queue) != IO_OK) goto done;
    out->n_parts = (int64_t)job_queue_size(queue);
    out->most_parts = job_queue_most_parts(queue);
    drain_queue(&run, queue);
    out->n_messages = run.n_messages;
    out->makespan_s = run.makespan;
    find_bound(&run, slices, out);
done:
    job_queue_free(&queue);
    free(heap);
    free(ranks);
    free(slices);
    return is_well;
}

#endif
