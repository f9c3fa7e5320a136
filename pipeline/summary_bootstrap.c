/* Percentile bootstrap of a mean (Efron and Tibshirani 1993, chapter 13).
 *
 * Draws come from Random123's Philox 4x32-10, keyed by the seed and counted by the table cell's key, the resample and the place: no draw
 * depends on what else is computed, where, or in which order. */
#include "pipeline/summary_internal.h"

#include <stdlib.h>

#include <Random123/philox.h>

#include "io/memory.h"

enum { N_RESAMPLES = 2000, DRAWS = 4 };

/* FNV-1a, 64 bits. */
static uint64_t hash_key(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325U;

    for (; *text; text++) hash = (hash ^ (uint8_t)*text) * 0x100000001b3U;
    return hash;
}

/* Mean of n values drawn with replacement. The product of a 32-bit draw with n picks a place; its unevenness is below n / 2^32. */
static double average_resample(const double *values, size_t n, philox4x32_key_t key, uint64_t cell, uint32_t resample)
{
    double sums[DRAWS] = {0};

    for (size_t first = 0; first < n; first += DRAWS) {
        const philox4x32_ctr_t counter = {{(uint32_t)(first / DRAWS), resample, (uint32_t)cell, (uint32_t)(cell >> 32)}};
        const philox4x32_ctr_t draw = philox4x32(counter, key);
        for (size_t d = 0; d < DRAWS && first + d < n; d++) sums[d] += values[(uint64_t)draw.v[d] * n >> 32];
    }
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) / (double)n;
}

io_status pipe_bootstrap_mean(const double *values, size_t n, uint64_t seed, const char *key, double *low, double *high)
{
    const philox4x32_key_t philox_key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    const uint64_t cell = hash_key(key);
    double means[N_RESAMPLES];

    if (n > UINT32_MAX) return IO_FAIL(IO_ERR_RANGE, "a bootstrap of %zu values, expected at most %u", n, UINT32_MAX);
    for (uint32_t r = 0; r < N_RESAMPLES; r++) means[r] = average_resample(values, n, philox_key, cell, r);
    qsort(means, N_RESAMPLES, sizeof *means, pipe_compare_doubles);
    *low = pipe_quantile(means, N_RESAMPLES, 2.5);
    *high = pipe_quantile(means, N_RESAMPLES, 97.5);
    return IO_OK;
}
