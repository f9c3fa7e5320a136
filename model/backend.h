/* The table of operations that the network is written on. model/cpu fills it for the CPU; a CUDA plug-in fills the same table.
 *
 * Every pointer to numbers that an operation takes is device memory from memory_create unless it is called host. Rows are described by
 * model_rows; shapes use the letters of model/shapes.h. "overwrites" and "adds" say what happens to the output. Outputs never alias
 * inputs unless the entry says so. All operations give the same bits for any number of threads, and for a slice alone or in a batch.
 * Operations may return before the work is done; download and sync wait. */
#ifndef MODEL_BACKEND_H
#define MODEL_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef enum model_type {
    MODEL_F32,
    MODEL_BF16,
    MODEL_TF32 /* only asked for when a device is opened: f32 everywhere, but products may round their inputs to 10 bits */
} model_type;

/* Rows of numbers: row m starts at data + m * stride elements of type. */
typedef struct model_rows {
    void *data;
    int64_t stride; /* elements */
    model_type type;
} model_rows;

/* What a product does with each value y = x.w + bias before it is stored. */
typedef enum model_epilogue {
    MODEL_STORE, /* out = y */
    MODEL_GELU,  /* out = y/2 (1 + erf(y / sqrt 2)), to f32 accuracy */
    MODEL_RELU,  /* out = max(y, 0) */
    MODEL_ADD    /* out += y; out is f32 */
} model_epilogue;

typedef struct model_backend model_backend; /* a device: its threads, streams, scratch and primitive caches */
typedef struct model_matrix model_matrix;   /* a constant weight [n_out, n_in], packed as the device likes it */
typedef struct model_relpos model_relpos;   /* the constants of one block's attention, packed likewise */

typedef struct model_slicer model_slicer; /* how raw slices of one volume become images, and labels go back to its grid */
typedef struct model_graph model_graph;   /* recorded operations */

/* Voxels as they are stored; wider types reach the device as f32. */
typedef enum model_voxel {
    MODEL_VOXEL_INT8,
    MODEL_VOXEL_UINT8,
    MODEL_VOXEL_INT16,
    MODEL_VOXEL_UINT16,
    MODEL_VOXEL_INT32,
    MODEL_VOXEL_UINT32,
    MODEL_VOXEL_F32
} model_voxel;

/* One axis of a zoom (spec 5.3), host arrays: which inputs each output takes, and how much of the prefiltered values. */
typedef struct model_zoom_axis {
    int n_in, n_out;
    const int32_t *index;   /* [n_out][4]; index[k][0] is -1 where the output is outside, which makes it 0 */
    const double *weight;   /* [n_out][4] */
    const int32_t *nearest; /* [n_out] for order 0; -1 outside */
} model_zoom_axis;

typedef struct model_zoom {
    model_zoom_axis rows, cols;
} model_zoom;

/* The way of one volume's slices [rows][cols] to images [S][S]: value = (float)(slope * voxel + inter), clipped to low .. high, less low,
 * by range, in f32 (spec 7); then first and second, cubic with prefilter in double and rounded to f32 after each (spec 5.3); NULL: left
 * out. Labels go back by back, order 0. Borrowed during the call. */
typedef struct model_slicing {
    int rows, cols, image_size;
    model_voxel voxel;
    double slope, inter;
    float low, high, range;
    const model_zoom *first, *second, *back;
} model_slicing;

/* What the largest of some slicings takes, of one slice. */
typedef struct model_slicing_room {
    size_t raw_bytes; /* [rows][cols] of the voxels */
    size_t n_pixels;  /* rows * cols */
    size_t n_strip;   /* numbers that a zoom reads, or that lie between its axes */
    size_t n_outputs; /* of all axes of the three zooms */
} model_slicing_room;

/* beta1, beta2, epsilon and the decoupled weight decay of AdamW. */
typedef struct model_adamw {
    float beta1, beta2, epsilon, decay;
} model_adamw;

enum { MODEL_LANES = 2 }; /* batches on a device at the same time: one is copied while the other is computed */

