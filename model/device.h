/* Opening a compute device. A device is used from one thread at a time. */
#ifndef MODEL_DEVICE_H
#define MODEL_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "io/status.h"
#include "model/backend.h"

typedef enum model_device_kind { MODEL_DEVICE_AUTO, MODEL_DEVICE_CPU, MODEL_DEVICE_CUDA } model_device_kind;

typedef struct model_device {
    const model_ops *ops;
    model_backend *backend;
    model_device_kind kind; /* what was opened: CPU or CUDA */
    model_type type;        /* of the activations that feed products */
    int n_threads;          /* CPU only */
    char description[160];  /* "CPU AVX-512 bf16, 2 threads, oneDNN 2.6.3" */
    char identity[40];      /* of the physical device, "" for the CPU: ranks that find the same one share it */
} model_device;

/* n_threads >= 1; index is the CUDA device of this rank. AUTO falls back to the CPU when CUDA is not there and logs it; CUDA does not.
 * bf16 on a CPU without bf16 products is refused (IO_ERR_UNSUPPORTED), saying what the CPU has; tf32 is of CUDA devices only. */
io_status model_device_open(model_device_kind kind, int index, model_type type, int n_threads, model_device **out);
void model_device_free(model_device **device);

/* For plans before a device is there: slices of each pass, and bytes that the device takes for itself when it is opened. */
int model_device_pass_slices(model_device_kind kind);
size_t model_device_own_bytes(model_device_kind kind);

/* The best arithmetic rate this CPU reaches from registers alone on n_threads, in GFLOP/s, measured in about 0.2 s; for reports. */
double model_device_peak_gflops(const model_device *device);

/* The CPU backend's table and state; ops->backend_free frees the state. description has at least 160 bytes. */
io_status model_backend_cpu_create(model_type type, int n_threads, const model_ops **ops, model_backend **backend, char *description);

#endif
