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

/* Resamples of cases for the bootstrap, the same for every value of a study. All of them take 10 kB per case: where that is more than
 * max_bytes they come in blocks, of which one is held. */
enum { PIPE_RESAMPLE_BYTES = 64 << 20 /* whatever the cohort's size */ };
typedef struct pipe_resamples pipe_resamples;
io_status pipe_resamples_create(size_t n_cases, uint64_t seed, size_t max_bytes, pipe_resamples **out);
void pipe_resamples_free(pipe_resamples **resamples);
size_t pipe_resamples_cases(const pipe_resamples *resamples);
size_t pipe_resamples_blocks(const pipe_resamples *resamples);
/* Makes a block the one that is held; drawing it again gives the same. */
void pipe_resamples_draw(pipe_resamples *resamples, size_t block);

/* The bootstrap of one mean, block by block: in any order, each once, between create and finish. */
typedef struct pipe_bootstrap pipe_bootstrap;
io_status pipe_bootstrap_create(pipe_bootstrap **out); /* 160 kB */
void pipe_bootstrap_free(pipe_bootstrap **bootstrap);
void pipe_bootstrap_start(pipe_bootstrap *bootstrap, size_t n_cases);
/* values [cases of the resamples], the same ones for every block, of which those that are not finite are left out of each resample. */
void pipe_bootstrap_add(pipe_bootstrap *bootstrap, const double *values, const pipe_resamples *resamples);
/* 95 % percentile interval of the mean; NaN without any value. */
void pipe_bootstrap_finish(pipe_bootstrap *bootstrap, double *low, double *high);

typedef struct pipe_summary {
    size_t n;                                              /* finite values used */
    double mean, sd;                                       /* sd with n - 1 */
    double median, quartile1, quartile3, minimum, maximum; /* quantiles as numpy.percentile, linear */
    double ci_low, ci_high;                                /* 95 % percentile bootstrap of the mean */
} pipe_summary;

/* values [n]; the interval is the caller's to fill. */
io_status pipe_summary_measure(const double *values, size_t n, pipe_summary *out);

typedef struct pipe_paired {
    size_t n;                                /* pairs with both values finite */
    double mean_difference, ci_low, ci_high; /* b - a; bootstrap as above */
    double wilcoxon_p; /* signed-rank, two-sided: exact for n <= 50 without ties or zeros, else normal with tie correction,
                          as scipy.stats.wilcoxon(method "auto"); NaN for no non-zero difference */
} pipe_paired;

/* b - a, NaN where one of them is not finite: [n]; difference may be a or b. */
void pipe_paired_subtract(const double *a, const double *b, size_t n, double *difference);
/* difference [n]; the interval is the caller's to fill. */
io_status pipe_paired_measure(const double *difference, size_t n, pipe_paired *out);

#endif
