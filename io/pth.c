/* PyTorch's .pth: a zip of stored entries, "<root>/data.pkl" (a pickle that describes the tensors) and "<root>/data/<key>" (one storage
 * each, raw numbers). Source: spec 1.7; torch/serialization.py and torch/_utils.py name the calls and their arguments.
 *
 * The pickle is read as data (pickle.h). What a tensor claims about its storage is checked against the entry in the zip. */
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "io/pickle.h"
#include "io/tensors_list.h"

enum { PICKLE_MAX_BYTES = 64 << 20 }; /* that of ViT-H has 90 kB */

typedef enum role { ROLE_PLAIN, ROLE_TENSOR_V2, ROLE_TENSOR_V3, ROLE_PARAMETER, ROLE_STORAGE, ROLE_BYTES } role;

/* Every global that may appear; what is not here is refused. */
static const struct {
    const char *name;
    role role;
    io_tensor_type type; /* ROLE_STORAGE, and the dtypes that a ROLE_TENSOR_V3 names */
    bool has_type;
} globals[] = {
    {"collections OrderedDict", ROLE_PLAIN, 0, false}, /* first, as io_pickle_read wants it */
    {"torch._utils _rebuild_tensor_v2", ROLE_TENSOR_V2, 0, false},
    {"torch._utils _rebuild_tensor_v3", ROLE_TENSOR_V3, 0, false},
    {"torch._utils _rebuild_parameter", ROLE_PARAMETER, 0, false},
    {"torch FloatStorage", ROLE_STORAGE, IO_TENSOR_F32, true},
    {"torch HalfStorage", ROLE_STORAGE, IO_TENSOR_F16, true},
    {"torch BFloat16Storage", ROLE_STORAGE, IO_TENSOR_BF16, true},
    {"torch DoubleStorage", ROLE_STORAGE, IO_TENSOR_F64, true},
    {"torch LongStorage", ROLE_STORAGE, IO_TENSOR_I64, true},
    {"torch IntStorage", ROLE_STORAGE, IO_TENSOR_I32, true},
    {"torch ByteStorage", ROLE_STORAGE, IO_TENSOR_U8, true},
    {"torch.storage UntypedStorage", ROLE_BYTES, 0, false},
    {"torch float32", ROLE_PLAIN, IO_TENSOR_F32, true},
    {"torch float16", ROLE_PLAIN, IO_TENSOR_F16, true},
    {"torch bfloat16", ROLE_PLAIN, IO_TENSOR_BF16, true},
    {"torch float64", ROLE_PLAIN, IO_TENSOR_F64, true},
    {"torch int64", ROLE_PLAIN, IO_TENSOR_I64, true},
    {"torch int32", ROLE_PLAIN, IO_TENSOR_I32, true},
    {"torch uint8", ROLE_PLAIN, IO_TENSOR_U8, true},
    {"torch Size", ROLE_PLAIN, 0, false},
    {"torch device", ROLE_PLAIN, 0, false},
};
enum { N_GLOBALS = sizeof globals / sizeof *globals };

typedef struct pth_reader {
    io_tensors *tensors;
    const uint8_t *bytes; /* the mapped file */
    io_zip *zip;
    const char *root; /* [n_root], the folder inside the zip */
    size_t n_root;
    io_pickle *pickle;
} pth_reader;

static bool is_call(const io_pickle_value *value, role wanted)
{
    return value && value->kind == IO_PICKLE_CALL && globals[value->number].role == wanted;
}

static bool is_tensor(const io_pickle_value *value)
{
    return is_call(value, ROLE_TENSOR_V2) || is_call(value, ROLE_TENSOR_V3) || is_call(value, ROLE_PARAMETER);
}

