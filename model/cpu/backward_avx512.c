/* The gradient kernels of backward_body.h for AVX-512. */
#define BACKWARD_KERNELS backward_kernels_avx512
#include "model/cpu/backward_body.h"
