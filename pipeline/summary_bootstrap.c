/* Percentile bootstrap of a mean over cases (Efron and Tibshirani 1993, chapter 13).
 *
 * Resamples are of cases and drawn once: every organ, metric and convention sees the same ones, so that intervals of one report differ by
 * their values alone. Draws come from Random123's Philox 4x32-10, keyed by the seed and counted by resample and place: nothing depends on
 * what else is computed, where, or in which order. */
#include "pipeline/summary_internal.h"

#include <math.h>
#include <string.h>

#include <Random123/philox.h>

#include "io/memory.h"

enum { DRAWS = 4, MOST_OFTEN = 255 /* a case 256 times in one resample: less likely than 1e-500 */ };

struct pipe_resamples {
    size_t n_cases, width; /* resamples in a block; the last one may have fewer */
    uint64_t seed;
    size_t first, n; /* resamples held: first ... first + n - 1 */
    uint8_t *counts; /* [n_cases][width]: how often a case is in a resample */
};

struct pipe_bootstrap {
    double base;                      /* equal values have an interval of no width */
    double sums[PIPE_N_RESAMPLES];    /* of the values' distances from base */
    double weights[PIPE_N_RESAMPLES]; /* of values that count */
};

io_status pipe_resamples_create(size_t n_cases, uint64_t seed, size_t max_bytes, pipe_resamples **out)
{
    io_status status = IO_OK;
    pipe_resamples *resamples = NULL;
    size_t width = n_cases ? max_bytes / n_cases : PIPE_N_RESAMPLES;

    if (n_cases > UINT32_MAX) return IO_FAIL(IO_ERR_RANGE, "a bootstrap of %zu cases, expected at most %u", n_cases, UINT32_MAX);
    width = width < 1 ? 1 : width > PIPE_N_RESAMPLES ? PIPE_N_RESAMPLES : width;
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *resamples, (void **)&resamples));
    IO_TRY_GOTO(status, done, io_alloc(n_cases, width, (void **)&resamples->counts));
    resamples->n_cases = n_cases;
    resamples->seed = seed;
    resamples->width = width;
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

size_t pipe_resamples_blocks(const pipe_resamples *resamples)
{
    return (PIPE_N_RESAMPLES + resamples->width - 1) / resamples->width;
}

static void draw_one(pipe_resamples *resamples, uint32_t resample, uint8_t *counts)
{
    const philox4x32_key_t key = {{(uint32_t)resamples->seed, (uint32_t)(resamples->seed >> 32)}};
    const size_t n = resamples->n_cases;

    for (size_t first = 0; first < n; first += DRAWS) {
        const philox4x32_ctr_t counter = {{(uint32_t)(first / DRAWS), resample, 0, 0}};
        const philox4x32_ctr_t drawn = philox4x32(counter, key);
        for (size_t d = 0; d < DRAWS && first + d < n; d++) {
            const size_t index = (uint64_t)drawn.v[d] * n >> 32; /* uneven by less than n / 2^32 */
            uint8_t *count = &counts[index * resamples->width];
            *count += *count < MOST_OFTEN;
        }
    }
}

void pipe_resamples_draw(pipe_resamples *resamples, size_t block)
{
    const size_t first = block * resamples->width, left = PIPE_N_RESAMPLES - first;

    if (resamples->n > 0 && resamples->first == first) return;
    resamples->first = first;
    resamples->n = left < resamples->width ? left : resamples->width;
    memset(resamples->counts, 0, resamples->n_cases * resamples->width);
    for (size_t r = 0; r < resamples->n; r++) draw_one(resamples, (uint32_t)(first + r), resamples->counts + r);
}

/* sums [n] += number times counts [n]: the compiler makes vectors of it. */
static void add_weighted(const uint8_t *counts, size_t n, double number, double *sums)
{
    for (size_t r = 0; r < n; r++) sums[r] += number * (double)counts[r];
}

/* Hoare's FIND (1961): afterwards values [n] at place k is what sorting would bring there, nothing before it is greater, nothing behind it
 * less. No NaN. */
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

io_status pipe_bootstrap_create(pipe_bootstrap **out)
{
    return io_alloc(1, sizeof **out, (void **)out);
}

void pipe_bootstrap_free(pipe_bootstrap **bootstrap)
{
    io_free(bootstrap);
}

void pipe_bootstrap_start(pipe_bootstrap *bootstrap, size_t n_cases)
{
    memset(bootstrap, 0, sizeof *bootstrap);
    for (int r = 0; r < PIPE_N_RESAMPLES; r++) bootstrap->weights[r] = (double)n_cases;
}

void pipe_bootstrap_add(pipe_bootstrap *bootstrap, const double *values, const pipe_resamples *resamples)
{
    double *sums = bootstrap->sums + resamples->first, *weights = bootstrap->weights + resamples->first;

    for (size_t i = resamples->n_cases; i-- > 0;) bootstrap->base = isfinite(values[i]) ? values[i] : bootstrap->base;
    for (size_t i = 0; i < resamples->n_cases; i++) {
        const uint8_t *counts = resamples->counts + i * resamples->width;
        if (isfinite(values[i]))
            add_weighted(counts, resamples->n, values[i] - bootstrap->base, sums);
        else
            add_weighted(counts, resamples->n, -1, weights);
    }
}

void pipe_bootstrap_finish(pipe_bootstrap *bootstrap, double *low, double *high)
{
    double *means = bootstrap->sums;
    size_t n = 0;

    for (int r = 0; r < PIPE_N_RESAMPLES; r++)
        if (bootstrap->weights[r] > 0) /* a resample without any value has no mean */
            means[n++] = bootstrap->base + bootstrap->sums[r] / bootstrap->weights[r];
    *low = n ? find_quantile(means, n, 2.5) : NAN;
    *high = n ? find_quantile(means, n, 97.5) : NAN;
}
