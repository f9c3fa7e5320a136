/* One matrix product of the emulated cuBLASLt, in the column-major terms of BLAS. */
#ifndef CUDAHOST_PRODUCT_H
#define CUDAHOST_PRODUCT_H

#include <cstdint>

#include <cublasLt.h>

namespace cudahost
{
/* Element (i, j) of a matrix is data[j * leading + i], or of its transpose data[i * leading + j]; in row order the other way round. */
struct matrix {
    const void *data;
    cudaDataType type;
    int64_t rows, columns, leading, batch_stride;
    bool is_row_order;
};
struct product {
    matrix a, b, c, d;
    bool is_a_turned, is_b_turned, is_tf32;
    int64_t m, n, k;
    int n_batches;
    float alpha, beta;
    cublasLtEpilogue_t epilogue;
    const void *bias; /* [m], of d's type */
};
size_t element_bytes(cudaDataType type);
void multiply(const product &p);
} // namespace cudahost

#endif
