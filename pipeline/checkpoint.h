/* Where a training run stands, in one file: <folder>/checkpoint_<step>.safetensors holds "weights" and "moments", each as the block that
 * the optimizer works on, and as metadata the step, the best validation so far, the settings and a SHA-256 over both blocks. Nothing in it
 * tells of time, hosts or ranks, so two runs of the same settings have the same bytes. The newest checkpoint is where a run goes on. */
#ifndef PIPELINE_CHECKPOINT_H
#define PIPELINE_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "io/status.h"
#include "model/device.h"
#include "model/train.h"

typedef struct pipe_checkpoint {
    int64_t step;      /* done */
    int64_t best_step; /* with the highest mean DSC; 0 before the first validation */
    double best_dice;
    bool awaits_validation; /* it was due, but the run was stopped before its end */
} pipe_checkpoint;

/* settings: text of "name=value" lines of everything that decides the weights; a checkpoint with other settings is not gone on from. */

/* Weights and moments must be numbers before anything of a former state is overwritten: else IO_ERR_RANGE. */
io_status pipe_checkpoint_check(model_device *device, model_trainer *trainer);
/* Writes the checkpoint, then removes older ones but the last n_kept and the best. */
io_status pipe_checkpoint_write(const char *folder, const pipe_checkpoint *state, const char *settings, int n_kept, model_device *device,
                                model_trainer *trainer);
/* Reads the newest checkpoint into the trainer. *is_there false: the folder has none. Other settings are IO_ERR_MISMATCH naming the first
 * that differs; damaged bytes are IO_ERR_CHECKSUM. */
io_status pipe_checkpoint_read(const char *folder, const char *settings, model_device *device, model_trainer *trainer,
                               pipe_checkpoint *state, bool *is_there);

/* The adapter as <folder>/<name>.pth, in SAMed's layout, and <name>.safetensors. */
io_status pipe_checkpoint_write_adapter(const char *folder, const char *name, const model_trainer *trainer);

#endif
