/* The order in which cases are handed out, and how ranks are cut into teams. Pure arithmetic: no MPI, no files. */
#ifndef JOBS_QUEUE_H
#define JOBS_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

enum { JOB_QUEUE_EMPTY = -1 };

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

/* The team size (a divisor of n_ranks) that finishes soonest when slices cost the same: n_slices [n_cases], 0 for a case that is not to
 * be done. Of equals the smallest: less talk between ranks. */
int job_team_size_choose(const int64_t *n_slices, size_t n_cases, int n_ranks);

#endif
