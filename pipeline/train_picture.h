/* A sheet of held-out slices with the contours of their organs and of what the network makes of them, in the colours of overlay.h. */
#ifndef PIPELINE_TRAIN_PICTURE_H
#define PIPELINE_TRAIN_PICTURE_H

#include <stddef.h>

#include "io/status.h"
#include "pipeline/validate.h"

#define PIPE_TRAIN_PICTURE "best_slices.png"

/* Draws up to six slices of the held-out cases, n_cases of them, with the weights as they are: <folder>/best_slices.png. Uses the trainer's
 * slot 0. */
io_status pipe_train_picture_write(pipe_validator *validator, size_t n_cases, const char *folder);

#endif
