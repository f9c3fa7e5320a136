/* What summary.c and its tests of significance share. */
#ifndef PIPELINE_SUMMARY_INTERNAL_H
#define PIPELINE_SUMMARY_INTERNAL_H

#include "pipeline/summary.h"

/* scipy.stats.wilcoxon(differences) with its defaults: two-sided p; NaN when no difference is non-zero. differences [n] are not kept
 * in order. */
io_status pipe_wilcoxon(double *differences, size_t n, double *p);

#endif
