/* The order in which work is handed out, and how cases are cut into parts so that all ranks end together. Pure arithmetic: no MPI, no
 * files; the same on all ranks, so that a place in the queue is all that has to be said about a part. */
#ifndef JOBS_QUEUE_H
#define JOBS_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

enum {
    JOB_QUEUE_EMPTY = -1,
    JOB_ASK_BEFORE = 3 /* slices left of a rank's part when it asks for the next, at least */
};

/* What one rank does at a time: slices first ... first + n - 1 of a case. The parts of a case follow each other in the queue. */
typedef struct job_part {
    int64_t case_index;
    int64_t first, n;
    int64_t number, n_parts; /* which part of how many */
    int64_t n_slices;        /* of the case; its weight where cases stay whole */
} job_part;

/* How cases are cut. */
typedef struct job_cutting {
    int n_ranks;
    int64_t most_parts;            /* of one case: 1 for whole cases; 0 for as many as let all ranks end together */
    int64_t grain;                 /* slices that a device takes at once: parts are multiples of it, but for a case's last */
    double opening, opening_slice; /* what a case's opening takes, and beside that each slice of it, over the time that one slice takes */
} job_cutting;

typedef struct job_queue job_queue;

/* Whole cases with a weight > 0, heaviest first, equal ones in the order given; the weight is any measure of work. */
io_status job_queue_create(const int64_t *weights, size_t n_cases, job_queue **out);
/* The same for n_slices [n_cases], cut. With most_parts 0 a part is less than half of what is left for each rank, so that parts become
 * smaller towards the end, but none takes much less than the opening of its case; with cases enough nearly all stay whole. */
io_status job_queue_create_cut(const int64_t *n_slices, size_t n_cases, const job_cutting *cutting, job_queue **out);
void job_queue_free(job_queue **queue);
/* The next place, or JOB_QUEUE_EMPTY. */
int64_t job_queue_next(job_queue *queue);
size_t job_queue_size(const job_queue *queue);
size_t job_queue_left(const job_queue *queue);
/* The part at a place of the order, 0 first; NULL behind the end. Borrowed. */
const job_part *job_queue_at(const job_queue *queue, int64_t place);
/* Parts of the case that is cut into most of them, 0 for an empty queue. */
int64_t job_queue_most_parts(const job_queue *queue);

/* Deals whole cases to n_hands so that their weights are as even as the heaviest allow, the same way wherever it is called: hand_of
 * [n_cases] by the case's index, untouched for those that are not queued. */
io_status job_queue_deal(const job_queue *queue, int n_hands, int *hand_of);
/* When the last of n_ranks ends, in slices of one rank, if slices cost the same and each part goes to the rank that is free first. */
io_status job_queue_simulate(const job_queue *queue, const job_cutting *cutting, double *slices);

/* Slices left of a rank's part when it should ask for the next, so that the answer is there and the case opened in time: opening_s is
 * what the last case took to be opened, slice_s what a slice takes, both 0 when not known. */
int64_t job_queue_ask_before(double opening_s, double slice_s);

/* Seconds between two words of one rank about its progress, so that all together send at most a thousand in a second. */
double job_queue_news_every(int n_ranks);

#endif
