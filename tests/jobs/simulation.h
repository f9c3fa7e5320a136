/* A run of samed segment without devices, files and MPI: the program's own queue, choice of teams and sharing of slices, driven by
 * simulated times. What the times are made of is below; what is not simulated is the network between ranks.
 *
 * Cases: slices are log-normal, median 140, sigma 0.6, cut to 20 ... 1000. That is an assumption, not a fit: abdominal CTs are said to have
 * between some 70 and 1000 slices, most of them 85 to 350, and no collection was at hand to count. The width is on the safe side: a few
 * long cases decide how well a study can be shared out, and narrower distributions share out better. Devices: a
 * slice takes slice_s; ranks differ by 1 % (standard deviation), each slice by 3 %. Opening a case takes 50 ms and 4 ms a slice (0.5 MB of
 * int16, inflated at 130 MB/s), one after the other, ahead of the network. Gathering takes 0.3 ms a slice. Rank 0 answers when its slice is
 * done: half a slice later on average. */
#ifndef TESTS_JOBS_SIMULATION_H
#define TESTS_JOBS_SIMULATION_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "jobs/queue.h"
#include "jobs/team.h"

static const double open_slice_s = 0.004;

typedef struct simulation {
    int n_ranks, n_cases;
    double slice_s;
    uint64_t seed;
} simulation;

