/* The product kernel of linear_body.h for any CPU. */
#define LINEAR_KERNEL linear_kernel_generic
#include "model/cpu/linear_body.h"
