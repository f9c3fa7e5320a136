/* The attention gradient of attention_backward_body.h for AVX-512 with bf16 products. */
#define ATTENTION_BACKWARD_KERNEL attention_backward_kernel_avx512bf16
#define ATTENTION_BACKWARD_SCRATCH attention_backward_scratch_avx512bf16
#include "model/cpu/attention_backward_body.h"
