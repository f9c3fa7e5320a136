/* Wilcoxon's signed-rank test with the choices of scipy.stats.wilcoxon's defaults (1.13 and later): zero differences are dropped from the
 * ranks; without ties and zeros and with at most 50 differences p is exact; with ties or zeros and at most 13 differences all changes of
 * sign are tried; otherwise the normal approximation with the correction for ties. */
#include "pipeline/summary_internal.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"

enum { EXACT_MAX = 50, SIGNS_MAX = 13, EXACT_SUMS = EXACT_MAX * (EXACT_MAX + 1) / 2 + 1 };

/* Ranks of the sizes of the non-zero differences, averaged over ties. */
typedef struct ranking {
    size_t n, n_zeros;
    double *ranks;    /* [n] */
    double plus;      /* sum of the ranks of positive differences */
    double tie_cubes; /* sum of t^3 - t over groups of t ties */
} ranking;

static int compare_sizes(const void *left, const void *right)
{
    const double a = fabs(*(const double *)left), b = fabs(*(const double *)right);

    return (a > b) - (a < b);
}

/* differences [n] are sorted by size, zeros first. */
static void rank_sizes(double *differences, size_t n, ranking *r)
{
    const double *sizes;

    qsort(differences, n, sizeof *differences, compare_sizes);
    while (r->n_zeros < n && differences[r->n_zeros] == 0) r->n_zeros++;
    sizes = differences + r->n_zeros;
    r->n = n - r->n_zeros;
    for (size_t first = 0, end; first < r->n; first = end) {
        for (end = first + 1; end < r->n && fabs(sizes[end]) == fabs(sizes[first]); end++) continue;
        const double ties = (double)(end - first), rank = ((double)first + 1 + (double)end) / 2;
        for (size_t at = first; at < end; at++) {
            r->ranks[at] = rank;
            if (sizes[at] > 0) r->plus += rank;
        }
        r->tie_cubes += ties * ties * ties - ties;
    }
}

/* Both tails of the sum of a random subset of 1..n: counts of subsets are integers below 2^50, exact in double. */
static double count_exactly(const ranking *r)
{
    const size_t largest = r->n * (r->n + 1) / 2, plus = (size_t)r->plus;
    const size_t smaller = plus < largest - plus ? plus : largest - plus;
    double counts[EXACT_SUMS] = {1}, tail = 0;

    for (size_t rank = 1, sum = 0; rank <= r->n; rank++) {
        sum += rank;
        for (size_t s = sum; s >= rank; s--) counts[s] += counts[s - rank];
    }
    for (size_t s = 0; s <= smaller; s++) tail += counts[s];
    return fmin(1, 2 * ldexp(tail, -(int)r->n));
}

/* Tries every assignment of signs to the ranks. */
static double try_signs(const ranking *r)
{
    const unsigned n_signs = 1U << r->n;
    const double slack = 1e-9; /* ranks are halves: equal sums differ by rounding at most */
    unsigned n_below = 0, n_above = 0;

    for (unsigned signs = 0; signs < n_signs; signs++) {
        double plus = 0;
        for (size_t at = 0; at < r->n; at++) plus += (signs >> at & 1) ? r->ranks[at] : 0;
        n_below += plus <= r->plus + slack;
        n_above += plus >= r->plus - slack;
    }
    return fmin(1, 2.0 * (n_below < n_above ? n_below : n_above) / n_signs);
}

static double approximate(const ranking *r)
{
    const double n = (double)r->n, mean = n * (n + 1) / 4;
    const double spread = sqrt((n * (n + 1) * (2 * n + 1) - r->tie_cubes / 2) / 24);

    return erfc(fabs(r->plus - mean) / spread / sqrt(2));
}

io_status pipe_wilcoxon(double *differences, size_t n, double *p)
{
    ranking r = {.ranks = NULL};
    bool is_clean;

    IO_TRY(io_alloc(n, sizeof *r.ranks, (void **)&r.ranks));
    rank_sizes(differences, n, &r);
    is_clean = r.n_zeros == 0 && r.tie_cubes == 0;
    if (r.n == 0) {
        *p = NAN;
    } else if (is_clean && n <= EXACT_MAX) {
        *p = count_exactly(&r);
    } else if (n <= SIGNS_MAX) {
        *p = try_signs(&r);
    } else {
        *p = approximate(&r);
    }
    io_free(&r.ranks);
    return IO_OK;
}
