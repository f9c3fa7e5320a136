/* The gradient kernels of backward_body.h for any CPU. */
#define BACKWARD_KERNELS backward_kernels_generic
#include "model/cpu/backward_body.h"
