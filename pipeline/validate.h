/* How well the network segments the held-out cases of a store, slice by slice as samed segment does: zoom to the network's size with
 * order 3, labels from the enlarged logits, zoom back with order 0. Compared at the stored size, where the store has its labels. */
#ifndef PIPELINE_VALIDATE_H
#define PIPELINE_VALIDATE_H

#include <stdint.h>

#include "io/status.h"
#include "model/device.h"
#include "model/train.h"
#include "pipeline/store.h"
#include "pipeline/train.h"

typedef struct pipe_validation {
    double mean;  /* DSC over the organs that have one; NaN when none has */
    double *dice; /* [n_classes] of organs 1 ...: mean over the cases in which the organ is there or was predicted; NaN without one */
    int n_classes;
    size_t n_cases;
} pipe_validation;

typedef struct pipe_validator pipe_validator;

/* store, device and trainer are borrowed. A store without a held-out case is IO_ERR_NOT_FOUND. */
io_status pipe_validator_create(const pipe_store *store, model_device *device, model_trainer *trainer, pipe_validator **out);
void pipe_validator_free(pipe_validator **validator);

/* Collective over the workers, who share the slices. Uses the trainer's slot 0. The result is the same on all, and borrowed from the
 * validator until the next call. */
io_status pipe_validator_run(pipe_validator *validator, const pipe_workers *workers, const pipe_validation **out);

#endif
