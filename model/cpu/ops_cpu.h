/* The operations of model/backend.h on the CPU, one file each; backend_cpu.c puts them into the table. Contracts: model/backend.h. */
#ifndef MODEL_CPU_OPS_CPU_H
#define MODEL_CPU_OPS_CPU_H

#include "model/backend.h"

io_status matrix_create_cpu(model_backend *backend, int n_out, int n_in, const float *weight, model_type type, model_matrix **out);
void matrix_free_cpu(model_backend *backend, model_matrix **matrix);
io_status relpos_create_cpu(model_backend *backend, int side, int head_size, int heads, const float *rel_h, const float *rel_w,
                            const float *bias, model_type type, model_relpos **out);
void relpos_free_cpu(model_backend *backend, model_relpos **relpos);

io_status patches_forward_cpu(model_backend *backend, model_rows out, const float *images, int B, int S, int P);
io_status linear_forward_cpu(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, const float *bias,
                             model_epilogue epilogue, int M);
io_status layernorm_forward_cpu(model_backend *backend, model_rows out, model_rows in, const float *gamma, const float *beta, float eps,
                                int M, int C, model_epilogue epilogue);
io_status attention_forward_cpu(model_backend *backend, model_rows out, float *log_sum, model_rows qkv, const model_relpos *relpos, int B,
                                int G);
io_status conv3x3_forward_cpu(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, int B, int G, int n_in);
io_status cross_attention_forward_cpu(model_backend *backend, model_rows out, model_rows q, model_rows k, model_rows v, int B, int n_q,
                                      int n_k, int I, int heads);
io_status add_forward_cpu(model_backend *backend, model_rows out, model_rows a, model_rows b, int M, int C, int period);
io_status unfold_forward_cpu(model_backend *backend, model_rows out, model_rows in, int B, int G, int C);
io_status masks_forward_cpu(model_backend *backend, float *logits, model_rows hyper, model_rows features, int B, int K, int n, int C);
io_status labels_forward_cpu(model_backend *backend, uint16_t *labels, const float *logits, int B, int K, int L, int S);

io_status matrix_update_cpu(model_backend *backend, model_matrix *matrix, const float *weight, bool is_transposed);
io_status linear_backward_cpu(model_backend *backend, float *dweight, float *dbias, model_rows dout, model_rows in, int M, int n_out,
                              int n_in);
io_status activation_forward_cpu(model_backend *backend, model_rows out, model_rows in, model_epilogue activation, int M, int C);
io_status activation_backward_cpu(model_backend *backend, model_rows din, model_rows dout, model_rows in, model_epilogue activation, int M,
                                  int C);
io_status layernorm_backward_cpu(model_backend *backend, model_rows din, float *dgamma, float *dbeta, model_rows dout, model_rows in,
                                 const float *gamma, float eps, int M, int C, model_epilogue epilogue);
io_status attention_backward_cpu(model_backend *backend, model_rows dqkv, model_rows dout, model_rows qkv, model_rows out,
                                 const float *log_sum, const model_relpos *relpos, int B, int G);
io_status cross_attention_backward_cpu(model_backend *backend, model_rows dq, model_rows dk, model_rows dv, model_rows dout, model_rows q,
                                       model_rows k, model_rows v, int B, int n_q, int n_k, int I, int heads);
io_status unfold_backward_cpu(model_backend *backend, model_rows din, model_rows dout, int B, int G, int C);
io_status masks_backward_cpu(model_backend *backend, model_rows dhyper, model_rows dfeatures, const float *dlogits, model_rows hyper,
                             model_rows features, int B, int K, int n, int C);
io_status loss_forward_cpu(model_backend *backend, double *sums, const float *logits, const uint8_t *labels, int K, int n);
io_status loss_backward_cpu(model_backend *backend, float *dlogits, const float *logits, const uint8_t *labels, float a,
                            const float *factors, int K, int n);
io_status adamw_update_cpu(model_backend *backend, float *weight, float *m, float *v, const float *gradient, size_t n,
                           const model_adamw *settings, float rate, int64_t step);
io_status sgd_update_cpu(model_backend *backend, float *weight, float *m, const float *gradient, size_t n, float rate, float momentum,
                         float decay);

#endif
