/* Statistics of a study's values: what a table in a paper shows. NaN values are left out and not counted. Same bytes for any number of
 * ranks; on any machine but for the p-value, whose last digits are those of the C library's erfc. */
#ifndef PIPELINE_SUMMARY_H
#define PIPELINE_SUMMARY_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

/* Ascending order for qsort; no NaN. */
int pipe_compare_doubles(const void *left, const void *right);

/* numpy.percentile(sorted, q), linear; sorted [n] ascending, n > 0. */
double pipe_quantile(const double *sorted, size_t n, double q);

enum { PIPE_N_RESAMPLES = 10000, PIPE_FEW_CASES = 8 /* below, an interval or a p-value says little */ };

/* Resamples of cases for the bootstrap: made once for a study, and the same for every value in it. 10 kB per case. */
typedef struct pipe_resamples pipe_resamples;
io_status pipe_resamples_create(size_t n_cases, uint64_t seed, pipe_resamples **out);
void pipe_resamples_free(pipe_resamples **resamples);
size_t pipe_resamples_cases(const pipe_resamples *resamples);

typedef struct pipe_summary {
    size_t n;                                              /* finite values used */
    double mean, sd;                                       /* sd with n - 1 */
    double median, quartile1, quartile3, minimum, maximum; /* quantiles as numpy.percentile, linear */
    double ci_low, ci_high;                                /* 95 % percentile bootstrap of the mean */
} pipe_summary;

/* values [cases of the resamples]. */
io_status pipe_summary_measure(const double *values, const pipe_resamples *resamples, pipe_summary *out);

typedef struct pipe_paired {
    size_t n;                                /* pairs with both values finite */
    double mean_difference, ci_low, ci_high; /* b - a; bootstrap as above */
    double wilcoxon_p; /* signed-rank, two-sided: exact for n <= 50 without ties or zeros, else normal with tie correction,
                          as scipy.stats.wilcoxon(method "auto"); NaN for no non-zero difference */
} pipe_paired;

/* a, b [cases of the resamples]. */
io_status pipe_paired_measure(const double *a, const double *b, const pipe_resamples *resamples, pipe_paired *out);

#endif
