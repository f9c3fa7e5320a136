/* Percentile bootstrap of a mean over cases (Efron and Tibshirani 1993, chapter 13).
 *
 * Resamples are of cases and drawn once: every organ, metric and convention sees the same ones, so that intervals of one report differ by
 * their values alone. Draws come from Random123's Philox 4x32-10, keyed by the seed and counted by resample and place: nothing depends on
 * what else is computed, where, or in which order. */
#include "pipeline/summary_internal.h"

#include <math.h>

#include <Random123/philox.h>

#include "io/memory.h"

enum { DRAWS = 4, MOST_OFTEN = 255 /* a case 256 times in one resample: less likely than 1e-500 */ };

struct pipe_resamples {
    size_t n_cases;
    uint8_t *counts; /* [n_cases][PIPE_N_RESAMPLES]: how often a case is in a resample */
};

static void draw(pipe_resamples *resamples, uint64_t seed)
{
    const philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    const size_t n = resamples->n_cases;

    for (uint32_t r = 0; r < PIPE_N_RESAMPLES; r++) {
        for (size_t first = 0; first < n; first += DRAWS) {
            const philox4x32_ctr_t counter = {{(uint32_t)(first / DRAWS), r, 0, 0}};
            const philox4x32_ctr_t drawn = philox4x32(counter, key);
            for (size_t d = 0; d < DRAWS && first + d < n; d++) {
                const size_t index = (uint64_t)drawn.v[d] * n >> 32; /* uneven by less than n / 2^32 */
                uint8_t *count = &resamples->counts[index * PIPE_N_RESAMPLES + r];
                *count += *count < MOST_OFTEN;
            }
        }
    }
}

io_status pipe_resamples_create(size_t n_cases, uint64_t seed, pipe_resamples **out)
{
    io_status status = IO_OK;
    pipe_resamples *resamples = NULL;

    if (n_cases > UINT32_MAX) return IO_FAIL(IO_ERR_RANGE, "a bootstrap of %zu cases, expected at most %u", n_cases, UINT32_MAX);
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *resamples, (void **)&resamples));
    IO_TRY_GOTO(status, done, io_alloc(n_cases, PIPE_N_RESAMPLES, (void **)&resamples->counts));
    resamples->n_cases = n_cases;
    draw(resamples, seed);
    *out = resamples;
    resamples = NULL; /* now the caller's */
done:
    pipe_resamples_free(&resamples);
    return status;
}

void pipe_resamples_free(pipe_resamples **resamples)
{
    if (!resamples || !*resamples) return;
    io_free(&(*resamples)->counts);
    io_free(resamples);
}

size_t pipe_resamples_cases(const pipe_resamples *resamples)
{
    return resamples->n_cases;
}

/* sums [PIPE_N_RESAMPLES] += number times counts. Whole numbers of resamples in one loop: the compiler makes vectors of it. */
static void add_weighted(const uint8_t *counts, double number, double *sums)
{
    for (int r = 0; r < PIPE_N_RESAMPLES; r++) sums[r] += number * (double)counts[r];
}

/* Hoare's FIND (1961): afterwards values [n] at place k is what sorting would bring there, nothing before it is greater, nothing behind it less.
 * No NaN. */
static void place_kth(double *values, size_t n, size_t k)
{
    size_t first = 0, last = n - 1;

    while (first < last) {
        const double pivot = values[first + (last - first) / 2];
        size_t up = first, down = last;
        for (;; up++, down--) {
            while (values[up] < pivot) up++;
            while (values[down] > pivot) down--;
            if (up >= down) break;
            const double swapped = values[up];
            values[up] = values[down];
            values[down] = swapped;
        }
        if (k <= down)
            last = down;
        else
            first = down + 1;
    }
}

/* As pipe_quantile of the sorted values [n], n > 0, of which only the two places it reads are brought into order. */
static double find_quantile(double *values, size_t n, double q)
{
    const size_t below = (size_t)(q / 100.0 * (double)(n - 1));

    place_kth(values, n, below);
    if (below + 1 < n) place_kth(values + below + 1, n - below - 1, 0);
    return pipe_quantile(values, n, q);
}

io_status pipe_bootstrap_mean(const double *values, const pipe_resamples *resamples, double *low, double *high)
{
    io_status status = IO_OK;
    double *sums = NULL, *weights = NULL, base = 0;
    size_t n = 0;

    IO_TRY_GOTO(status, done, io_alloc(PIPE_N_RESAMPLES, sizeof *sums, (void **)&sums));
    IO_TRY_GOTO(status, done, io_alloc(PIPE_N_RESAMPLES, sizeof *weights, (void **)&weights));
    for (size_t i = resamples->n_cases; i-- > 0;) base = isfinite(values[i]) ? values[i] : base;
    for (int r = 0; r < PIPE_N_RESAMPLES; r++) weights[r] = (double)resamples->n_cases;
    for (size_t i = 0; i < resamples->n_cases; i++) {
        const uint8_t *counts = resamples->counts + i * PIPE_N_RESAMPLES;
        if (isfinite(values[i]))
            add_weighted(counts, values[i] - base, sums); /* equal values have an interval of no width */
        else
            add_weighted(counts, -1, weights);
    }
    for (int r = 0; r < PIPE_N_RESAMPLES; r++)
        if (weights[r] > 0) sums[n++] = base + sums[r] / weights[r]; /* a resample without any value has no mean */
    *low = n ? find_quantile(sums, n, 2.5) : NAN;
    *high = n ? find_quantile(sums, n, 97.5) : NAN;
done:
    io_free(&weights);
    io_free(&sums);
    return status;
}
