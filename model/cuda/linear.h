/* A constant weight in device memory, and products through cuBLASLt. */
#ifndef MODEL_CUDA_LINEAR_H
#define MODEL_CUDA_LINEAR_H

#include "model/cuda/state_cuda.h"

/* [n_out, n_in] of type, rows of `stride` elements: whole 16 bytes, as tensor cores want them; zeros fill the rest. */
struct model_matrix {
    int n_out, n_in;
    model_type type;
    int64_t stride;
    void *data;
};

typedef enum cuda_epilogue { CUDA_PLAIN, CUDA_BIAS, CUDA_RELU, CUDA_RELU_BIAS } cuda_epilogue;

/* out [M,N] (rows) = epilogue(a . b^T + bias) or, with is_sum, out + a . b^T + bias, for a [M,K] and b [N,K]; is_turned: a is [K,M] and b
 * is [K,N], so that it is a^T . b. bias [N] of out's type. a and b have the same type. */
typedef struct cuda_product {
    model_rows out, a, b;
    const void *bias;
    cuda_epilogue epilogue;
    bool is_sum, is_turned;
    int M, N, K;
} cuda_product;

io_status cuda_product_run(model_backend *backend, const cuda_product *product);

#endif
