/* The inside of `samed prepare`: what its phases share.
 *
 *   prepare.c          order of the phases, rank 0's folder and lock
 *   prepare_options.c  the command line
 *   prepare_cases.c    which image belongs to which label map
 *   prepare_loop.c     every rank: cases from rank 0's queue, one after the other
 *   prepare_report.c   rank 0: progress, failed.tsv, JSON lines, index.json
 *
 * Ranks work alone, each on one case at a time; a file's bytes do not depend on which rank wrote it. */
#ifndef JOBS_PREPARE_H
#define JOBS_PREPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/labels.h"
#include "jobs/comm.h"
#include "jobs/lock.h"
#include "jobs/post.h"
#include "jobs/progress.h"
#include "jobs/queue.h"
#include "pipeline/label_map.h"
#include "pipeline/prepare.h"
#include "pipeline/store.h"

typedef struct prepare_options {
    const char *study, *images, *masks, *list, *output, *labels, *map; /* borrowed from argv, NULL when not given */
    int n_classes;                                                     /* without the background; 0 when not given */
    pipe_split split;
    pipe_options slices;
    double tolerance_mm;
    bool overwrite, dry_run, json;
    int n_ranks;   /* that must be there, 0 when not given */
    int verbosity; /* -1 quiet, 0, 1 verbose */
} prepare_options;

/* Returns -1, or the exit code with which the program has to end at once. */
int job_options_prepare(int argc, char **argv, prepare_options *out);

/* The cases of a run, ascending by id, the same on all ranks. */
typedef struct prepare_cases {
    char *text;           /* holds all ids and paths */
    pipe_source *sources; /* [n] */
    const char **ids;     /* [n] borrowed from text */
    const char **paths;   /* of all cases, one after the other */
    size_t n;
} prepare_cases;

typedef struct prepare_run {
    const prepare_options *options;
    job_comm world;
    job_lock *lock;
    job_queue *queue;
    job_post *post;
    prepare_cases cases;
    io_labels *labels;
    pipe_label_map *map;
    char text[PIPE_PREPARE_TEXT_BYTES];
    pipe_prepare_options prepare;
    int64_t *n_slices; /* [n] by the headers, 1 for a header that cannot be read */
    int64_t *is_done;  /* [n] 1 when finished by an earlier run */
    int64_t *to_do;    /* [n] slices, 0 for finished cases */
    int64_t n_done, n_left, slices_left;
    /* rank 0 */
    pipe_part *parts;       /* [n] */
    bool *has_failed;       /* [n] */
    job_outcome **failures; /* [n_failed], room for all cases */
    int64_t n_failed, n_finished;
    job_progress progress;
    bool is_open; /* the report: progress is shown */
    bool has_told_stop, is_polling;
    double started; /* seconds, monotonic */
} prepare_run;

/* Collective. Rank 0 looks, all ranks know. */
io_status job_prepare_cases_find(const job_comm *world, const prepare_options *options, prepare_cases *out);
void job_prepare_cases_free(prepare_cases *cases);
/* Rank 0: prints the plan of --dry-run. */
io_status job_prepare_dry_run(const prepare_run *run);

/* Collective. All cases. */
io_status job_prepare_loop(prepare_run *run);

/* Rank 0. */
void job_prepare_report_start(prepare_run *run);
void job_prepare_report_progressed(void *run, int64_t n_slices);
void job_prepare_report_ended(void *run, const job_outcome *outcome);
io_status job_prepare_report_finish(prepare_run *run, int *exit_code);

#endif
