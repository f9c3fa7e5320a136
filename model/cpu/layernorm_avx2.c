/* The layer norm kernel of layernorm_body.h for AVX2 and FMA. */
#define LAYERNORM_KERNEL layernorm_kernel_avx2
#include "model/cpu/layernorm_body.h"
