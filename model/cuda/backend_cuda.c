/* The CUDA plug-in's table of operations, and how its device is opened. Executed on an emulator and checked statically, never on a GPU. */
#include "model/cuda/backend_cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"
#include "model/cuda/attention_cuda.h"
#include "model/cuda/lanes.h"
#include "model/cuda/memory_cuda.h"
#include "model/cuda/ops_cuda.h"
#include "model/cuda/probe.h"
#include "model/cuda/slicer.h"

io_status cuda_launch_check(const model_backend *backend, const char *operation)
{
    io_status status = CUDA_CHECK(cudaGetLastError());

    if (status == IO_OK && backend->is_checked) status = CUDA_CHECK(cudaStreamSynchronize(backend->stream));
    return status == IO_OK ? IO_OK : io_fail_context(status, "%s", operation);
}

/* ---- attention, whose launchers know nothing of this backend */

static io_status create_relpos(model_backend *backend, int side, int head_size, int heads, const float *rel_h, const float *rel_w,
                               const float *bias, model_type type, model_relpos **out)
{
    CUDA_TRY(cudaSetDevice(backend->index));
    return relpos_create_cuda(backend->stream, backend->is_tf32, side, head_size, heads, rel_h, rel_w, bias, type, out);
}

static void free_relpos(model_backend *backend, model_relpos **relpos)
{
    cudaSetDevice(backend->index); /* nothing can be done here about a device that is lost */
    relpos_free_cuda(relpos);
}

static io_status attend(model_backend *backend, model_rows out, float *log_sum, model_rows qkv, const model_relpos *relpos, int B, int G)
{
    IO_TRY(attention_forward_cuda(backend->stream, backend->is_tf32, out, log_sum, qkv, relpos, B, G));
    return cuda_launch_check(backend, "attention");
}

static io_status attend_back(model_backend *backend, model_rows dqkv, model_rows dout, model_rows qkv, model_rows out, const float *log_sum,
                             const model_relpos *relpos, int B, int G)
{
    size_t n_bytes;
    void *scratch;

    IO_TRY(attention_backward_size_cuda(backend->is_tf32, relpos, B, G, &n_bytes));
    IO_TRY(cuda_scratch_reserve(backend, n_bytes, &scratch));
    IO_TRY(attention_backward_cuda(backend->stream, backend->is_tf32, scratch, dqkv, dout, qkv, out, log_sum, relpos, B, G));
    return cuda_launch_check(backend, "attention backward");
}

static io_status cross(model_backend *backend, model_rows out, model_rows q, model_rows k, model_rows v, int B, int n_q, int n_k, int I,
                       int heads)
{
    IO_TRY(cross_attention_forward_cuda(backend->stream, out, q, k, v, B, n_q, n_k, I, heads));
    return cuda_launch_check(backend, "cross attention");
}

static io_status cross_back(model_backend *backend, model_rows dq, model_rows dk, model_rows dv, model_rows dout, model_rows q,
                            model_rows k, model_rows v, int B, int n_q, int n_k, int I, int heads)
{
    size_t n_bytes;
    void *scratch;

    IO_TRY(cross_attention_backward_size_cuda(B, n_q, heads, &n_bytes));
    IO_TRY(cuda_scratch_reserve(backend, n_bytes, &scratch));
    IO_TRY(cross_attention_backward_cuda(backend->stream, scratch, dq, dk, dv, dout, q, k, v, B, n_q, n_k, I, heads));
    return cuda_launch_check(backend, "cross attention backward");
}

/* ---- opening and closing */

static void free_backend(model_backend **backend)
{
    model_backend *it;

    if (!backend || !*backend) return;
    it = *backend;
    cudaSetDevice(it->index); /* nothing can be done here about a device that is lost */
    if (it->stream) (void)cuda_memory_sync(it);
    lanes_free_cuda(&it->lanes);
    cuda_products_free(it);
    if (it->products) cublasLtDestroy(it->products);
    cuda_memory_free(it, &it->workspace);
    cuda_memory_free(it, &it->half_bias);
    cuda_memory_free(it, &it->scratch);
    cuda_stage_free(&it->stage);
    if (it->stream) cudaStreamDestroy(it->stream);
    io_free(backend);
}

