/* The peak loop of peak_body.h for AVX2 and FMA. */
#define PEAK_KERNEL peak_kernel_avx2
#include "model/cpu/peak_body.h"
