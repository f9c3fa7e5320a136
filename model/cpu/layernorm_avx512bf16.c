/* The layer norm kernel of layernorm_body.h for AVX-512 with bf16 products. */
#define LAYERNORM_KERNEL layernorm_kernel_avx512bf16
#include "model/cpu/layernorm_body.h"
