/* How much surface lies at which distance: the sorted list from which every convention takes its numbers. */
#ifndef PIPELINE_METRICS_TALLY_H
#define PIPELINE_METRICS_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct pipe_tally_entry {
    double distance;
    double area;   /* of one element; 1 for surface voxels */
    int64_t count; /* of elements */
} pipe_tally_entry;

typedef struct pipe_tally {
    pipe_tally_entry *entries; /* [n], ascending by distance, then area, once sorted */
    size_t n, capacity, n_sorted;
} pipe_tally;

void pipe_tally_clear(pipe_tally *tally);
void pipe_tally_free(pipe_tally *tally);

/* Appends count elements of one area and distance. */
io_status pipe_tally_add(pipe_tally *tally, double distance, double area, int64_t count);

/* Sorts what was appended and joins equal entries. */
void pipe_tally_sort(pipe_tally *tally);

/* What follows wants a sorted list that is not empty. */
int64_t pipe_tally_count(const pipe_tally *tally);
double pipe_tally_largest(const pipe_tally *tally);
double pipe_tally_sum(const pipe_tally *tally);                         /* of distance over the elements */
int64_t pipe_tally_within(const pipe_tally *tally, double limit);       /* elements with distance <= limit */
int64_t pipe_tally_within_float(const pipe_tally *tally, double limit); /* the same compared in float32 */

/* numpy.percentile(distances of both lists, q), linear; b may be NULL. */
double pipe_tally_percentile(const pipe_tally *a, const pipe_tally *b, double q);

/* torch.quantile(float32 distances, q / 100), linear. */
double pipe_tally_percentile_float(const pipe_tally *tally, double q);

/* Sums of area over the elements: all; weighted by distance; of those with distance <= limit. */
double pipe_tally_area(const pipe_tally *tally);
double pipe_tally_area_sum(const pipe_tally *tally);
double pipe_tally_area_within(const pipe_tally *tally, double limit);

/* The first distance whose cumulated area reaches q percent of all, in NumPy's order of additions: at a tie the last bit decides. */
double pipe_tally_area_percentile(const pipe_tally *tally, double q);

#endif
