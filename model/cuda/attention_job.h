/* What the C side of attention hands to its kernels, and how a call is cut into blocks of threads. Plain enough for both languages. */
#ifndef MODEL_CUDA_ATTENTION_JOB_H
#define MODEL_CUDA_ATTENTION_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/backend.h"
#include "model/cuda/attention_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ATTENTION_TILE = 64,         /* keys of a step, and rows of the tables that are staged at once */
    ATTENTION_LARGEST_HEAD = 80, /* ViT-H's; smaller ones are padded to 32, 64 or 80 */
    ATTENTION_THREADS = 128      /* of a block: four warps of 16 or 32 queries each */
};

/* How products are computed. */
typedef enum attention_math { ATTENTION_F32, ATTENTION_TF32, ATTENTION_BF16 } attention_math;

/* One call. Rows are as in model_rows; pointers to device memory. */
typedef struct attention_job {
    model_rows qkv, out;
    float *log_sum;        /* [B*G*G, heads] or NULL */
    const void *constants; /* model_relpos's rows */
    int B, G, side, heads, head_size;
    int is_qkv_aligned, is_out_aligned; /* every head starts at a multiple of 16 bytes and fills whole ones */
    float scale, unscale;               /* 1 / sqrt(head_size), and its inverse */
} attention_job;

/* One call of cross attention, all rows f32; what a direction does not use is left zero. */
typedef struct cross_job {
    model_rows q, k, v, out, dout, dq, dk, dv;
    float *stats; /* [B, heads, n_q, 2] scratch: log2 of a query's sum of exponentials, and dout . out */
    int B, n_q, n_k, heads, head_size;
    int is_aligned; /* every head of every rows starts at a multiple of 16 bytes and fills whole ones */
    float scale;    /* 1 / sqrt(head_size) */
} cross_job;

enum { CROSS_LARGEST_HEAD = 32 };

/* The columns that a head occupies in tiles and tables. */
static inline int attention_head_pad(int head_size)
{
    return head_size <= 32 ? 32 : head_size <= 64 ? 64 : ATTENTION_LARGEST_HEAD;
}

/* A backward call: the forward's rows and log_sum, which its out is f32 for, and the gradients, f32. */
typedef struct attention_backward_job {
    attention_job forward;
    model_rows dout, dqkv;
    int is_dout_aligned, is_dqkv_aligned;
    float *terms; /* [B*G*G, heads, 2, side] scratch: each query's terms over the scale, rel_h's for key rows, then rel_w's for columns */
    float *inner; /* [B*G*G, heads] scratch: dout . out */
} attention_backward_job;

/* Bytes of dynamic shared memory that a block of attention may take on the current device; 0 where the device does not say. */
size_t attention_shared_limit_cuda(void);
/* And what blocks need at least for windows of side x side tokens. */
size_t attention_forward_shared_cuda(int side, int head_size, attention_math math);
size_t attention_backward_shared_cuda(int side, int head_size, attention_math math);
/* Refuses windows that need more than the limit. */
io_status attention_shared_check_cuda(const char *operation, int side, size_t needed);

static inline attention_math attention_math_choose(model_type type, bool is_tf32)
{
    return type == MODEL_BF16 ? ATTENTION_BF16 : is_tf32 ? ATTENTION_TF32 : ATTENTION_F32;
}

/* Launchers; a cudaError_t. */
int attention_forward_launch_cuda(cudaStream_t stream, const attention_job *job, attention_math math);
int attention_backward_launch_cuda(cudaStream_t stream, const attention_backward_job *job, attention_math math);
int cross_attention_forward_launch_cuda(cudaStream_t stream, const cross_job *job);
int cross_attention_backward_launch_cuda(cudaStream_t stream, const cross_job *job);

#ifdef __cplusplus
}
#endif
#endif
