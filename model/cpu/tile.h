/* The inner loop of every product here: a few rows times a few vectors of columns, over the whole inner dimension, in registers.
 *
 * Each output is one chain of multiply-adds in the order of k. So its bits depend neither on the number of rows and threads nor on how
 * the work is cut, which is why any batch and any ranks give the same labels. */
#ifndef MODEL_CPU_TILE_H
#define MODEL_CPU_TILE_H

#include "model/cpu/simd.h"

/* TILE_ROWS x TILE_VECTORS accumulators, the vectors of b and one broadcast fill the registers: 24 + 3 + 1 of 32 with AVX-512,
 * 12 + 2 + 1 of 16 with AVX2 and 8 + 2 + 1 of 16 with SSE. */
#if defined(__AVX512F__)
enum { TILE_ROWS = 8, TILE_VECTORS = 3 };
#elif defined(__AVX2__)
enum { TILE_ROWS = 6, TILE_VECTORS = 2 };
#else
enum { TILE_ROWS = 4, TILE_VECTORS = 2 };
#endif

typedef simd tile[TILE_ROWS][TILE_VECTORS];

/* Two bf16 of a row whose stride is odd begin at any even address. */
typedef float dword_anywhere __attribute__((aligned(2), may_alias));

SIMD_INLINE void clear_tile(tile acc)
{
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 3
        for (int j = 0; j < TILE_VECTORS; j++) acc[i][j] = simd_set(0);
}

/* acc[i][j] += sum over k of a[i][k] * b[k * ldb + j-th vector]; all in dwords, n_vectors <= TILE_VECTORS known when compiled. */
SIMD_INLINE void multiply_tile(int is_bf16, int n_vectors, tile acc, const float *const a[TILE_ROWS], const float *b, int64_t ldb,
                               int64_t n)
{
#pragma GCC unroll 4
    for (int64_t k = 0; k < n; k++) {
        simd column[TILE_VECTORS];

#pragma GCC unroll 3
        for (int j = 0; j < n_vectors; j++) column[j] = simd_load(b + k * ldb + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
            const simd x = simd_set(((const dword_anywhere *)a[i])[k]);

#pragma GCC unroll 3
            for (int j = 0; j < n_vectors; j++) acc[i][j] = simd_mac(is_bf16, x, column[j], acc[i][j]);
        }
    }
}

/* acc[i][j] += sum over k of a[k * lda + i] * b[k * ldb + j-th vector]: a product with the left side turned, as gradients of weights,
 * keys and values are. All in dwords: in bf16 a pair is of two neighbouring k. */
SIMD_INLINE void multiply_turned_tile(int is_bf16, int n_vectors, tile acc, const float *a, int64_t lda, const float *b, int64_t ldb,
                                      int64_t n)
{
#pragma GCC unroll 2
    for (int64_t k = 0; k < n; k++) {
        simd column[TILE_VECTORS];

#pragma GCC unroll 3
        for (int j = 0; j < n_vectors; j++) column[j] = simd_load(b + k * ldb + j * LANES);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
            const simd x = simd_set(a[k * lda + i]);

#pragma GCC unroll 3
            for (int j = 0; j < n_vectors; j++) acc[i][j] = simd_mac(is_bf16, x, column[j], acc[i][j]);
        }
    }
}

#endif
