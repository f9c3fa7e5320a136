/* Attention with decomposed relative position: the constants, the choice of a kernel, and the plain C form that is the reference for
 * the fast ones and the fallback where none of them fits. Formulas: spec 1.4 and 1.5 (segment-anything, image_encoder.py, Attention). */
#include <math.h>
#include <omp.h>

#include "io/memory.h"
#include "model/cpu/attention.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

static const float log2_e = 1.44269504088896341f;

/* One window of one head. (y0, x0) is its upper left token; keys outside the grid have the bias as k and v. */
typedef struct plain_job {
    const model_relpos *relpos;
    model_rows out, qkv;
    float *log_sum; /* [B*G*G, heads] or NULL */
    int G, b, head, y0, x0;
} plain_job;

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
    if (job->log_sum) job->log_sum[row * job->relpos->heads + job->head] = largest * log2_e + log2f(sum);
}

static void attend_window(const plain_job *job, float *logits)
{
    const int side = job->relpos->side;

    for (int y = 0; y < side && job->y0 + y < job->G; y++)
        for (int x = 0; x < side && job->x0 + x < job->G; x++) attend_query(job, y, x, logits);
}

/* Reference and fallback: any head size, any CPU, nothing clever. */
static void attend_window_plainly(const attention_job *job, const attention_task *task, float *scratch)
{
    const plain_job plain = {job->relpos, job->out, job->qkv, job->log_sum, job->G, task->b, task->head, task->y0, task->x0};

    if (task->chunk == 0) attend_window(&plain, scratch);
}

static size_t count_plain_scratch(const model_relpos *relpos)
{
    return (size_t)relpos->side * (size_t)relpos->side * sizeof(float);
}

typedef struct kernel_entry {
    cpu_level level; /* that it needs */
    model_type type;
    int lanes; /* the head size must be a multiple */
    attention_kernel *run;
    attention_scratch *count_scratch;
} kernel_entry;

/* Best first; the last one always fits. */
static const kernel_entry kernels[] = {
#if defined(__x86_64__)
    {CPU_AVX512_BF16, MODEL_BF16, 16, attention_kernel_avx512bf16, attention_scratch_avx512bf16},
    {CPU_AVX512, MODEL_F32, 16, attention_kernel_avx512, attention_scratch_avx512},
    {CPU_AVX2, MODEL_F32, 8, attention_kernel_avx2, attention_scratch_avx2},
#endif
    {CPU_GENERIC, MODEL_F32, 4, attention_kernel_generic, attention_scratch_generic},
};
static const kernel_entry plain_kernel = {CPU_GENERIC, MODEL_F32, 1, attend_window_plainly, count_plain_scratch};

static const kernel_entry *choose_kernel(cpu_level level, const model_relpos *relpos)
{
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (level >= kernels[i].level && relpos->type == kernels[i].type && relpos->head_size % kernels[i].lanes == 0) return &kernels[i];
    return &plain_kernel;
}

void attention_window_find_cpu(const attention_job *job, int w, int *wy, int *wx)
{
    const int whole = job->G / job->relpos->side, n_whole = whole * whole;

    if (w < n_whole) {
        *wy = w / whole;
        *wx = w % whole;
    } else { /* the cut ones: right edge, lower edge, corner */
        const int cut = w - n_whole;

        *wy = cut < whole ? cut : whole;
        *wx = cut < whole || cut == 2 * whole ? whole : cut - whole;
    }
}

static void run_job(model_backend *backend, const attention_job *job, int B)
{
    attention_kernel *run = choose_kernel(backend->level, job->relpos)->run;
    const int heads = job->relpos->heads, per_window = B * heads * job->n_chunks;

#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int t = 0; t < job->across * job->across * per_window; t++) {
        const int in_window = t % per_window;
        attention_task task = {
            .b = in_window / (heads * job->n_chunks), .head = in_window / job->n_chunks % heads, .chunk = in_window % job->n_chunks};

        attention_window_find_cpu(job, t / per_window, &task.y0, &task.x0);
        task.y0 *= job->relpos->side;
        task.x0 *= job->relpos->side;
        run(job, &task, cpu_scratch(backend, omp_get_thread_num()));
    }
}