/* The item at index when it is of that kind. */
static io_status get_item(const pth_reader *reader, const io_pickle_value *value, uint32_t index, io_pickle_kind kind,
                          const io_pickle_value **out)
{
    *out = io_pickle_item(reader->pickle, value, index);
    if (!*out || (*out)->kind != kind) return IO_FAIL(IO_ERR_FORMAT, "argument %u of its description is missing or of a wrong kind", index);
    return IO_OK;
}

/* A tuple of integers >= 0 into out [IO_TENSOR_MAX_DIMS]. */
static io_status read_integers(const pth_reader *reader, const io_pickle_value *tuple, int64_t *out)
{
    const io_pickle_value *item;

    if (tuple->n_items > IO_TENSOR_MAX_DIMS)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%u dimensions; at most %d are read", tuple->n_items, IO_TENSOR_MAX_DIMS);
    for (uint32_t i = 0; i < tuple->n_items; i++) {
        IO_TRY(get_item(reader, tuple, i, IO_PICKLE_INT, &item));
        if (item->number < 0) return IO_FAIL(IO_ERR_RANGE, "a size or stride of %lld", (long long)item->number);
        out[i] = item->number;
    }
    return IO_OK;
}

/* The zip entry of a storage: its persistent id is ("storage", type, key, location, number of elements). *type stays as it is for an
 * untyped storage, whose elements are bytes. */
static io_status find_storage(const pth_reader *reader, const io_pickle_value *stored, const io_zip_entry **entry, io_tensor_type *type)
{
    const io_pickle_value *id, *tag, *storage_type, *key, *numel;
    char name[64];
    size_t n_bytes;

    IO_TRY(get_item(reader, stored, 0, IO_PICKLE_TUPLE, &id));
    IO_TRY(get_item(reader, id, 0, IO_PICKLE_TEXT, &tag));
    IO_TRY(get_item(reader, id, 1, IO_PICKLE_GLOBAL, &storage_type));
    IO_TRY(get_item(reader, id, 2, IO_PICKLE_TEXT, &key));
    IO_TRY(get_item(reader, id, 4, IO_PICKLE_INT, &numel));
    if (!io_pickle_is_text(tag, "storage") || key->n_text > 32 || memchr(key->text, 0, key->n_text))
        return IO_FAIL(IO_ERR_FORMAT, "its storage has no valid name");
    if (globals[storage_type->number].role == ROLE_STORAGE)
        *type = globals[storage_type->number].type;
    else if (globals[storage_type->number].role != ROLE_BYTES)
        return IO_FAIL(IO_ERR_FORMAT, "its storage has no type");

    snprintf(name, sizeof name, "data/%.*s", (int)key->n_text, key->text);
    *entry = io_zip_find(reader->zip, reader->root, reader->n_root, name);
    if (!*entry) return IO_FAIL(IO_ERR_NOT_FOUND, "the file has no entry %.*s/%s", (int)reader->n_root, reader->root, name);
    if (numel->number < 0) return IO_FAIL(IO_ERR_RANGE, "its storage has %lld elements", (long long)numel->number);
    IO_TRY(
        io_size_mul((size_t)numel->number, globals[storage_type->number].role == ROLE_BYTES ? 1 : io_tensor_type_bytes(*type), &n_bytes));
    if (n_bytes != (*entry)->n_bytes)
        return IO_FAIL(IO_ERR_RANGE, "its storage %s should have %zu bytes, the file has %zu", name, n_bytes, (*entry)->n_bytes);
    return IO_OK;
}

/* Every element, from the offset on and along the strides, must lie inside the storage of n_storage elements. */
static io_status check_span(const io_tensor *tensor, int64_t offset, size_t n_storage)
{
    int64_t last = offset, step;
    bool is_outside = offset < 0 || (uint64_t)offset > n_storage;

    for (int i = 0; i < tensor->n_dims && tensor->n_elements; i++)
        is_outside |= __builtin_mul_overflow(tensor->shape[i] - 1, tensor->stride[i], &step) || __builtin_add_overflow(last, step, &last);
    if (is_outside || (tensor->n_elements && (uint64_t)last >= n_storage))
        return IO_FAIL(IO_ERR_RANGE, "its elements (first at %lld) lie outside its storage of %zu", (long long)offset, n_storage);
    if (tensor->n_elements > n_storage)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "it repeats its storage (%zu elements out of %zu); save it with .contiguous()",
                       tensor->n_elements, n_storage);
    return IO_OK;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]); _v3 has the type before the metadata. */
