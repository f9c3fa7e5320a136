/* See exact.h. */
#include "model/exact.h"

#include <math.h>

static const double unit = 1.0 / (double)(1ull << MODEL_EXACT_BITS), per_unit = (double)(1ull << MODEL_EXACT_BITS);
static const double pixel_unit = 1.0 / (double)(1ull << MODEL_EXACT_PIXEL_BITS), per_pixel_unit = (double)(1ull << MODEL_EXACT_PIXEL_BITS);

io_status model_exact_add(int64_t *sums, const float *values, size_t n, int64_t n_terms)
{
    const float limit = (float)(ldexp(1, 62 - MODEL_EXACT_BITS) / (double)(n_terms > 0 ? n_terms : 1));

    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(values[i]) < limit))
            return IO_FAIL(IO_ERR_DIVERGED,
                           "gradient %zu is %g: %lld of its kind can be added below %g; the training has diverged, lower the learning rate",
                           i, (double)values[i], (long long)n_terms, (double)limit);
        sums[i] += llrint((double)values[i] * per_unit);
    }
    return IO_OK;
}

void model_exact_read(float *values, const int64_t *sums, size_t n)
{
    for (size_t i = 0; i < n; i++) values[i] = (float)((double)sums[i] * unit);
}

io_status model_exact_add_pixels(int64_t *sums, const double *values, size_t n)
{
    const double limit = ldexp(1, 62 - MODEL_EXACT_PIXEL_BITS);

    for (size_t i = 0; i < n; i++) {
        if (!(fabs(values[i]) < limit))
            return IO_FAIL(IO_ERR_DIVERGED, "sum %zu of the loss is %g: the training has diverged, lower the learning rate", i, values[i]);
        sums[i] += llrint(values[i] * per_pixel_unit);
    }
    return IO_OK;
}

void model_exact_read_pixels(double *values, const int64_t *sums, size_t n)
{
    for (size_t i = 0; i < n; i++) values[i] = (double)sums[i] * pixel_unit;
}
