/* The peak loop of peak_body.h for AVX-512. */
#define PEAK_KERNEL peak_kernel_avx512
#include "model/cpu/peak_body.h"
