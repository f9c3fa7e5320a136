/* The product kernel of linear_body.h for AVX-512. */
#define LINEAR_KERNEL linear_kernel_avx512
#include "model/cpu/linear_body.h"
