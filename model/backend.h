/* The table of operations that the network is written on. model/cpu fills it for the CPU; a CUDA plug-in fills the same table.
 *
 * Every pointer to numbers that an operation takes is device memory from memory_create unless it is called host. Rows are described by
 * model_rows; shapes use the letters of model/shapes.h. "overwrites" and "adds" say what happens to the output. Outputs never alias
 * inputs unless the entry says so. All operations give the same bits for any number of threads, and for a slice alone or in a batch.
 * Operations may return before the work is done; download and sync wait. */
#ifndef MODEL_BACKEND_H
#define MODEL_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef enum model_type { MODEL_F32, MODEL_BF16 } model_type;

/* Rows of numbers: row m starts at data + m * stride elements of type. */
typedef struct model_rows {
    void *data;
    int64_t stride; /* elements */
    model_type type;
} model_rows;

/* What a product does with each value y = x.w + bias before it is stored. */
typedef enum model_epilogue {
    MODEL_STORE,  /* out = y */
    MODEL_GELU,   /* out = y/2 (1 + erf(y / sqrt 2)), to f32 accuracy */
    MODEL_RELU,   /* out = max(y, 0) */
    MODEL_ADD     /* out += y; out is f32 */
} model_epilogue;

typedef struct model_backend model_backend; /* a device: its threads, streams, scratch and primitive caches */
typedef struct model_matrix model_matrix;   /* a constant weight [n_out, n_in], packed as the device likes it */
typedef struct model_relpos model_relpos;   /* the constants of one block's attention, packed likewise */

typedef struct model_ops {
    const char *name;       /* "cpu", "cuda" */
    int slices_per_pass;    /* how many slices the encoder hands over at once: 1 on the CPU, where batches gain nothing */
    int row_pad;            /* elements to add to a row's stride, so that long rows do not alias in the cache */

    /* ---- memory: 64-byte aligned, zeroed; sizes in bytes */
    io_status (*memory_create)(model_backend *backend, size_t n_bytes, void **out);
    void (*memory_free)(model_backend *backend, void **memory);
    io_status (*upload)(model_backend *backend, void *to, const void *host_from, size_t n_bytes);
    io_status (*download)(model_backend *backend, void *host_to, const void *from, size_t n_bytes);
    io_status (*sync)(model_backend *backend);
    void (*backend_free)(model_backend **backend);

    /* ---- constants, made at load; host arrays, which are not needed afterwards */
    /* weight [n_out,n_in] host, f32. type is that of the inputs it will meet; in bf16 the weight is rounded to nearest even. */
    io_status (*matrix_create)(model_backend *backend, int n_out, int n_in, const float *weight, model_type type, model_matrix **out);
    void (*matrix_free)(model_backend *backend, model_matrix **matrix);
    /* rel_h, rel_w [2*side-1, D] host: the tables of spec 1.5 for a side x side window (side = W, or G in global blocks);
     * bias [3*H*D] host: the qkv bias, which is what padded tokens have as q, k and v (spec 1.4). */
    io_status (*relpos_create)(model_backend *backend, int side, int head_size, int heads, const float *rel_h, const float *rel_w,
                               const float *bias, model_type type, model_relpos **out);
    void (*relpos_free)(model_backend *backend, model_relpos **relpos);

    /* ---- forward */
    /* Cuts B grey images [B,S,S] f32 into rows: out [B*G*G, P*P] (row-major inside a patch). Overwrites. */
    io_status (*patches_forward)(model_backend *backend, model_rows out, const float *images, int B, int S, int P);
    /* out [M,n_out] = epilogue(in [M,n_in] . weight^T + bias); bias [n_out] f32 or NULL. */
    io_status (*linear_forward)(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, const float *bias,
                                model_epilogue epilogue, int M);
    /* out [M,C] = (in - mean) / sqrt(variance + eps) * gamma + beta over each row, biased variance; in is f32; then GELU if epilogue
     * says so (STORE or GELU). gamma, beta [C] f32. out may be in itself when both are f32. Overwrites. */
    io_status (*layernorm_forward)(model_backend *backend, model_rows out, model_rows in, const float *gamma, const float *beta, float eps,
                                   int M, int C, model_epilogue epilogue);
    /* Multi-head attention with decomposed relative position (spec 1.4, 1.5): qkv [B*G*G, 3*H*D] as q|k|v, head-major inside each;
     * out [B*G*G, H*D]. side != G: windows of side x side tokens with zero padding at the bottom and right, padded keys included exactly;
     * side == G: over the whole slice. Overwrites. */
    io_status (*attention_forward)(model_backend *backend, model_rows out, model_rows qkv, const model_relpos *relpos, int B, int G);
    /* 3x3 convolution, padding 1, no bias, channels last: in [B*G*G, n_in], weight packed from [n_out, 9*n_in] with the nine taps
     * (row-major) outside the channels; out [B*G*G, n_out] f32. Overwrites. */
    io_status (*conv3x3_forward)(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, int B, int G, int n_in);
    /* Plain multi-head attention: q [B*n_q, I], k and v [B*n_k, I], out [B*n_q, I]; logits are divided by sqrt(I / heads). Overwrites. */
    io_status (*cross_attention_forward)(model_backend *backend, model_rows out, model_rows q, model_rows k, model_rows v, int B, int n_q,
                                         int n_k, int I, int heads);
    /* out [M,C] = a [M,C] + b [period,C], b's row m % period; a and b f32, out f32 or bf16; out may be a. Overwrites. */
    io_status (*add_forward)(model_backend *backend, model_rows out, model_rows a, model_rows b, int M, int C, int period);
    /* The rows of a 2x2 stride-2 transposed convolution put in place: in [B*G*G, 4*C] with the four taps (row-major) outside the channels,
     * out [B*2G*2G, C]. Overwrites. */
    io_status (*unfold_forward)(model_backend *backend, model_rows out, model_rows in, int B, int G, int C);
    /* logits [B,K,n] = hyper [B*K, C] . features [B*n, C]^T; logits f32. Overwrites. */
    io_status (*masks_forward)(model_backend *backend, float *logits, model_rows hyper, model_rows features, int B, int K, int n, int C);
    /* Upsamples logits [B,K,L,L] to [B,S,S] bilinearly (align_corners false, spec 4.3) and writes the first largest channel. Overwrites. */
    io_status (*labels_forward)(model_backend *backend, uint16_t *labels, const float *logits, int B, int K, int L, int S);
} model_ops;

#endif
