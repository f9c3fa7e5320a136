/* Lists of named tensors: opening, looking up, building. See tensors.h; the formats are in pth.c and safetensors.c, the values in tensor.c.
 */
#include "io/tensors.h"

#include <string.h>

#include "io/json.h"
#include "io/memory.h"
#include "io/tensors_list.h"

enum { TENSORS_MAX = 1 << 16, NAME_MAX_BYTES = 1024 };

typedef struct foreign_format {
    const char *start; /* [n] first bytes of the file */
    size_t n;
    const char *advice;
} foreign_format;

/* What users pass by mistake, told by the first bytes. */
static const foreign_format foreign_formats[] = {
    {"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 14,
     "PyTorch's old format from before version 1.6; load it with torch.load and save it again with torch.save"},
    {"version https://git-lfs", 23, "a Git LFS pointer, not the file itself; run git lfs pull"},
    {"<", 1, "a web page, not weights; download the file again"},
    {"\x1f\x8b", 2, "compressed with gzip; gunzip it first"},
    {"\x89HDF", 4, "an HDF5 file; samed reads .pth and .safetensors"},
    {"GGUF", 4, "a GGUF file; samed reads .pth and .safetensors"},
    {"\x80", 1, "a bare Python pickle; save the state_dict() with torch.save of PyTorch 1.6 or later"},
};

static io_status refuse_format(const io_mapping *mapping)
{
    if (mapping->n_bytes == 0) return IO_FAIL(IO_ERR_TRUNCATED, "%s: the file is empty; copy it again", mapping->path);
    for (size_t i = 0; i < sizeof foreign_formats / sizeof *foreign_formats; i++) {
        const foreign_format *format = &foreign_formats[i];
        if (mapping->n_bytes >= format->n && memcmp(mapping->bytes, format->start, format->n) == 0)
            return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: %s", mapping->path, format->advice);
    }
    return IO_FAIL(IO_ERR_FORMAT, "%s: neither a PyTorch .pth nor a .safetensors file", mapping->path);
}

static io_status read_format(io_tensors *tensors)
{
    const io_mapping *mapping = tensors->mapping;

    if (mapping->n_bytes >= 4 && memcmp(mapping->bytes, "PK\3\4", 4) == 0) return io_pth_open(tensors);
    if (mapping->n_bytes > 8 && mapping->bytes[8] == '{') return io_safetensors_open(tensors);
    return refuse_format(mapping);
}

io_status io_tensors_open(const char *path, io_tensors **out)
{
    io_status status = IO_OK;
    io_tensors *tensors = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, io_tensors_create(&tensors));
    io_free(&tensors->path);
    IO_TRY_GOTO(status, done, io_string_copy(path, &tensors->path));
    IO_TRY_GOTO(status, done, io_mapping_open(path, &tensors->mapping));
    IO_TRY_GOTO(status, done, read_format(tensors));
    *out = tensors;
    tensors = NULL;
done:
    io_tensors_free(&tensors);
    return status;
}

io_status io_tensors_create(io_tensors **out)
{
    io_status status = IO_OK;
    io_tensors *tensors = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *tensors, (void **)&tensors));
    tensors->format = IO_TENSORS_MEMORY;
    IO_TRY_GOTO(status, done, io_string_copy("(memory)", &tensors->path));
    *out = tensors;
    tensors = NULL;
done:
    io_tensors_free(&tensors);
    return status;
}

void io_tensors_free(io_tensors **tensors)
{
    io_tensors *list;

    if (!tensors || !*tensors) return;
    list = *tensors;
    for (size_t i = 0; i < list->n; i++) {
        void *name = (void *)list->list[i].name, *data = list->mapping ? NULL : (void *)list->list[i].data;
        io_free(&name);
        io_free(&data);
    }
    io_free(&list->list);
    io_free(&list->by_name);
    io_zip_free(&list->zip);
    io_mapping_free(&list->mapping);
    io_free(&list->path);
    io_free(tensors);
}

const char *io_tensors_path(const io_tensors *tensors)
{
    return tensors->path;
}

io_tensors_format io_tensors_get_format(const io_tensors *tensors)
{
    return tensors->format;
}

size_t io_tensors_count(const io_tensors *tensors)
{
    return tensors->n;
}

const io_tensor *io_tensors_at(const io_tensors *tensors, size_t index)
{
    return &tensors->list[index];
}

