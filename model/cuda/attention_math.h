/* Products of small tiles in shared memory, in the three arithmetics of attention: bf16 and tf32 on tensor cores, f32 with multiply-adds.
 *
 * A warp multiplies MT times 16 rows ("queries") with 8*N rows ("keys"): s += rows . keys^T, and the transposed way: o += s . values. The
 * sums lie in registers as mma.m16n8 leaves them (PTX ISA, "Matrix fragments for mma.m16n8k16"), in f32 too: in lane 4 * g + t,
 * element e of n-tile j is row g + 8 * (e / 2), column 8 * j + 2 * t + e % 2. So the same lane knows the same numbers in all three, a row's
 * statistics need two shuffles, and weights go from one product into the next without leaving the registers.
 *
 * Tiles have LD elements a row: 16 bytes more than a head, so that eight rows start in different banks. */
#ifndef MODEL_CUDA_ATTENTION_MATH_H
#define MODEL_CUDA_ATTENTION_MATH_H

#include "model/cuda/cuk.h"

#define WHOLE_WARP 0xffffffffu

static __device__ __forceinline__ int find_lane()
{
    return (int)threadIdx.x & 31;
}

static __device__ __forceinline__ int find_warp()
{
    return (int)threadIdx.x >> 5;
}

/* bf16 tiles, mma.m16n8k16. */
template <int HEAD_PAD> struct bf16_math {
    typedef __nv_bfloat16 element;
    enum { HEAD = HEAD_PAD, LD = HEAD + 8, CHUNK = 8 /* elements of 16 bytes */, IS_COPIED_DIRECTLY = 1 };

    struct rows {
        uint32_t a[HEAD / 16][4];
    };

    static __device__ __forceinline__ element round(float x)
    {
        return __float2bfloat16(x);
    }

    /* 16 rows of a tile as the left side of products. */
    static __device__ __forceinline__ void load_rows(rows &to, const element *tile)
    {
        const int lane = find_lane();

#pragma unroll
        for (int k = 0; k < HEAD / 16; k++) cuk_ldmatrix_x4(to.a[k], tile + (lane & 15) * LD + k * 16 + (lane >> 4) * 8);
    }

    template <int MT, int N>
    static __device__ __forceinline__ void multiply_keys(float (&s)[MT][N][4], const rows (&left)[MT], const element *keys)
    {
        const int lane = find_lane();
        const element *from = keys + ((lane & 7) + (lane >> 4) * 8) * LD + (lane >> 3 & 1) * 8;

#pragma unroll
        for (int k = 0; k < HEAD / 16; k++)
#pragma unroll
            for (int j = 0; j < N; j += 2) {
                uint32_t b[4];

                cuk_ldmatrix_x4(b, from + j * 8 * LD + k * 16);
                const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    cuk_mma_m16n8k16_bf16(s[m][j], left[m].a[k], b0);
                    cuk_mma_m16n8k16_bf16(s[m][j + 1], left[m].a[k], b1);
                }
            }
    }

    static __device__ __forceinline__ uint32_t pack(float low, float high)
    {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
        uint32_t bits;

        memcpy(&bits, &pair, sizeof bits);
        return bits;
    }

    /* o += weights . values for 8*N rows of values; the weights are rounded to bf16. */
    template <int MT, int N>
    static __device__ __forceinline__ void multiply_values(float (&o)[MT][HEAD / 8][4], const float (&weights)[MT][N][4],
                                                           const element *values)
    {
        const int lane = find_lane();
        const element *from = values + ((lane & 7) + (lane >> 3 & 1) * 8) * LD + (lane >> 4) * 8;

#pragma unroll
        for (int k = 0; k < N / 2; k++) {
            uint32_t a[MT][4];

#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) a[m][i] = pack(weights[m][2 * k + i / 2][i % 2 * 2], weights[m][2 * k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
            for (int n = 0; n < HEAD / 8; n += 2) {
                uint32_t b[4];

                cuk_ldmatrix_x4_trans(b, from + k * 16 * LD + n * 8);
                const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    cuk_mma_m16n8k16_bf16(o[m][n], a[m], b0);
                    cuk_mma_m16n8k16_bf16(o[m][n + 1], a[m], b1);
                }
            }
        }
    }
};

/* f32 tiles whose numbers are rounded to tf32 when they are staged, mma.m16n8k8. An 8x8 matrix of 16-bit numbers is one of 8x4 floats to
 * ldmatrix. */
