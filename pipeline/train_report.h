/* train.html: the curves of a training run in one file that needs no network. Made from log.csv and validation.csv of its folder. */
#ifndef PIPELINE_TRAIN_REPORT_H
#define PIPELINE_TRAIN_REPORT_H

#include "io/status.h"

/* settings: text of "name=value" lines. validation.csv may be absent. */
io_status pipe_train_report_write(const char *folder, const char *settings);

#endif
