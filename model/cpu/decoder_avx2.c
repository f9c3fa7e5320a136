/* The decoder kernels of decoder_body.h for AVX2 and FMA. */
#define DECODER_KERNELS decoder_kernels_avx2
#include "model/cpu/decoder_body.h"
