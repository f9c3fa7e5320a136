/* Copies beside computing, pinned host memory, and recorded operations. */
#ifndef MODEL_CUDA_LANES_H
#define MODEL_CUDA_LANES_H

#include "model/cuda/state_cuda.h"

io_status lanes_create_cuda(cuda_lanes *lanes);
void lanes_free_cuda(cuda_lanes *lanes); /* also of what was made in part */
/* Waits for all copies. */
io_status lanes_sync_cuda(const cuda_lanes *lanes);

io_status host_create_cuda(model_backend *backend, size_t n_bytes, void **out);
void host_free_cuda(model_backend *backend, void **memory);
io_status upload_begin_cuda(model_backend *backend, int lane, void *to, const void *host_from, size_t n_bytes);
io_status download_begin_cuda(model_backend *backend, int lane, void *host_to, const void *from, size_t n_bytes);
io_status lane_finish_cuda(model_backend *backend, int lane);

io_status graph_begin_cuda(model_backend *backend);
io_status graph_end_cuda(model_backend *backend, model_graph **out);
io_status graph_launch_cuda(model_backend *backend, const model_graph *graph);
void graph_free_cuda(model_backend *backend, model_graph **graph);

#endif
