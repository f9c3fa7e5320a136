/* Attention with decomposed relative position: the constants, the choice of a kernel, and the plain C form that is the reference for
 * the fast ones and the fallback where none of them fits. Formulas: spec 1.4 and 1.5 (segment-anything, image_encoder.py, Attention). */
#include <math.h>
#include <omp.h>

#include "io/memory.h"
#include "model/cpu/attention.h"
#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

/* One window of one head. (y0, x0) is its upper left token; keys outside the grid have the bias as k and v. */
typedef struct plain_job {
    const model_relpos *relpos;
    model_rows out, qkv;
    int G, b, head, y0, x0;
} plain_job;

static float round_to(model_type type, float value)
{
    return type == MODEL_BF16 ? bf16_to_f32(bf16_from_f32(value)) : value;
}

/* Column of part 0 (q), 1 (k), 2 (v) of this head. */
static int column_of(const plain_job *job, int part)
{
    return (part * job->relpos->heads + job->head) * job->relpos->head_size;
}

/* Element d of k or v of window token (y, x), padded or not. */
static float value_of(const plain_job *job, int part, int y, int x, int d)
{
    const int gy = job->y0 + y, gx = job->x0 + x, column = column_of(job, part) + d;

    if (gy >= job->G || gx >= job->G) return job->relpos->bias[column];
    return rows_get(job->qkv, ((int64_t)job->b * job->G + gy) * job->G + gx, column);
}

/* The query of token row `row` times a row of a relative position table. */
static float dot_query(const plain_job *job, int64_t row, const float *table)
{
    float dot = 0;

    for (int d = 0; d < job->relpos->head_size; d++) dot += rows_get(job->qkv, row, column_of(job, 0) + d) * table[d];
    return dot;
}

/* logits [side*side]; (y, x) the query inside the window. */
static float fill_logits(const plain_job *job, int y, int x, float *logits)
{
    const model_relpos *relpos = job->relpos;
    const int side = relpos->side, D = relpos->head_size;
    const int64_t row = ((int64_t)job->b * job->G + job->y0 + y) * job->G + job->x0 + x;
    const float scale = 1.0f / sqrtf((float)D);
    float largest = -INFINITY;

    for (int ky = 0; ky < side; ky++) {
        const float from_h = dot_query(job, row, relpos->rel_h + (int64_t)(y - ky + side - 1) * D);

        for (int kx = 0; kx < side; kx++) {
            float dot = 0;

            for (int d = 0; d < D; d++) dot += rows_get(job->qkv, row, column_of(job, 0) + d) * value_of(job, 1, ky, kx, d);
            dot = dot * scale + from_h + dot_query(job, row, relpos->rel_w + (int64_t)(x - kx + side - 1) * D);
            logits[ky * side + kx] = dot;
            largest = fmaxf(largest, dot);
        }
    }
    return largest;
}

static void attend_query(const plain_job *job, int y, int x, float *logits)
{
    const int side = job->relpos->side, n = side * side;
    const int64_t row = ((int64_t)job->b * job->G + job->y0 + y) * job->G + job->x0 + x;
    const float largest = fill_logits(job, y, x, logits);
    float sum = 0;

    for (int j = 0; j < n; j++) sum += logits[j] = expf(logits[j] - largest);
    for (int d = 0; d < job->relpos->head_size; d++) {
        float value = 0;

        for (int j = 0; j < n; j++) value += logits[j] * value_of(job, 2, j / side, j % side, d);
        rows_set(job->out, row, job->head * job->relpos->head_size + d, value / sum);
    }
}

static void attend_window(const plain_job *job, float *logits)
{
    const int side = job->relpos->side;

    for (int y = 0; y < side && job->y0 + y < job->G; y++)
        for (int x = 0; x < side && job->x0 + x < job->G; x++) attend_query(job, y, x, logits);
}

static void attend_plainly(model_backend *backend, model_rows out, model_rows qkv, const model_relpos *relpos, int B, int G)
{
    const int side = relpos->side, across = (G + side - 1) / side, heads = relpos->heads;

#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int t = 0; t < B * across * across * heads; t++) {
        const int window = t / heads % (across * across);
        const plain_job job = {
            relpos, out, qkv, G, t / (heads * across * across), t % heads, window / across * side, window % across * side};

        attend_window(&job, cpu_scratch(backend, omp_get_thread_num()));
    }
}

io_status attention_forward_cpu(model_backend *backend, model_rows out, model_rows qkv, const model_relpos *relpos, int B, int G)
{
    if (relpos->side > G) return IO_FAIL(IO_ERR_ARGUMENT, "attention: the window has %d tokens a side, the grid only %d", relpos->side, G);
    attend_plainly(backend, out, qkv, relpos, B, G);
    return IO_OK;
}

io_status relpos_create_cpu(model_backend *backend, int side, int head_size, int heads, const float *rel_h, const float *rel_w,
                            const float *bias, model_type type, model_relpos **out)
{
    io_status status = IO_OK;
    model_relpos *made = NULL;
    const size_t n_table = (size_t)(2 * side - 1) * (size_t)head_size, n_bias = 3 * (size_t)heads * (size_t)head_size;

    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    *made = (model_relpos){.side = side, .head_size = head_size, .heads = heads, .type = type};
    IO_TRY_GOTO(status, done, io_alloc(n_table, sizeof(float), (void **)&made->rel_h));
    IO_TRY_GOTO(status, done, io_alloc(n_table, sizeof(float), (void **)&made->rel_w));
    IO_TRY_GOTO(status, done, io_alloc(n_bias, sizeof(float), (void **)&made->bias));
    for (size_t i = 0; i < n_table; i++) {
        made->rel_h[i] = round_to(type, rel_h[i]);
        made->rel_w[i] = round_to(type, rel_w[i]);
    }
    for (size_t i = 0; i < n_bias; i++) made->bias[i] = round_to(type, bias[i]);
    IO_TRY_GOTO(status, done, cpu_scratch_reserve(backend, (size_t)side * (size_t)side * sizeof(float)));
    *out = made;
    made = NULL;
done:
    relpos_free_cpu(backend, &made);
    return status;
}

void relpos_free_cpu(model_backend *backend, model_relpos **relpos)
{
    if (!relpos || !*relpos) return;
    io_free(&(*relpos)->rel_h);
    io_free(&(*relpos)->rel_w);
    io_free(&(*relpos)->bias);
    io_free(relpos);
}
