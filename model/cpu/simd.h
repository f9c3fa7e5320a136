/* One vector type for kernel bodies that are compiled once per instruction set: 16 lanes of f32 with AVX-512, 8 with AVX2, else 4 in
 * GCC's portable vectors. A bf16 pair travels as one lane ("dword"): the lower half is the element with the smaller index. */
#ifndef MODEL_CPU_SIMD_H
#define MODEL_CPU_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "model/cpu/rows.h"

#define SIMD_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include <immintrin.h>

enum { LANES = 16 };
typedef __m512 simd;

SIMD_INLINE simd simd_load(const float *from)
{
    return _mm512_loadu_ps(from);
}
SIMD_INLINE void simd_store(float *to, simd x)
{
    _mm512_storeu_ps(to, x);
}
SIMD_INLINE simd simd_set(float x)
{
    return _mm512_set1_ps(x);
}
SIMD_INLINE simd simd_add(simd a, simd b)
{
    return _mm512_add_ps(a, b);
}
SIMD_INLINE simd simd_sub(simd a, simd b)
{
    return _mm512_sub_ps(a, b);
}
SIMD_INLINE simd simd_mul(simd a, simd b)
{
    return _mm512_mul_ps(a, b);
}
SIMD_INLINE simd simd_div(simd a, simd b)
{
    return _mm512_div_ps(a, b);
}
SIMD_INLINE simd simd_max(simd a, simd b)
{
    return _mm512_max_ps(a, b);
}
SIMD_INLINE simd simd_min(simd a, simd b)
{
    return _mm512_min_ps(a, b);
}
/* a * b + c */
SIMD_INLINE simd simd_fma(simd a, simd b, simd c)
{
    return _mm512_fmadd_ps(a, b, c);
}
SIMD_INLINE simd simd_sqrt(simd a)
{
    return _mm512_sqrt_ps(a);
}
SIMD_INLINE simd simd_round(simd a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
/* a * 2^n for whole n; 0 where that is too small. */
SIMD_INLINE simd simd_scale(simd a, simd n)
{
    return _mm512_scalef_ps(a, n);
}
SIMD_INLINE float simd_sum(simd a)
{
    return _mm512_reduce_add_ps(a);
}
SIMD_INLINE float simd_largest(simd a)
{
    return _mm512_reduce_max_ps(a);
}
/* The first n lanes; the others become 0 and are not read. */
SIMD_INLINE simd simd_load_first(const float *from, int n)
{
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), from);
}
SIMD_INLINE void simd_store_first(float *to, simd x, int n)
{
    _mm512_mask_storeu_ps(to, (__mmask16)((1u << n) - 1), x);
}
/* a in the lanes from..to-1, b elsewhere. */
SIMD_INLINE simd simd_pick(simd a, simd b, int from, int to)
{
    return _mm512_mask_mov_ps(b, (__mmask16)(((1u << to) - 1) & ~((1u << from) - 1)), a);
}

/* x where a > b, y elsewhere. */
SIMD_INLINE simd simd_if_greater(simd a, simd b, simd x, simd y)
{
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x);
}

