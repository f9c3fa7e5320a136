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
io_status attention_forward_cpu(model_backend *backend, model_rows out, model_rows qkv, const model_relpos *relpos, int B, int G);
io_status conv3x3_forward_cpu(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, int B, int G, int n_in);
io_status cross_attention_forward_cpu(model_backend *backend, model_rows out, model_rows q, model_rows k, model_rows v, int B, int n_q,
                                      int n_k, int I, int heads);
io_status add_forward_cpu(model_backend *backend, model_rows out, model_rows a, model_rows b, int M, int C, int period);
io_status unfold_forward_cpu(model_backend *backend, model_rows out, model_rows in, int B, int G, int C);
io_status masks_forward_cpu(model_backend *backend, float *logits, model_rows hyper, model_rows features, int B, int K, int n, int C);
io_status labels_forward_cpu(model_backend *backend, uint16_t *labels, const float *logits, int B, int K, int L, int S);

#endif
