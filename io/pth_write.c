/* Writes PyTorch's .pth container: see tensors.h for what, pth.c for the layout. Source: torch/serialization.py, CPython's pickle.
 *
 * data.pkl is byte for byte what torch.save would write for the same tensors (contiguous, each with its own storage), so that whatever
 * reads PyTorch's files reads these. The zip differs only in what PyTorch varies itself: the root folder is always "archive" (the bytes
 * must not depend on the file's name), and sizes stand in the local headers. */
#include <stdio.h>
#include <string.h>

#include <isa-l/crc.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/tensors_list.h"

enum { ALIGNMENT = 64, LOCAL_BYTES = 30, CENTRAL_BYTES = 46, ZIP64_FIELD_BYTES = 12, NAME_BYTES = 48, BATCH = 1000 };

/* What the pickler writes once and recalls afterwards. */
typedef enum shared {
    SHARED_DICT,
    SHARED_TENSOR,
    SHARED_PARAMETER,
    SHARED_STORAGE,
    SHARED_CPU,
    SHARED_TYPES,
    N_SHARED = SHARED_TYPES + 7
} shared;

/* A growing block of bytes. The first failure stays in status and turns the rest into nothing. */
typedef struct pickler {
    uint8_t *bytes; /* [n] of [room] */
    size_t n, room;
    uint32_t n_memo;
    int64_t memo[N_SHARED]; /* slot + 1, 0 while not yet written */
    io_status status;
} pickler;

typedef struct zip_record {
    char name[NAME_BYTES];
    uint64_t header; /* offset of the local header */
    uint32_t n_bytes, crc;
} zip_record;

typedef struct zip_writer {
    io_writer *file;
    zip_record *records; /* [n_records] */
    size_t n_records;
} zip_writer;

/* ---- the pickle ---- */

static void emit(pickler *p, const void *bytes, size_t n_bytes)
{
    const size_t room = 2 * (p->n + n_bytes) + 4096;

    if (p->status == IO_OK && p->n + n_bytes > p->room) {
        p->status = io_grow((void **)&p->bytes, p->n, room, 1);
        p->room = room;
    }
    if (p->status != IO_OK) return;
    memcpy(p->bytes + p->n, bytes, n_bytes);
    p->n += n_bytes;
}

static void emit_op(pickler *p, char op)
{
    emit(p, &op, 1);
}

/* An instruction and a little-endian operand of n_operand bytes. */
static void emit_number(pickler *p, uint8_t op, uint64_t operand, size_t n_operand)
{
    uint8_t bytes[9] = {op};

    for (size_t i = 0; i < n_operand; i++) bytes[1 + i] = (uint8_t)(operand >> (8 * i));
    emit(p, bytes, 1 + n_operand);
}

static void emit_put(pickler *p)
{
    const uint32_t slot = p->n_memo++;

    emit_number(p, slot < 256 ? 'q' : 'r', slot, slot < 256 ? 1 : 4);
}

static void emit_get(pickler *p, uint32_t slot)
{
    emit_number(p, slot < 256 ? 'h' : 'j', slot, slot < 256 ? 1 : 4);
}

/* An integer >= 0, in the shortest form. */
static void emit_int(pickler *p, uint64_t number)
{
    size_t n_bytes = 1;

    if (number < 1U << 8) {
        emit_number(p, 'K', number, 1);
    } else if (number < 1U << 16) {
        emit_number(p, 'M', number, 2);
    } else if (number < 1U << 31) {
        emit_number(p, 'J', number, 4);
    } else {
        while (n_bytes < 8 && number >> (8 * n_bytes - 1)) n_bytes++;
        emit(p, (const uint8_t[]){0x8a, (uint8_t)n_bytes}, 2);
        for (size_t i = 0; i < n_bytes; i++) emit_op(p, (char)(number >> (8 * i)));
    }
}

static void emit_text(pickler *p, const char *text)
{
    emit_number(p, 'X', strlen(text), 4);
    emit(p, text, strlen(text));
    emit_put(p);
}

