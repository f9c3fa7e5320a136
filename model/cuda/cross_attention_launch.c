/* Cross attention for the table: what the rows must fulfil, and the kernels' view of a call. */
#include <math.h>

#include "io/memory.h"
#include "io/status.h"
#include "model/cuda/attention_job.h"
#include "model/cuda/status_cuda.h"

static bool is_aligned(model_rows rows)
{
    return (uintptr_t)rows.data % 16 == 0 && rows.stride % 4 == 0;
}

static cross_job describe_job(model_rows q, model_rows k, model_rows v, int B, int n_q, int n_k, int I, int heads)
{
    const int D = I / heads;

    return (cross_job){.q = q,
                       .k = k,
                       .v = v,
                       .B = B,
                       .n_q = n_q,
                       .n_k = n_k,
                       .heads = heads,
                       .head_size = D,
                       .is_aligned = D % 4 == 0 && is_aligned(q) && is_aligned(k) && is_aligned(v),
                       .scale = 1.0f / sqrtf((float)D)};
}

static io_status check_job(const cross_job *job)
{
    if (job->q.type != MODEL_F32 || job->k.type != MODEL_F32 || job->v.type != MODEL_F32)
        return IO_FAIL(IO_ERR_MISMATCH, "cross attention: q, k and v must be f32");
    if (job->head_size > CROSS_LARGEST_HEAD)
        return IO_FAIL(IO_ERR_UNSUPPORTED,
                       "cross attention: heads of %d numbers; on CUDA devices at most %d are supported, use --device cpu", job->head_size,
                       CROSS_LARGEST_HEAD);
    return IO_OK;
}

static io_status check_gradients(const cross_job *job)
{
    if (job->dout.type != MODEL_F32 || job->dq.type != MODEL_F32 || job->dk.type != MODEL_F32 || job->dv.type != MODEL_F32)
        return IO_FAIL(IO_ERR_MISMATCH, "the gradient of cross attention: dout, dq, dk and dv must be f32");
    return IO_OK;
}

io_status cross_attention_forward_cuda(cudaStream_t stream, model_rows out, model_rows q, model_rows k, model_rows v, int B, int n_q,
                                       int n_k, int I, int heads)
{
    cross_job job = describe_job(q, k, v, B, n_q, n_k, I, heads);

    job.out = out;
    IO_TRY(check_job(&job));
    if (out.type != MODEL_F32) return IO_FAIL(IO_ERR_MISMATCH, "cross attention: out must be f32");
    return CUDA_CHECK((cudaError_t)cross_attention_forward_launch_cuda(stream, &job));
}

io_status cross_attention_backward_size_cuda(int B, int n_q, int heads, size_t *n_bytes)
{
    IO_TRY(io_size_mul((size_t)B * (size_t)heads, (size_t)n_q, n_bytes));
    return io_size_mul(*n_bytes, 2 * sizeof(float), n_bytes);
}

io_status cross_attention_backward_cuda(cudaStream_t stream, void *scratch, model_rows dq, model_rows dk, model_rows dv, model_rows dout,
                                        model_rows q, model_rows k, model_rows v, int B, int n_q, int n_k, int I, int heads)
{
    cross_job job = describe_job(q, k, v, B, n_q, n_k, I, heads);

    job.stats = scratch;
    job.dq = dq;
    job.dk = dk;
    job.dv = dv;
    job.dout = dout;
    job.is_aligned = job.is_aligned && is_aligned(dout);
    IO_TRY(check_job(&job));
    IO_TRY(check_gradients(&job));
    return CUDA_CHECK((cudaError_t)cross_attention_backward_launch_cuda(stream, &job));
}
