/* The attention gradient of attention_backward_body.h for any CPU. */
#define ATTENTION_BACKWARD_KERNEL attention_backward_kernel_generic
#define ATTENTION_BACKWARD_SCRATCH attention_backward_scratch_generic
#include "model/cpu/attention_backward_body.h"