/* Whatever comes again: emitted once, recalled later. is_global: text is "module\nname\n". */
static void emit_shared(pickler *p, int which, bool is_global, const char *text)
{
    if (p->memo[which]) {
        emit_get(p, (uint32_t)(p->memo[which] - 1));
        return;
    }
    p->memo[which] = (int64_t)p->n_memo + 1;
    if (is_global) {
        emit_op(p, 'c');
        emit(p, text, strlen(text));
        emit_put(p);
    } else {
        emit_text(p, text);
    }
}

static void emit_empty_ordered_dict(pickler *p)
{
    emit_shared(p, SHARED_DICT, true, "collections\nOrderedDict\n");
    emit(p, ")R", 2);
    emit_put(p);
}

/* numbers [n]; a tuple of up to three has its own instruction, a longer one is marked. */
static void emit_tuple(pickler *p, const int64_t *numbers, int n)
{
    if (n > 3) emit_op(p, '(');
    for (int i = 0; i < n; i++) emit_int(p, (uint64_t)numbers[i]);
    emit_op(p, n > 3 ? 't' : ")\x85\x86\x87"[n]);
    if (n > 0) emit_put(p);
}

/* ("storage", type, key, "cpu", number of elements) and "load it". */
static void emit_storage(pickler *p, const io_tensor *tensor, size_t key)
{
    static const char *const types[] = {
        [IO_TENSOR_F32] = "torch\nFloatStorage\n",  [IO_TENSOR_F16] = "torch\nHalfStorage\n", [IO_TENSOR_BF16] = "torch\nBFloat16Storage\n",
        [IO_TENSOR_F64] = "torch\nDoubleStorage\n", [IO_TENSOR_I64] = "torch\nLongStorage\n", [IO_TENSOR_I32] = "torch\nIntStorage\n",
        [IO_TENSOR_U8] = "torch\nByteStorage\n"};
    char text[24];

    snprintf(text, sizeof text, "%zu", key);
    emit_op(p, '(');
    emit_shared(p, SHARED_STORAGE, false, "storage");
    emit_shared(p, SHARED_TYPES + (int)tensor->type, true, types[tensor->type]);
    emit_text(p, text);
    emit_shared(p, SHARED_CPU, false, "cpu");
    emit_int(p, tensor->n_elements);
    emit_op(p, 't');
    emit_put(p);
    emit_op(p, 'Q');
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks) */
static void emit_tensor(pickler *p, const io_tensor *tensor, size_t key)
{
    int64_t strides[IO_TENSOR_MAX_DIMS], n = 1;

    for (int i = tensor->n_dims; i-- > 0;) {
        strides[i] = n;
        n *= tensor->shape[i] ? tensor->shape[i] : 1;
    }
    emit_shared(p, SHARED_TENSOR, true, "torch._utils\n_rebuild_tensor_v2\n");
    emit_op(p, '(');
    emit_storage(p, tensor, key);
    emit_int(p, 0);
    emit_tuple(p, tensor->shape, tensor->n_dims);
    emit_tuple(p, strides, tensor->n_dims);
    emit_op(p, '\x89');
    emit_empty_ordered_dict(p);
    emit_op(p, 't');
    emit_put(p);
    emit_op(p, 'R');
    emit_put(p);
}

/* _rebuild_parameter(tensor, requires_grad, hooks) */
static void emit_parameter(pickler *p, const io_tensor *tensor, size_t key)
{
    emit_shared(p, SHARED_PARAMETER, true, "torch._utils\n_rebuild_parameter\n");
    emit_tensor(p, tensor, key);
    emit_op(p, '\x88');
    emit_empty_ordered_dict(p);
    emit_op(p, '\x87');
    emit_put(p);
    emit_op(p, 'R');
    emit_put(p);
}

/* Items go in batches of 1000 between a mark and SETITEMS. A lone item has neither; CPython's pickler counts the last item of an
 * OrderedDict as alone where 1000s came before, that of a dict only where it is the only one, and closes a dict of whole 1000s with an
 * empty batch. */
static void emit_items(pickler *p, const io_tensors *tensors, bool is_ordered)
{
    for (size_t i = 0; i < tensors->n; i++) {
        const bool is_first = i % BATCH == 0, is_last = i % BATCH == BATCH - 1 || i + 1 == tensors->n;
        const bool is_alone = is_first && is_last && (is_ordered || tensors->n == 1);
        const io_tensor *tensor = &tensors->list[i];

        if (is_first && !is_alone) emit_op(p, '(');
        emit_text(p, tensor->name);
        if (tensor->is_parameter)
            emit_parameter(p, tensor, i);
        else
            emit_tensor(p, tensor, i);
        if (is_last) emit_op(p, is_alone ? 's' : 'u');
    }
    if (!is_ordered && tensors->n && tensors->n % BATCH == 0) emit(p, "(u", 2);
}

