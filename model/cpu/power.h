/* The exponential of the attentions, on vectors. */
#ifndef MODEL_CPU_POWER_H
#define MODEL_CPU_POWER_H

#include "model/cpu/simd.h"

/* 2^t for t <= 0: whole part into the exponent, fraction by a minimax polynomial with a relative error of 1.5e-7, or of 2.6e-6 where the
 * result is rounded to bf16 (2e-3) anyway. */
SIMD_INLINE simd raise_two(simd t, int is_short)
{
    const simd whole = simd_round(t), f = simd_sub(t, whole);
    simd p;

    if (is_short) {
        p = simd_fma(simd_set(9.570102207e-03f), f, simd_set(5.591785908e-02f));
        p = simd_fma(p, f, simd_set(2.402474433e-01f));
        p = simd_fma(p, f, simd_set(6.931217909e-01f));
        p = simd_fma(p, f, simd_set(9.999992847e-01f));
    } else {
        p = simd_fma(simd_set(1.327647245e-03f), f, simd_set(9.675540961e-03f));
        p = simd_fma(p, f, simd_set(5.550713092e-02f));
        p = simd_fma(p, f, simd_set(2.402212024e-01f));
        p = simd_fma(p, f, simd_set(6.931469440e-01f));
        p = simd_fma(p, f, simd_set(1.000000119e+00f));
    }
    return simd_scale(p, whole);
}

#endif
