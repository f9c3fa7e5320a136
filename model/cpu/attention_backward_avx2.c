/* The attention gradient of attention_backward_body.h for AVX2 and FMA. */
#define ATTENTION_BACKWARD_KERNEL attention_backward_kernel_avx2
#define ATTENTION_BACKWARD_SCRATCH attention_backward_scratch_avx2
#include "model/cpu/attention_backward_body.h"
