/* The gradient of attention with decomposed relative position: the choice of a kernel, and the plain C form for head sizes that fit none.
 * Formulas: logit = scale q.k + q.Th + q.Tw (spec 1.5), dlogit = p (dout.v - dout.out); the tables are frozen. */
#include <math.h>
#include <omp.h>

#include "model/cpu/attention.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

/* One query of one head of a window whose upper left token is (y0, x0). */
typedef struct plain_query {
    const attention_backward_job *job;
    const attention_task *task;
    int y, x;    /* in the window */
    int64_t row; /* in the grid */
    float *q;    /* [3][D] in scratch: the query, then one key's k and v */
    const float *out, *dout;
    float *dq;
} plain_query;

static int64_t find_row(const plain_query *query, int y, int x)
{
    const int G = query->job->forward.G;

    return ((int64_t)query->task->b * G + query->task->y0 + y) * G + query->task->x0 + x;
}

static int64_t find_column(const plain_query *query, int part)
{
    const model_relpos *relpos = query->job->forward.relpos;

    return ((int64_t)part * relpos->heads + query->task->head) * relpos->head_size;
}

static bool is_padding(const plain_query *query, int y, int x)
{
    return query->task->y0 + y >= query->job->forward.G || query->task->x0 + x >= query->job->forward.G;
}

/* q, k (part 1) or v (2) of window token (y, x). */
static const float *fetch_part(const plain_query *query, int part, int y, int x)
{
    const int D = query->job->forward.relpos->head_size;
    const int64_t column = find_column(query, part), row = find_row(query, y, x);
    float *to = query->q + part * D;

    if (is_padding(query, y, x)) return query->job->forward.relpos->bias + column;
    for (int d = 0; d < D; d++) to[d] = rows_get(query->job->forward.qkv, row, column + d);
    return to;
}

static float dot(const float *a, const float *b, int n)
{
    float sum = 0;

    for (int i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void add_scaled(float *to, const float *from, float factor, int n)
{
    for (int i = 0; i < n; i++) to[i] += factor * from[i];
}

/* The query against key (y, x): adds to dq, and to the key's dk and dv where it is no padding. */
static void meet_key(const plain_query *query, int y, int x)
{
    const attention_job *forward = &query->job->forward;
    const model_relpos *relpos = forward->relpos;
    const int D = relpos->head_size;
    const float scale = 1.0f / sqrtf((float)D), *k = fetch_part(query, 1, y, x), *v = fetch_part(query, 2, y, x);
    const float *h = relpos->rel_h + (int64_t)(query->y - y + relpos->side - 1) * D;
    const float *w = relpos->rel_w + (int64_t)(query->x - x + relpos->side - 1) * D;
    const float logit = scale * dot(query->q, k, D) + dot(query->q, h, D) + dot(query->q, w, D);
    const float p = exp2f(logit * 1.44269504088896341f - forward->log_sum[query->row * relpos->heads + query->task->head]);
    const float dlogit = p * (dot(query->dout, v, D) - dot(query->dout, query->out, D));

    add_scaled(query->dq, k, scale * dlogit, D);
    add_scaled(query->dq, h, dlogit, D);
    add_scaled(query->dq, w, dlogit, D);
    if (is_padding(query, y, x)) return;
    add_scaled(rows_at(query->job->dqkv, find_row(query, y, x), find_column(query, 1)), query->q, scale * dlogit, D);
    add_scaled(rows_at(query->job->dqkv, find_row(query, y, x), find_column(query, 2)), query->dout, p, D);
}

static void derive_query(plain_query *query)
{
    const attention_job *forward = &query->job->forward;
    const int side = forward->relpos->side;

    query->row = find_row(query, query->y, query->x);
    (void)fetch_part(query, 0, query->y, query->x);
    query->out = rows_at(forward->out, query->row, find_column(query, 0));
    query->dout = rows_at(query->job->dout, query->row, find_column(query, 0));
    query->dq = rows_at(query->job->dqkv, query->row, find_column(query, 0));
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) meet_key(query, y, x);
}

static void clear_token(const plain_query *query)
{
    for (int part = 0; part < 3; part++)
        memset(rows_at(query->job->dqkv, find_row(query, query->y, query->x), find_column(query, part)), 0,
               (size_t)query->job->forward.relpos->head_size * sizeof(float));
}

static void derive_window_plainly(const attention_backward_job *job, const attention_task *task, float *scratch)
{
    const int G = job->forward.G, side = job->forward.relpos->side;
    const int vh = G - task->y0 < side ? G - task->y0 : side, vw = G - task->x0 < side ? G - task->x0 : side;
    plain_query query = {.job = job, .task = task, .q = scratch};

    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < vh * vw; i++) {
            query.y = i / vw;
            query.x = i % vw;
            if (pass == 0)
                clear_token(&query);
            else
                derive_query(&query);
        }
}

