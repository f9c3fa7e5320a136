/* Attention for the table: what the rows and constants must fulfil, and the kernels' view of a call. */
#include <math.h>

#include "io/memory.h"
#include "io/status.h"
#include "model/cuda/attention_job.h"
#include "model/cuda/status_cuda.h"

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

/* A block has 128 bytes besides for its window's place. */
size_t attention_shared_limit_cuda(void)
{
    const int fixed_bytes = 128;
    int index = 0, n_bytes = 0;

    if (cudaGetDevice(&index) != cudaSuccess) return 0;
    if (cudaDeviceGetAttribute(&n_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, index) != cudaSuccess) return 0;
    return n_bytes > fixed_bytes ? (size_t)(n_bytes - fixed_bytes) : 0;
}

io_status attention_shared_check_cuda(const char *operation, int side, size_t needed)
{
    const size_t limit = attention_shared_limit_cuda();

    if (needed <= limit) return IO_OK;
    return IO_FAIL(
        IO_ERR_UNSUPPORTED,
        "%s over %d x %d tokens needs %zu bytes of shared memory, this GPU has %zu for a block; use a smaller --image-size, another "
        "GPU or --device cpu",
        operation, side, side, needed, limit);
}

io_status attention_forward_cuda(cudaStream_t stream, bool is_tf32, model_rows out, float *log_sum, model_rows qkv,
                                 const model_relpos *relpos, int B, int G)
{
    const attention_job job = describe_job(out, log_sum, qkv, relpos, B, G);

    if (qkv.type != relpos->type || (out.type != relpos->type && out.type != MODEL_F32))
        return IO_FAIL(IO_ERR_MISMATCH, "attention: the rows are not of the type that the constants were packed for");
    return CUDA_CHECK((cudaError_t)attention_forward_launch_cuda(stream, &job, attention_math_choose(relpos->type, is_tf32)));
}

/* Floats of scratch for each query and head: its terms, and dout . out. */
static size_t count_saved(const model_relpos *relpos)
{
    return 2 * (size_t)relpos->side + 1;
}

io_status attention_backward_size_cuda(bool is_tf32, const model_relpos *relpos, int B, int G, size_t *n_bytes)
{
    const attention_math math = attention_math_choose(relpos->type, is_tf32);

    IO_TRY(attention_shared_check_cuda("the gradient of attention", relpos->side,
                                       attention_backward_shared_cuda(relpos->side, relpos->head_size, math)));
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
    return CUDA_CHECK((cudaError_t)attention_backward_launch_cuda(stream, &job, attention_math_choose(relpos->type, is_tf32)));
}
