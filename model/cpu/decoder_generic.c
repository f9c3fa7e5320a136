/* The decoder kernels of decoder_body.h for any CPU. */
#define DECODER_KERNELS decoder_kernels_generic
#include "model/cpu/decoder_body.h"
