/* The peak loop of peak_body.h for AVX-512 with bf16 products. */
#define PEAK_KERNEL peak_kernel_avx512bf16
#include "model/cpu/peak_body.h"
