/* The emulated device: how many there are, what they have, and the last error. */
#include <cstdio>

#include "tests/cudahost/runtime.h"

namespace cudahost
{
static const int n_multiprocessors = 4; /* few, so that kernels that fill the device with blocks stay small */
static const int threads_per_multiprocessor = 2048;
static cudaError_t last_error;
static thread_local int device_in_use;

cudaError_t failed(cudaError_t code)
{
    last_error = code;
    return code;
}
} // namespace cudahost

using namespace cudahost;

extern "C" {
/* As without a driver and as without a device, *out is left alone. */
cudaError_t cudaGetDeviceCount(int *out)
{
    if (!options().has_driver) return failed(cudaErrorInsufficientDriver);
    if (options().n_devices < 1) return failed(cudaErrorNoDevice);
    *out = options().n_devices;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *out)
{
    *out = options().has_driver ? CUDART_VERSION : 0;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *out)
{
    *out = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= options().n_devices) return failed(cudaErrorInvalidDevice);
    device_in_use = device;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *out)
{
    *out = device_in_use;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int device)
{
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "cudahost, emulated sm_%d", options().sm);
    out->major = options().sm / 10;
    out->minor = options().sm % 10;
    out->totalGlobalMem = options().memory_bytes;
    out->sharedMemPerBlock = 48 << 10;
    out->sharedMemPerBlockOptin = shared_limit();
    out->sharedMemPerMultiprocessor = shared_limit() + 1024;
    out->regsPerBlock = out->regsPerMultiprocessor = 65536;
    out->warpSize = 32;
    out->maxThreadsPerBlock = 1024;
    out->maxThreadsPerMultiProcessor = threads_per_multiprocessor;
    out->multiProcessorCount = n_multiprocessors;
    out->l2CacheSize = 1 << 20;
    out->pciBusID = device + 1;
    out->uuid.bytes[15] = (char)(device + 1);
    out->asyncEngineCount = 2;
    out->unifiedAddressing = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *out, cudaDeviceAttr attribute, int)
{
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *out = n_multiprocessors; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *out = (int)shared_limit(); break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *out = threads_per_multiprocessor; break;
    case cudaDevAttrComputeCapabilityMajor: *out = options().sm / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *out = options().sm % 10; break;
    default: fatal("cudaDeviceGetAttribute(%d) is not emulated", (int)attribute);
    }
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || (size_t)value > shared_limit()) return failed(cudaErrorInvalidValue);
    shared_set_limit(kernel, (size_t)value);
    return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *out, const void *)
{
    memset(out, 0, sizeof *out);
    if (options().sm < 80) return failed(cudaErrorNoKernelImageForDevice);
    out->maxThreadsPerBlock = 1024;
    out->binaryVersion = options().sm;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t code = last_error;

    last_error = cudaSuccess;
    return code;
}

const char *cudaGetErrorString(cudaError_t code)
{
    switch (code) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    case cudaErrorInvalidValue: return "invalid argument";
    default: return "an error of the emulator";
    }
}

const char *cudaGetErrorName(cudaError_t code)
{
    return code == cudaSuccess ? "cudaSuccess" : "cudaError";
}
}
