/* The dialect of CUDA that the kernels are written in; the only header they include for it.
 *
 * Under nvcc it is a thin layer over CUDA. With -DCUDAHOST a plain C++ compiler builds the same kernels for the emulator of
 * tests/cudahost, which runs them on the CPU and checks them; cudahost.h then gives the same names.
 *
 * Rules: no raw __shared__ and no <<<>>>; inline PTX only here, each with a twin in cudahost.h; full-mask collectives, blocks of a
 * multiple of 32 threads, and no thread leaves before a barrier (guard the work, not the thread); __syncwarp() between lanes that
 * exchange through shared memory; bf16 is storage, arithmetic is in float; no atomics on floats. */
#ifndef MODEL_CUDA_CUK_H
#define MODEL_CUDA_CUK_H

#ifdef CUDAHOST
#include <cudahost.h>
#else

#include <stdint.h>

#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_pipeline_primitives.h>

/* CUK_LAUNCH(kernel, grid, block, bytes of dynamic shared memory, stream, arguments...). A template-id that holds a comma goes in
 * parentheses: CUK_LAUNCH((layernorm<float, 4>), ...). Errors show in cudaGetLastError. */
#define CUK_LAUNCH(kernel, grid, block, smem, stream, ...) kernel<<<(grid), (block), (smem), (stream)>>>(__VA_ARGS__)

/* CUK_SHARED(float, tile, [32][33]): an array of the block, not initialised. At most 48 KB together. */
#define CUK_SHARED(type, name, ...) __shared__ type name __VA_ARGS__

/* CUK_DYN_SHARED(float, row): the dynamic shared memory of the launch, aligned to 128 bytes. More than 48 KB needs
 * cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes) before. */
#define CUK_DYN_SHARED(type, name)                                                                                                         \
    extern __shared__ __align__(128) unsigned char cuk_dyn_shared[];                                                                       \
    type *name = reinterpret_cast<type *>(cuk_dyn_shared)

/* 16 bytes from global to shared memory, both aligned to 16, without passing through registers. The copies since the last commit are
 * one group; wait<N> returns when at most the N newest groups of this thread are under way. A barrier must follow before other threads
 * read. */
__device__ __forceinline__ void cuk_cp_async16(void *to_shared, const void *from_global)
{
    __pipeline_memcpy_async(to_shared, from_global, 16);
}
__device__ __forceinline__ void cuk_cp_async_commit()
{
    __pipeline_commit();
}
template <int N> __device__ __forceinline__ void cuk_cp_async_wait()
{
    __pipeline_wait_prior(N);
}

/* d += a (16x16, row) . b (16x8, col), bf16 in, f32 sums; which lane holds what is in the PTX ISA, "mma.m16n8k16". */
__device__ __forceinline__ void cuk_mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* d += a (16x8, row) . b (8x8, col), tf32 in the upper bits of f32, f32 sums; "mma.m16n8k8" of the PTX ISA. */
__device__ __forceinline__ void cuk_mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8x8 matrices of 16-bit numbers from shared memory; lane l gives the address of row l % 8 of matrix l / 8. A lane gets two
 * neighbours in a row of each matrix, or, trans, in a column. */
__device__ __forceinline__ void cuk_ldmatrix_x4(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}
__device__ __forceinline__ void cuk_ldmatrix_x4_trans(uint32_t (&r)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"((unsigned)__cvta_generic_to_shared(row))
                 : "memory");
}

/* 2^x to 2 ulp, in one instruction. */
__device__ __forceinline__ float cuk_exp2(float x)
{
    float y;

    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
    return y;
}

#endif
#endif
