/* The attention kernel of attention_body.h for AVX-512. */
#define ATTENTION_KERNEL attention_kernel_avx512
#define ATTENTION_SCRATCH attention_scratch_avx512
#include "model/cpu/attention_body.h"
