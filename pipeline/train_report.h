/* train.html: the curves and pictures of a training run in one file that needs no network. Made from log.csv, validation.csv and
 * best_slices.png of its folder. */
#ifndef PIPELINE_TRAIN_REPORT_H
#define PIPELINE_TRAIN_REPORT_H

#include <stdint.h>

#include "io/status.h"

/* settings: text of "name=value" lines. best_step is that of the pictures, 0 without. validation.csv and best_slices.png may be absent. */
io_status pipe_train_report_write(const char *folder, const char *settings, int64_t best_step);

#endif
