/* Mean and deviation of rows, one warp for each: what layer norm and its gradient share. Kernels only.
 *
 * The variance is that of x - mean, which does not cancel as E[x^2] - mean^2 would; the mean is corrected by the mean of what is left, for
 * rows that lie far from zero. */
#ifndef MODEL_CUDA_NORM_H
#define MODEL_CUDA_NORM_H

#include "model/cuda/vector.h"

enum { NORM_ROWS = 4 /* of a block */, NORM_MOST_HELD = 1280 /* columns of a row in registers: the width of ViT-H */ };

struct norm_stats {
    float mean, factor; /* factor: 1 / sqrt(variance + eps) */
};

/* The row's n_vectors vectors of four, every 32nd in this lane; zeros behind them. */
template <int HELD> static __device__ __forceinline__ void norm_load(numbers<4> (&x)[HELD], const float *row, int n_vectors)
{
    const int lane = threadIdx.x % WARP;

#pragma unroll
    for (int i = 0; i < HELD; i++) {
        x[i] = {};
        if (lane + i * WARP < n_vectors) x[i] = load<4>(row + 4 * (lane + i * WARP));
    }
}

/* Of a row as norm_load leaves it; the same in every lane. */
template <int HELD>
static __device__ __forceinline__ norm_stats norm_measure(const numbers<4> (&x)[HELD], int n_vectors, float eps, float C)
{
    const int lane = threadIdx.x % WARP;
    float sum = 0, left = 0, squares = 0, mean;

#pragma unroll
    for (int i = 0; i < HELD; i++) sum += (x[i].x[0] + x[i].x[1]) + (x[i].x[2] + x[i].x[3]);
    mean = sum_warp(sum) / C;
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (lane + i * WARP < n_vectors) left += ((x[i].x[0] - mean) + (x[i].x[1] - mean)) + ((x[i].x[2] - mean) + (x[i].x[3] - mean));
    mean += sum_warp(left) / C;
#pragma unroll
    for (int i = 0; i < HELD; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (lane + i * WARP < n_vectors) squares = fmaf(x[i].x[j] - mean, x[i].x[j] - mean, squares);
    return {mean, 1.0f / sqrtf(sum_warp(squares) / C + eps)};
}

/* Of n numbers of a row of C in memory, n being C or, for a warp without a row, 0. */
static __device__ __forceinline__ norm_stats norm_measure_any(const float *row, int n, float eps, float C)
{
    const int lane = threadIdx.x % WARP;
    float sum = 0, left = 0, squares = 0, mean;

    for (int c = lane; c < n; c += WARP) sum += row[c];
    mean = sum_warp(sum) / C;
    for (int c = lane; c < n; c += WARP) left += row[c] - mean;
    mean += sum_warp(left) / C;
    for (int c = lane; c < n; c += WARP) squares = fmaf(row[c] - mean, row[c] - mean, squares);
    return {mean, 1.0f / sqrtf(sum_warp(squares) / C + eps)};
}

#endif
