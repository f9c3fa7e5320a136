/* What the gradient kernels of each instruction set take. All rows are f32. The gradients of attention: attention_backward_body.h. */
#ifndef MODEL_CPU_BACKWARD_H
#define MODEL_CPU_BACKWARD_H

#include "model/cpu/backend_cpu.h"

/* dweight [n_out,n_in] += dout [M,n_out]^T . in [M,n_in], and dbias [n_out]. */
typedef struct weights_job {
    float *dweight, *dbias;
    model_rows dout, in;
    int M, n_out, n_in;
} weights_job;

typedef struct activation_job {
    model_rows din, dout, in; /* forward: din is the output, dout is not used */
    model_epilogue activation;
    int C;
} activation_job;

typedef struct norm_job {
    model_rows din, dout, in;
    const float *gamma;
    float *dgamma, *dbeta;
    float *stats; /* [M,2]: mean and 1 / deviation of each row */
    float eps;
    int M, C;
    model_epilogue epilogue; /* of din: STORE or ADD */
} norm_job;

typedef struct cross_gradient_job {
    model_rows dq, dk, dv, dout, q, k, v;
    int n_q, n_k, heads, head_size;
} cross_gradient_job;

typedef struct masks_gradient_job {
    model_rows dhyper, dfeatures, hyper, features;
    const float *dlogits;
    int K, n, C;
} masks_gradient_job;

typedef struct update_job {
    float *weight, *m, *v;
    const float *gradient;
    size_t n;
    model_adamw settings;
    float rate, m_scale, v_scale; /* 1 / (1 - beta1^step), 1 / sqrt(1 - beta2^step) */
} update_job;

enum { UPDATE_BLOCK = 4096 /* weights in one task */ };

typedef struct backward_kernels {
    int rows, columns;                                                                        /* of one task of the next */
    void (*weights)(const weights_job *job, int first_row, int first_column, float *scratch); /* of dweight */
    size_t (*weights_scratch)(const weights_job *job);                                        /* bytes */
    void (*columns_sum)(const weights_job *job, int first_column);                            /* of dbias: one vector */
    int lanes;                                                                                /* columns in one vector */
    void (*activate)(const activation_job *job, int m);
    void (*activate_back)(const activation_job *job, int m);
    void (*norm_stats)(const norm_job *job, int m);
    void (*norm_weights)(const norm_job *job, int first_column); /* dgamma and dbeta: one vector */
    void (*norm)(const norm_job *job, int m);
    void (*cross)(const cross_gradient_job *job, int b, int head, float *scratch);
    size_t (*cross_scratch)(const cross_gradient_job *job);            /* bytes */
    void (*features)(const masks_gradient_job *job, int b, int first); /* MASK_PIXELS rows of dfeatures */
    void (*hyper)(const masks_gradient_job *job, int b, int k);        /* one row of dhyper */
    void (*adamw)(const update_job *job, size_t first);                /* UPDATE_BLOCK weights */
} backward_kernels;

extern const backward_kernels backward_kernels_generic, backward_kernels_avx2, backward_kernels_avx512, backward_kernels_avx512bf16;

/* Those for this backend's instruction set. */
const backward_kernels *backward_kernels_choose_cpu(const model_backend *backend);

#endif
