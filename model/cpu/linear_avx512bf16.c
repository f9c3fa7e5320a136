/* The product kernel of linear_body.h for AVX-512 with bf16 products. */
#define LINEAR_KERNEL linear_kernel_avx512bf16
#include "model/cpu/linear_body.h"
