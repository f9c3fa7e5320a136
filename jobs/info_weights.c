/* What SAM files and adapters hold. See info.h. */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"
#include "io/tensors.h"
#include "jobs/info.h"
#include "jobs/weights.h"
#include "model/config.h"

enum { IMAGE_SIZE = 512 }; /* a file alone does not say; nothing that is told here depends on it */

static io_status put_network(const io_tensors *tensors, io_json *root)
{
    model_config config;
    char name[32];

    IO_TRY(model_config_infer(tensors, NULL, IMAGE_SIZE, &config));
    model_config_name(&config, name);
    IO_TRY(io_json_put_text(root, "kind", "sam"));
    IO_TRY(io_json_put_text(root, "network", name));
    IO_TRY(io_json_put_number(root, "width", config.width));
    IO_TRY(io_json_put_number(root, "blocks", config.depth));
    IO_TRY(io_json_put_number(root, "heads", config.heads));
    IO_TRY(io_json_put_number(root, "window", config.window));
    IO_TRY(io_json_put_number(root, "native_image_size", config.file_grid * config.patch));
    IO_TRY(io_json_put_bool(root, "merged", config.sam_channels != JOB_SAM_CHANNELS));
    return io_json_put_number(root, "mask_channels", config.sam_channels);
}

/* w_a_000, w_a_001 ... are q and v of each block (spec 2.2). */
static io_status put_adapter(const io_tensors *tensors, io_json *root)
{
    const io_tensor *a = io_tensors_find(tensors, "w_a_000");
    const io_tensor *channels = io_tensors_find(tensors, "mask_decoder.mask_tokens.weight");
    char name[16] = "w_a_000";
    int n = 0;

    while (io_tensors_find(tensors, name)) snprintf(name, sizeof name, "w_a_%03d", ++n);
    IO_TRY(io_json_put_text(root, "kind", "adapter"));
    IO_TRY(io_json_put_number(root, "lora_rank", a->n_dims == 2 ? (double)a->shape[0] : 0));
    IO_TRY(io_json_put_number(root, "width", a->n_dims == 2 ? (double)a->shape[1] : 0));
    IO_TRY(io_json_put_number(root, "blocks", n / 2));
    return io_json_put_number(root, "classes_with_background", channels && channels->n_dims == 2 ? (double)channels->shape[0] : 0);
}

static io_status list_all(const io_tensors *tensors, io_json *root)
{
    io_status status = IO_OK;
    io_json *list = NULL;

    IO_TRY(io_json_create_object(&list));
    for (size_t i = 0; i < io_tensors_count(tensors) && status == IO_OK; i++) {
        const io_tensor *tensor = io_tensors_at(tensors, i);
        char shape[128];
        io_tensor_shape_text(tensor->n_dims, tensor->shape, shape, sizeof shape);
        status = io_json_put_text(list, tensor->name, shape);
    }
    if (status == IO_OK) status = io_json_put(root, "tensors", &list);
    io_json_free(&list);
    return status;
}

static io_status check_tensor(const io_tensors *tensors, const io_tensor *tensor, info_range *range)
{
    io_status status = IO_OK;
    float *values = NULL;
    const int64_t n_bad = range->n_nan + range->n_infinite;

    IO_TRY_GOTO(status, done, io_alloc(tensor->n_elements, sizeof *values, (void **)&values));
    IO_TRY_GOTO(status, done, io_tensor_read_f32(tensor, values));
    job_info_range_add(range, values, tensor->n_elements);
    io_tensors_release(tensors, tensor);
    if (range->n_nan + range->n_infinite > n_bad)
        status = IO_FAIL(IO_ERR_RANGE, "%s: tensor %s has values that are not finite (%lld); take another copy of the weights",
                         io_tensors_path(tensors), tensor->name, (long long)(range->n_nan + range->n_infinite - n_bad));
done:
    io_free(&values);
    return status;
}

static io_status check_all(const io_tensors *tensors, io_json *root)
{
    info_range range = {0};

    IO_TRY(io_tensors_check(tensors));
    for (size_t i = 0; i < io_tensors_count(tensors); i++) IO_TRY(check_tensor(tensors, io_tensors_at(tensors, i), &range));
    return job_info_range_put(&range, root);
}

static io_status describe(const io_tensors *tensors, io_json *root)
{
    double n_elements = 0;

    for (size_t i = 0; i < io_tensors_count(tensors); i++) n_elements += (double)io_tensors_at(tensors, i)->n_elements;
    IO_TRY(io_json_put_text(root, "format", io_tensors_get_format(tensors) == IO_TENSORS_PTH ? "pth" : "safetensors"));
    IO_TRY(io_json_put_number(root, "tensor_count", (double)io_tensors_count(tensors)));
    IO_TRY(io_json_put_number(root, "parameters", n_elements));
    if (io_tensors_find(tensors, "w_a_000")) return put_adapter(tensors, root);
    if (io_tensors_find(tensors, "image_encoder.patch_embed.proj.weight")) return put_network(tensors, root);
    return IO_FAIL(IO_ERR_FORMAT, "%s: neither SAM (no image_encoder.patch_embed.proj.weight) nor a SAMed adapter (no w_a_000)",
                   io_tensors_path(tensors));
}

io_status job_info_weights(const char *path, bool check, bool list_tensors, io_json *root)
{
    io_status status = IO_OK;
    io_tensors *tensors = NULL;
    char sha256[65];
    const char *name;

    IO_TRY_GOTO(status, done, io_tensors_open(path, &tensors));
    IO_TRY_GOTO(status, done, describe(tensors, root));
    IO_TRY_GOTO(status, done, io_hash_file(path, sha256));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "sha256", sha256));
    name = job_weights_published_name(sha256);
    if (name) IO_TRY_GOTO(status, done, io_json_put_text(root, "published_as", name));
    if (list_tensors) IO_TRY_GOTO(status, done, list_all(tensors, root));
    if (check) status = check_all(tensors, root);
done:
    io_tensors_free(&tensors);
    return status;
}
