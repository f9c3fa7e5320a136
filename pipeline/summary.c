/* See summary.h. Sums run in the order of the values, quantiles and the bootstrap use no function of libm but the square root: the same
 * bytes on any machine and any number of ranks. */
#include "pipeline/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/summary_internal.h"

int pipe_compare_doubles(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

double pipe_quantile(const double *sorted, size_t n, double q)
{
    const double at = q / 100.0 * (double)(n - 1), weight = at - floor(at);
    const size_t below = (size_t)at, above = below + 1 < n ? below + 1 : n - 1;
    const double low = sorted[below], step = sorted[above] - sorted[below];

    return weight >= 0.5 ? sorted[above] - step * (1 - weight) : low + step * weight; /* as numpy's _lerp rounds */
}

static double average(const double *values, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum / (double)n;
}

static double deviate(const double *values, size_t n, double mean)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) sum += (values[i] - mean) * (values[i] - mean);
    return n > 1 ? sqrt(sum / (double)(n - 1)) : NAN;
}

static void fill_quantiles(const double *sorted, size_t n, pipe_summary *out)
{
    out->median = pipe_quantile(sorted, n, 50);
    out->quartile1 = pipe_quantile(sorted, n, 25);
    out->quartile3 = pipe_quantile(sorted, n, 75);
    out->minimum = sorted[0];
    out->maximum = sorted[n - 1];
}

io_status pipe_summary_measure(const double *values, size_t n_values, pipe_summary *out)
{
    double *kept = NULL;
    size_t n = 0;

    *out = (pipe_summary){0, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    IO_TRY(io_alloc(n_values, sizeof *kept, (void **)&kept));
    for (size_t i = 0; i < n_values; i++) {
        if (isfinite(values[i])) kept[n++] = values[i];
    }
    out->n = n;
    if (n > 0) {
        out->mean = average(kept, n);
        out->sd = deviate(kept, n, out->mean);
        qsort(kept, n, sizeof *kept, pipe_compare_doubles);
        fill_quantiles(kept, n, out);
    }
    io_free(&kept);
    return IO_OK;
}

void pipe_paired_subtract(const double *a, const double *b, size_t n, double *difference)
{
    for (size_t i = 0; i < n; i++) difference[i] = isfinite(a[i]) && isfinite(b[i]) ? b[i] - a[i] : NAN;
}

io_status pipe_paired_measure(const double *difference, size_t n_values, pipe_paired *out)
{
    io_status status = IO_OK;
    double *differences = NULL;
    size_t n = 0;

    *out = (pipe_paired){0, NAN, NAN, NAN, NAN};
    IO_TRY(io_alloc(n_values, sizeof *differences, (void **)&differences));
    for (size_t i = 0; i < n_values; i++)
        if (isfinite(difference[i])) differences[n++] = difference[i];
    out->n = n;
    if (n == 0) goto done;
    out->mean_difference = average(differences, n);
    IO_TRY_GOTO(status, done, pipe_wilcoxon(differences, n, &out->wilcoxon_p));
done:
    io_free(&differences);
    return status;
}