/* The place in by_name where name is or would be. */
static size_t find_place(const io_tensors *tensors, const char *name, bool *is_there)
{
    size_t low = 0, high = tensors->n;

    *is_there = false;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(tensors->list[tensors->by_name[middle]].name, name);
        if (order == 0) *is_there = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const io_tensor *io_tensors_find(const io_tensors *tensors, const char *name)
{
    bool is_there;
    const size_t place = find_place(tensors, name, &is_there);

    return is_there ? &tensors->list[tensors->by_name[place]] : NULL;
}

/* Names go to terminals and into JSON: no control characters (those of Unicode's second block are c2 80 to c2 9f), and whole UTF-8. */
static io_status check_name(const io_tensors *tensors, const char *name, size_t n_name)
{
    const uint8_t *next = (const uint8_t *)name;
    size_t n;

    if (n_name == 0 || n_name > NAME_MAX_BYTES || strlen(name) != n_name)
        return IO_FAIL(IO_ERR_FORMAT, "%s: a tensor's name has %zu bytes; expected 1 to %d, none of them zero", tensors->path, n_name,
                       NAME_MAX_BYTES);
    for (; *next; next += n) {
        n = io_json_character_bytes(next);
        if (n == 0) return IO_FAIL(IO_ERR_FORMAT, "%s: the name of tensor %zu is not UTF-8", tensors->path, tensors->n);
        if (*next < 0x20 || *next == 0x7f || (*next == 0xc2 && next[1] < 0xa0))
            return IO_FAIL(IO_ERR_FORMAT, "%s: the name of tensor %zu holds a control character", tensors->path, tensors->n);
    }
    return IO_OK;
}

static io_status grow_list(io_tensors *tensors)
{
    const size_t room = tensors->room ? 2 * tensors->room : 512;

    if (tensors->n < tensors->room) return IO_OK;
    if (tensors->n >= TENSORS_MAX) return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: more than %d tensors", tensors->path, TENSORS_MAX);
    IO_TRY(io_grow((void **)&tensors->list, tensors->n * sizeof *tensors->list, room, sizeof *tensors->list));
    IO_TRY(io_grow((void **)&tensors->by_name, tensors->n * sizeof *tensors->by_name, room, sizeof *tensors->by_name));
    tensors->room = room;
    return IO_OK;
}

io_status io_tensors_append(io_tensors *tensors, const char *name, size_t n_name, const io_tensor *entry)
{
    io_status status = IO_OK;
    void *copy = NULL;
    size_t place;
    bool is_there;

    IO_TRY(grow_list(tensors));
    IO_TRY(io_alloc(n_name + 1, 1, &copy));
    memcpy(copy, name, n_name);
    IO_TRY_GOTO(status, done, check_name(tensors, copy, n_name));
    place = find_place(tensors, copy, &is_there);
    if (is_there) {
        status = IO_FAIL(IO_ERR_FORMAT, "%s: tensor %s appears twice", tensors->path, (char *)copy);
        goto done;
    }
    memmove(tensors->by_name + place + 1, tensors->by_name + place, (tensors->n - place) * sizeof *tensors->by_name);
    tensors->by_name[place] = (uint32_t)tensors->n;
    tensors->list[tensors->n] = *entry;
    tensors->list[tensors->n++].name = copy;
    copy = NULL;
done:
    io_free(&copy);
    return status;
}

io_status io_tensors_reserve(io_tensors *tensors, const char *name, int n_dims, const int64_t *shape, bool is_parameter, float **data)
{
    io_status status = IO_OK;
    io_tensor entry = {.type = IO_TENSOR_F32, .is_parameter = is_parameter};
    void *values = NULL;

    *data = NULL;
    if (tensors->mapping) return IO_FAIL(IO_ERR_ARGUMENT, "%s: nothing can be added to an open file", tensors->path);
    IO_TRY_GOTO(status, done, io_tensor_set_shape(&entry, n_dims, shape));
    IO_TRY_GOTO(status, done, io_grow(&values, 0, entry.n_elements, sizeof(float)));
    entry.data = values;
    IO_TRY_GOTO(status, done, io_tensors_append(tensors, name, strlen(name), &entry));
    *data = values;
    values = NULL;
done:
    io_free(&values);
    return status;
}

io_status io_tensors_add(io_tensors *tensors, const char *name, int n_dims, const int64_t *shape, const float *data, bool is_parameter)
{
    float *values;

    IO_TRY(io_tensors_reserve(tensors, name, n_dims, shape, is_parameter, &values));
    memcpy(values, data, tensors->list[tensors->n - 1].n_elements * sizeof(float));
    return IO_OK;
}

io_status io_tensors_require(const io_tensors *tensors, const char *name, int n_dims, const int64_t *shape, const io_tensor **out)
{
    const io_tensor *tensor = io_tensors_find(tensors, name);
    char expected[128], found[128];

    io_tensor_shape_text(n_dims, shape, expected, sizeof expected);
    if (!tensor) return IO_FAIL(IO_ERR_NOT_FOUND, "%s: tensor %s %s is missing", tensors->path, name, expected);
    if (tensor->n_dims != n_dims || (n_dims && memcmp(tensor->shape, shape, (size_t)n_dims * sizeof *shape) != 0)) {
        io_tensor_shape_text(tensor->n_dims, tensor->shape, found, sizeof found);
        return IO_FAIL(IO_ERR_MISMATCH, "%s: tensor %s: expected shape %s, found %s", tensors->path, name, expected, found);
    }
    *out = tensor;
    return IO_OK;
}

void io_tensors_release(const io_tensors *tensors, const io_tensor *tensor)
{
    size_t n_span = tensor->n_elements ? 1 : 0; /* elements from the first to the last, in memory */

    if (!tensors->mapping || !n_span) return;
    for (int i = 0; i < tensor->n_dims; i++) n_span += (size_t)((tensor->shape[i] - 1) * tensor->stride[i]);
    io_mapping_release(tensors->mapping, (size_t)(tensor->data - tensors->mapping->bytes), n_span * io_tensor_type_bytes(tensor->type));
}

io_status io_tensors_check(const io_tensors *tensors)
{
    for (size_t i = 0; tensors->zip && i < io_zip_count(tensors->zip); i++) {
        const io_zip_entry *entry = io_zip_at(tensors->zip, i);
        IO_TRY(io_zip_check(tensors->zip, entry));
        io_mapping_release(tensors->mapping, entry->offset, entry->n_bytes);
    }
    return IO_OK;
}