typedef struct model_ops {
    const char *name;    /* "cpu", "cuda" */
    int slices_per_pass; /* how many slices each pass has, always: 1 on the CPU, where batches gain nothing */
    int row_pad;         /* elements to add to a row's stride, so that long rows do not alias in the cache */

    /* ---- memory: 64-byte aligned, zeroed; sizes in bytes */
    io_status (*memory_create)(model_backend *backend, size_t n_bytes, void **out);
    void (*memory_free)(model_backend *backend, void **memory);
    io_status (*upload)(model_backend *backend, void *to, const void *host_from, size_t n_bytes);
    io_status (*download)(model_backend *backend, void *host_to, const void *from, size_t n_bytes);
    io_status (*memory_zero)(model_backend *backend, void *memory, size_t n_bytes);
    io_status (*sync)(model_backend *backend);
    /* Bytes that memory_create can still give; NULL where the system decides, as on the CPU. */
    io_status (*memory_left)(model_backend *backend, size_t *n_bytes);
    /* What the device chose for each kind of product so far, a line each; *out with io_free. NULL where nothing is chosen: on the CPU. */
    io_status (*choices)(model_backend *backend, char **out);
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
     * side == G: over the whole slice. qkv is of the type that the constants were made for, out of that or f32. Overwrites. log_sum [B*G*G,
     * H] f32, or NULL: log2 of each query's sum of exponentials, padding included, for the backward pass. */
    io_status (*attention_forward)(model_backend *backend, model_rows out, float *log_sum, model_rows qkv, const model_relpos *relpos,
                                   int B, int G);
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

    /* ---- raw slices in, labels out; all NULL on a device that leaves this to the host, as the CPU does */
    /* Tables and scratch for B slices at once of whatever slicing fits into the room; the memory is taken here, once. */
    io_status (*slicer_create)(model_backend *backend, const model_slicing_room *room, int B, model_slicer **out);
    /* What images_forward and labels_back, called after it, do. IO_ERR_MISMATCH: more than there is room for. */
    io_status (*slicer_set)(model_backend *backend, model_slicer *slicer, const model_slicing *slicing);
    void (*slicer_free)(model_backend *backend, model_slicer **slicer);
    /* images [B,S,S] f32 from raw [B,rows,cols] of the slicing's voxels: the bits that pipeline/slices.h makes. Overwrites. */
    io_status (*images_forward)(model_backend *backend, float *images, const void *raw, const model_slicer *slicer, int B);
    /* out [B,rows,cols] of label_bytes (1 or 2) from labels [B,S,S]. Overwrites. */
    io_status (*labels_back)(model_backend *backend, void *out, const uint16_t *labels, const model_slicer *slicer, int label_bytes, int B);
    /* Host memory that the device copies at full speed, while it computes. Any thread. */
    io_status (*host_create)(model_backend *backend, size_t n_bytes, void **out);
    void (*host_free)(model_backend *backend, void **memory);
    /* Copies while other lanes compute. Operations issued after it wait for the copy; it waits for the operations that were issued when the
     * lane's last upload was used up (its download_begin). host_from must stay until lane_finish. */
    io_status (*upload_begin)(model_backend *backend, int lane, void *to, const void *host_from, size_t n_bytes);
    /* Copies after the operations issued so far; the operations issued later do not wait for it. */
    io_status (*download_begin)(model_backend *backend, int lane, void *host_to, const void *from, size_t n_bytes);
    /* Waits until the lane's download has come. */
    io_status (*lane_finish)(model_backend *backend, int lane);

    /* ---- recording, NULL where it gains nothing. Between begin and end operations are recorded, not done; nothing may be uploaded,
     * downloaded, created or freed meanwhile. graph_launch does them, on the same memory. */
    io_status (*graph_begin)(model_backend *backend);
    io_status (*graph_end)(model_backend *backend, model_graph **out);
    io_status (*graph_launch)(model_backend *backend, const model_graph *graph);
    void (*graph_free)(model_backend *backend, model_graph **graph);

    /* ---- training, in f32 but for what enters the products of attention. The gradient of a product's input needs no operation of its own:
     * it is linear_forward (conv3x3_forward) with the transposed weight. Gradients of weights add to what is there, and a NULL one is of a
     * frozen weight and left out. */
    /* Packs weight [n_out,n_in] f32, in device memory, into a matrix made before; is_transposed: weight is [n_in,n_out]. */
    io_status (*matrix_update)(model_backend *backend, model_matrix *matrix, const float *weight, bool is_transposed);
    /* dweight [n_out,n_in] += dout [M,n_out]^T . in [M,n_in]; dbias [n_out] += dout's columns. in is not read where dweight is NULL. */
    io_status (*linear_backward)(model_backend *backend, float *dweight, float *dbias, model_rows dout, model_rows in, int M, int n_out,
                                 int n_in);
    /* out [M,C] = MODEL_GELU or MODEL_RELU of in, or in itself (MODEL_STORE), each f32 or bf16; out may be in when both are of one type.
     * Overwrites. */
    io_status (*activation_forward)(model_backend *backend, model_rows out, model_rows in, model_epilogue activation, int M, int C);
    /* din [M,C] = dout * the activation's slope at in, what it was applied to (for RELU its output serves as well); din may be dout.
     * Each is f32 or bf16. Overwrites. */
    io_status (*activation_backward)(model_backend *backend, model_rows din, model_rows dout, model_rows in, model_epilogue activation,
                                     int M, int C);
    /* The gradient of layernorm_forward without GELU; in is its input. Overwrites din (may be dout), or adds to it with MODEL_ADD.
     * dgamma, dbeta [C] add; both or none are NULL. */
    io_status (*layernorm_backward)(model_backend *backend, model_rows din, float *dgamma, float *dbeta, model_rows dout, model_rows in,
                                    const float *gamma, float eps, int M, int C, model_epilogue epilogue);
    /* dqkv [B*G*G, 3*H*D] from dout [B*G*G, H*D] and what attention_forward read and gave. The tables and the padded tokens' q, k and v
     * are frozen: their gradients are not computed. qkv is of the type that the constants were made for, all else f32; with bf16 what
     * enters the products is rounded. Overwrites. */
    io_status (*attention_backward)(model_backend *backend, model_rows dqkv, model_rows dout, model_rows qkv, model_rows out,
                                    const float *log_sum, const model_relpos *relpos, int B, int G);
    /* dq, dk, dv like q, k, v of cross_attention_forward, from dout [B*n_q, I]. Overwrites; none aliases an input. */
    io_status (*cross_attention_backward)(model_backend *backend, model_rows dq, model_rows dk, model_rows dv, model_rows dout,
                                          model_rows q, model_rows k, model_rows v, int B, int n_q, int n_k, int I, int heads);
    /* din [B*G*G, 4*C] from dout [B*2G*2G, C]: unfold_forward's rows put back. Overwrites. */
    io_status (*unfold_backward)(model_backend *backend, model_rows din, model_rows dout, int B, int G, int C);
    /* dhyper [B*K, C] and dfeatures [B*n, C] from dlogits [B,K,n]. Overwrites. */
    io_status (*masks_backward)(model_backend *backend, model_rows dhyper, model_rows dfeatures, const float *dlogits, model_rows hyper,
                                model_rows features, int B, int K, int n, int C);
    /* What the loss of spec 5.5 needs from one slice: logits [K,n], labels [n] below K; p their softmax over the channels.
     * sums [3*K+1] host: sum of p_c where the label is c, sum of p_c^2, number of labels c (K each), and the sum of -log p_label. */
    io_status (*loss_forward)(model_backend *backend, double *sums, const float *logits, const uint8_t *labels, int K, int n);
    /* dlogits [K,n] = a (p - [label = c]) + the softmax's Jacobian . (factors[c] [label = c] + factors[K+c] p_c); factors [2*K] host.
     * Overwrites. */
    io_status (*loss_backward)(model_backend *backend, float *dlogits, const float *logits, const uint8_t *labels, float a,
                               const float *factors, int K, int n);
    /* sums [n] += values [n] in fixed point, the bits of model_exact_add; IO_ERR_DIVERGED where a value does not fit, and sums are then
     * useless. NULL on a device whose memory the host can add in itself, as the CPU. */
    io_status (*exact_add)(model_backend *backend, int64_t *sums, const float *values, size_t n, int64_t n_terms);
    /* One step of torch.optim.AdamW (spec 5.7) on n weights; step counts from 1. m and v are the moments. */
    io_status (*adamw_update)(model_backend *backend, float *weight, float *m, float *v, const float *gradient, size_t n,
                              const model_adamw *settings, float rate, int64_t step);
    /* One step of torch.optim.SGD: g + decay * weight joins the momentum's buffer m, which starts at zero. */
    io_status (*sgd_update)(model_backend *backend, float *weight, float *m, const float *gradient, size_t n, float rate, float momentum,
                            float decay);
} model_ops;

#endif
