/* What one pass over a pair of label maps finds out about each value. */
#ifndef PIPELINE_METRICS_BOXES_H
#define PIPELINE_METRICS_BOXES_H

#include "pipeline/metrics.h"

typedef struct pipe_label_box {
    int32_t low[3], high[3]; /* voxels of the value in either map lie in low..high; high < low when there are none */
    pipe_overlap overlap;
} pipe_label_box;

struct pipe_label_boxes {
    int64_t dims[3];
    const void *labels[2]; /* reference, prediction; [nz][ny][nx], borrowed */
    int label_bytes[2];
    int n_values;
    pipe_label_box *boxes; /* [n_values]; of value 0 nothing is known */
};

#endif
