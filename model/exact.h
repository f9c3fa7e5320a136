/* Sums that do not depend on their order: numbers become whole multiples of 2^-MODEL_EXACT_BITS in 64 bits, whose addition is associative.
 * Gradients of slices, added over any number of ranks in any order, so give the same bits (MPI adds int64 exactly). */
#ifndef MODEL_EXACT_H
#define MODEL_EXACT_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

/* 2^-48: an f32 above 2^-24 is kept to its last bit, a smaller one to 1.8e-15, which is nothing beside AdamW's epsilon of 1e-8. Sums
 * reach 2^15. */
enum { MODEL_EXACT_BITS = 48 };

/* sums [n] += values [n]; n_terms is how many terms each sum will get in all, on all ranks together. A NaN, and a value that so many times
 * would not fit, is refused (IO_ERR_DIVERGED): the training has diverged. sums are then useless. */
io_status model_exact_add(int64_t *sums, const float *values, size_t n, int64_t n_terms);

/* values [n] = sums [n], rounded once. */
void model_exact_read(float *values, const int64_t *sums, size_t n);

/* The same for the loss's sums over pixels, at 2^-MODEL_EXACT_PIXEL_BITS: they reach 2^33 pixels. */
enum { MODEL_EXACT_PIXEL_BITS = 30 };
io_status model_exact_add_pixels(int64_t *sums, const double *values, size_t n);
void model_exact_read_pixels(double *values, const int64_t *sums, size_t n);

#endif
