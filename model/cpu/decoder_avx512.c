/* The decoder kernels of decoder_body.h for AVX-512. */
#define DECODER_KERNELS decoder_kernels_avx512
#include "model/cpu/decoder_body.h"
