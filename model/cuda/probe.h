/* The devices of this machine, seen before anything is done with them. */
#ifndef MODEL_CUDA_PROBE_H
#define MODEL_CUDA_PROBE_H

#include <cuda_runtime_api.h>

#include "io/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes device index (modulo the number of devices) the calling thread's and describes it. IO_ERR_NOT_FOUND: no driver or no device;
 * IO_ERR_UNSUPPORTED: a driver too old, or an architecture that this plug-in was not built for; IO_ERR_DEVICE: it does not work. */
io_status probe_cuda(int index, int *device, struct cudaDeviceProp *properties);

#ifdef __cplusplus
}
#endif
#endif
