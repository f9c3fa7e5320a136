/* The attention kernel of attention_body.h for any CPU. */
#define ATTENTION_KERNEL attention_kernel_generic
#define ATTENTION_SCRATCH attention_scratch_generic
#include "model/cpu/attention_body.h"
