/* Finding and opening the CUDA plug-in. */
#include "model/device_cuda.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/cuda/backend_cuda.h"

#define PLUGIN "libsamed_cuda.so"

/* The folder of the running program, with the last slash; "" when the system does not say. */
static void find_own_folder(char folder[PATH_MAX])
{
    const ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    char *slash;

    folder[length > 0 ? length : 0] = '\0';
    slash = strrchr(folder, '/');
    if (slash) slash[1] = '\0';
}

/* The path of the plug-in that is there. */
static io_status find_plugin(char path[PATH_MAX])
{
    static const char *const places[] = {"", "../lib/samed/"};
    const char *named = getenv("SAMED_CUDA_PLUGIN");
    char folder[PATH_MAX];

    if (named && named[0]) {
        if (snprintf(path, PATH_MAX, "%s", named) < PATH_MAX && access(path, R_OK) == 0) return IO_OK;
        return IO_FAIL(IO_ERR_ARGUMENT, "SAMED_CUDA_PLUGIN names %s, which cannot be read; unset it, or name the plug-in that was built",
                       named);
    }
    find_own_folder(folder);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (snprintf(path, PATH_MAX, "%s%s" PLUGIN, folder, places[i]) < PATH_MAX && access(path, R_OK) == 0) return IO_OK;
    return IO_FAIL(IO_ERR_NOT_FOUND,
                   "the CUDA plug-in " PLUGIN " is neither beside the program (%s) nor in ../lib/samed from there; build "
                   "samed where a CUDA toolkit is found, or use --device cpu",
                   folder);
}

/* Without the driver's own library no device can work; looking for it takes a millisecond, loading the plug-in half a second. */
static io_status look_for_driver(void)
{
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);

    if (!driver) return IO_FAIL(IO_ERR_NOT_FOUND, "no NVIDIA driver on this machine (libcuda.so.1 is not there); use --device cpu");
    dlclose(driver);
    return IO_OK;
}

static io_status load_plugin(const char *path, model_backend_cuda_create_function *create)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    void *symbol;

    if (!plugin) return IO_FAIL(IO_ERR_DEVICE, "the CUDA plug-in cannot be loaded: %s", dlerror());
    symbol = dlsym(plugin, "model_backend_cuda_create");
    if (!symbol) return IO_FAIL(IO_ERR_DEVICE, "%s is not a CUDA plug-in of samed: %s", path, dlerror());
    memcpy(create, &symbol, sizeof symbol); /* POSIX's way from an object pointer to a function pointer */
    return IO_OK;
}

io_status model_device_cuda_create(int index, model_type type, model_device *device)
{
    const model_cuda_options options = {.index = index, .type = type == MODEL_TF32 ? MODEL_F32 : type, .is_tf32 = type == MODEL_TF32};
    model_cuda_about about = {{0}, {0}};
    model_backend_cuda_create_function create = NULL;
    char path[PATH_MAX];

    IO_TRY(find_plugin(path));
    if (!getenv("SAMED_CUDA_PLUGIN")) IO_TRY(look_for_driver());
    IO_TRY(load_plugin(path, &create));
    IO_TRY(create(&options, &device->ops, &device->backend, &about));
    memcpy(device->description, about.description, sizeof about.description);
    memcpy(device->identity, about.identity, sizeof about.identity);
    return IO_OK;
}
