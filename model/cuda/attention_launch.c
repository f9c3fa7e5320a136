/* Attention for the table: what the rows and constants must fulfil, and the kernels' view of a call. */
#include <math.h>

#include "io/memory.h"
#include "io/status.h"
#include "model/cuda/attention_job.h"

/* Whether heads that start at multiples of head_size elements are whole 16-byte pieces. */
static bool are_heads_aligned(model_rows rows, int head_size)
{
    const int64_t element = rows.type == MODEL_BF16 ? 2 : 4;

    return (uintptr_t)rows.data % 16 == 0 && rows.stride * element % 16 == 0 && head_size * element % 16 == 0;
}

static attention_job describe_job(model_rows out, float *log_sum, model_rows qkv, const model_relpos *relpos, int B, int G)
{
    return (attention_job){.qkv = qkv,
                           .out = out,
                           .log_sum = log_sum,
                           .constants = relpos->rows,
                           .B = B,
                           .G = G,
                           .side = relpos->side,
                           .heads = relpos->heads,
                           .head_size = relpos->head_size,
                           .is_qkv_aligned = are_heads_aligned(qkv, relpos->head_size),
                           .is_out_aligned = are_heads_aligned(out, relpos->head_size),
                           .scale = 1.0f / sqrtf((float)relpos->head_size),
                           .unscale = sqrtf((float)relpos->head_size)};
}

static io_status judge(int error, const char *what)
{
    if (error == cudaSuccess) return IO_OK;
    return IO_FAIL(IO_ERR_DEVICE, "%s: %s", what, cudaGetErrorString((cudaError_t)error));
}

static attention_math choose_math(model_type type, bool is_tf32)
{
    return type == MODEL_BF16 ? ATTENTION_BF16 : is_tf32 ? ATTENTION_TF32 : ATTENTION_F32;
}

io_status attention_forward_cuda(cudaStream_t stream, bool is_tf32, model_rows out, float *log_sum, model_rows qkv,
                                 const model_relpos *relpos, int B, int G)
{
    const attention_job job = describe_job(out, log_sum, qkv, relpos, B, G);

    if (qkv.type != relpos->type || (out.type != relpos->type && out.type != MODEL_F32))
        return IO_FAIL(IO_ERR_MISMATCH, "attention: the rows are not of the type that the constants were packed for");
    return judge(attention_forward_launch(stream, &job, choose_math(relpos->type, is_tf32)), "attention");
}

/* Floats of scratch for each query and head: its terms, and dout . out. */
static size_t count_saved(const model_relpos *relpos)
{
    return 2 * (size_t)relpos->side + 1;
}

io_status attention_backward_size_cuda(const model_relpos *relpos, int B, int G, size_t *n_bytes)
{
    IO_TRY(io_size_mul((size_t)B * (size_t)G, (size_t)G * (size_t)relpos->heads, n_bytes));
    return io_size_mul(*n_bytes, count_saved(relpos) * sizeof(float), n_bytes);
}

io_status attention_backward_cuda(cudaStream_t stream, bool is_tf32, void *scratch, model_rows dqkv, model_rows dout, model_rows qkv,
                                  model_rows out, const float *log_sum, const model_relpos *relpos, int B, int G)
{
    const int D = relpos->head_size;
    const bool is_bf16 = relpos->type == MODEL_BF16; /* whose tiles take eight numbers at once */
    const attention_backward_job job = {.forward = describe_job(out, (float *)log_sum, qkv, relpos, B, G),
                                        .dout = dout,
                                        .dqkv = dqkv,
                                        .is_dout_aligned = are_heads_aligned(dout, D) && (!is_bf16 || D % 8 == 0),
                                        .is_dqkv_aligned = are_heads_aligned(dqkv, D),
                                        .inner = scratch,
                                        .terms = (float *)scratch + (size_t)B * (size_t)G * (size_t)G * (size_t)relpos->heads};

    if (qkv.type != relpos->type || out.type != MODEL_F32 || dout.type != MODEL_F32 || dqkv.type != MODEL_F32)
        return IO_FAIL(IO_ERR_MISMATCH, "attention_backward: qkv must be of the type that the constants were packed for, all else f32");
    return judge(attention_backward_launch(stream, &job, choose_math(relpos->type, is_tf32)), "the gradient of attention");
}
