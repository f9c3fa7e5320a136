/* The layer norm of one row, included once per instruction set with LAYERNORM_KERNEL as its name. */
#include <math.h>

#include "model/cpu/gelu.h"
#include "model/cpu/layernorm.h"

enum { CHAINS = 4 }; /* partial sums, so that one addition does not wait for the one before */

/* The sum of x[0..C), or of (x - mean)^2. */
SIMD_INLINE float sum_row(const float *x, int C, float mean, int is_squared)
{
    const simd centre = simd_set(mean);
    simd sums[CHAINS];
    int c = 0;

#pragma GCC unroll 4
    for (int j = 0; j < CHAINS; j++) sums[j] = simd_set(0);
    for (; c + CHAINS * LANES <= C; c += CHAINS * LANES)
#pragma GCC unroll 4
        for (int j = 0; j < CHAINS; j++) {
            const simd value = simd_sub(simd_load(x + c + j * LANES), centre);

            sums[j] = is_squared ? simd_fma(value, value, sums[j]) : simd_add(sums[j], value);
        }
    for (; c < C; c += LANES) {
        const int n = C - c < LANES ? C - c : LANES;
        const simd value = simd_pick(simd_sub(simd_load_first(x + c, n), centre), simd_set(0), 0, n);

        sums[0] = is_squared ? simd_fma(value, value, sums[0]) : simd_add(sums[0], value);
    }
    return simd_sum(simd_add(simd_add(sums[0], sums[1]), simd_add(sums[2], sums[3])));
}

SIMD_INLINE void store_vector(const layernorm_job *job, simd y, int m, int c, int n)
{
    void *to = rows_at(job->out, m, c);

    if (job->epilogue == MODEL_GELU) y = simd_gelu(y);
    if (job->out.type == MODEL_BF16)
        simd_store_bf16(to, y, n);
    else if (n == LANES)
        simd_store(to, y);
    else
        simd_store_first(to, y, n);
}

/* Two passes: the variance of x - mean does not cancel as E[x^2] - mean^2 would. The mean is corrected by the mean of what is left,
 * which takes the rounding of the first sum out of rows that lie far from zero. */
void LAYERNORM_KERNEL(const layernorm_job *job, int m)
{
    const float *x = rows_at(job->in, m, 0);
    const int C = job->C;
    const float rough = sum_row(x, C, 0, 0) / (float)C, mean = rough + sum_row(x, C, rough, 0) / (float)C;
    const simd centre = simd_set(mean), factor = simd_set(1.0f / sqrtf(sum_row(x, C, mean, 1) / (float)C + job->eps));
    int c = 0;

    for (; c + LANES <= C; c += LANES) {
        const simd y = simd_mul(simd_sub(simd_load(x + c), centre), factor);

        store_vector(job, simd_fma(y, simd_load(job->gamma + c), simd_load(job->beta + c)), m, c, LANES);
    }
    if (c < C) {
        const int n = C - c;
        const simd y = simd_mul(simd_sub(simd_load_first(x + c, n), centre), factor);

        store_vector(job, simd_fma(y, simd_load_first(job->gamma + c, n), simd_load_first(job->beta + c, n)), m, c, n);
    }
}
