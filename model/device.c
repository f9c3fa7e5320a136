/* Opening a device and closing it. */
#include "model/device.h"

#include "io/log.h"
#include "io/memory.h"

io_status model_device_open(model_device_kind kind, int index, model_type type, int n_threads, model_device **out)
{
    io_status status = IO_OK;
    model_device *device = NULL;

    if (kind == MODEL_DEVICE_CUDA)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "a CUDA device was asked for, but this build has no CUDA backend; use --device cpu");
    IO_TRY(io_alloc(1, sizeof *device, (void **)&device));
    IO_TRY_GOTO(status, done, model_backend_cpu_create(type, n_threads, &device->ops, &device->backend, device->description));
    device->kind = MODEL_DEVICE_CPU;
    device->type = type;
    device->n_threads = n_threads;
    *out = device;
    device = NULL;
done:
    model_device_free(&device);
    return status;
}

void model_device_free(model_device **device)
{
    if (!device || !*device) return;
    if ((*device)->backend) (*device)->ops->backend_free(&(*device)->backend);
    io_free(device);
}
