/* The choice of the decoder's kernels (decoder.h). */
#include "model/cpu/decoder.h"

const decoder_kernels *decoder_kernels_choose_cpu(const model_backend *backend)
{
#if defined(__x86_64__)
    if (backend->level >= CPU_AVX512) return &decoder_kernels_avx512;
    if (backend->level == CPU_AVX2) return &decoder_kernels_avx2;
#endif
    return &decoder_kernels_generic;
}
