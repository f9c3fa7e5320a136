/* One pair of label maps: read, checked against each other, measured organ by organ. */
#ifndef PIPELINE_PAIR_H
#define PIPELINE_PAIR_H

#include <stdbool.h>

#include "io/status.h"
#include "pipeline/label_map.h"
#include "pipeline/label_volume.h"
#include "pipeline/metrics.h"
#include "pipeline/study.h"

typedef struct pipe_pair_options {
    const pipe_label_map *reference_map, *prediction_map;
    bool round, resample, missing_is_worst;
    double tolerance_mm; /* between corners of the grids */
} pipe_pair_options;

typedef struct pipe_pair {
    pipe_label_volume *reference, *prediction;
    pipe_label_boxes *boxes;
} pipe_pair;

/* Reads both files of a case and fills in what the case tells about them: dims, spacing, hashes, note. *stage becomes "reference",
 * "prediction" or "grids" for the message of a failure. */
io_status pipe_pair_open(const pipe_pair_options *options, pipe_study_case *about, pipe_pair *pair, const char **stage);
void pipe_pair_close(pipe_pair *pair);

/* All columns of one organ (from 0): overlap, and values [study->n_columns]. */
io_status pipe_pair_measure(const pipe_pair *pair, const pipe_study *study, const pipe_study_case *about, size_t organ,
                            pipe_metrics_scratch *scratch, pipe_overlap *overlap, double *values);

#endif
