/* The layer norm kernel of layernorm_body.h for AVX-512. */
#define LAYERNORM_KERNEL layernorm_kernel_avx512
#include "model/cpu/layernorm_body.h"
