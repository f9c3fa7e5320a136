/* Messages between rank 0, which hands out the cases, and the leaders of the teams. Two-sided and small; rank 0 answers between its own
 * slices and whenever it waits, so nobody needs a thread for it. The leader of rank 0's own team uses the same calls. */
#ifndef JOBS_POST_H
#define JOBS_POST_H

#include "jobs/comm.h"
#include "jobs/queue.h"
#include "jobs/team.h"

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

/* What rank 0 does with the news; called from job_post_serve and, for its own team, from the sender's call. */
typedef struct job_post_events {
    void (*progressed)(void *context, int64_t n_slices);
    void (*ended)(void *context, const job_outcome *outcome);
    void *context;
    void (*handed)(void *context, int64_t case_index, int leader); /* may be NULL: a case was given to a team, not its first */
} job_post_events;

typedef struct job_post job_post;

/* queue and events are used by rank 0 only (borrowed until freed). The first case of each team is known to all without a message: the
 * queue's first n_teams entries, in order. */
io_status job_post_create(const job_comm *world, const job_team *team, job_queue *queue, const job_post_events *events, job_post **out);
/* Collective over all ranks, after job_post_leave on all leaders: no message is left behind. */
void job_post_free(job_post **post);

/* Leaders: asks for the next case; then job_post_answer is polled: true when *next is there (a case, or JOB_QUEUE_EMPTY). */
void job_post_ask(job_post *post);
bool job_post_answer(job_post *post, int64_t *next);
/* Leaders: news for rank 0. */
void job_post_progress(job_post *post, int64_t n_slices);
void job_post_outcome(job_post *post, const job_outcome *outcome);
/* Any rank: a signal came. */
void job_post_stop(job_post *post);
/* Leaders: no more messages will come. */
void job_post_leave(job_post *post);

/* Rank 0: takes all messages that are here. Once job_stop_asked, every answer is JOB_QUEUE_EMPTY. */
void job_post_serve(job_post *post);
/* Rank 0: have all leaders left? */
bool job_post_all_left(const job_post *post);

#endif
