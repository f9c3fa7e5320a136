/* Attention on a CUDA device, for the table in backend_cuda.c: the operations of model/backend.h of the same names, on a stream.
 * Functions return when the work is enqueued. Scratch is device memory aligned to 256 bytes; its content is of no interest between
 * calls, and two calls may share it on one stream. */
#ifndef MODEL_CUDA_ATTENTION_CUDA_H
#define MODEL_CUDA_ATTENTION_CUDA_H

#include <cuda_runtime_api.h>

#include "model/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One block's constants, in device memory of their own. */
struct model_relpos {
    int side, head_size, heads;
    model_type type;
    int head_pad; /* columns of rows: head_size rounded up as the kernels' tiles are, filled with zeros */
    void *rows;   /* [2 * (2 * side - 1) + 3 * heads, head_pad] of type: rel_h, rel_w, then q, k and v of a padded token, head by head */
};

/* Waits until the constants are on the device. Refuses windows whose attention needs more shared memory than the device has. is_tf32: f32
 * products may round their inputs to tf32. */
io_status relpos_create_cuda(cudaStream_t stream, bool is_tf32, int side, int head_size, int heads, const float *rel_h, const float *rel_w,
                             const float *bias, model_type type, model_relpos **out);
void relpos_free_cuda(model_relpos **relpos);

io_status attention_forward_cuda(cudaStream_t stream, bool is_tf32, model_rows out, float *log_sum, model_rows qkv,
                                 const model_relpos *relpos, int B, int G);

/* Bytes of scratch for attention_backward_cuda. Refuses what needs more shared memory than the device has. */
io_status attention_backward_size_cuda(bool is_tf32, const model_relpos *relpos, int B, int G, size_t *n_bytes);
io_status attention_backward_cuda(cudaStream_t stream, bool is_tf32, void *scratch, model_rows dqkv, model_rows dout, model_rows qkv,
                                  model_rows out, const float *log_sum, const model_relpos *relpos, int B, int G);

io_status cross_attention_forward_cuda(cudaStream_t stream, model_rows out, model_rows q, model_rows k, model_rows v, int B, int n_q,
                                       int n_k, int I, int heads);

/* Bytes of scratch for cross_attention_backward_cuda. */
io_status cross_attention_backward_size_cuda(int B, int n_q, int heads, size_t *n_bytes);
io_status cross_attention_backward_cuda(cudaStream_t stream, void *scratch, model_rows dq, model_rows dk, model_rows dv, model_rows dout,
                                        model_rows q, model_rows k, model_rows v, int B, int n_q, int n_k, int I, int heads);

#ifdef __cplusplus
}
#endif
#endif
