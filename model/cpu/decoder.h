/* What the decoder's kernels of each instruction set take. All rows are f32: the decoder is half a percent of the work. */
#ifndef MODEL_CPU_DECODER_H
#define MODEL_CPU_DECODER_H

#include "model/cpu/backend_cpu.h"

typedef struct add_job {
    model_rows out, a, b;
    int C, period;
} add_job;

typedef struct cross_job {
    model_rows out, q, k, v;
    int n_q, n_k, heads, head_size;
} cross_job;

typedef struct masks_job {
    float *logits;
    model_rows hyper, features;
    int K, n, C;
} masks_job;

typedef struct labels_job {
    uint16_t *labels;
    const float *logits;
    int K, L, S;
} labels_job;

enum { CROSS_QUERIES = 64 /* that share one packing of the keys */, MASK_PIXELS = 64 /* in one task */ };

typedef struct decoder_kernels {
    void (*add)(const add_job *job, int m);                                          /* row m */
    void (*cross)(const cross_job *job, int b, int head, int first, float *scratch); /* queries first ... first + CROSS_QUERIES - 1 */
    size_t (*cross_scratch)(const cross_job *job);                                   /* bytes */
    void (*masks)(const masks_job *job, int b, int first, float *scratch);           /* pixels first ... first + MASK_PIXELS - 1 */
    size_t (*masks_scratch)(const masks_job *job);                                   /* bytes */
    void (*labels)(const labels_job *job, int b, int y);                             /* output row y; S a multiple of L */
} decoder_kernels;

extern const decoder_kernels decoder_kernels_generic, decoder_kernels_avx2, decoder_kernels_avx512;

/* Those for this backend's instruction set. */
const decoder_kernels *decoder_kernels_choose_cpu(const model_backend *backend);

#endif
