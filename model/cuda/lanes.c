/* See lanes.h. Three streams: uploads, computing, downloads. Events carry the order between them:
 *
 *   up    -- copy raw --uploaded-->
 *   main                            images, network, labels --computed-->
 *   down                                                                  copy labels --downloaded--> host
 *
 * A lane's raw memory is free again once its batch is computed, which its next upload waits for. */
#include "model/cuda/lanes.h"

#include "io/memory.h"

struct model_graph {
    cudaGraphExec_t work;
};

io_status lanes_create_cuda(cuda_lanes *lanes)
{
    CUDA_TRY(cudaStreamCreateWithFlags(&lanes->up, cudaStreamNonBlocking));
    CUDA_TRY(cudaStreamCreateWithFlags(&lanes->down, cudaStreamNonBlocking));
    for (int i = 0; i < MODEL_LANES; i++) {
        CUDA_TRY(cudaEventCreateWithFlags(&lanes->uploaded[i], cudaEventDisableTiming));
        CUDA_TRY(cudaEventCreateWithFlags(&lanes->computed[i], cudaEventDisableTiming));
        CUDA_TRY(cudaEventCreateWithFlags(&lanes->downloaded[i], cudaEventDisableTiming));
    }
    return IO_OK;
}

void lanes_free_cuda(cuda_lanes *lanes)
{
    for (int i = 0; i < MODEL_LANES; i++) {
        if (lanes->uploaded[i]) cudaEventDestroy(lanes->uploaded[i]);
        if (lanes->computed[i]) cudaEventDestroy(lanes->computed[i]);
        if (lanes->downloaded[i]) cudaEventDestroy(lanes->downloaded[i]);
    }
    if (lanes->up) cudaStreamDestroy(lanes->up);
    if (lanes->down) cudaStreamDestroy(lanes->down);
    *lanes = (cuda_lanes){0};
}

io_status lanes_sync_cuda(const cuda_lanes *lanes)
{
    if (lanes->up) CUDA_TRY(cudaStreamSynchronize(lanes->up));
    if (lanes->down) CUDA_TRY(cudaStreamSynchronize(lanes->down));
    return IO_OK;
}

io_status host_create_cuda(model_backend *backend, size_t n_bytes, void **out)
{
    CUDA_TRY(cudaSetDevice(backend->index));
    CUDA_TRY(cudaMallocHost(out, n_bytes ? n_bytes : 1));
    return IO_OK;
}

void host_free_cuda(model_backend *backend, void **memory)
{
    if (!memory || !*memory) return;
    cudaSetDevice(backend->index); /* nothing can be done here about a device that is lost */
    cudaFreeHost(*memory);
    *memory = NULL;
}

io_status upload_begin_cuda(model_backend *backend, int lane, void *to, const void *host_from, size_t n_bytes)
{
    const cuda_lanes *lanes = &backend->lanes;

    CUDA_TRY(cudaSetDevice(backend->index));
    CUDA_TRY(cudaStreamWaitEvent(lanes->up, lanes->computed[lane], 0));
    CUDA_TRY(cudaMemcpyAsync(to, host_from, n_bytes, cudaMemcpyHostToDevice, lanes->up));
    CUDA_TRY(cudaEventRecord(lanes->uploaded[lane], lanes->up));
    CUDA_TRY(cudaStreamWaitEvent(backend->stream, lanes->uploaded[lane], 0));
    return IO_OK;
}

io_status download_begin_cuda(model_backend *backend, int lane, void *host_to, const void *from, size_t n_bytes)
{
    const cuda_lanes *lanes = &backend->lanes;

    CUDA_TRY(cudaEventRecord(lanes->computed[lane], backend->stream));
    CUDA_TRY(cudaStreamWaitEvent(lanes->down, lanes->computed[lane], 0));
    CUDA_TRY(cudaMemcpyAsync(host_to, from, n_bytes, cudaMemcpyDeviceToHost, lanes->down));
    CUDA_TRY(cudaEventRecord(lanes->downloaded[lane], lanes->down));
    return IO_OK;
}

io_status lane_finish_cuda(model_backend *backend, int lane)
{
    CUDA_TRY(cudaEventSynchronize(backend->lanes.downloaded[lane]));
    return IO_OK;
}

/* Thread-local: the reader thread may take pinned memory meanwhile. */
io_status graph_begin_cuda(model_backend *backend)
{
    CUDA_TRY(cudaSetDevice(backend->index));
    CUDA_TRY(cudaStreamBeginCapture(backend->stream, cudaStreamCaptureModeThreadLocal));
    return IO_OK;
}

io_status graph_end_cuda(model_backend *backend, model_graph **out)
{
    io_status status = IO_OK;
    model_graph *graph = NULL;
    cudaGraph_t recorded = NULL;

    IO_TRY_GOTO(status, done, CUDA_CHECK(cudaStreamEndCapture(backend->stream, &recorded)));
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *graph, (void **)&graph));
    IO_TRY_GOTO(status, done, CUDA_CHECK(cudaGraphInstantiate(&graph->work, recorded, 0)));
    *out = graph;
    graph = NULL;
    backend->n_graphs++;
done:
    if (recorded) cudaGraphDestroy(recorded);
    io_free(&graph);
    return status;
}

io_status graph_launch_cuda(model_backend *backend, const model_graph *graph)
{
    CUDA_TRY(cudaGraphLaunch(graph->work, backend->stream));
    return IO_OK;
}

void graph_free_cuda(model_backend *backend, model_graph **graph)
{
    if (!graph || !*graph) return;
    cudaSetDevice(backend->index); /* nothing can be done here about a device that is lost */
    cudaGraphExecDestroy((*graph)->work);
    backend->n_graphs--;
    io_free(graph);
}
