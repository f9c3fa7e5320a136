/* What the attention kernels share: one block's constants, a call's arguments and the plan of a thread's scratch. */
#ifndef MODEL_CPU_ATTENTION_H
#define MODEL_CPU_ATTENTION_H

#include "model/backend.h"
#include "model/cpu/backend_cpu.h"

/* Dwords are f32 or bf16 pairs, as everywhere in the kernels (simd.h). */
struct model_relpos {
    int side, head_size, heads;
    model_type type;
    float *rel_h, *rel_w; /* [2*side-1, D], rounded to type */
    float *bias;          /* [3*H*D], rounded to type: q, k and v of a padded token */
    void *bias_row;       /* the same as a row of qkv */
    int64_t n_dwords;     /* of one head in a row: D, or D/2 in bf16 */
    /* [n_dwords, table_width] dwords: rel_h with its rows reversed as columns 0.., rel_w likewise from w_column on. Reversed, because
     * the terms of one query for keys 0, 1, 2.. are then neighbours: a query at y starts at column side - 1 - y. */
    float *table;
    int64_t table_width, w_column;
};

typedef struct attention_job {
    const model_relpos *relpos;
    model_rows out, qkv;
    float *log_sum; /* [B*G*G, heads] or NULL */
    int G;
    int across;        /* windows along a side, the cut ones included */
    int n_chunks;      /* parts that the queries of one head and window are cut into, so that many threads have work */
    const void *zeros; /* a head of zeros */
} attention_job;

/* One window of one head of slice b, and which chunk of its queries. (y0, x0) is its upper left token. */
typedef struct attention_task {
    int b, head, y0, x0, chunk;
} attention_task;

/* Works on one task in a thread's scratch. */
typedef void attention_kernel(const attention_job *job, const attention_task *task, float *scratch);
attention_kernel attention_kernel_generic, attention_kernel_avx2, attention_kernel_avx512, attention_kernel_avx512bf16;

/* A backward call: what the forward pass had, and its gradients. Its chunks are parts of the keys, all queries in each. */
typedef struct attention_backward_job {
    attention_job forward;
    model_rows dqkv, dout;
    model_rows partial; /* [n_chunks - 1][B*G*G][H*D]: dq of the chunks after the first, added to it at last */
    int64_t n_rows;     /* B*G*G */
} attention_backward_job;

typedef void attention_backward_kernel(const attention_backward_job *job, const attention_task *task, float *scratch);
attention_backward_kernel attention_backward_kernel_generic, attention_backward_kernel_avx2, attention_backward_kernel_avx512,
    attention_backward_kernel_avx512bf16;

/* Bytes of scratch that a kernel needs for this block. */
typedef size_t attention_scratch(const model_relpos *relpos);
attention_scratch attention_scratch_generic, attention_scratch_avx2, attention_scratch_avx512, attention_scratch_avx512bf16;
attention_scratch attention_backward_scratch_generic, attention_backward_scratch_avx2, attention_backward_scratch_avx512,
    attention_backward_scratch_avx512bf16;

/* Window number w of the across x across ones, whole windows first: the largest tasks start first, so that threads end together. */
void attention_window_find_cpu(const attention_job *job, int w, int *wy, int *wx);

#endif
