/* Inside of phantom.c: numbers from a counter-based generator (Random123's Philox 4x32-10, Salmon et al. 2011), keyed by study and case,
 * so that a value depends on nothing but its place. */
#ifndef PIPELINE_PHANTOM_NOISE_H
#define PIPELINE_PHANTOM_NOISE_H

#include <stdint.h>

#include "io/status.h"

typedef struct dice {
    uint64_t seed, case_index, n_thrown;
} dice;

/* The next number of the sequence, low <= v < high. */
double pipe_dice_between(dice *d, double low, double high);

/* Adds noise to slice k: hu [n_rows][n_cols], standard deviation sd HU, a little smeared in the plane as a CT's. rows is scratch of
 * pipe_noise_scratch(n_cols) int32. */
void pipe_noise_add(const dice *d, int64_t k, int64_t n_rows, int64_t n_cols, double sd, float *hu, int32_t *rows);
/* Number of int32. */
int64_t pipe_noise_scratch(int64_t n_cols);

#endif
