/* The CUDA plug-in, opened only when a CUDA device is asked for: its libraries take half a second to load and are not everywhere. */
#ifndef MODEL_DEVICE_CUDA_H
#define MODEL_DEVICE_CUDA_H

#include "model/device.h"

/* Opens device index as *device: its table, backend, description and identity. The plug-in is the first of: what SAMED_CUDA_PLUGIN names;
 * libsamed_cuda.so beside the program; the same in ../lib/samed from there. IO_ERR_NOT_FOUND: no plug-in, no driver or no device; other
 * codes as in model/cuda/backend_cuda.h. The plug-in stays loaded until the process ends. */
io_status model_device_cuda_create(int index, model_type type, model_device *device);

#endif