/* Column k (a dword) of 16 rows becomes the vector at to + k * ldt, for k < n <= 16; 16 dwords of every row are read. */
SIMD_INLINE void simd_transpose(const float *const rows[LANES], int64_t offset, float *to, int64_t ldt, int n)
{
    __m512i a[16], t[16];

#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(rows[i] + offset);
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) { /* 2 x 2 blocks of dwords */
        t[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) { /* 4 x 4 inside each quarter */
        a[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) { /* quarters of rows 0-7 and 8-15 */
        t[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) { /* whole columns */
        a[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        a[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
        if (i < n) _mm512_storeu_si512(to + i * ldt, a[i]);
}

#elif defined(__AVX2__)
#include <immintrin.h>

enum { LANES = 8 };
typedef __m256 simd;

SIMD_INLINE simd simd_load(const float *from)
{
    return _mm256_loadu_ps(from);
}
SIMD_INLINE void simd_store(float *to, simd x)
{
    _mm256_storeu_ps(to, x);
}
SIMD_INLINE simd simd_set(float x)
{
    return _mm256_set1_ps(x);
}
SIMD_INLINE simd simd_add(simd a, simd b)
{
    return _mm256_add_ps(a, b);
}
SIMD_INLINE simd simd_sub(simd a, simd b)
{
    return _mm256_sub_ps(a, b);
}
SIMD_INLINE simd simd_mul(simd a, simd b)
{
    return _mm256_mul_ps(a, b);
}
SIMD_INLINE simd simd_div(simd a, simd b)
{
    return _mm256_div_ps(a, b);
}
SIMD_INLINE simd simd_max(simd a, simd b)
{
    return _mm256_max_ps(a, b);
}
SIMD_INLINE simd simd_min(simd a, simd b)
{
    return _mm256_min_ps(a, b);
}
SIMD_INLINE simd simd_fma(simd a, simd b, simd c)
{
    return _mm256_fmadd_ps(a, b, c);
}
SIMD_INLINE simd simd_sqrt(simd a)
{
    return _mm256_sqrt_ps(a);
}
SIMD_INLINE simd simd_round(simd a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
SIMD_INLINE simd simd_scale(simd a, simd n)
{
    const simd least = _mm256_set1_ps(-126);
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_max_ps(n, least)), _mm256_set1_epi32(127));
    const simd power = _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));

    return _mm256_and_ps(_mm256_mul_ps(a, power), _mm256_cmp_ps(n, least, _CMP_GE_OQ));
}
SIMD_INLINE __m256 simd_lane_mask(int from, int to)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_cmpgt_epi32(lane, _mm256_set1_epi32(from - 1)), _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lane)));
}
SIMD_INLINE float simd_sum(simd a)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}
SIMD_INLINE float simd_largest(simd a)
{
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
}
SIMD_INLINE simd simd_load_first(const float *from, int n)
{
    return _mm256_maskload_ps(from, _mm256_castps_si256(simd_lane_mask(0, n)));
}
SIMD_INLINE void simd_store_first(float *to, simd x, int n)
{
    _mm256_maskstore_ps(to, _mm256_castps_si256(simd_lane_mask(0, n)), x);
}
SIMD_INLINE simd simd_pick(simd a, simd b, int from, int to)
{
    return _mm256_blendv_ps(b, a, simd_lane_mask(from, to));
}
SIMD_INLINE simd simd_if_greater(simd a, simd b, simd x, simd y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

SIMD_INLINE void simd_transpose(const float *const rows[LANES], int64_t offset, float *to, int64_t ldt, int n)
{
    __m256 a[8], t[8];

#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps(rows[i] + offset);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        if (i < n) _mm256_storeu_ps(to + i * ldt, t[i]);
}

#else

enum { LANES = 4 };
typedef float simd __attribute__((vector_size(16)));
typedef int32_t simd_mask __attribute__((vector_size(16))); /* -1 or 0 in each lane */

SIMD_INLINE simd simd_load(const float *from)
{
    simd x;

    memcpy(&x, from, sizeof x);
    return x;
}
SIMD_INLINE void simd_store(float *to, simd x)
{
    memcpy(to, &x, sizeof x);
}
SIMD_INLINE simd simd_set(float x)
{
    return (simd){x, x, x, x};
}
SIMD_INLINE simd simd_add(simd a, simd b)
{
    return a + b;
}
SIMD_INLINE simd simd_sub(simd a, simd b)
{
    return a - b;
}
SIMD_INLINE simd simd_mul(simd a, simd b)
{
    return a * b;
}
SIMD_INLINE simd simd_div(simd a, simd b)
{
    return a / b;
}
SIMD_INLINE simd simd_max(simd a, simd b)
{
    const simd_mask larger = a > b;

    return (simd)(((simd_mask)a & larger) | ((simd_mask)b & ~larger));
}
SIMD_INLINE simd simd_min(simd a, simd b)
{
    const simd_mask smaller = a < b;

    return (simd)(((simd_mask)a & smaller) | ((simd_mask)b & ~smaller));
}
SIMD_INLINE simd simd_fma(simd a, simd b, simd c)
{
    return a * b + c;
}
SIMD_INLINE float simd_sum(simd a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}
SIMD_INLINE simd simd_load_first(const float *from, int n)
{
    simd x = {0};

    memcpy(&x, from, (size_t)n * sizeof *from);
    return x;
}
SIMD_INLINE void simd_store_first(float *to, simd x, int n)
{
    memcpy(to, &x, (size_t)n * sizeof *to);
}
SIMD_INLINE simd simd_pick(simd a, simd b, int from, int to)
{
    for (int i = from; i < to; i++) b[i] = a[i];
    return b;
}
SIMD_INLINE simd simd_if_greater(simd a, simd b, simd x, simd y)
{
    const simd_mask larger = a > b;

    return (simd)(((simd_mask)x & larger) | ((simd_mask)y & ~larger));
}

/* Adding 1.5 * 2^23 leaves no room for a fraction; what is larger than 2^22 is left alone, near enough to whole for simd_scale. */
SIMD_INLINE simd simd_sqrt(simd a)
{
    for (int i = 0; i < LANES; i++) a[i] = sqrtf(a[i]);
    return a;
}
SIMD_INLINE simd simd_round(simd a)
{
    const simd magic = simd_set(12582912.0f), limit = simd_set(4194304.0f);
    const simd_mask is_small = (a < limit) & (a > -limit);
    const simd rounded = (a + magic) - magic;

    return (simd)(((simd_mask)rounded & is_small) | ((simd_mask)a & ~is_small));
}
SIMD_INLINE simd simd_scale(simd a, simd n)
{
    simd out;

    for (int i = 0; i < LANES; i++) {
        const int32_t bits = n[i] >= -126 ? ((int32_t)n[i] + 127) << 23 : 0;
        float power;

        memcpy(&power, &bits, sizeof power);
        out[i] = a[i] * power;
    }
    return out;
}
SIMD_INLINE float simd_largest(simd a)
{
    const float left = a[0] > a[1] ? a[0] : a[1], right = a[2] > a[3] ? a[2] : a[3];

    return left > right ? left : right;
}
SIMD_INLINE void simd_transpose(const float *const rows[LANES], int64_t offset, float *to, int64_t ldt, int n)
{
    for (int k = 0; k < n; k++)
        for (int i = 0; i < LANES; i++) to[k * ldt + i] = rows[i][offset + k];
}

#endif

/* To nearest, ties to even, as bf16_from_f32; the first n lanes. */
SIMD_INLINE void simd_store_bf16(bf16 *to, simd x, int n)
{
#if defined(__AVX512BF16__)
    const __m256i half = (__m256i)_mm512_cvtneps_pbh(x);

    if (n == LANES)
        _mm256_storeu_si256((__m256i *)to, half);
    else
        _mm256_mask_storeu_epi16(to, (__mmask16)((1u << n) - 1), half);
#else
    float lane[LANES];

    simd_store(lane, x);
    for (int i = 0; i < n; i++) to[i] = bf16_from_f32(lane[i]);
#endif
}

/* The first n lanes; the others become 0. */
SIMD_INLINE simd simd_load_bf16(const bf16 *from, int n)
{
#if defined(__AVX512BF16__)
    const __m256i half =
        n == LANES ? _mm256_loadu_si256((const __m256i *)from) : _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1), from);

    return (simd)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
#else
    float lane[LANES] = {0};

    for (int i = 0; i < n; i++) lane[i] = bf16_to_f32(from[i]);
    return simd_load(lane);
#endif
}

/* acc + a.b for lanes of f32, or for lanes of bf16 pairs (both products are added to the f32 lane of acc). */
SIMD_INLINE simd simd_mac(int is_bf16, simd a, simd b, simd acc)
{
#if defined(__AVX512BF16__)
    if (is_bf16) return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b);
#endif
    return simd_fma(a, b, acc);
}

#endif