io_status attention_forward_cpu(model_backend *backend, model_rows out, float *log_sum, model_rows qkv, const model_relpos *relpos, int B,
                                int G)
{
    attention_job job = {.relpos = relpos, .out = out, .qkv = qkv, .log_sum = log_sum, .G = G, .n_chunks = 1, .zeros = backend->zeros};

    if (qkv.type != relpos->type || (out.type != relpos->type && out.type != MODEL_F32))
        return IO_FAIL(IO_ERR_MISMATCH, "attention: the rows are not of the type that the constants were packed for");
    job.across = (G + relpos->side - 1) / relpos->side;
    /* four tasks for each thread keep the ends of a dynamic schedule short; every chunk packs keys and values again, 1 % of a head */
    while (job.n_chunks < 8 && B * relpos->heads * job.across * job.across * job.n_chunks < 4 * backend->n_threads) job.n_chunks++;
    run_job(backend, &job, B);
    return IO_OK;
}

/* Dword d of table column j of side-by-side reversed tables. */
static void pack_table(model_relpos *relpos)
{
    const int n_rows = 2 * relpos->side - 1, D = relpos->head_size;

    for (int axis = 0; axis < 2; axis++)
        for (int j = 0; j < n_rows; j++) {
            const float *from = (axis ? relpos->rel_w : relpos->rel_h) + (int64_t)(n_rows - 1 - j) * D;

            for (int64_t d = 0; d < relpos->n_dwords; d++) {
                float *to = relpos->table + d * relpos->table_width + axis * relpos->w_column + j;

                if (relpos->type == MODEL_F32)
                    *to = from[d];
                else
                    memcpy(to, (bf16[]){bf16_from_f32(from[2 * d]), bf16_from_f32(from[2 * d + 1])}, sizeof *to);
            }
        }
}

static void round_values(float *to, const float *from, size_t n, model_type type)
{
    for (size_t i = 0; i < n; i++) to[i] = type == MODEL_BF16 ? bf16_to_f32(bf16_from_f32(from[i])) : from[i];
}

/* Every array of *relpos, sizes in floats; reading a few vectors past the table's end must stay inside the block. */
static io_status allocate_relpos(model_relpos *relpos)
{
    enum { READ_AHEAD = 64, COLUMN_ALIGNMENT = 16 };
    const size_t n_rows = 2 * (size_t)relpos->side - 1, n_bias = 3 * (size_t)relpos->heads * (size_t)relpos->head_size;

    relpos->n_dwords = relpos->type == MODEL_BF16 ? relpos->head_size / 2 : relpos->head_size;
    relpos->w_column = (int64_t)(n_rows + COLUMN_ALIGNMENT - 1) / COLUMN_ALIGNMENT * COLUMN_ALIGNMENT;
    relpos->table_width = 2 * relpos->w_column;
    IO_TRY(io_alloc(n_rows * (size_t)relpos->head_size, sizeof(float), (void **)&relpos->rel_h));
    IO_TRY(io_alloc(n_rows * (size_t)relpos->head_size, sizeof(float), (void **)&relpos->rel_w));
    IO_TRY(io_alloc(n_bias, sizeof(float), (void **)&relpos->bias));
    IO_TRY(io_alloc(n_bias, sizeof(float), (void **)&relpos->bias_row));
    return io_alloc((size_t)(relpos->n_dwords * relpos->table_width) + READ_AHEAD, sizeof(float), (void **)&relpos->table);
}

io_status relpos_create_cpu(model_backend *backend, int side, int head_size, int heads, const float *rel_h, const float *rel_w,
                            const float *bias, model_type type, model_relpos **out)
{
    io_status status = IO_OK;
    model_relpos *made = NULL;
    const size_t n_table = (size_t)(2 * side - 1) * (size_t)head_size, n_bias = 3 * (size_t)heads * (size_t)head_size;
    enum { READ_AHEAD = 16 }; /* transposes read whole vectors of a zero head too */

    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    *made = (model_relpos){.side = side, .head_size = head_size, .heads = heads, .type = type};
    IO_TRY_GOTO(status, done, allocate_relpos(made));
    round_values(made->rel_h, rel_h, n_table, type);
    round_values(made->rel_w, rel_w, n_table, type);
    round_values(made->bias, bias, n_bias, type);
    for (size_t i = 0; i < n_bias; i++) rows_set((model_rows){made->bias_row, 0, type}, 0, (int64_t)i, bias[i]);
    pack_table(made);
    IO_TRY_GOTO(status, done, cpu_scratch_reserve(backend, choose_kernel(backend->level, made)->count_scratch(made)));
    IO_TRY_GOTO(status, done, cpu_zeros_reserve(backend, (size_t)(head_size + READ_AHEAD) * sizeof(float)));
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
    io_free(&(*relpos)->bias_row);
    io_free(&(*relpos)->table);
    io_free(relpos);
}
