/* The attention kernel of attention_body.h for AVX-512 with bf16 products. */
#define ATTENTION_KERNEL attention_kernel_avx512bf16
#define ATTENTION_SCRATCH attention_scratch_avx512bf16
#include "model/cpu/attention_body.h"
