/* GELU, y = x/2 (1 + erf(x / sqrt 2)) (torch.nn.GELU, approximate="none"), on vectors. */
#ifndef MODEL_CPU_GELU_H
#define MODEL_CPU_GELU_H

#include "model/cpu/simd.h"

/* erf as an odd rational function of degree 13 / 8 on [-4, 4], where it reaches 1 to half a unit in the last place; the coefficients
 * are those of Eigen's generic_fast_erf_float. Largest absolute error of the GELU 1.3e-6. */
SIMD_INLINE simd simd_erf(simd x)
{
    static const float numerator[] = {-2.72614225801306e-10f, 2.77068142495902e-08f,  -2.10102402082508e-06f, -5.69250639462346e-05f,
                                      -7.34990630326855e-04f, -2.95459980854025e-03f, -1.60960333262415e-02f};
    static const float denominator[] = {-1.45660718464996e-05f, -2.13374055278905e-04f, -1.68282697438203e-03f, -7.37332916720468e-03f,
                                        -1.42647390514189e-02f};
    const simd inside = simd_max(simd_min(x, simd_set(4)), simd_set(-4)), square = simd_mul(inside, inside);
    simd p = simd_set(numerator[0]), q = simd_set(denominator[0]);

#pragma GCC unroll 6
    for (int i = 1; i < 7; i++) p = simd_fma(p, square, simd_set(numerator[i]));
#pragma GCC unroll 4
    for (int i = 1; i < 5; i++) q = simd_fma(q, square, simd_set(denominator[i]));
    return simd_div(simd_mul(p, inside), q);
}

SIMD_INLINE simd simd_gelu(simd x)
{
    const simd half = simd_mul(x, simd_set(0.5f));

    return simd_fma(half, simd_erf(simd_mul(x, simd_set(0.70710678118654752f))), half);
}

#endif
