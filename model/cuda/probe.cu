/* Which device this rank computes on, and one clear line when there is none that can be used. */
#include "model/cuda/probe.h"

#include "model/cuda/cuk.h"

/* Does nothing; its presence in the plug-in tells whether the device's architecture was built for. */
static __global__ void probe_nothing()
{
}

io_status probe_cuda(int index, int *device, struct cudaDeviceProp *properties)
{
    int n_devices = 0, driver = 0; /* cudaGetDeviceCount leaves its argument alone when it fails */
    cudaError_t code = cudaGetDeviceCount(&n_devices);
    struct cudaFuncAttributes attributes;

    if (code == cudaErrorInsufficientDriver) {
        cudaDriverGetVersion(&driver);
        if (driver == 0) return IO_FAIL(IO_ERR_NOT_FOUND, "no NVIDIA driver on this machine; use --device cpu, or a node with a GPU");
        return IO_FAIL(IO_ERR_UNSUPPORTED, "the NVIDIA driver supports CUDA %d.%d, this build needs %d.%d or newer; update the driver",
                       driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
    }
    if (code == cudaErrorNoDevice || (code == cudaSuccess && n_devices == 0))
        return IO_FAIL(IO_ERR_NOT_FOUND, "no CUDA device is visible (CUDA_VISIBLE_DEVICES, the job's request for GPUs); use --device cpu");
    if (code != cudaSuccess) return IO_FAIL(IO_ERR_DEVICE, "the CUDA devices cannot be counted: %s", cudaGetErrorString(code));
    *device = index % n_devices;
    if ((code = cudaSetDevice(*device)) != cudaSuccess || (code = cudaGetDeviceProperties(properties, *device)) != cudaSuccess)
        return IO_FAIL(IO_ERR_DEVICE, "CUDA device %d of %d cannot be opened: %s", *device, n_devices, cudaGetErrorString(code));
    code = cudaFuncGetAttributes(&attributes, (const void *)probe_nothing);
    if (code == cudaErrorNoKernelImageForDevice || code == cudaErrorInvalidDeviceFunction)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "CUDA device %d is a %s (sm_%d%d), which this build has no kernels for; it needs sm_80 or newer",
                       *device, properties->name, properties->major, properties->minor);
    if (code != cudaSuccess)
        return IO_FAIL(IO_ERR_DEVICE, "CUDA device %d (%s) does not run kernels: %s", *device, properties->name, cudaGetErrorString(code));
    return IO_OK;
}
