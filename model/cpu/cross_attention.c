/* Plain multi-head attention between two sets of tokens, for the decoder (spec 3). */
#include <math.h>
#include <omp.h>

#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

typedef struct cross_job {
    model_rows out, q, k, v;
    int n_q, n_k, head_size;
} cross_job;

/* One query of one head; logits [n_k]. */
static void attend_query(const cross_job *job, int b, int query, int head, float *logits)
{
    const int c0 = head * job->head_size;
    const int64_t row = (int64_t)b * job->n_q + query, key0 = (int64_t)b * job->n_k;
    const float scale = 1.0f / sqrtf((float)job->head_size);
    float largest = -INFINITY, sum = 0;

    for (int j = 0; j < job->n_k; j++) {
        float dot = 0;

        for (int d = 0; d < job->head_size; d++) dot += rows_get(job->q, row, c0 + d) * rows_get(job->k, key0 + j, c0 + d);
        logits[j] = dot * scale;
        largest = fmaxf(largest, logits[j]);
    }
    for (int j = 0; j < job->n_k; j++) sum += logits[j] = expf(logits[j] - largest);
    for (int d = 0; d < job->head_size; d++) {
        float value = 0;

        for (int j = 0; j < job->n_k; j++) value += logits[j] * rows_get(job->v, key0 + j, c0 + d);
        rows_set(job->out, row, c0 + d, value / sum);
    }
}

io_status cross_attention_forward_cpu(model_backend *backend, model_rows out, model_rows q, model_rows k, model_rows v, int B, int n_q,
                                      int n_k, int I, int heads)
{
    const cross_job job = {out, q, k, v, n_q, n_k, I / heads};

    IO_TRY(cpu_scratch_reserve(backend, (size_t)n_k * sizeof(float)));
#pragma omp parallel for num_threads(backend->n_threads)
    for (int t = 0; t < B * heads * n_q; t++)
        attend_query(&job, t / (heads * n_q), t % n_q, t / n_q % heads, cpu_scratch(backend, omp_get_thread_num()));
    return IO_OK;
}
