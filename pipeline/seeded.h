/* Random weights from a seed, in the layout of SAM's and SAMed's files: for demos, tests and speed measurements. What they segment means
 * nothing. Same seed, same bytes. */
#ifndef PIPELINE_SEEDED_H
#define PIPELINE_SEEDED_H

#include <stdint.h>

#include "io/status.h"
#include "io/tensors.h"

/* vit is "vit_b", "vit_l", "vit_h", "small" (4 blocks, width 128, made for 256 pixels: trains in minutes) or "tiny" (2
 * blocks, width 32, window 3: for tests). rank and n_classes (without the background)
 * shape the adapter; is_small writes SAMed_s. Either output may be NULL. */
io_status pipe_seeded_create(const char *vit, uint64_t seed, int rank, int n_classes, int is_small, io_tensors **sam, io_tensors **adapter);

#endif
