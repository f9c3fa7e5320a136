/* The part of the search for elements that have no neighbour among the near steps. */
#ifndef PIPELINE_METRICS_FAR_H
#define PIPELINE_METRICS_FAR_H

#include "pipeline/metrics_search.h"

typedef struct pipe_far pipe_far;
io_status pipe_far_create(pipe_far **out);
void pipe_far_free(pipe_far **far);

/* Adds the distance of each element of task->rest to tally and clears it from rest. */
io_status pipe_far_run(pipe_far *far, const pipe_search_task *task, pipe_tally *tally);

#endif
