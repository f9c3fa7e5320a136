/* The attention kernel of attention_body.h for AVX2 and FMA. */
#define ATTENTION_KERNEL attention_kernel_avx2
#define ATTENTION_SCRATCH attention_scratch_avx2
#include "model/cpu/attention_body.h"
