/* What the kernels share: rows read and written a vector at a time, sums over a warp, GELU. Included by kernels only, after cuk.h. */
#ifndef MODEL_CUDA_VECTOR_H
#define MODEL_CUDA_VECTOR_H

#include "model/cuda/ops_cuda.h"

typedef __nv_bfloat16 bf16;

enum { WARP = 32, THREADS = 256 /* of a block whose threads work alone */ };

/* N numbers in registers, in f32 whatever they are in memory. */
template <int N> struct numbers {
    float x[N];
};

/* As many bytes as one instruction moves. */
template <int N_BYTES> struct word_of;
template <> struct word_of<2> {
    typedef uint16_t type;
};
template <> struct word_of<4> {
    typedef uint32_t type;
};
template <> struct word_of<8> {
    typedef uint2 type;
};
template <> struct word_of<16> {
    typedef uint4 type;
};

/* 32 bytes or more are moved 16 at a time. */
template <int N, class T> struct pieces_of {
    enum { BYTES = N * (int)sizeof(T) < 16 ? N * (int)sizeof(T) : 16, COUNT = N * (int)sizeof(T) / BYTES };
    typedef typename word_of<BYTES>::type type;
};

static __device__ __forceinline__ float widen(float value)
{
    return value;
}
static __device__ __forceinline__ float widen(bf16 value)
{
    return __bfloat162float(value);
}
static __device__ __forceinline__ void narrow(float value, float *to)
{
    *to = value;
}
static __device__ __forceinline__ void narrow(float value, bf16 *to)
{
    const bf16 rounded = __float2bfloat16(value); /* to nearest, ties to even */

    *to = rounded; /* a store of its own, which the emulator's checker sees; it does not see what a call returns into memory */
}

/* from is aligned to the N numbers, or to 16 bytes where they are more. */
template <int N, class T> static __device__ __forceinline__ numbers<N> load(const T *from)
{
    typedef typename pieces_of<N, T>::type word;
    union {
        word words[pieces_of<N, T>::COUNT];
        T values[N];
    } in;
    numbers<N> out;

#pragma unroll
    for (int i = 0; i < pieces_of<N, T>::COUNT; i++) in.words[i] = reinterpret_cast<const word *>(from)[i];
#pragma unroll
    for (int i = 0; i < N; i++) out.x[i] = widen(in.values[i]);
    return out;
}

template <int N, class T> static __device__ __forceinline__ void store(T *to, const numbers<N> &from)
{
    typedef typename pieces_of<N, T>::type word;
    union {
        word words[pieces_of<N, T>::COUNT];
        T values[N];
    } out;

#pragma unroll
    for (int i = 0; i < N; i++) narrow(from.x[i], &out.values[i]);
#pragma unroll
    for (int i = 0; i < pieces_of<N, T>::COUNT; i++) reinterpret_cast<word *>(to)[i] = out.words[i];
}

/* N numbers of row m from column c on, of rows whose type is known at run time only; all threads take the same side. */
template <int N> static __device__ __forceinline__ numbers<N> load_any(const model_rows &rows, int64_t m, int c)
{
    const int64_t at = m * rows.stride + c;

    return rows.type == MODEL_BF16 ? load<N>(static_cast<const bf16 *>(rows.data) + at)
                                   : load<N>(static_cast<const float *>(rows.data) + at);
}

template <int N> static __device__ __forceinline__ void store_any(const model_rows &rows, int64_t m, int c, const numbers<N> &from)
{
    const int64_t at = m * rows.stride + c;

    if (rows.type == MODEL_BF16)
        store<N>(static_cast<bf16 *>(rows.data) + at, from);
    else
        store<N>(static_cast<float *>(rows.data) + at, from);
}

/* The sum over a warp, the same in every lane: a tree, whose order is fixed. */
template <class T> static __device__ __forceinline__ T sum_warp(T value)
{
#pragma unroll
    for (int bits = WARP / 2; bits > 0; bits /= 2) value += __shfl_xor_sync(0xffffffffu, value, bits);
    return value;
}

/* erf as an odd rational function of degree 13 / 8 on [-4, 4]; the same one as model/cpu/gelu.h, where its source and error are. A third
 * of the instructions of erff: with that, GELU would wait for arithmetic rather than for memory. */
static __device__ __forceinline__ float erf_rational(float x)
{
    const float inside = fminf(fmaxf(x, -4.0f), 4.0f), square = inside * inside;
    float p = -2.72614225801306e-10f, q = -1.45660718464996e-05f;

    p = fmaf(p, square, 2.77068142495902e-08f);
    p = fmaf(p, square, -2.10102402082508e-06f);
    p = fmaf(p, square, -5.69250639462346e-05f);
    p = fmaf(p, square, -7.34990630326855e-04f);
    p = fmaf(p, square, -2.95459980854025e-03f);
    p = fmaf(p, square, -1.60960333262415e-02f);
    q = fmaf(q, square, -2.13374055278905e-04f);
    q = fmaf(q, square, -1.68282697438203e-03f);
    q = fmaf(q, square, -7.37332916720468e-03f);
    q = fmaf(q, square, -1.42647390514189e-02f);
    return __fdividef(p * inside, q); /* q lies between 0.01 and 0.1: no overflow */
}

/* x/2 (1 + erf(x / sqrt 2)); NaN stays NaN, which the clamping would hide. */
static __device__ __forceinline__ float gelu(float x)
{
    const float half = 0.5f * x;

    return fmaf(half, erf_rational(x * 0.70710678118654752f), half);
}

/* d/dx x Phi(x) = Phi(x) + x phi(x) */
static __device__ __forceinline__ float gelu_slope(float x)
{
    const float phi = 0.39894228040143268f * expf(-0.5f * x * x);

    return fmaf(x, phi, fmaf(0.5f, erf_rational(x * 0.70710678118654752f), 0.5f));
}

/* Blocks of `threads` for n threads of work. Threads are counted in 32 bits, whose division is a fifth of the 64-bit one's work: 2^32
 * vectors are 64 GB, more than one operation has. */
static inline unsigned count_blocks(int64_t n, int threads)
{
    return (unsigned)((n + threads - 1) / threads);
}

#endif
