/* The gradient kernels of backward_body.h for AVX2 and FMA. */
#define BACKWARD_KERNELS backward_kernels_avx2
#include "model/cpu/backward_body.h"
