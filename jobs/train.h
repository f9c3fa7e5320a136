/* The inside of `samed train`: what its phases share.
 *
 *   train.c          order of the phases, what is opened
 *   train_options.c  the command line
 *   train_plan.c     rank 0: the plan, in words, of --dry-run and of --json
 *   train_settings.c what decides the weights, as text: a run goes on only with the same
 *   train_loop.c     every rank: steps, validation, checkpoints, stopping
 *   train_log.c      rank 0: log.csv, validation.csv, progress, events
 *
 * Every rank holds all weights and makes every update; rank 0 alone writes. */
#ifndef JOBS_TRAIN_H
#define JOBS_TRAIN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "io/labels.h"
#include "io/tensors.h"
#include "jobs/comm.h"
#include "jobs/lock.h"
#include "model/device.h"
#include "model/schedule.h"
#include "model/train.h"
#include "pipeline/checkpoint.h"
#include "pipeline/dataset.h"
#include "pipeline/store.h"
#include "pipeline/train.h"
#include "pipeline/validate.h"

typedef struct train_options {
    const char *store, *output, *sam, *adapter; /* borrowed from argv, NULL when not given */
    int64_t n_epochs, n_steps;                  /* n_steps 0: as many as the epochs have */
    int global_batch, n_kept, n_threads;
    int n_ranks;   /* that must be there, 0 when not given */
    int n_classes; /* without the background; 0: as the store */
    int image_size;
    int last_block; /* highest of --blocks, -1 when not given */
    model_device_kind device;
    model_type precision;
    model_train_options model;
    model_schedule schedule;
    double clip, jitter;
    bool augment, share_gpu;
    uint64_t seed;
    int64_t validate_every; /* epochs; 0 never, -1 when not given: every epoch if cases are held out */
    int64_t save_every;     /* steps; 0: each epoch */
    int64_t patience;       /* validations without a better one; 0 for no early stop */
    int n_checkpoints;
    bool dry_run, json;
    bool asks_rank, asks_layout; /* --rank, --layout were given: an adapter to begin with must have them */
    int verbosity;               /* -1 quiet, 0, 1 verbose */
} train_options;

/* Returns -1, or the exit code with which the program has to end at once. */
int job_options_train(int argc, char **argv, train_options *out);

typedef struct train_log {
    FILE *steps, *validations;           /* rank 0 */
    double started, shown, step_started; /* seconds, monotonic */
    int64_t first;                       /* step with which this run began */
    bool has_bar;
} train_log;

typedef struct train_run {
    const train_options *options;
    job_comm world;
    job_lock *lock; /* rank 0 */
    pipe_store *store;
    io_labels *labels;
    model_device *device;
    model_trainer *trainer;
    pipe_dataset *dataset;
    pipe_workers workers;
    pipe_train *train;
    pipe_validator *validator; /* NULL without validation */
    char *settings;
    pipe_checkpoint state;
    int64_t saved_step;                      /* that of the newest checkpoint, 0 for none */
    bool is_unsaved, is_save_due;            /* since then something was done; the next step is to save what it begins with */
    int64_t epoch_steps, n_steps, max_steps; /* of an epoch, to do in all, of the whole schedule */
    train_log log;
} train_run;

enum { TRAIN_BLOCKS_BYTES = 4 * MODEL_MAX_DEPTH };
/* The blocks that get LoRA, as "0-5,8"; "" without LoRA in the encoder. */
void job_train_blocks(const train_run *run, char out[TRAIN_BLOCKS_BYTES]);
/* The projections that get LoRA, as "qv"; "" without. */
void job_train_projections(const train_run *run, char out[5]);

/* Rank 0. What is about to be done. */
void job_train_plan_tell(const train_run *run);
/* Collective, for --dry-run: reads the files of the cases to be trained and validated on, all bytes; says which are not those that the
 * store's index tells. */
io_status job_train_plan_check(const train_run *run);
/* The whole plan of --dry-run on standard output. */
void job_train_plan_print(const train_run *run);

/* Collective. Rank 0 reads and hashes the files; *out with io_free. */
io_status job_train_settings(const train_run *run, char **out);

/* Collective. From state.step to the end, or to a signal (exit code JOB_EXIT_STOPPED). */
io_status job_train_loop(train_run *run, int *exit_code);

/* Rank 0. Opens the tables and drops what they hold beyond state.step. */
io_status job_train_log_open(train_run *run);
/* Rank 0. run.json of a run that is at work. */
io_status job_train_log_begin(const train_run *run);
void job_train_log_close(train_run *run);
io_status job_train_log_step(train_run *run, const pipe_step *step);
io_status job_train_log_validation(train_run *run, const pipe_validation *validation);
/* A checkpoint was written. */
void job_train_log_saved(const train_run *run);
/* The run has ended: with run.json, whose end any thread may write. error: why it failed, NULL when it did not. */
io_status job_train_log_ended(const train_run *run, int exit_code, const char *error);
io_status job_train_log_exit(const train_run *run, int exit_code);
/* Takes the bar away so that a line can be printed. */
void job_train_log_clear(train_run *run);

#endif
