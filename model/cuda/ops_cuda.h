/* The operations of model/backend.h on a CUDA device but attention (attention_cuda.h), one file each; backend_cuda.c puts them into the
 * table. Contracts: model/backend.h. All enqueue their work on the backend's stream. */
#ifndef MODEL_CUDA_OPS_CUDA_H
#define MODEL_CUDA_OPS_CUDA_H

#include "model/cuda/state_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

io_status matrix_create_cuda(model_backend *backend, int n_out, int n_in, const float *weight, model_type type, model_matrix **out);
void matrix_free_cuda(model_backend *backend, model_matrix **matrix);
io_status matrix_update_cuda(model_backend *backend, model_matrix *matrix, const float *weight, bool is_transposed);

io_status patches_forward_cuda(model_backend *backend, model_rows out, const float *images, int B, int S, int P);
io_status linear_forward_cuda(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, const float *bias,
                              model_epilogue epilogue, int M);
io_status layernorm_forward_cuda(model_backend *backend, model_rows out, model_rows in, const float *gamma, const float *beta, float eps,
                                 int M, int C, model_epilogue epilogue);
io_status conv3x3_forward_cuda(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, int B, int G, int n_in);
io_status add_forward_cuda(model_backend *backend, model_rows out, model_rows a, model_rows b, int M, int C, int period);
io_status unfold_forward_cuda(model_backend *backend, model_rows out, model_rows in, int B, int G, int C);
io_status masks_forward_cuda(model_backend *backend, float *logits, model_rows hyper, model_rows features, int B, int K, int n, int C);
io_status labels_forward_cuda(model_backend *backend, uint16_t *labels, const float *logits, int B, int K, int L, int S);

io_status linear_backward_cuda(model_backend *backend, float *dweight, float *dbias, model_rows dout, model_rows in, int M, int n_out,
                               int n_in);
io_status activation_forward_cuda(model_backend *backend, model_rows out, model_rows in, model_epilogue activation, int M, int C);
io_status activation_backward_cuda(model_backend *backend, model_rows din, model_rows dout, model_rows in, model_epilogue activation, int M,
                                   int C);
io_status layernorm_backward_cuda(model_backend *backend, model_rows din, float *dgamma, float *dbeta, model_rows dout, model_rows in,
                                  const float *gamma, float eps, int M, int C, model_epilogue epilogue);
io_status unfold_backward_cuda(model_backend *backend, model_rows din, model_rows dout, int B, int G, int C);
io_status masks_backward_cuda(model_backend *backend, model_rows dhyper, model_rows dfeatures, const float *dlogits, model_rows hyper,
                              model_rows features, int B, int K, int n, int C);
io_status loss_forward_cuda(model_backend *backend, double *sums, const float *logits, const uint8_t *labels, int K, int n);
io_status loss_backward_cuda(model_backend *backend, float *dlogits, const float *logits, const uint8_t *labels, float a,
                             const float *factors, int K, int n);
io_status exact_add_cuda(model_backend *backend, int64_t *sums, const float *values, size_t n, int64_t n_terms);
io_status adamw_update_cuda(model_backend *backend, float *weight, float *m, float *v, const float *gradient, size_t n,
                            const model_adamw *settings, float rate, int64_t step);
io_status sgd_update_cuda(model_backend *backend, float *weight, float *m, const float *gradient, size_t n, float rate, float momentum,
                          float decay);

/* ---- steps of the above that lie between files */
/* to [n_out, n_in] (rows of stride) of type = weight [n_out,n_in] f32, or its transpose where weight is [n_in,n_out]. */
io_status matrix_pack_cuda(model_backend *backend, model_rows to, const float *weight, int n_out, int n_in, bool is_transposed);
/* out [n] bf16 = bias [n]. */
io_status bias_round_cuda(model_backend *backend, void *out, const float *bias, int n);
/* rows [M,C] = GELU(rows + bias); bias [C] f32 or NULL. In place. */
io_status bias_gelu_cuda(model_backend *backend, model_rows rows, const float *bias, int M, int C);
/* sums [C] += the columns of rows [M,C] f32, in an order that depends on M alone. */
io_status column_sums_cuda(model_backend *backend, float *sums, model_rows rows, int M, int C);
/* out [B*G*G, 9*n_in] without gaps = the nine neighbours of each row, zeros outside the slice. */
io_status neighbours_gather_cuda(model_backend *backend, void *out, model_rows in, int B, int G, int n_in);

#ifdef __cplusplus
}
#endif
#endif
