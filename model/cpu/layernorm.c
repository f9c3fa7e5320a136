/* Layer normalisation over the last dimension (torch.nn.LayerNorm, and SAM's LayerNorm2d on channels-last rows). */
#include "model/cpu/layernorm.h"

#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"

static layernorm_kernel *choose_kernel(cpu_level level)
{
#if defined(__x86_64__)
    if (level == CPU_AVX512_BF16) return layernorm_kernel_avx512bf16;
    if (level == CPU_AVX512) return layernorm_kernel_avx512;
    if (level == CPU_AVX2) return layernorm_kernel_avx2;
#endif
    return layernorm_kernel_generic;
}

io_status layernorm_forward_cpu(model_backend *backend, model_rows out, model_rows in, const float *gamma, const float *beta, float eps,
                                int M, int C, model_epilogue epilogue)
{
    const layernorm_job job = {out, in, gamma, beta, eps, C, epilogue};
    layernorm_kernel *kernel = choose_kernel(backend->level);

#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < M; m++) kernel(&job, m);
    return IO_OK;
}
