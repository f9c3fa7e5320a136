/* The inside of `samed status`: where the run of an output folder stands, from its files alone, while it is at work or after.
 *
 *   status.c          the command: which kind of folder, exit code, text and JSON
 *   status_segment.c  cases and shards of a segmentation
 *   status_train.c    steps of a training run
 *
 * A run leaves in its place (jobs/output.h): .samed.lock while it lives, cases.tsv from its start, run.json at its end (of a
 * training from its start, and again at its end: how it ended), done when nothing is left. */
#ifndef JOBS_STATUS_H
#define JOBS_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "jobs/lock.h"

enum { STATUS_NAME_BYTES = 64, STATUS_REASON_BYTES = 1024 };

/* Ordered: what is said of several shards together is the first of these that one of them has. */
typedef enum status_state {
    STATUS_RUNNING,
    STATUS_KILLED,  /* it began, and ended without a word: killed, or aborted */
    STATUS_FAILED,  /* a training run that said why it could not go on */
    STATUS_STOPPED, /* in good order, something is left */
    STATUS_WAITING, /* a shard that has not begun */
    STATUS_FINISHED
} status_state;

const char *job_status_name(status_state state); /* "running" */

typedef struct status_place {
    char name[STATUS_NAME_BYTES]; /* "shard-2of3", "" for the output folder itself */
    status_state state;
    char owner[JOB_LOCK_OWNER_BYTES]; /* while it runs */
    bool is_listed;                   /* its cases are known: it began, and wrote cases.tsv */
    int64_t n_left, slices_left;      /* of the cases that it has before it, neither done nor failed */
    double slices_per_second;         /* 0: not known */
    double seconds_left;              /* -1: not known */
} status_place;

typedef struct status_failure {
    char *line; /* owned; the next point into it */
    const char *id, *stage, *reason, *text;
} status_failure;

typedef struct segment_status {
    status_place *places; /* [n_places], owned */
    size_t n_places;
    int n_shards;                                         /* 0 for a run of the whole */
    size_t n_listed;                                      /* places whose cases are known; all that follows is of these */
    int64_t n_given, n_done, n_failed, n_running, n_left; /* cases; running ones are part of those left, as the next */
    int64_t n_left_out;                                   /* that --only did not name */
    int64_t slices_given, slices_done, slices_left;       /* of the cases whose slices are known */
    int64_t n_uncounted;                                  /* cases done or left whose slices are not known */
    double slices_per_second, seconds_left;               /* as above */
    status_state state;
    status_failure *failures; /* [n_failures], owned */
    size_t n_failures;
    char **running; /* [n_running] ids, owned */
} segment_status;

io_status job_status_segment(const char *folder, segment_status *out);
void job_status_segment_free(segment_status *status);

typedef struct train_status {
    status_place place;
    int64_t step, n_steps, epoch; /* done; to do in all, 0 when not known; of the last step, from 1 */
    double loss;                  /* of the last step */
    double best_dice;             /* of all validations, -1 without one */
    int64_t best_step, checkpoint_step;
    double seconds_per_step;          /* over the last steps, 0 when not known */
    bool has_ended;                   /* the run wrote its exit code */
    char reason[STATUS_REASON_BYTES]; /* why it failed, "" when it did not say */
} train_status;

io_status job_status_train(const char *folder, train_status *out);

/* Looks at one place: lock, done, run.json, and whether it began at all (has a file of this name). */
io_status job_status_place(const char *path, const char *begun, status_place *out);
/* Splits a line at its tabs (or another mark) in place: fields [n], those that are not there are "". */
void job_status_split(char *line, char mark, char **fields, size_t n);

#endif
