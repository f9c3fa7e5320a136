/* Products with constant weights. */
#include <math.h>

#include "io/memory.h"
#include "model/cpu/backend_cpu.h"
#include "model/cpu/linear.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

io_status matrix_create_cpu(model_backend *backend, int n_out, int n_in, const float *weight, model_type type, model_matrix **out)
{
    model_matrix *made;
    const size_t n = (size_t)n_out * (size_t)n_in;

    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    *made = (model_matrix){.n_out = n_out, .n_in = n_in, .type = type};
    if (io_alloc(n, sizeof(float), (void **)&made->plain) != IO_OK) {
        io_free(&made);
        return IO_ERR_MEMORY;
    }
    for (size_t i = 0; i < n; i++) made->plain[i] = type == MODEL_BF16 ? bf16_to_f32(bf16_from_f32(weight[i])) : weight[i];
    *out = made;
    return IO_OK;
}

void matrix_free_cpu(model_backend *backend, model_matrix **matrix)
{
    if (!matrix || !*matrix) return;
    io_free(&(*matrix)->plain);
    io_free(matrix);
}

static void store(model_rows out, int64_t m, int64_t c, float y, model_epilogue epilogue)
{
    if (epilogue == MODEL_GELU) y = 0.5f * y * (1.0f + erff(y * 0.70710678118654752f));
    if (epilogue == MODEL_RELU) y = fmaxf(y, 0);
    if (epilogue == MODEL_ADD) y += rows_get(out, m, c);
    rows_set(out, m, c, y);
}

io_status linear_forward_cpu(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, const float *bias,
                             model_epilogue epilogue, int M)
{
#pragma omp parallel for num_threads(backend->n_threads)
    for (int64_t t = 0; t < (int64_t)M * weight->n_out; t++) {
        const int64_t m = t / weight->n_out, c = t % weight->n_out;
        float dot = bias ? bias[c] : 0;

        for (int k = 0; k < weight->n_in; k++) dot += rows_get(in, m, k) * weight->plain[c * weight->n_in + k];
        store(out, m, c, dot, epilogue);
    }
    return IO_OK;
}
