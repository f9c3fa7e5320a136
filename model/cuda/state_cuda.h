/* The CUDA backend's state, shared by the files of this folder and by nobody else. For C and for kernels. */
#ifndef MODEL_CUDA_STATE_CUDA_H
#define MODEL_CUDA_STATE_CUDA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/backend.h"
#include "model/cuda/status_cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { STAGE_PARTS = 2 };

/* Pinned memory that uploads and downloads pass through: the copy engine reads one part while the caller's numbers go into the other. */
typedef struct cuda_stage {
    char *parts[STAGE_PARTS];         /* pinned, STAGE_BYTES each */
    cudaEvent_t is_free[STAGE_PARTS]; /* recorded behind the last copy out of the part */
    int part;                         /* the one that is being filled */
    size_t used;                      /* bytes of it */
} cuda_stage;

/* Streams and events of copies that go on beside computing: see lanes.c. */
typedef struct cuda_lanes {
    cudaStream_t up, down;
    cudaEvent_t uploaded[MODEL_LANES], computed[MODEL_LANES], downloaded[MODEL_LANES];
} cuda_lanes;

typedef struct cuda_product_plan cuda_product_plan; /* linear.c */

struct model_backend {
    model_ops ops; /* the table that this backend hands out */
    int index;     /* device */
    model_type type;
    bool is_tf32;
    bool is_checked; /* SAMED_CUDA_SYNC: wait after each launch, so that an error names its operation */
    cudaStream_t stream;
    cublasLtHandle_t products;
    void *workspace; /* of cuBLASLt, MODEL_CUDA_WORKSPACE_BYTES */
    cuda_product_plan *plans;
    int n_plans, n_plans_room;
    void *half_bias; /* [n_half_bias] bf16: the bias of the product under way, rounded */
    size_t n_half_bias;
    void *scratch; /* device; of the operation under way */
    size_t scratch_bytes;
    int n_graphs; /* recorded passes, which hold the scratch's address */
    cuda_stage stage;
    cuda_lanes lanes;
};

/* *out: at least n_bytes of device memory for the operation under way, aligned to 256 bytes; its contents are lost at the next call. It
 * grows, which waits for the device, and is kept: the first pass of a shape grows it, later ones find it there. */
io_status cuda_scratch_reserve(model_backend *backend, size_t n_bytes, void **out);

/* After each launch: IO_OK, or what went wrong with it (with SAMED_CUDA_SYNC also while it ran). */
io_status cuda_launch_check(const model_backend *backend, const char *operation);

/* memory_create, memory_free and upload of the table. */
io_status cuda_memory_create(model_backend *backend, size_t n_bytes, void **out);
void cuda_memory_free(model_backend *backend, void **memory);
io_status cuda_memory_upload(model_backend *backend, void *to, const void *host_from, size_t n_bytes);

/* choices of the table. */
io_status cuda_products_list(model_backend *backend, char **out);
/* Forgets the plans of products. */
void cuda_products_free(model_backend *backend);

static inline size_t cuda_element_bytes(model_type type)
{
    return type == MODEL_BF16 ? 2 : 4;
}

/* True where every row of C elements can be read and written n elements at a time. */
static inline bool cuda_rows_fit(model_rows rows, int C, int n)
{
    return C % n == 0 && rows.stride % n == 0 && (uintptr_t)rows.data % ((size_t)n * cuda_element_bytes(rows.type)) == 0;
}

#ifdef __cplusplus
}
#endif
#endif
