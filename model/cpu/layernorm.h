/* What the layer norm kernels of each instruction set take. */
#ifndef MODEL_CPU_LAYERNORM_H
#define MODEL_CPU_LAYERNORM_H

#include "model/backend.h"

typedef struct layernorm_job {
    model_rows out, in;
    const float *gamma, *beta; /* [C] */
    float eps;
    int C;
    model_epilogue epilogue;
} layernorm_job;

/* Normalises row m. */
typedef void layernorm_kernel(const layernorm_job *job, int m);

layernorm_kernel layernorm_kernel_generic, layernorm_kernel_avx2, layernorm_kernel_avx512, layernorm_kernel_avx512bf16;

#endif
