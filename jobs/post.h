/* Messages between rank 0, which hands out the work, and all ranks. Two-sided and small; rank 0 answers between its own slices and whenever
 * it waits, so nobody needs a thread for it. Rank 0 itself uses the same calls. */
#ifndef JOBS_POST_H
#define JOBS_POST_H

#include "jobs/comm.h"
#include "jobs/queue.h"

enum { JOB_STAGE_BYTES = 16, JOB_TEXT_BYTES = 1024 };

/* How a case ended. */
typedef struct job_outcome {
    int64_t case_index;
    io_status status; /* IO_OK, IO_ERR_STOPPED when dropped for a signal, else why it failed */
    int64_t n_slices;
    int n_warnings;              /* what looked wrong about it (pipe_case_check) */
    double seconds;              /* from opening to record */
    char stage[JOB_STAGE_BYTES]; /* where it failed: "read", "prepare", "segment", "write" */
    char text[JOB_TEXT_BYTES];
} job_outcome;

/* What rank 0 does with the news; called from job_post_serve and, for its own, from the sender's call. */
typedef struct job_post_events {
    void (*progressed)(void *context, int64_t n_slices);
    void (*ended)(void *context, const job_outcome *outcome);
    void *context;
    void (*handed)(void *context, const job_part *part, int rank); /* may be NULL: a part was given to a rank, not its first */
} job_post_events;

/* What rank 0 says when a rank asks. */
typedef struct job_answer {
    int64_t place;    /* in the queue, or JOB_QUEUE_EMPTY */
    int64_t n_handed; /* with JOB_QUEUE_EMPTY: places from here on are nobody's and stay so */
    int home;         /* the rank that got the first part of the case, and gathers the others */
} job_answer;

typedef struct job_post job_post;

/* queue is the same on all ranks; rank 0 takes from it; events are rank 0's (both borrowed until freed). Rank r's first place is r, known
 * to all without a message. */
io_status job_post_create(const job_comm *world, job_queue *queue, const job_post_events *events, job_post **out);
/* Collective over all ranks, after job_post_leave on all: no message is left behind. */
void job_post_free(job_post **post);

/* The first place of this rank; JOB_QUEUE_EMPTY when there are fewer. */
job_answer job_post_first(const job_post *post);
/* Asks for the next part; then job_post_answered is polled: true when *answer is there. */
void job_post_ask(job_post *post);
bool job_post_answered(job_post *post, job_answer *answer);
/* News for rank 0. */
void job_post_progress(job_post *post, int64_t n_slices);
void job_post_outcome(job_post *post, const job_outcome *outcome);
/* A signal came. */
void job_post_stop(job_post *post);
/* No more messages will come. */
void job_post_leave(job_post *post);

/* Rank 0: takes all messages that are here. Once job_stop_asked, every answer is JOB_QUEUE_EMPTY. */
void job_post_serve(job_post *post);
/* Rank 0: have all left? */
bool job_post_all_left(const job_post *post);

#endif
