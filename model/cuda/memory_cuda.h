/* Memory of the CUDA backend beyond what state_cuda.h declares: only backend_cuda.c needs it. */
#ifndef MODEL_CUDA_MEMORY_CUDA_H
#define MODEL_CUDA_MEMORY_CUDA_H

#include "model/cuda/state_cuda.h"

io_status cuda_stage_create(cuda_stage *stage);
void cuda_stage_free(cuda_stage *stage); /* also of one that was made in part */

/* download, sync and memory_left of the table. */
io_status cuda_memory_download(model_backend *backend, void *host_to, const void *from, size_t n_bytes);
io_status cuda_memory_zero(model_backend *backend, void *memory, size_t n_bytes);
io_status cuda_memory_sync(model_backend *backend); /* waits for copies too */
io_status cuda_memory_left(model_backend *backend, size_t *n_bytes);

#endif
