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
 * validator until the next call. When a worker is asked to stop, it is IO_ERR_STOPPED on all, within a case. A network that does not
 * compute numbers is IO_ERR_RANGE and names the slice. */
io_status pipe_validator_run(pipe_validator *validator, const pipe_workers *workers, const pipe_validation **out);

/* ---- single slices, for pictures; not collective ---- */

/* One slice and what the network makes of it, [size][size] each; borrowed from the validator until the next call of anything. */
typedef struct pipe_shown {
    int size; /* pixels on each side */
    const float *image;
    const uint16_t *truth, *found;
} pipe_shown;

/* Held-out case `index`, below pipe_validation.n_cases; borrowed. */
const pipe_store_case *pipe_validator_case(const pipe_validator *validator, size_t index);
int pipe_validator_size(const pipe_validator *validator); /* pixels on each side of its slices */
/* Of the slices first ... end - 1 of a case the first one with most organs, of those with most labelled pixels. */
io_status pipe_validator_pick(pipe_validator *validator, size_t index, int64_t first, int64_t end, int64_t *slice);
/* Segments one slice of a case. Uses the trainer's slot 0. */
io_status pipe_validator_show(pipe_validator *validator, size_t index, int64_t slice, pipe_shown *out);

#endif
