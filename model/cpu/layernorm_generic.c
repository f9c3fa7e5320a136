/* The layer norm kernel of layernorm_body.h for any CPU. */
#define LAYERNORM_KERNEL layernorm_kernel_generic
#include "model/cpu/layernorm_body.h"