static io_status read_tensor(const pth_reader *reader, const io_pickle_value *call, io_tensor *out)
{
    const io_pickle_value *stored, *offset, *size, *stride, *dtype;
    const io_zip_entry *entry = NULL;

    IO_TRY(get_item(reader, call, 0, IO_PICKLE_STORED, &stored));
    IO_TRY(get_item(reader, call, 1, IO_PICKLE_INT, &offset));
    IO_TRY(get_item(reader, call, 2, IO_PICKLE_TUPLE, &size));
    IO_TRY(get_item(reader, call, 3, IO_PICKLE_TUPLE, &stride));
    if (is_call(call, ROLE_TENSOR_V3)) {
        IO_TRY(get_item(reader, call, 6, IO_PICKLE_GLOBAL, &dtype));
        if (!globals[dtype->number].has_type) return IO_FAIL(IO_ERR_FORMAT, "its type is %s", globals[dtype->number].name);
        out->type = globals[dtype->number].type;
    }
    IO_TRY(find_storage(reader, stored, &entry, &out->type));
    IO_TRY(read_integers(reader, size, out->shape));
    IO_TRY(io_tensor_set_shape(out, (int)size->n_items, out->shape));
    if (stride->n_items != size->n_items)
        return IO_FAIL(IO_ERR_FORMAT, "it has %u dimensions but %u strides", size->n_items, stride->n_items);
    IO_TRY(read_integers(reader, stride, out->stride));
    IO_TRY(check_span(out, offset->number, entry->n_bytes / io_tensor_type_bytes(out->type)));
    out->data = reader->bytes + entry->offset + (size_t)offset->number * io_tensor_type_bytes(out->type);
    return IO_OK;
}

/* _rebuild_parameter(tensor, requires_grad, hooks) */
static io_status read_entry(const pth_reader *reader, const io_pickle_value *call, io_tensor *out)
{
    *out = (io_tensor){.is_parameter = is_call(call, ROLE_PARAMETER)};
    if (out->is_parameter) {
        IO_TRY(get_item(reader, call, 0, IO_PICKLE_CALL, &call));
        if (!is_tensor(call) || is_call(call, ROLE_PARAMETER)) return IO_FAIL(IO_ERR_FORMAT, "a parameter that wraps no tensor");
    }
    return read_tensor(reader, call, out);
}

/* Takes over the tensors among a dict's members; numbers, texts and nested dicts beside them are not weights and are passed over. */
static io_status read_members(const pth_reader *reader, const io_pickle_value *dict)
{
    const io_pickle *pickle = reader->pickle;
    io_tensor entry;

    for (uint32_t link = dict->first; link; link = pickle->links[pickle->links[link].next].next) {
        const io_pickle_value *key = &pickle->values[pickle->links[link].value];
        const io_pickle_value *value = &pickle->values[pickle->links[pickle->links[link].next].value];
        if (!is_tensor(value)) continue;
        if (key->kind != IO_PICKLE_TEXT) return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: a tensor whose name is not a text", reader->tensors->path);
        const io_status status = read_entry(reader, value, &entry);
        if (status != IO_OK) return io_fail_context(status, "%s: tensor %.*s", reader->tensors->path, (int)(key->n_text & 1023), key->text);
        IO_TRY(io_tensors_append(reader->tensors, key->text, key->n_text, &entry));
    }
    return IO_OK;
}

