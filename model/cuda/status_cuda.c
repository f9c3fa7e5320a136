/* See status_cuda.h. */
#include "model/cuda/status_cuda.h"

io_status cuda_check(cudaError_t error, const char *call, const char *file, int line, const char *function)
{
    if (error == cudaSuccess) return IO_OK;
    if (error == cudaErrorMemoryAllocation)
        return io_fail(IO_ERR_MEMORY, file, line, function,
                       "%s: no memory left on the GPU, or none of the machine's that can be pinned; use fewer ranks per GPU", call);
    return io_fail(IO_ERR_DEVICE, file, line, function,
                   "%s: CUDA says \"%s\" (%s, %d); run again with SAMED_CUDA_SYNC=1 to learn which operation failed", call,
                   cudaGetErrorString(error), cudaGetErrorName(error), (int)error);
}

io_status cublas_check(cublasStatus_t error, const char *call, const char *file, int line, const char *function)
{
    if (error == CUBLAS_STATUS_SUCCESS) return IO_OK;
    return io_fail(IO_ERR_DEVICE, file, line, function, "%s: cuBLASLt says \"%s\" (%d)", call, cublasLtGetStatusString(error), (int)error);
}
