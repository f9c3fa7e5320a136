/* The twins of cuk.h's inline PTX: what matrix instructions do with the lanes' registers (tensorcore.cpp). Included by cudahost.h only. */
#ifndef CUDAHOST_TENSORCORE_H
#define CUDAHOST_TENSORCORE_H

static inline void cuk_mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], CUDAHOST_SITE)
{
    cudahost::request own{cudahost::meeting::custom, ~0u, 0, 0, {a, b}, d, file, line, cudahost::multiply_bf16};
    cudahost::meet_warp(own);
}
static inline void cuk_mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], CUDAHOST_SITE)
{
    cudahost::request own{cudahost::meeting::custom, ~0u, 0, 0, {a, b}, d, file, line, cudahost::multiply_tf32};
    cudahost::meet_warp(own);
}

/* source of the request: whether each matrix is turned. */
static inline void cudahost_ldmatrix(uint32_t (&r)[4], const void *row, bool is_turned, const char *file, int line)
{
    cudahost::request own{cudahost::meeting::custom, ~0u, 0, is_turned, {row, nullptr}, r, file, line, cudahost::load_matrices};
    cudahost::note_matrix_row(row, __builtin_return_address(0));
    cudahost::meet_warp(own);
}
static inline void cuk_ldmatrix_x4(uint32_t (&r)[4], const void *row, CUDAHOST_SITE)
{
    cudahost_ldmatrix(r, row, false, file, line);
}
static inline void cuk_ldmatrix_x4_trans(uint32_t (&r)[4], const void *row, CUDAHOST_SITE)
{
    cudahost_ldmatrix(r, row, true, file, line);
}
static inline float cuk_exp2(float x)
{
    return exp2f(x);
}

#endif
