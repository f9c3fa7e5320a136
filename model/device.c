/* Opening a device and closing it. */
#include "model/device.h"

#include "io/log.h"
#include "io/memory.h"
#include "model/cuda/backend_cuda.h"
#include "model/device_cuda.h"

/* The CUDA device, or IO_ERR_NOT_FOUND where there is none. */
static io_status open_cuda(int index, model_type type, model_device *device)
{
    IO_TRY(model_device_cuda_create(index, type, device));
    device->kind = MODEL_DEVICE_CUDA;
    return IO_OK;
}

static io_status open_cpu(model_type type, int n_threads, model_device *device)
{
    if (type == MODEL_TF32) return IO_FAIL(IO_ERR_UNSUPPORTED, "tf32 is a precision of NVIDIA GPUs; on the CPU use f32 or bf16");
    IO_TRY(model_backend_cpu_create(type, n_threads, &device->ops, &device->backend, device->description));
    device->kind = MODEL_DEVICE_CPU;
    device->n_threads = n_threads;
    return IO_OK;
}

io_status model_device_open(model_device_kind kind, int index, model_type type, int n_threads, model_device **out)
{
    io_status status = IO_OK;
    model_device *device = NULL;

    IO_TRY(io_alloc(1, sizeof *device, (void **)&device));
    device->type = type == MODEL_TF32 ? MODEL_F32 : type;
    if (kind != MODEL_DEVICE_CPU) status = open_cuda(index, type, device);
    if (kind == MODEL_DEVICE_AUTO && (status == IO_ERR_NOT_FOUND || status == IO_ERR_UNSUPPORTED))
        io_log(status == IO_ERR_NOT_FOUND ? IO_LOG_DEBUG : IO_LOG_WARN, "computing on the CPU: %s", io_last_error_text());
    if (kind == MODEL_DEVICE_CPU || (kind == MODEL_DEVICE_AUTO && (status == IO_ERR_NOT_FOUND || status == IO_ERR_UNSUPPORTED)))
        status = open_cpu(type, n_threads, device);
    if (status != IO_OK) goto done;
    *out = device;
    device = NULL;
done:
    model_device_free(&device);
    return status;
}

int model_device_pass_slices(model_device_kind kind)
{
    return kind == MODEL_DEVICE_CUDA ? MODEL_CUDA_PASS_SLICES : 1;
}

size_t model_device_own_bytes(model_device_kind kind)
{
    return kind == MODEL_DEVICE_CUDA ? MODEL_CUDA_WORKSPACE_BYTES : 0;
}

void model_device_free(model_device **device)
{
    if (!device || !*device) return;
    if ((*device)->backend) (*device)->ops->backend_free(&(*device)->backend);
    io_free(device);
}
