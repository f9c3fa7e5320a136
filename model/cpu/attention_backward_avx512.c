/* The attention gradient of attention_backward_body.h for AVX-512. */
#define ATTENTION_BACKWARD_KERNEL attention_backward_kernel_avx512
#define ATTENTION_BACKWARD_SCRATCH attention_backward_scratch_avx512
#include "model/cpu/attention_backward_body.h"
