/* What summary.c and its tests of significance share. */
#ifndef PIPELINE_SUMMARY_INTERNAL_H
#define PIPELINE_SUMMARY_INTERNAL_H

#include "pipeline/summary.h"

/* 95 % percentile bootstrap of the mean of values [cases], of which those that are not finite are left out of each resample. */
io_status pipe_bootstrap_mean(const double *values, const pipe_resamples *resamples, double *low, double *high);

/* scipy.stats.wilcoxon(differences) with its defaults: two-sided p; NaN when no difference is non-zero. differences [n] are not kept
 * in order. */
io_status pipe_wilcoxon(double *differences, size_t n, double *p);

#endif
