/* Statistics of a study's values: what a table in a paper shows. NaN values are left out and not counted. Same bytes on any machine. */
#ifndef PIPELINE_SUMMARY_H
#define PIPELINE_SUMMARY_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct pipe_summary {
    size_t n;                        /* finite values used */
    double mean, sd;                 /* sd with n - 1 */
    double median, quartile1, quartile3, minimum, maximum; /* quantiles as numpy.percentile, linear */
    double ci_low, ci_high;          /* 95 % percentile bootstrap of the mean, 2000 resamples */
} pipe_summary;

/* The bootstrap is keyed by (seed, key): key tells one table cell from another. */
io_status pipe_summary_measure(const double *values, size_t n_values, uint64_t seed, const char *key, pipe_summary *out);

typedef struct pipe_paired {
    size_t n;                        /* pairs with both values finite */
    double mean_difference, ci_low, ci_high; /* b - a; bootstrap as above */
    double wilcoxon_p;               /* signed-rank, two-sided: exact for n <= 50 without ties or zeros, else normal with tie correction,
                                        as scipy.stats.wilcoxon(method "auto"); NaN for no non-zero difference */
} pipe_paired;

io_status pipe_paired_measure(const double *a, const double *b, size_t n_values, uint64_t seed, const char *key, pipe_paired *out);

#endif
