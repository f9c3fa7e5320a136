/* A constant weight packed for the CPU's products, and what the kernels of each instruction set take. */
#ifndef MODEL_CPU_LINEAR_H
#define MODEL_CPU_LINEAR_H

#include "model/backend.h"
#include "model/cpu/backend_cpu.h"

/* Columns (outputs) lie in panels of `panel` = vectors x lanes, as [panels][k][panel] dwords: f32, or in bf16 the pair (2k, 2k+1).
 * The last panel is filled up with zero columns, an odd last k with a zero partner. */
struct model_matrix {
    int n_out, n_in;
    model_type type;
    int vectors; /* of one panel: 1, 2 or 3 */
    int panel;   /* columns of one panel */
    int n_panels;
    int64_t n_dwords; /* of one column */
    float *packed;
    onednn_weight *library; /* the weight, where oneDNN computes the products; then nothing is packed here */
};

/* A product or a convolution, ready for a kernel. */
typedef struct linear_job {
    const model_matrix *weight;
    model_rows out, in;
    const float *bias; /* [n_out] or NULL */
    model_epilogue epilogue;
    int M;
    int G;             /* 0: a product; else a 3x3 convolution over slices of G x G rows */
    const void *zeros; /* a row of zeros, for the convolution's border */
} linear_job;

/* Computes rows [first_row, last_row) of panels [first_panel, last_panel). */
typedef void linear_kernel(const linear_job *job, int first_row, int last_row, int first_panel, int last_panel);

linear_kernel linear_kernel_generic, linear_kernel_avx2, linear_kernel_avx512, linear_kernel_avx512bf16;

#endif
