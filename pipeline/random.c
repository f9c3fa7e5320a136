/* See random.h. */
#include "pipeline/random.h"

#include <Random123/philox.h>

void pipe_random_start(pipe_random *random, uint64_t seed, pipe_random_purpose purpose, uint32_t epoch, uint32_t sample)
{
    *random = (pipe_random){.seed = seed, .purpose = (uint32_t)purpose, .epoch = epoch, .sample = sample};
}

uint32_t pipe_random_word(pipe_random *random)
{
    const philox4x32_key_t key = {{(uint32_t)random->seed, (uint32_t)(random->seed >> 32)}};
    const philox4x32_ctr_t counter = {{(uint32_t)(random->n_drawn / 4), random->sample, random->epoch, random->purpose}};

    return philox4x32(counter, key).v[random->n_drawn++ % 4];
}

double pipe_random_uniform(pipe_random *random)
{
    return (double)pipe_random_word(random) / 4294967296.0;
}

/* Lemire, "Fast random integer generation in an interval" (2019): the few words that would favour some results are drawn again. */
int64_t pipe_random_integer(pipe_random *random, int64_t low, int64_t high)
{
    const uint32_t n = (uint32_t)(high - low);
    const uint32_t threshold = (uint32_t)-n % n;
    uint64_t product = (uint64_t)pipe_random_word(random) * n;

    while ((uint32_t)product < threshold) product = (uint64_t)pipe_random_word(random) * n;
    return low + (int64_t)(product >> 32);
}

void pipe_random_shuffle(pipe_random *random, uint32_t *order, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t j = (uint32_t)pipe_random_integer(random, 0, i), kept = order[i - 1];
        order[i - 1] = order[j];
        order[j] = kept;
    }
}
