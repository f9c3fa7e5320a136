/* Layer normalisation over the last dimension (torch.nn.LayerNorm, and SAM's LayerNorm2d on channels-last rows). */
#include <math.h>

#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

static float apply_gelu(float x)
{
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
}

/* Two passes: the variance of x - mean does not cancel as E[x^2] - mean^2 would. */
static void normalise_row(model_rows out, model_rows in, int m, const float *gamma, const float *beta, float eps, int C, bool gelu)
{
    const float *x = rows_at(in, m, 0);
    float sum = 0, squares = 0, mean, factor;

    for (int c = 0; c < C; c++) sum += x[c];
    mean = sum / (float)C;
    for (int c = 0; c < C; c++) squares += (x[c] - mean) * (x[c] - mean);
    factor = 1.0f / sqrtf(squares / (float)C + eps);
    for (int c = 0; c < C; c++) {
        const float y = (x[c] - mean) * factor * gamma[c] + beta[c];

        rows_set(out, m, c, gelu ? apply_gelu(y) : y);
    }
}

io_status layernorm_forward_cpu(model_backend *backend, model_rows out, model_rows in, const float *gamma, const float *beta, float eps,
                                int M, int C, model_epilogue epilogue)
{
#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < M; m++) normalise_row(out, in, m, gamma, beta, eps, C, epilogue == MODEL_GELU);
    return IO_OK;
}
