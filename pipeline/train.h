/* One step of training, spread over workers: the batch of the step, this worker's share of it, the loss over the whole batch, exact sums
 * of the gradients, the update. Every worker holds all weights and makes the same update.
 *
 *   share forward -> Dice sums -> sum over workers -> share backward -> gradients in fixed point -> sum over workers -> norm, clip, update
 *
 * A slice is computed alone and the same way wherever it is, and the sums are of whole numbers: the weights do not depend on how many
 * workers there are, nor on how the batch is divided among them. */
#ifndef PIPELINE_TRAIN_H
#define PIPELINE_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "model/device.h"
#include "model/loss.h"
#include "model/schedule.h"
#include "model/train.h"
#include "pipeline/dataset.h"

/* Those who share a batch. How they talk is the caller's business. */
typedef struct pipe_workers {
    int rank, size;
    void (*sum)(void *context, int64_t *values, size_t n); /* collective: values [n] become the sums over all workers */
    bool sums_device_memory;                               /* sum takes memory of the device as well */
    bool (*agree)(void *context, io_status *status);       /* collective: true if all are well; else *status is the first failure */
    bool (*is_stopped)(void *context);                     /* not collective: has this worker been asked to stop? NULL: never */
    void *context;
} pipe_workers;

/* The one worker of a process that trains alone. */
pipe_workers pipe_workers_alone(void);

typedef struct pipe_train_options {
    int global_batch; /* slices of one step on all workers; the last step of an epoch has what is left */
    int n_kept;       /* as the trainer's: of a larger share the others are computed forward twice */
    double dice_weight;
    double clip; /* largest norm of the gradients; 0 for no limit */
    model_schedule schedule;
} pipe_train_options;

/* What a step was. */
typedef struct pipe_step {
    int64_t number; /* from 1 */
    uint32_t epoch; /* from 0 */
    int n_slices;
    model_loss loss;
    double rate, norm;    /* the norm is that before clipping */
    double wait_s, sum_s; /* seconds of this worker: until all have come to the sums of the gradients; with these sums: over workers, and on CPUs the exact ones */
} pipe_step;

typedef struct pipe_train pipe_train;

/* Everything is borrowed and must outlive *out. */
io_status pipe_train_create(model_device *device, model_trainer *trainer, pipe_dataset *dataset, const pipe_workers *workers,
                            const pipe_train_options *options, pipe_train **out);
void pipe_train_free(pipe_train **train);

/* Steps of an epoch that goes through n_samples. */
int64_t pipe_train_epoch_steps(uint32_t n_samples, int global_batch);
/* Gradients that are summed over the workers in each step: those of what is trained, nothing else. */
size_t pipe_train_summed(const pipe_train *train);
/* Bytes that each step sums over the workers: so many gradients, and what the loss over n_channels needs. */
size_t pipe_train_summed_bytes(size_t n_gradients, int n_channels);

/* Collective over the workers. Step n, 0-based, in its two halves. All that can show that the weights have diverged is in the first, which
 * leaves them as they are: a loss or gradient that is not a number is IO_ERR_DIVERGED and names the slice. Whoever saves the weights between
 * the halves saves weights that compute numbers. */
io_status pipe_train_derive(pipe_train *train, int64_t n, pipe_step *about);
io_status pipe_train_update(pipe_train *train, pipe_step *about);
/* Collective. The loss of step n and nothing else: the proof for weights with which no step is made. */
io_status pipe_train_try(pipe_train *train, int64_t n);

/* Values of fresh tensors (model_fresh of model/train.h) from the seed and the tensor's name; context is a const uint64_t *seed. */
void pipe_train_fresh(void *context, const char *name, bool is_normal, size_t n, float *out);

#endif
