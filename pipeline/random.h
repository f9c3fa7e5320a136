/* Random numbers that depend on nothing but their place: Random123's Philox 4x32-10 (Salmon et al., SC 2011) with the seed as key and
 * (draw, sample, epoch, purpose) as counter. Any rank draws the same numbers for a sample, in any order. */
#ifndef PIPELINE_RANDOM_H
#define PIPELINE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Streams that never meet, even with equal seed, epoch and sample. */
typedef enum pipe_random_purpose {
    PIPE_RANDOM_ORDER = 1,
    PIPE_RANDOM_AUGMENT = 2,
    PIPE_RANDOM_FOLDS = 3,
    PIPE_RANDOM_WEIGHTS = 4
} pipe_random_purpose;

typedef struct pipe_random {
    uint64_t seed;
    uint32_t purpose, epoch, sample;
    uint64_t n_drawn; /* numbers so far, at most 2^34 */
} pipe_random;

void pipe_random_start(pipe_random *random, uint64_t seed, pipe_random_purpose purpose, uint32_t epoch, uint32_t sample);
uint32_t pipe_random_word(pipe_random *random);
/* 0 <= v < 1, a multiple of 2^-32. */
double pipe_random_uniform(pipe_random *random);
/* low <= v < high, all equally likely; high - low from 1 to 2^32 - 1. May draw more than one word. */
int64_t pipe_random_integer(pipe_random *random, int64_t low, int64_t high);
/* order [n] = a permutation of 0..n-1 (Fisher and Yates, from the end). */
void pipe_random_shuffle(pipe_random *random, uint32_t *order, uint32_t n);

#endif
