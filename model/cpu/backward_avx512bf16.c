/* The gradient kernels of backward_body.h for AVX-512 with bf16 conversions. */
#define BACKWARD_KERNELS backward_kernels_avx512bf16
#include "model/cpu/backward_body.h"
