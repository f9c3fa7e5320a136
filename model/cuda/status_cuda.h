/* Errors of CUDA and cuBLASLt as io_status, with the text of the failed call. For C and for kernels. */
#ifndef MODEL_CUDA_STATUS_CUDA_H
#define MODEL_CUDA_STATUS_CUDA_H

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include "io/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* IO_OK, or IO_ERR_DEVICE (IO_ERR_MEMORY where the device's memory is used up) with call's text and what CUDA says. */
io_status cuda_check(cudaError_t error, const char *call, const char *file, int line, const char *function);
io_status cublas_check(cublasStatus_t error, const char *call, const char *file, int line, const char *function);

#ifdef __cplusplus
}
#endif

#define CUDA_CHECK(call) cuda_check((call), #call, __FILE__, __LINE__, __func__)
#define CUBLAS_CHECK(call) cublas_check((call), #call, __FILE__, __LINE__, __func__)

/* Return from a function that owns nothing. */
#define CUDA_TRY(call) IO_TRY(CUDA_CHECK(call))
#define CUBLAS_TRY(call) IO_TRY(CUBLAS_CHECK(call))

#endif