static void emit_pickle(pickler *p, const io_tensors *tensors, bool is_state_dict)
{
    emit(p, "\x80\x02", 2);
    if (is_state_dict) {
        emit_empty_ordered_dict(p);
    } else {
        emit_op(p, '}');
        emit_put(p);
    }
    emit_items(p, tensors, is_state_dict);
    emit_op(p, '.');
}

/* ---- the zip ---- */

static uint8_t *put_u16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    return at + 2;
}

static uint8_t *put_u32(uint8_t *at, uint32_t value)
{
    return put_u16(put_u16(at, value), value >> 16);
}

static uint8_t *put_u64(uint8_t *at, uint64_t value)
{
    return put_u32(put_u32(at, (uint32_t)value), (uint32_t)(value >> 32));
}

/* Fields that both headers share: flags (UTF-8 names), method (stored), time and date (the first that zip knows), CRC and sizes. */
static uint8_t *put_common(uint8_t *at, const zip_record *record, uint32_t version)
{
    at = put_u16(at, version);
    at = put_u16(at, 1U << 11);
    at = put_u16(at, 0);
    at = put_u16(at, 0);
    at = put_u16(at, 1 << 5 | 1);
    at = put_u32(at, record->crc);
    at = put_u32(at, record->n_bytes);
    at = put_u32(at, record->n_bytes);
    return put_u16(at, (uint32_t)strlen(record->name));
}

/* Local header with an extra field "FB" that pads it so that the content starts at a multiple of 64 bytes. */
static io_status begin_entry(zip_writer *zip, const char *name, uint64_t n_bytes, uint32_t crc)
{
    zip_record *record = &zip->records[zip->n_records++];
    uint8_t header[LOCAL_BYTES + NAME_BYTES + 4 + ALIGNMENT] = {0}, *at = header;
    size_t n_padding;

    if (n_bytes >= UINT32_MAX)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "entry %s of %llu bytes; less than 4 GiB are written", name, (unsigned long long)n_bytes);
    *record = (zip_record){.header = io_writer_position(zip->file), .n_bytes = (uint32_t)n_bytes, .crc = crc};
    snprintf(record->name, sizeof record->name, "archive/%s", name);
    n_padding = (size_t)(-(record->header + LOCAL_BYTES + strlen(record->name) + 4) % ALIGNMENT);

    at = put_u32(at, 0x04034b50);
    at = put_common(at, record, 20);
    at = put_u16(at, (uint32_t)(4 + n_padding));
    memcpy(at, record->name, strlen(record->name));
    at += strlen(record->name);
    memcpy(at, "FB", 2);
    at = put_u16(at + 2, (uint32_t)n_padding);
    memset(at, 'Z', n_padding);
    return io_writer_write(zip->file, header, (size_t)(at - header) + n_padding);
}

static io_status write_entry(zip_writer *zip, const char *name, const void *bytes, size_t n_bytes)
{
    IO_TRY(begin_entry(zip, name, n_bytes, crc32_gzip_refl(0, bytes, n_bytes)));
    return io_writer_write(zip->file, bytes, n_bytes);
}

static io_status add_crc(void *crc, const void *bytes, size_t n_bytes)
{
    *(uint32_t *)crc = crc32_gzip_refl(*(uint32_t *)crc, bytes, n_bytes);
    return IO_OK;
}

static io_status add_bytes(void *writer, const void *bytes, size_t n_bytes)
{
    return io_writer_write(writer, bytes, n_bytes);
}

static io_status write_tensor(zip_writer *zip, const io_tensors *tensors, size_t index)
{
    const io_tensor *tensor = &tensors->list[index];
    char name[NAME_BYTES];
    uint32_t crc = 0;

    snprintf(name, sizeof name, "data/%zu", index);
    IO_TRY(io_tensor_stream(tensor, add_crc, &crc));
    IO_TRY(begin_entry(zip, name, tensor->n_elements * io_tensor_type_bytes(tensor->type), crc));
    IO_TRY(io_tensor_stream(tensor, add_bytes, zip->file));
    io_tensors_release(tensors, tensor);
    return IO_OK;
}

