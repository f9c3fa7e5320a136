/* From every element of one surface to the nearest element of another: exact distances, as a tally. */
#ifndef PIPELINE_METRICS_SEARCH_H
#define PIPELINE_METRICS_SEARCH_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "pipeline/metrics_bits.h"
#include "pipeline/metrics_surfel.h"
#include "pipeline/metrics_tally.h"

enum { PIPE_NEAR_MAX = 768, PIPE_NEAR_REACH_I = 15, PIPE_NEAR_REACH = 8 };

/* Steps from a voxel outwards, nearest first, for one spacing: no step that is left out is shorter than the last. */
typedef struct pipe_near_step {
    int8_t i, j, k;
    double squared; /* (i s_i)^2 + (j s_j)^2 + (k s_k)^2, added in this order as SciPy does */
} pipe_near_step;

typedef struct pipe_near {
    double spacing[3];
    int n;
    pipe_near_step steps[PIPE_NEAR_MAX];
} pipe_near;

void pipe_near_build(const double spacing[3], pipe_near *out);

/* Memory of the search, kept between calls. */
typedef struct pipe_search pipe_search;
io_status pipe_search_create(pipe_search **out);
void pipe_search_free(pipe_search **search);

/* What is measured: elements of query against elements of target, both masks of shape. rest is a mask of zeros and is zero again
 * afterwards. mask and surfels tell the area of a query's surfel; both NULL when elements are voxels, of area 1. */
typedef struct pipe_search_task {
    const pipe_bits *shape;
    const pipe_near *near;
    const uint64_t *query, *target, *mask;
    const pipe_surfels *surfels;
    uint64_t *rest;
} pipe_search_task;

/* tally is cleared first and sorted at the end. target must not be empty. */
io_status pipe_search_run(pipe_search *search, const pipe_search_task *task, pipe_tally *tally);

#endif
