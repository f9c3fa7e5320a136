/* The product kernel of linear_body.h for AVX2 and FMA. */
#define LINEAR_KERNEL linear_kernel_avx2
#include "model/cpu/linear_body.h"