static bool holds_tensor(const io_pickle *pickle, const io_pickle_value *dict)
{
    for (uint32_t i = 1, link = dict->first; link; i++, link = pickle->links[link].next) {
        if (i % 2 == 0 && is_tensor(&pickle->values[pickle->links[link].value])) return true;
    }
    return false;
}

/* The dict of tensors: the root itself, or the first dict of tensors in it (Lightning's "state_dict", timm's "model"). */
static const io_pickle_value *find_state_dict(const io_pickle *pickle)
{
    const io_pickle_value *root = io_pickle_root(pickle);

    if (root->kind != IO_PICKLE_DICT) return NULL;
    if (holds_tensor(pickle, root)) return root;
    for (uint32_t i = 1, link = root->first; link; i++, link = pickle->links[link].next) {
        const io_pickle_value *member = &pickle->values[pickle->links[link].value];
        if (i % 2 == 0 && member->kind == IO_PICKLE_DICT && holds_tensor(pickle, member)) return member;
    }
    return NULL;
}

/* The root folder is the part of the first entry's name before the slash: the file's stem, or "archive". */
static io_status find_root(pth_reader *reader, const io_zip_entry **data_pkl)
{
    const char *path = reader->tensors->path;
    const io_zip_entry *first = io_zip_count(reader->zip) ? io_zip_at(reader->zip, 0) : NULL;
    const char *slash = first ? memchr(first->name, '/', first->n_name) : NULL;

    *data_pkl = NULL;
    if (slash) {
        reader->root = first->name;
        reader->n_root = (size_t)(slash - first->name);
        *data_pkl = io_zip_find(reader->zip, reader->root, reader->n_root, "data.pkl");
    }
    if (!*data_pkl) return IO_FAIL(IO_ERR_FORMAT, "%s: a zip file, but not PyTorch's: it has no <folder>/data.pkl", path);
    if (io_zip_find(reader->zip, reader->root, reader->n_root, "constants.pkl"))
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: a TorchScript program, not weights; save the model's state_dict() with torch.save", path);
    if ((*data_pkl)->n_bytes > PICKLE_MAX_BYTES)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: data.pkl has %zu bytes; at most %d are read", path, (*data_pkl)->n_bytes, PICKLE_MAX_BYTES);
    return io_zip_check(reader->zip, *data_pkl);
}

static io_status check_byte_order(const pth_reader *reader)
{
    const io_zip_entry *entry = io_zip_find(reader->zip, reader->root, reader->n_root, "byteorder");

    if (!entry || (entry->n_bytes >= 6 && memcmp(reader->bytes + entry->offset, "little", 6) == 0)) return IO_OK;
    return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: written on a big-endian machine; save it again on a little-endian one", reader->tensors->path);
}

io_status io_pth_open(io_tensors *tensors)
{
    io_status status = IO_OK;
    pth_reader reader = {.tensors = tensors, .bytes = tensors->mapping->bytes};
    const io_zip_entry *data_pkl;
    const io_pickle_value *dict;
    const char *names[N_GLOBALS];

    tensors->format = IO_TENSORS_PTH;
    IO_TRY(io_zip_open(tensors->mapping->bytes, tensors->mapping->n_bytes, tensors->path, &tensors->zip));
    reader.zip = tensors->zip;
    IO_TRY(find_root(&reader, &data_pkl));
    IO_TRY(check_byte_order(&reader));
    for (int i = 0; i < N_GLOBALS; i++) names[i] = globals[i].name;
    status = io_pickle_read(reader.bytes + data_pkl->offset, data_pkl->n_bytes, "data.pkl", names, N_GLOBALS, &reader.pickle);
    if (status != IO_OK) return io_fail_context(status, "%s", tensors->path);
    dict = find_state_dict(reader.pickle);
    if (dict)
        status = read_members(&reader, dict);
    else
        status = IO_FAIL(IO_ERR_UNSUPPORTED, "%s: holds no dict of tensors; save the model's state_dict() with torch.save", tensors->path);
    io_pickle_free(&reader.pickle);
    return status;
}