template <int HEAD_PAD> struct tf32_math {
    typedef float element;
    enum { HEAD = HEAD_PAD, LD = HEAD + 4, CHUNK = 4, IS_COPIED_DIRECTLY = 0 };

    struct rows {
        uint32_t a[HEAD / 8][4];
    };

    /* To nearest, ties away from zero, as cvt.rna.tf32 does. NaN stays NaN: the sum carries out of 0x7fffffff, which would become -0, and
     * the last bits, which may be all that tells a NaN from infinity, are cut off. */
    static __device__ __forceinline__ float round(float x)
    {
        const uint32_t nan = 0x7fffe000u;

        return __uint_as_float(x == x ? (__float_as_uint(x) + 0x1000u) & 0xffffe000u : nan);
    }

    static __device__ __forceinline__ void load_rows(rows &to, const element *tile)
    {
        const int lane = find_lane();

#pragma unroll
        for (int k = 0; k < HEAD / 8; k++) cuk_ldmatrix_x4(to.a[k], tile + (lane & 15) * LD + k * 8 + (lane >> 4) * 4);
    }

    template <int MT, int N>
    static __device__ __forceinline__ void multiply_keys(float (&s)[MT][N][4], const rows (&left)[MT], const element *keys)
    {
        const int lane = find_lane();
        const element *from = keys + ((lane & 7) + (lane >> 4) * 8) * LD + (lane >> 3 & 1) * 4;

#pragma unroll
        for (int k = 0; k < HEAD / 8; k++)
#pragma unroll
            for (int j = 0; j < N; j += 2) {
                uint32_t b[4];

                cuk_ldmatrix_x4(b, from + j * 8 * LD + k * 8);
                const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
#pragma unroll
                for (int m = 0; m < MT; m++) {
                    cuk_mma_m16n8k8_tf32(s[m][j], left[m].a[k], b0);
                    cuk_mma_m16n8k8_tf32(s[m][j + 1], left[m].a[k], b1);
                }
            }
    }

    /* The order of the inner dimension is free: column t of the left side is key 2t, column t + 4 key 2t + 1, which is where the weights
     * already lie. */
    template <int MT, int N>
    static __device__ __forceinline__ void multiply_values(float (&o)[MT][HEAD / 8][4], const float (&weights)[MT][N][4],
                                                           const element *values)
    {
        const int g = find_lane() >> 2, t = find_lane() & 3;
        const element *from = values + 2 * t * LD + g;

#pragma unroll
        for (int j = 0; j < N; j++) {
            uint32_t a[MT][4];

#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) a[m][i] = __float_as_uint(round(weights[m][j][i % 2 * 2 + i / 2]));
#pragma unroll
            for (int n = 0; n < HEAD / 8; n++) {
                const uint32_t b[2] = {__float_as_uint(from[j * 8 * LD + n * 8]), __float_as_uint(from[(j * 8 + 1) * LD + n * 8])};

#pragma unroll
                for (int m = 0; m < MT; m++) cuk_mma_m16n8k8_tf32(o[m][n], a[m], b);
            }
        }
    }
};

/* f32 tiles and multiply-adds. The left side stays in shared memory. */
template <int HEAD_PAD> struct f32_math {
    typedef float element;
    enum { HEAD = HEAD_PAD, LD = HEAD + 4, CHUNK = 4, IS_COPIED_DIRECTLY = 1 };

    struct rows {
        const float *low; /* row g; row g + 8 follows */
    };

    static __device__ __forceinline__ float round(float x)
    {
        return x;
    }

    static __device__ __forceinline__ void load_rows(rows &to, const element *tile)
    {
        to.low = tile + (find_lane() >> 2) * LD;
    }

    static __device__ __forceinline__ float4 load4(const float *from)
    {
        return *reinterpret_cast<const float4 *>(from);
    }

    static __device__ __forceinline__ void add_dot(float &sum, float4 a, float4 b)
    {
        sum += a.x * b.x;
        sum += a.y * b.y;
        sum += a.z * b.z;
        sum += a.w * b.w;
    }

    template <int MT, int N>
    static __device__ __forceinline__ void multiply_keys(float (&s)[MT][N][4], const rows (&left)[MT], const element *keys)
    {
        const float *from = keys + (find_lane() & 3) * 2 * LD;

#pragma unroll 1
        for (int d = 0; d < HEAD; d += 4)
#pragma unroll
            for (int m = 0; m < MT; m++) {
                const float4 low = load4(left[m].low + d), high = load4(left[m].low + 8 * LD + d);

#pragma unroll
                for (int j = 0; j < N; j++) {
                    const float4 even = load4(from + j * 8 * LD + d), odd = load4(from + (j * 8 + 1) * LD + d);

                    add_dot(s[m][j][0], low, even);
                    add_dot(s[m][j][1], low, odd);
                    add_dot(s[m][j][2], high, even);
                    add_dot(s[m][j][3], high, odd);
                }
            }
    }

    template <int MT, int N>
    static __device__ __forceinline__ void multiply_values(float (&o)[MT][HEAD / 8][4], const float (&weights)[MT][N][4],
                                                           const element *values)
    {
        const int lane = find_lane();
        const float *from = values + (lane & 3) * 2;

#pragma unroll
        for (int key = 0; key < N * 8; key++)
#pragma unroll
            for (int m = 0; m < MT; m++) {
                const int source = (lane & 28) + key % 8 / 2;
                const float low = __shfl_sync(WHOLE_WARP, weights[m][key / 8][key % 2], source);
                const float high = __shfl_sync(WHOLE_WARP, weights[m][key / 8][key % 2 + 2], source);

#pragma unroll
                for (int n = 0; n < HEAD / 8; n++) {
                    const float2 value = *reinterpret_cast<const float2 *>(from + key * LD + n * 8);

                    o[m][n][0] += low * value.x;
                    o[m][n][1] += low * value.y;
                    o[m][n][2] += high * value.x;
                    o[m][n][3] += high * value.y;
                }
            }
    }
};

#endif
