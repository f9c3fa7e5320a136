/* The order in which cases are handed out, and how ranks are cut into teams. Pure arithmetic: no MPI, no files. */
#ifndef JOBS_QUEUE_H
#define JOBS_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

enum {
    JOB_QUEUE_EMPTY = -1,
    JOB_ASK_BEFORE = 12 /* slices left of a rank's share when it asks for the next case, at least */
};

typedef struct job_queue job_queue;

/* Cases with a weight > 0 are queued, heaviest first, equal ones in the order given; the weight is any measure of work. */
io_status job_queue_create(const int64_t *weights, size_t n_cases, job_queue **out);
void job_queue_free(job_queue **queue);
/* The next case, or JOB_QUEUE_EMPTY. */
int64_t job_queue_next(job_queue *queue);
size_t job_queue_left(const job_queue *queue);
/* The case at a place of the order, 0 first; JOB_QUEUE_EMPTY behind the end. */
int64_t job_queue_at(const job_queue *queue, size_t place);

/* Deals the cases to n_hands so that their weights are as even as the heaviest allow, the same way wherever it is called: hand_of [n_cases]
 * by the case's index, untouched for those that are not queued. */
io_status job_queue_deal(const job_queue *queue, int n_hands, int *hand_of);

/* Slices left of a rank's share when it should ask for the next case, so that the answer is there and the case opened in time: opening_s is
 * what the last case took to be opened, slice_s what a slice takes, both 0 when not known. */
int64_t job_queue_ask_before(double opening_s, double slice_s);

/* Seconds between two words of one team about its progress, so that all together send at most a thousand in a second. */
double job_queue_news_every(int n_teams);

/* How ranks are cut into teams of consecutive ranks, the larger ones first. The same on all ranks. */
typedef struct job_teams {
    int n;        /* at most the number of ranks */
    int *leaders; /* [n + 1] the first rank of each team; behind the last, the number of ranks */
} job_teams;

int job_teams_size(const job_teams *teams, int team);
/* The team that a rank is in. */
int job_teams_of(const job_teams *teams, int rank);
void job_teams_free(job_teams *teams);

/* n_teams <= n_ranks teams whose sizes differ by at most one. */
io_status job_teams_even(int n_ranks, int n_teams, job_teams *out);
/* The teams that finish soonest when slices cost the same: n_slices [n_cases], 0 for a case that is not to be done. opening is the time
 * that a case's opening takes for each of its slices, over the time that one rank computes a slice. With many cases every rank is a team;
 * with few, teams are even, or as large as the cases that they begin with. Of nearly equals the most teams: less talk between ranks. */
io_status job_teams_choose(const int64_t *n_slices, size_t n_cases, int n_ranks, double opening, job_teams *out);

/* When the last of such teams ends, in slices of one rank. */
io_status job_teams_simulate(const int64_t *n_slices, size_t n_cases, double opening, const job_teams *teams, double *slices);

#endif
