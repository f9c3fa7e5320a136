/* The slices of one part of a store, as training sees them: in the order of an epoch, augmented, at the network's size. What a sample is
 * depends on the store, the seed, the epoch and its number only, not on who asks for it when. */
#ifndef PIPELINE_DATASET_H
#define PIPELINE_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "io/status.h"
#include "pipeline/store.h"

typedef struct pipe_dataset_options {
    const char *folder; /* of the store; borrowed until opened */
    pipe_part part;
    int image_size; /* S, pixels: a multiple of 4 */
    uint64_t seed;
    bool shuffle;  /* another order in each epoch; else by case and slice */
    bool augment;
    double jitter; /* of intensities, 0 for none; only with augment */
} pipe_dataset_options;

typedef struct pipe_dataset pipe_dataset;

/* Where a sample came from; borrowed from the dataset. */
typedef struct pipe_sample {
    const char *case_id;
    int64_t slice;
} pipe_sample;

/* A part without a case is IO_ERR_NOT_FOUND. Files of cases are opened when first needed. */
io_status pipe_dataset_open(const pipe_dataset_options *options, pipe_dataset **out);
void pipe_dataset_free(pipe_dataset **dataset);
uint32_t pipe_dataset_count(const pipe_dataset *dataset); /* samples in an epoch */
int pipe_dataset_classes(const pipe_dataset *dataset);    /* without the background */

/* Sample n (0-based) of an epoch: image [S][S] (augmented at the stored size, then zoomed with order 3), labels [S/4][S/4] (zoomed to S with
 * order 0, then to S/4, as spec 5.3). about (may be NULL). Thread-safe; memory beyond the outputs is a few slices, for the time of the call. */
io_status pipe_dataset_get(pipe_dataset *dataset, uint32_t epoch, uint32_t n, float *image, uint16_t *labels, pipe_sample *about);

#endif
