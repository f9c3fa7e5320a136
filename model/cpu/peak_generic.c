/* The peak loop of peak_body.h for any CPU. */
#define PEAK_KERNEL peak_kernel_generic
#include "model/cpu/peak_body.h"
