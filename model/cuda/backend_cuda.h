/* The one door of the CUDA plug-in: what model/device.c asks libsamed_cuda.so for. Included by both, and by C only. */
#ifndef MODEL_CUDA_BACKEND_CUDA_H
#define MODEL_CUDA_BACKEND_CUDA_H

#include <stdbool.h>

#include "io/status.h"
#include "model/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    MODEL_CUDA_PASS_SLICES = 16,           /* one fixed shape for every product: 16 slices of 1024 tokens fill the largest GPU */
    MODEL_CUDA_WORKSPACE_BYTES = 32 << 20, /* of cuBLASLt: what NVIDIA recommends for Hopper */
};

typedef struct model_cuda_options {
    int index;       /* device, as cudaSetDevice counts them, modulo the number of devices */
    model_type type; /* of the activations that feed products */
    bool is_tf32;    /* f32 products may round their inputs to tf32 */
} model_cuda_options;

/* Who the device is. */
typedef struct model_cuda_about {
    char description[160]; /* "NVIDIA H100 80GB HBM3, sm_90, CUDA 13.0" */
    char identity[40];     /* the same in every process that has the device (or the part of it) */
} model_cuda_about;

/* Opens the device: its table, its state (ops->backend_free frees it) and who it is. IO_ERR_NOT_FOUND: no driver or no device, so a caller
 * with another device may go on; IO_ERR_UNSUPPORTED: a device that this plug-in was not built for; IO_ERR_DEVICE: a device that does not
 * work. */
__attribute__((visibility("default"))) io_status model_backend_cuda_create(const model_cuda_options *options, const model_ops **ops,
                                                                           model_backend **backend, model_cuda_about *about);
typedef io_status (*model_backend_cuda_create_function)(const model_cuda_options *options, const model_ops **ops, model_backend **backend,
                                                        model_cuda_about *about);

#ifdef __cplusplus
}
#endif
#endif