static const model_ops cuda_ops = {
    .name = "cuda",
    .slices_per_pass = MODEL_CUDA_PASS_SLICES,
    .row_pad = 0, /* widths of the network are multiples of 16 bytes, which is what copies and tensor cores want */
    .memory_create = cuda_memory_create,
    .memory_free = cuda_memory_free,
    .upload = cuda_memory_upload,
    .download = cuda_memory_download,
    .memory_zero = cuda_memory_zero,
    .sync = cuda_memory_sync,
    .memory_left = cuda_memory_left,
    .choices = cuda_products_list,
    .backend_free = free_backend,
    .matrix_create = matrix_create_cuda,
    .matrix_free = matrix_free_cuda,
    .relpos_create = create_relpos,
    .relpos_free = free_relpos,
    .patches_forward = patches_forward_cuda,
    .linear_forward = linear_forward_cuda,
    .layernorm_forward = layernorm_forward_cuda,
    .attention_forward = attend,
    .conv3x3_forward = conv3x3_forward_cuda,
    .cross_attention_forward = cross,
    .add_forward = add_forward_cuda,
    .unfold_forward = unfold_forward_cuda,
    .masks_forward = masks_forward_cuda,
    .labels_forward = labels_forward_cuda,
    .slicer_create = slicer_create_cuda,
    .slicer_set = slicer_set_cuda,
    .slicer_free = slicer_free_cuda,
    .images_forward = images_forward_cuda,
    .labels_back = labels_back_cuda,
    .host_create = host_create_cuda,
    .host_free = host_free_cuda,
    .upload_begin = upload_begin_cuda,
    .download_begin = download_begin_cuda,
    .lane_finish = lane_finish_cuda,
    .graph_begin = graph_begin_cuda,
    .graph_end = graph_end_cuda,
    .graph_launch = graph_launch_cuda,
    .graph_free = graph_free_cuda,
    .matrix_update = matrix_update_cuda,
    .linear_backward = linear_backward_cuda,
    .activation_forward = activation_forward_cuda,
    .activation_backward = activation_backward_cuda,
    .layernorm_backward = layernorm_backward_cuda,
    .attention_backward = attend_back,
    .cross_attention_backward = cross_back,
    .unfold_backward = unfold_backward_cuda,
    .masks_backward = masks_backward_cuda,
    .loss_forward = loss_forward_cuda,
    .loss_backward = loss_backward_cuda,
    .exact_add = exact_add_cuda,
    .adamw_update = adamw_update_cuda,
    .sgd_update = sgd_update_cuda,
};

/* "NVIDIA H100 80GB HBM3, sm_90, CUDA 13.0, cuBLASLt 13.1.0, tf32" */
static void describe_device(const model_backend *backend, const struct cudaDeviceProp *properties, model_cuda_about *about)
{
    const size_t products = cublasLtGetVersion();
    int runtime = 0;

    cudaRuntimeGetVersion(&runtime);
    snprintf(about->description, sizeof about->description, "%.60s, sm_%d%d, CUDA %d.%d, cuBLASLt %zu.%zu.%zu%s", properties->name,
             properties->major, properties->minor, runtime / 1000, runtime % 1000 / 10, products / 10000, products / 100 % 100,
             products % 100, backend->is_tf32 ? ", tf32" : "");
    for (size_t i = 0; i < sizeof properties->uuid.bytes; i++)
        snprintf(about->identity + 2 * i, 3, "%02x", (unsigned char)properties->uuid.bytes[i]);
}

static io_status open_device(model_backend *backend, const struct cudaDeviceProp *properties, model_cuda_about *about)
{
    CUDA_TRY(cudaStreamCreateWithFlags(&backend->stream, cudaStreamNonBlocking));
    CUBLAS_TRY(cublasLtCreate(&backend->products));
    IO_TRY(cuda_memory_create(backend, MODEL_CUDA_WORKSPACE_BYTES, &backend->workspace));
    IO_TRY(cuda_stage_create(&backend->stage));
    IO_TRY(lanes_create_cuda(&backend->lanes));
    describe_device(backend, properties, about);
    return IO_OK;
}

io_status model_backend_cuda_create(const model_cuda_options *options, const model_ops **ops, model_backend **backend,
                                    model_cuda_about *about)
{
    io_status status = IO_OK;
    const char *checked = getenv("SAMED_CUDA_SYNC");
    model_backend *created = NULL;
    struct cudaDeviceProp properties;
    int index;

    IO_TRY(probe_cuda(options->index, &index, &properties));
    IO_TRY(io_alloc(1, sizeof *created, (void **)&created));
    created->ops = cuda_ops;
    created->index = index;
    created->type = options->type;
    created->is_tf32 = options->is_tf32;
    created->is_checked = checked && strcmp(checked, "0") != 0;
    if (created->is_checked) created->ops.graph_begin = NULL; /* a recording cannot be waited for */
    IO_TRY_GOTO(status, done, open_device(created, &properties, about));
    *ops = &created->ops;
    *backend = created;
    created = NULL;
done:
    free_backend(&created);
    return status;
}
