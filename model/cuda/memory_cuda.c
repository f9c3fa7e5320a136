/* Device memory, and the way of numbers to and from it: through pinned memory, which the copy engine reads while the processor goes on. */
#include <string.h>

#include "io/memory.h"
#include "model/cuda/lanes.h"
#include "model/cuda/memory_cuda.h"

static const size_t stage_bytes = 4 << 20; /* of one part: long enough for the full rate of a PCIe link */

io_status cuda_memory_create(model_backend *backend, size_t n_bytes, void **out)
{
    void *block = NULL;
    size_t n_free = 0, n_all = 0;
    cudaError_t error;

    CUDA_TRY(cudaSetDevice(backend->index));
    error = cudaMalloc(&block, n_bytes ? n_bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* is reported here and must not meet the next launch */
        CUDA_TRY(cudaMemGetInfo(&n_free, &n_all));
        return IO_FAIL(
            IO_ERR_MEMORY,
            "GPU %d has %.0f MB free of %.0f MB, %.0f MB are needed in one piece; end what else runs on it, put fewer ranks on it "
            "or take a GPU with more memory",
            backend->index, (double)n_free / 1e6, (double)n_all / 1e6, (double)n_bytes / 1e6);
    }
    CUDA_TRY(error);
    error = cudaMemsetAsync(block, 0, n_bytes, backend->stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(backend->stream); /* another stream may be the first to write */
    if (error != cudaSuccess) cudaFree(block);
    CUDA_TRY(error);
    *out = block;
    return IO_OK;
}

void cuda_memory_free(model_backend *backend, void **memory)
{
    if (!memory || !*memory) return;
    cudaSetDevice(backend->index); /* nothing can be done here about a device that is lost */
    cudaFree(*memory);             /* waits for what still uses it */
    *memory = NULL;
}

io_status cuda_scratch_reserve(model_backend *backend, size_t n_bytes, void **out)
{
    if (n_bytes > backend->scratch_bytes && backend->n_graphs > 0)
        return IO_FAIL(IO_ERR_DEVICE, "%zu bytes of scratch are needed while a recorded pass holds %zu; please report this", n_bytes,
                       backend->scratch_bytes);
    if (n_bytes > backend->scratch_bytes) {
        cuda_memory_free(backend, &backend->scratch);
        backend->scratch_bytes = 0;
        IO_TRY(cuda_memory_create(backend, n_bytes, &backend->scratch));
        backend->scratch_bytes = n_bytes;
    }
    *out = backend->scratch;
    return IO_OK;
}

io_status cuda_stage_create(cuda_stage *stage)
{
    for (int i = 0; i < STAGE_PARTS; i++) {
        CUDA_TRY(cudaMallocHost((void **)&stage->parts[i], stage_bytes));
        CUDA_TRY(cudaEventCreateWithFlags(&stage->is_free[i], cudaEventDisableTiming));
    }
    return IO_OK;
}

void cuda_stage_free(cuda_stage *stage)
{
    for (int i = 0; i < STAGE_PARTS; i++) {
        if (stage->parts[i]) cudaFreeHost(stage->parts[i]);
        if (stage->is_free[i]) cudaEventDestroy(stage->is_free[i]);
    }
    memset(stage, 0, sizeof *stage);
}

/* Leaves the part that is being filled for the next one, once the copies out of that are done. */
static io_status change_part(model_backend *backend)
{
    cuda_stage *stage = &backend->stage;

    CUDA_TRY(cudaEventRecord(stage->is_free[stage->part], backend->stream));
    stage->part = (stage->part + 1) % STAGE_PARTS;
    stage->used = 0;
    CUDA_TRY(cudaEventSynchronize(stage->is_free[stage->part]));
    return IO_OK;
}

io_status cuda_memory_upload(model_backend *backend, void *to, const void *host_from, size_t n_bytes)
{
    cuda_stage *stage = &backend->stage;
    size_t done = 0;

    CUDA_TRY(cudaSetDevice(backend->index));
    while (done < n_bytes) {
        size_t n = n_bytes - done;
        char *at;

        if (stage->used == stage_bytes) IO_TRY(change_part(backend));
        if (n > stage_bytes - stage->used) n = stage_bytes - stage->used;
        at = stage->parts[stage->part] + stage->used;
        memcpy(at, (const char *)host_from + done, n);
        CUDA_TRY(cudaMemcpyAsync((char *)to + done, at, n, cudaMemcpyHostToDevice, backend->stream));
        stage->used += n;
        done += n;
    }
    return IO_OK;
}

/* A piece that is on its way into a part. */
typedef struct piece {
    char *to; /* host */
    size_t n_bytes;
    int part;
} piece;

static io_status start_piece(model_backend *backend, piece *out, char *to, const void *from, size_t n_bytes)
{
    cuda_stage *stage = &backend->stage;

    IO_TRY(change_part(backend));
    *out = (piece){to, n_bytes, stage->part};
    stage->used = stage_bytes; /* nothing else goes into it */
    CUDA_TRY(cudaMemcpyAsync(stage->parts[stage->part], from, n_bytes, cudaMemcpyDeviceToHost, backend->stream));
    CUDA_TRY(cudaEventRecord(stage->is_free[stage->part], backend->stream));
    return IO_OK;
}

static io_status finish_piece(model_backend *backend, const piece *under_way)
{
    if (!under_way->n_bytes) return IO_OK;
    CUDA_TRY(cudaEventSynchronize(backend->stage.is_free[under_way->part]));
    memcpy(under_way->to, backend->stage.parts[under_way->part], under_way->n_bytes);
    return IO_OK;
}

io_status cuda_memory_download(model_backend *backend, void *host_to, const void *from, size_t n_bytes)
{
    piece before = {0};

    CUDA_TRY(cudaSetDevice(backend->index));
    for (size_t done = 0; done < n_bytes; done += stage_bytes) {
        piece next;

        IO_TRY(start_piece(backend, &next, (char *)host_to + done, (const char *)from + done,
                           n_bytes - done < stage_bytes ? n_bytes - done : stage_bytes));
        IO_TRY(finish_piece(backend, &before)); /* while the next one is copied */
        before = next;
    }
    return finish_piece(backend, &before);
}

io_status cuda_memory_zero(model_backend *backend, void *memory, size_t n_bytes)
{
    CUDA_TRY(cudaSetDevice(backend->index));
    CUDA_TRY(cudaMemsetAsync(memory, 0, n_bytes, backend->stream));
    return IO_OK;
}

io_status cuda_memory_sync(model_backend *backend)
{
    CUDA_TRY(cudaSetDevice(backend->index));
    CUDA_TRY(cudaStreamSynchronize(backend->stream));
    return lanes_sync_cuda(&backend->lanes);
}

io_status cuda_memory_left(model_backend *backend, size_t *n_bytes)
{
    size_t n_all;

    CUDA_TRY(cudaSetDevice(backend->index));
    CUDA_TRY(cudaMemGetInfo(n_bytes, &n_all));
    return IO_OK;
}