static size_t count_plain_scratch(const model_relpos *relpos)
{
    return 3 * (size_t)relpos->head_size * sizeof(float);
}

typedef struct kernel_entry {
    cpu_level level; /* that it needs */
    model_type type;
    int lanes; /* the head size must be a multiple */
    attention_backward_kernel *run;
    attention_scratch *count_scratch;
} kernel_entry;

/* Best first. */
static const kernel_entry kernels[] = {
#if defined(__x86_64__)
    {CPU_AVX512_BF16, MODEL_BF16, 16, attention_backward_kernel_avx512bf16, attention_backward_scratch_avx512bf16},
    {CPU_AVX512, MODEL_F32, 16, attention_backward_kernel_avx512, attention_backward_scratch_avx512},
    {CPU_AVX2, MODEL_F32, 8, attention_backward_kernel_avx2, attention_backward_scratch_avx2},
#endif
    {CPU_GENERIC, MODEL_F32, 4, attention_backward_kernel_generic, attention_backward_scratch_generic},
};
static const kernel_entry plain_kernel = {CPU_GENERIC, MODEL_F32, 1, derive_window_plainly, count_plain_scratch};

static const kernel_entry *choose_kernel(cpu_level level, const model_relpos *relpos)
{
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (level >= kernels[i].level && relpos->type == kernels[i].type && relpos->head_size % kernels[i].lanes == 0) return &kernels[i];
    return &plain_kernel;
}

/* Chunks of about 256 keys: what a task works on stays in L2, and the few heads of a global attention give work to many threads. Their
 * number depends on the window alone, because it orders the sum of dq. */
static int count_chunks(const model_relpos *relpos)
{
    enum { CHUNK_KEYS = 256, MOST_CHUNKS = 4 };
    const int n = (relpos->side * relpos->side + CHUNK_KEYS - 1) / CHUNK_KEYS;

    return n < MOST_CHUNKS ? n : MOST_CHUNKS;
}

static void run_job(model_backend *backend, const attention_backward_job *job, const kernel_entry *kernel, int B)
{
    const attention_job *forward = &job->forward;
    const int heads = forward->relpos->heads, per_window = B * heads * forward->n_chunks;

#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int t = 0; t < forward->across * forward->across * per_window; t++) {
        const int in_window = t % per_window;
        attention_task task = {.b = in_window / (heads * forward->n_chunks),
                               .head = in_window / forward->n_chunks % heads,
                               .chunk = in_window % forward->n_chunks};

        attention_window_find_cpu(forward, t / per_window, &task.y0, &task.x0);
        task.y0 *= forward->relpos->side;
        task.x0 *= forward->relpos->side;
        kernel->run(job, &task, cpu_scratch(backend, omp_get_thread_num()));
    }
}

/* dq is the sum over the chunks, in their order. */
static io_status join_chunks(model_backend *backend, const attention_backward_job *job)
{
    const int64_t width = job->partial.stride;

    for (int chunk = 1; chunk < job->forward.n_chunks; chunk++) {
        const model_rows part = {rows_at(job->partial, (chunk - 1) * job->n_rows, 0), width, MODEL_F32};

        IO_TRY(add_forward_cpu(backend, job->dqkv, job->dqkv, part, (int)job->n_rows, (int)width, (int)job->n_rows));
    }
    return IO_OK;
}

io_status attention_backward_cpu(model_backend *backend, model_rows dqkv, model_rows dout, model_rows qkv, model_rows out,
                                 const float *log_sum, const model_relpos *relpos, int B, int G)
{
    const kernel_entry *kernel = choose_kernel(backend->level, relpos);
    const int width = relpos->heads * relpos->head_size;
    attention_backward_job job = {.forward = {.relpos = relpos,
                                              .out = out,
                                              .qkv = qkv,
                                              .log_sum = (float *)log_sum,
                                              .G = G,
                                              .across = (G + relpos->side - 1) / relpos->side,
                                              .n_chunks = kernel == &plain_kernel ? 1 : count_chunks(relpos),
                                              .zeros = backend->zeros},
                                  .dqkv = dqkv,
                                  .dout = dout,
                                  .n_rows = (int64_t)B * G * G};

    if (qkv.type != relpos->type || out.type != MODEL_F32 || dout.type != MODEL_F32 || dqkv.type != MODEL_F32)
        return IO_FAIL(IO_ERR_MISMATCH, "attention_backward: qkv must be of the type that the constants were packed for, all else f32");
    IO_TRY(cpu_scratch_reserve(backend, kernel->count_scratch(relpos)));
    IO_TRY(cpu_shared_reserve(backend, (size_t)(job.forward.n_chunks - 1) * (size_t)job.n_rows * (size_t)width * sizeof(float)));
    job.partial = (model_rows){backend->shared, width, MODEL_F32};
    run_job(backend, &job, kernel, B);
    return join_chunks(backend, &job);
}