/* An offset beyond 4 GiB goes into a zip64 field. */
static io_status write_central(zip_writer *zip, const zip_record *record)
{
    uint8_t header[CENTRAL_BYTES + NAME_BYTES + ZIP64_FIELD_BYTES] = {0}, *at = header;
    const bool is_far = record->header >= UINT32_MAX;

    at = put_u32(at, 0x02014b50);
    at = put_u16(at, is_far ? 45 : 20);
    at = put_common(at, record, is_far ? 45 : 20);
    at = put_u16(at, is_far ? ZIP64_FIELD_BYTES : 0);
    at += 10; /* no comment, disk 0, no attributes */
    at = put_u32(at, is_far ? UINT32_MAX : (uint32_t)record->header);
    memcpy(at, record->name, strlen(record->name));
    at += strlen(record->name);
    if (is_far) at = put_u64(put_u16(put_u16(at, 1), 8), record->header);
    return io_writer_write(zip->file, header, (size_t)(at - header));
}

/* The zip64 end record and its locator, for files beyond 4 GiB or 65534 entries. */
static io_status write_end64(zip_writer *zip, uint64_t start, uint64_t n_bytes)
{
    uint8_t record[56 + 20] = {0}, *at = record;

    at = put_u64(put_u32(at, 0x06064b50), 56 - 12);
    at = put_u16(put_u16(at, 45), 45) + 8; /* both disk numbers 0 */
    at = put_u64(put_u64(at, zip->n_records), zip->n_records);
    at = put_u64(put_u64(at, n_bytes), start);
    at = put_u64(put_u32(at, 0x07064b50) + 4, start + n_bytes);
    put_u32(at, 1); /* one disk in all */
    return io_writer_write(zip->file, record, sizeof record);
}

static io_status write_directory(zip_writer *zip)
{
    const uint64_t start = io_writer_position(zip->file);
    uint8_t record[22] = {0}, *at;
    uint64_t n_bytes;
    bool is_large;

    for (size_t i = 0; i < zip->n_records; i++) IO_TRY(write_central(zip, &zip->records[i]));
    n_bytes = io_writer_position(zip->file) - start;
    is_large = start + n_bytes >= UINT32_MAX || zip->n_records >= UINT16_MAX;
    if (is_large) IO_TRY(write_end64(zip, start, n_bytes));
    at = put_u32(record, 0x06054b50) + 4;
    at = put_u16(at, is_large ? UINT16_MAX : (uint32_t)zip->n_records);
    at = put_u16(at, is_large ? UINT16_MAX : (uint32_t)zip->n_records);
    at = put_u32(at, is_large ? UINT32_MAX : (uint32_t)n_bytes);
    put_u32(at, is_large ? UINT32_MAX : (uint32_t)start);
    return io_writer_write(zip->file, record, sizeof record);
}

io_status io_pth_write(const char *path, const io_tensors *tensors, bool is_state_dict)
{
    io_status status = IO_OK;
    zip_writer zip = {0};
    pickler p = {0};

    emit_pickle(&p, tensors, is_state_dict);
    IO_TRY_GOTO(status, done, p.status);
    IO_TRY_GOTO(status, done, io_alloc(tensors->n + 3, sizeof *zip.records, (void **)&zip.records));
    IO_TRY_GOTO(status, done, io_writer_open(path, &zip.file));
    IO_TRY_GOTO(status, done, write_entry(&zip, "data.pkl", p.bytes, p.n));
    IO_TRY_GOTO(status, done, write_entry(&zip, "byteorder", "little", 6));
    for (size_t i = 0; i < tensors->n; i++) IO_TRY_GOTO(status, done, write_tensor(&zip, tensors, i));
    IO_TRY_GOTO(status, done, write_entry(&zip, "version", "3\n", 2));
    IO_TRY_GOTO(status, done, write_directory(&zip));
    status = io_writer_commit(&zip.file);
done:
    io_writer_free(&zip.file);
    io_free(&zip.records);
    io_free(&p.bytes);
    return status;
}