typedef struct simulated {
    int n_teams, largest_team;
    int64_t n_slices;
    double makespan_s;
    double bound_s;   /* no schedule is faster: all work on all ranks, or the longest case with its team */
    double work_s;    /* the first of the two */
    double longest_s; /* the second */
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

/* One team: when it asks next, and what it has. */
typedef struct simulated_team {
    double asks, ends, reader_free; /* seconds */
    int first_rank, size;
    int64_t first; /* case with which it began */
} simulated_team;

typedef struct simulated_run {
    const simulation *what;
    const int64_t *slices;
    const double *speeds; /* [n_ranks] seconds per slice over slice_s */
    simulated_team *teams, **heap;
    int n_teams;
    uint64_t random;
    double makespan;
    int64_t n_messages; /* to rank 0 */
} simulated_run;

static inline double find_opening(int64_t n_slices)
{
    return 0.05 + open_slice_s * (double)n_slices;
}

static inline double find_gathering(int64_t n_slices, int team_size)
{
    return team_size > 1 ? 0.0003 * (double)n_slices : 0;
}

/* The team gets a case at time: opened behind what it has, computed once the last one is done. */
static inline void take_case(simulated_run *run, simulated_team *team, int64_t index, double time)
{
    const int64_t n = run->slices[index];
    const double ready = fmax(time, team->reader_free) + find_opening(n), begins = fmax(ready, team->ends);
    double slowest = 0, leader = 0;
    int64_t n_leader = 0;

    for (int r = 0; r < team->size; r++) {
        const job_team member = {.comm = {.rank = r, .size = team->size}};
        const int64_t share = job_team_share_count(&member, n);
        const double took = run->what->slice_s * run->speeds[team->first_rank + r] *
                            ((double)share + 0.03 * sqrt((double)share) * draw_normal(&run->random));
        if (r == 0) leader = took;
        if (r == 0) n_leader = share;
        slowest = fmax(slowest, took);
    }
    team->reader_free = ready;
    team->ends = begins + slowest + find_gathering(n, team->size);
    team->asks = begins + leader * fmax(0, 1 - (double)job_queue_ask_before(find_opening(n), leader / (double)n_leader) / (double)n_leader);
    run->n_messages +=
        3 + (int64_t)((team->ends - begins) /
                      fmax(run->what->slice_s, job_queue_news_every(run->n_teams))); /* question, end of the slices, end; progress */
    if (team->ends > run->makespan) run->makespan = team->ends;
}

static inline void sift_down(simulated_run *run, int at)
{
    simulated_team **h = run->heap, *moved = h[at];

    for (int child = 2 * at + 1; child < run->n_teams; child = 2 * at + 1) {
        if (child + 1 < run->n_teams && h[child + 1]->asks < h[child]->asks) child++;
        if (h[child]->asks >= moved->asks) break;
        h[at] = h[child];
        at = child;
    }
    h[at] = moved;
}

/* Teams ask in the order of time; rank 0 hands out what the queue says. */
static inline void drain_queue(simulated_run *run, job_queue *queue)
{
    for (int t = 0; t < run->n_teams; t++) {
        const int64_t first = job_queue_next(queue);
        run->heap[t] = &run->teams[t];
        run->teams[t].first = first;
        if (first == JOB_QUEUE_EMPTY) run->teams[t].asks = INFINITY;
        if (first != JOB_QUEUE_EMPTY) take_case(run, &run->teams[t], first, 0);
    }
    for (int i = run->n_teams / 2 - 1; i >= 0; i--) sift_down(run, i);
    while (isfinite(run->heap[0]->asks)) {
        simulated_team *team = run->heap[0];
        const int64_t next = job_queue_next(queue);
        if (next == JOB_QUEUE_EMPTY)
            team->asks = INFINITY;
        else
            take_case(run, team, next, team->asks + draw_uniform(&run->random) * run->what->slice_s);
        sift_down(run, 0);
    }
}

/* The longest case with its team is the longest of those that the teams began with: each team's first is its heaviest. */
static inline void find_bound(const simulated_run *run, simulated *out)
{
    const simulation *what = run->what;
    double capacity = 0;

    out->n_slices = 0;
    out->longest_s = 0;
    for (int r = 0; r < what->n_ranks; r++) capacity += 1 / run->speeds[r];
    for (int i = 0; i < what->n_cases; i++) out->n_slices += run->slices[i];
    for (int t = 0; t < run->n_teams; t++) {
        const simulated_team *team = &run->teams[t];
        const int64_t n = team->first == JOB_QUEUE_EMPTY ? 0 : run->slices[team->first], rounds = (n + team->size - 1) / team->size;
        const double takes = find_opening(n) + what->slice_s * (double)rounds + find_gathering(n, team->size);
        if (n > 0) out->longest_s = fmax(out->longest_s, takes);
    }
    out->work_s = (double)out->n_slices * what->slice_s / capacity;
    out->bound_s = fmax(out->work_s, out->longest_s);
}

/* Returns 0 when memory lacks. */
static inline int simulate(const simulation *what, simulated *out)
{
    int64_t *slices = malloc((size_t)what->n_cases * sizeof *slices);
    double *speeds = malloc((size_t)what->n_ranks * sizeof *speeds);
    simulated_team *teams = calloc((size_t)what->n_ranks, sizeof *teams);
    simulated_team **heap = malloc((size_t)what->n_ranks * sizeof *heap);
    job_queue *queue = NULL;
    job_teams cut = {0};
    simulated_run run = {.what = what, .slices = slices, .speeds = speeds, .teams = teams, .heap = heap, .random = what->seed + 1};
    const int is_well = slices && speeds && teams && heap;

    if (!is_well) goto done;
    draw_cases(what->seed, what->n_cases, slices);
    for (int r = 0; r < what->n_ranks; r++) speeds[r] = 1 + 0.01 * draw_normal(&run.random);
    if (job_teams_choose(slices, (size_t)what->n_cases, what->n_ranks, open_slice_s / what->slice_s, &cut) != IO_OK) goto done;
    run.n_teams = out->n_teams = cut.n;
    for (int t = 0; t < cut.n; t++) teams[t] = (simulated_team){.first_rank = cut.leaders[t], .size = job_teams_size(&cut, t)};
    out->largest_team = teams[0].size;
    if (job_queue_create(slices, (size_t)what->n_cases, &queue) != IO_OK) goto done;
    drain_queue(&run, queue);
    out->n_messages = run.n_messages;
    out->makespan_s = run.makespan;
    find_bound(&run, out);
done:
    job_teams_free(&cut);
    job_queue_free(&queue);
    free(heap);
    free(teams);
    free(speeds);
    free(slices);
    return is_well;
}

#endif
