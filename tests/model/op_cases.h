/* The list of operator cases that every backend must pass, and what its cases are made of.
 *
 * Each case runs one operation on random numbers at awkward sizes and compares it with a plain double-precision computation of the same
 * thing (op_reference.c) on the inputs as the operation saw them, that is after rounding to bf16 where they are bf16. */
#ifndef TESTS_MODEL_OP_CASES_H
#define TESTS_MODEL_OP_CASES_H

#include <stdbool.h>

#include "model/device.h"
#include "tests/check.h"

typedef struct op_case {
    const char *name;
    void (*run)(const model_device *device, const struct op_case *self);
    int sizes[8];
    model_epilogue epilogue;
} op_case;

extern const op_case op_cases[];
extern const int n_op_cases;

/* Cases of the decoder's operations, in op_decoder.c. */
void run_cross_attention(const model_device *device, const op_case *self);
void run_add(const model_device *device, const op_case *self);
void run_unfold(const model_device *device, const op_case *self);
void run_masks(const model_device *device, const op_case *self);
void run_labels(const model_device *device, const op_case *self);

/* Cases at the edges of a backend, in op_limits.c. */
void run_attention_nan(const model_device *device, const op_case *self);
void run_attention_refused(const model_device *device, const op_case *self);
void run_recorded(const model_device *device, const op_case *self);

/* Cases of memory, recorded operations, exact sums and lanes, in op_memory.c. */
void run_memory(const model_device *device, const op_case *self);
void run_replayed(const model_device *device, const op_case *self);
void run_exact(const model_device *device, const op_case *self);
void run_lanes(const model_device *device, const op_case *self);

/* Cases of the gradients, in op_backward.c. */
void run_linear_backward(const model_device *device, const op_case *self);
void run_matrix_update(const model_device *device, const op_case *self);
void run_activation(const model_device *device, const op_case *self);
void run_layernorm_backward(const model_device *device, const op_case *self);
void run_attention_backward(const model_device *device, const op_case *self);
void run_cross_attention_backward(const model_device *device, const op_case *self);
void run_unfold_backward(const model_device *device, const op_case *self);
void run_masks_backward(const model_device *device, const op_case *self);
void run_loss(const model_device *device, const op_case *self);
void run_update(const model_device *device, const op_case *self);

/* Rows on a device with their values on the host. What lies between and around the rows is NaN, so that reading it shows in the
 * output, and must still be there afterwards, so that writing it shows as well. */
typedef struct op_rows {
    model_rows rows;
    int M, C;
    double *values;      /* [M,C], as the device has them */
    void *memory;        /* the device's block, guards included */
    unsigned char *host; /* a host copy of the block */
    size_t n_bytes;
} op_rows;

/* Whether the rows of later calls begin at multiples of 16 bytes; they do not unless told. */
void op_rows_align(bool is_aligned);
/* A hash of all results that were compared so far: the same bits give the same one. */
uint64_t op_fingerprint(void);

/* Random values in [-scale/2, scale/2), from the one seeded stream of the test. */
op_rows op_rows_random(const model_device *device, int M, int C, model_type type, double scale);
/* Reads the rows back into values; fails the test if a guard changed. */
void op_rows_fetch(const model_device *device, op_rows *rows);
void op_rows_free(const model_device *device, op_rows *rows);

/* The next random number in [-1/2, 1/2); op_random_reset starts the stream again. */
double op_random(void);
void op_random_reset(void);
/* n random floats on the host (free) and, when on_device is not NULL, the same on the device (memory_free). */
float *op_floats_random(const model_device *device, size_t n, double scale, float **on_device);
/* Rounds to what the type holds. */
double op_round(double value, model_type type);

/* Fails unless sum (found - expected)^2 / sum expected^2 is at most the bound; NaN fails. */
void op_check_nmse(const char *what, const double *found, const double *expected, size_t n, double bound);

/* What to allow of a result whose products were of rows of this type: `bound`, or more where the device multiplies f32 rows in tf32. Its
 * operands keep 11 bits: 2^-11 each when rounded, 2^-10 when cut off as tensor cores may, mean square up to 4e-7 of a product of two. */
double op_product_bound(const model_device *device, model_type type, double bound);

/* The references, all in double; arrays as in model/backend.h without strides. */
void reference_linear(double *out, const double *in, const double *weight, const float *bias, model_epilogue epilogue, int M, int n_out,
                      int n_in);
void reference_layernorm(double *out, const double *in, const float *gamma, const float *beta, double eps, int M, int C,
                         model_epilogue epilogue);
void reference_conv3x3(double *out, const double *in, const double *weight, int B, int G, int n_in, int n_out);
/* Window by window with the padding written out, as segment-anything does it (window_partition, add_decomposed_rel_pos). */
void reference_attention(double *out, const double *qkv, const double *rel_h, const double *rel_w, const double *bias, int B, int G,
                         int side, int heads, int D);
/* Its gradient, written out in double: dqkv is overwritten. Checked itself against differences of reference_attention. */
void reference_attention_backward(double *dqkv, const double *dout, const double *qkv, const double *rel_h, const double *rel_w,
                                  const double *bias, int B, int G, int side, int heads, int D);
void reference_cross_attention(double *out, const double *q, const double *k, const double *v, int B, int n_q, int n_k, int heads, int D);

#endif
