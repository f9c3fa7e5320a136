/* See zip.h. Source: PKWARE APPNOTE.TXT 6.3.9, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14 to 4.3.16 (ends), 4.5.3 (zip64).
 */
#include "io/zip.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <isa-l.h>
#include <isa-l/crc.h>

#include "io/memory.h"

enum {
    LOCAL_BYTES = 30,
    CENTRAL_BYTES = 46,
    END_BYTES = 22,
    END64_BYTES = 56,
    LOCATOR64_BYTES = 20,
    COMMENT_MAX_BYTES = 65535,
    METHOD_DEFLATE = 8,
    DEFLATE_LIMIT = 1032,  /* no deflated byte becomes more (zlib's documentation) */
    ENTRIES_MAX = 1 << 17, /* ViT-H has 594 tensors; the bound keeps a hostile directory from taking memory */
    FLAG_ENCRYPTED = 1,
    ZIP64_EXTRA = 1
};

struct io_zip {
    const uint8_t *bytes; /* [n_bytes], the whole file, borrowed */
    size_t n_bytes;
    const char *path;
    bool may_deflate;
    io_zip_entry *entries;        /* [n_entries] by place in the file */
    const io_zip_entry **by_name; /* [n_entries] by name */
    size_t n_entries;
};

/* Where the directory lies: bytes from the start of the file. */
typedef struct directory {
    uint64_t offset, n_bytes, n_entries;
    size_t end; /* of the first end record, where the directory must stop */
} directory;

static uint16_t read_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static uint32_t read_u32(const uint8_t *bytes)
{
    return read_u16(bytes) | (uint32_t)read_u16(bytes + 2) << 16;
}

static uint64_t read_u64(const uint8_t *bytes)
{
    return read_u32(bytes) | (uint64_t)read_u32(bytes + 4) << 32;
}

static bool is_signature(const uint8_t *bytes, char third, char fourth)
{
    return bytes[0] == 'P' && bytes[1] == 'K' && bytes[2] == third && bytes[3] == fourth;
}

/* The end record is the last one whose comment ends where the file ends. */
static io_status find_end(const io_zip *zip, size_t *end)
{
    const size_t n = zip->n_bytes;
    const size_t first = n > END_BYTES + COMMENT_MAX_BYTES ? n - END_BYTES - COMMENT_MAX_BYTES : 0;

    for (size_t at = n < END_BYTES ? 0 : n - END_BYTES + 1; at-- > first;) {
        if (is_signature(zip->bytes + at, 5, 6) && at + END_BYTES + read_u16(zip->bytes + at + 20) == n) {
            *end = at;
            return IO_OK;
        }
    }
    return IO_FAIL(IO_ERR_TRUNCATED,
                   "%s: the zip directory at the end of the file is missing; the file (%zu bytes) was cut short, copy it again", zip->path,
                   n);
}

static io_status read_end64(const io_zip *zip, size_t locator, directory *out)
{
    const uint64_t at = read_u64(zip->bytes + locator + 8);
    const uint8_t *record;

    if (at > locator || locator - at < END64_BYTES || !is_signature(zip->bytes + at, 6, 6))
        return IO_FAIL(IO_ERR_FORMAT, "%s: the zip64 end record is not at offset %llu as the file says", zip->path, (unsigned long long)at);
    record = zip->bytes + at;
    if (read_u32(record + 16) || read_u32(record + 20))
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: a zip file split over several disks; join it first", zip->path);
    *out = (directory){
        .n_entries = read_u64(record + 32), .n_bytes = read_u64(record + 40), .offset = read_u64(record + 48), .end = (size_t)at};
    return IO_OK;
}

static io_status find_directory(const io_zip *zip, directory *out)
{
    size_t end = 0;
    const uint8_t *record;

    IO_TRY(find_end(zip, &end));
    record = zip->bytes + end;
    if (end >= LOCATOR64_BYTES && is_signature(record - LOCATOR64_BYTES, 6, 7)) {
        IO_TRY(read_end64(zip, end - LOCATOR64_BYTES, out));
    } else {
        if (read_u16(record + 4) || read_u16(record + 6))
            return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: a zip file split over several disks; join it first", zip->path);
        *out =
            (directory){.n_entries = read_u16(record + 10), .n_bytes = read_u32(record + 12), .offset = read_u32(record + 16), .end = end};
    }
    if (out->offset > out->end || out->n_bytes != out->end - out->offset)
        return IO_FAIL(IO_ERR_FORMAT, "%s: the zip directory should be %llu bytes at offset %llu, but its end record is at %zu", zip->path,
                       (unsigned long long)out->n_bytes, (unsigned long long)out->offset, out->end);
    if (out->n_entries > ENTRIES_MAX || out->n_entries > out->n_bytes / CENTRAL_BYTES)
        return IO_FAIL(IO_ERR_FORMAT, "%s: the zip directory of %llu bytes cannot hold %llu entries (at most %d are read)", zip->path,
                       (unsigned long long)out->n_bytes, (unsigned long long)out->n_entries, ENTRIES_MAX);
    return IO_OK;
}

/* Sizes and offset of 0xffffffff stand in the zip64 field of the extra block, in this order (APPNOTE 4.5.3). */
static bool read_zip64(const uint8_t *extra, size_t n_extra, uint64_t *values[3])
{
    size_t at = 0;

    while (n_extra - at >= 4 && read_u16(extra + at) != ZIP64_EXTRA) {
        if (read_u16(extra + at + 2) > n_extra - at - 4) return false;
        at += 4 + read_u16(extra + at + 2);
    }
    if (n_extra - at < 4 || read_u16(extra + at + 2) > n_extra - at - 4) return false;
    const uint8_t *field = extra + at + 4, *const end = field + read_u16(extra + at + 2);
    for (int i = 0; i < 3; i++) {
        if (*values[i] != UINT32_MAX) continue;
        if (end - field < 8) return false;
        *values[i] = read_u64(field);
        field += 8;
    }
    return true;
}

/* The local header repeats the name and says where the content starts. */
static io_status locate_content(const io_zip *zip, const directory *where, uint64_t header, io_zip_entry *entry)
{
    const uint8_t *local;
    size_t n_head;

    if (header > where->offset || where->offset - header < LOCAL_BYTES || !is_signature(zip->bytes + header, 3, 4))
        return IO_FAIL(IO_ERR_FORMAT, "%s: entry %.*s: no local header at offset %llu", zip->path, (int)entry->n_name, entry->name,
                       (unsigned long long)header);
    local = zip->bytes + header;
    n_head = (size_t)LOCAL_BYTES + read_u16(local + 26) + read_u16(local + 28);
    if (n_head > where->offset - header || entry->n_packed > where->offset - header - n_head)
        return IO_FAIL(IO_ERR_RANGE, "%s: entry %.*s: %zu bytes at offset %llu reach beyond the content of the file (%llu bytes)",
                       zip->path, (int)entry->n_name, entry->name, entry->n_packed, (unsigned long long)header,
                       (unsigned long long)where->offset);
    if (read_u16(local + 26) != entry->n_name || memcmp(local + LOCAL_BYTES, entry->name, entry->n_name) != 0)
        return IO_FAIL(IO_ERR_FORMAT, "%s: entry %.*s has another name in its local header", zip->path, (int)entry->n_name, entry->name);
    entry->header = (size_t)header;
    entry->offset = (size_t)header + n_head;
    return IO_OK;
}

/* record: one directory entry, at most n_record bytes; *n_used is how many it took. */
static io_status read_entry(const io_zip *zip, const directory *where, const uint8_t *record, size_t n_record, size_t *n_used,
                            io_zip_entry *out)
{
    uint64_t packed, n_bytes, header;
    size_t n_name, n_extra;

    if (n_record < CENTRAL_BYTES || !is_signature(record, 1, 2)) return IO_FAIL(IO_ERR_FORMAT, "%s: damaged zip directory", zip->path);
    n_name = read_u16(record + 28);
    n_extra = read_u16(record + 30);
    *n_used = CENTRAL_BYTES + n_name + n_extra + read_u16(record + 32);
    if (*n_used > n_record) return IO_FAIL(IO_ERR_FORMAT, "%s: the zip directory ends inside an entry", zip->path);

    packed = read_u32(record + 20);
    n_bytes = read_u32(record + 24);
    header = read_u32(record + 42);
    *out = (io_zip_entry){.name = (const char *)record + CENTRAL_BYTES, .n_name = n_name, .crc = read_u32(record + 16)};
    if (memchr(out->name, 0, n_name)) return IO_FAIL(IO_ERR_FORMAT, "%s: a zip entry's name holds a zero byte", zip->path);
    if (packed == UINT32_MAX || n_bytes == UINT32_MAX || header == UINT32_MAX) {
        if (!read_zip64(record + CENTRAL_BYTES + n_name, n_extra, (uint64_t *[3]){&n_bytes, &packed, &header}))
            return IO_FAIL(IO_ERR_FORMAT, "%s: entry %.*s: its zip64 field is missing or damaged", zip->path, (int)n_name, out->name);
    }
    if (read_u16(record + 8) & FLAG_ENCRYPTED)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: entry %.*s is encrypted", zip->path, (int)n_name, out->name);
    out->is_deflated = zip->may_deflate && read_u16(record + 10) == METHOD_DEFLATE;
    if (!out->is_deflated && (read_u16(record + 10) != 0 || packed != n_bytes))
        return IO_FAIL(IO_ERR_UNSUPPORTED,
                       "%s: entry %.*s is compressed (method %d), which PyTorch never does; unpack and save it again with torch.save",
                       zip->path, (int)n_name, out->name, read_u16(record + 10));
    out->n_bytes = (size_t)n_bytes;
    out->n_packed = (size_t)packed;
    if (n_bytes / DEFLATE_LIMIT > packed)
        return IO_FAIL(IO_ERR_FORMAT, "%s: entry %.*s: %llu bytes cannot come out of %llu", zip->path, (int)n_name, out->name,
                       (unsigned long long)n_bytes, (unsigned long long)packed);
    return locate_content(zip, where, header, out);
}

static int compare_headers(const void *a, const void *b)
{
    const size_t left = ((const io_zip_entry *)a)->header, right = ((const io_zip_entry *)b)->header;
    return (left > right) - (left < right);
}

static int compare_texts(const char *a, size_t n_a, const char *b, size_t n_b)
{
    const int order = memcmp(a, b, n_a < n_b ? n_a : n_b);
    return order ? order : (n_a > n_b) - (n_a < n_b);
}

static int compare_names(const void *a, const void *b)
{
    const io_zip_entry *left = *(const io_zip_entry *const *)a, *right = *(const io_zip_entry *const *)b;
    return compare_texts(left->name, left->n_name, right->name, right->n_name);
}

/* Two entries over the same bytes, or two with one name, are a trick and never PyTorch. */
static io_status sort_entries(io_zip *zip)
{
    qsort(zip->entries, zip->n_entries, sizeof *zip->entries, compare_headers);
    for (size_t i = 0; i < zip->n_entries; i++) {
        const io_zip_entry *entry = &zip->entries[i];
        zip->by_name[i] = entry;
        if (i > 0 && entry[-1].offset + entry[-1].n_packed > entry->header)
            return IO_FAIL(IO_ERR_FORMAT, "%s: zip entries %.*s and %.*s overlap", zip->path, (int)entry[-1].n_name, entry[-1].name,
                           (int)entry->n_name, entry->name);
    }
    qsort(zip->by_name, zip->n_entries, sizeof *zip->by_name, compare_names);
    for (size_t i = 1; i < zip->n_entries; i++) {
        if (compare_names(&zip->by_name[i - 1], &zip->by_name[i]) == 0)
            return IO_FAIL(IO_ERR_FORMAT, "%s: zip entry %.*s appears twice", zip->path, (int)zip->by_name[i]->n_name,
                           zip->by_name[i]->name);
    }
    return IO_OK;
}

static io_status read_directory(io_zip *zip)
{
    directory where = {0};
    const uint8_t *record;
    size_t left, used = 0;

    IO_TRY(find_directory(zip, &where));
    IO_TRY(io_alloc((size_t)where.n_entries, sizeof *zip->entries, (void **)&zip->entries));
    IO_TRY(io_alloc((size_t)where.n_entries, sizeof *zip->by_name, (void **)&zip->by_name));
    record = zip->bytes + where.offset;
    left = (size_t)where.n_bytes;
    for (; zip->n_entries < where.n_entries; record += used, left -= used) {
        IO_TRY(read_entry(zip, &where, record, left, &used, &zip->entries[zip->n_entries]));
        zip->n_entries++;
    }
    if (left) return IO_FAIL(IO_ERR_FORMAT, "%s: %zu bytes lie behind the last entry of the zip directory", zip->path, left);
    return sort_entries(zip);
}

static io_status open_zip(const uint8_t *bytes, size_t n_bytes, const char *path, bool may_deflate, io_zip **out)
{
    io_status status = IO_OK;
    io_zip *zip = NULL;

    *out = NULL;
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *zip, (void **)&zip));
    *zip = (io_zip){.bytes = bytes, .n_bytes = n_bytes, .path = path, .may_deflate = may_deflate};
    IO_TRY_GOTO(status, done, read_directory(zip));
    *out = zip;
    zip = NULL;
done:
    io_zip_free(&zip);
    return status;
}

io_status io_zip_open(const uint8_t *bytes, size_t n_bytes, const char *path, io_zip **out)
{
    return open_zip(bytes, n_bytes, path, false, out);
}

io_status io_zip_open_deflated(const uint8_t *bytes, size_t n_bytes, const char *path, io_zip **out)
{
    return open_zip(bytes, n_bytes, path, true, out);
}

void io_zip_free(io_zip **zip)
{
    if (!zip || !*zip) return;
    io_free(&(*zip)->entries);
    io_free(&(*zip)->by_name);
    io_free(zip);
}

size_t io_zip_count(const io_zip *zip)
{
    return zip->n_entries;
}

const io_zip_entry *io_zip_at(const io_zip *zip, size_t index)
{
    return &zip->entries[index];
}

/* Orders an entry against "<folder>/<name>" without building that text. */
static int compare_entry(const io_zip_entry *entry, const char *folder, size_t n_folder, const char *name)
{
    const size_t n_head = entry->n_name < n_folder ? entry->n_name : n_folder;
    const int order = memcmp(entry->name, folder, n_head);

    if (order) return order;
    if (entry->n_name <= n_folder) return -1;
    if (entry->name[n_folder] != '/') return (uint8_t)entry->name[n_folder] - '/';
    return compare_texts(entry->name + n_folder + 1, entry->n_name - n_folder - 1, name, strlen(name));
}

const io_zip_entry *io_zip_find(const io_zip *zip, const char *folder, size_t n_folder, const char *name)
{
    size_t low = 0, high = zip->n_entries;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = compare_entry(zip->by_name[middle], folder, n_folder, name);
        if (order == 0) return zip->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static io_status check_crc(const io_zip *zip, const io_zip_entry *entry, const uint8_t *content)
{
    uint32_t found;

    if (entry->crc == 0) return IO_OK; /* torch.serialization.set_crc32_options(False) writes zeros */
    found = crc32_gzip_refl(0, content, entry->n_bytes);
    if (found == entry->crc) return IO_OK;
    return IO_FAIL(IO_ERR_CHECKSUM, "%s: entry %.*s: CRC-32 should be %08x, is %08x; the file was damaged, copy it again", zip->path,
                   (int)entry->n_name, entry->name, (unsigned)entry->crc, (unsigned)found);
}

io_status io_zip_check(const io_zip *zip, const io_zip_entry *entry)
{
    assert(!entry->is_deflated);
    return check_crc(zip, entry, zip->bytes + entry->offset);
}

static io_status inflate_entry(const io_zip *zip, const io_zip_entry *entry, uint8_t *content)
{
    io_status status = IO_OK;
    struct inflate_state *state = NULL;

    if (entry->n_packed > UINT32_MAX || entry->n_bytes > UINT32_MAX) /* the counters of ISA-L have 32 bits */
        return IO_FAIL(IO_ERR_UNSUPPORTED, "%s: entry %.*s is deflated and above 4 GB; save it uncompressed", zip->path, (int)entry->n_name,
                       entry->name);
    IO_TRY(io_alloc(1, sizeof *state, (void **)&state));
    isal_inflate_init(state);
    state->next_in = (uint8_t *)zip->bytes + entry->offset; /* not written to */
    state->avail_in = (uint32_t)entry->n_packed;
    state->next_out = content;
    state->avail_out = (uint32_t)entry->n_bytes;
    state->crc_flag = ISAL_DEFLATE;
    if (isal_inflate(state) != ISAL_DECOMP_OK || state->block_state != ISAL_BLOCK_FINISH || state->avail_out != 0)
        status = IO_FAIL(IO_ERR_FORMAT, "%s: entry %.*s: its deflated data does not give the %zu bytes announced; copy the file again",
                         zip->path, (int)entry->n_name, entry->name, entry->n_bytes);
    io_free(&state);
    return status;
}

io_status io_zip_extract(const io_zip *zip, const io_zip_entry *entry, uint8_t *content)
{
    if (entry->is_deflated)
        IO_TRY(inflate_entry(zip, entry, content));
    else
        memcpy(content, zip->bytes + entry->offset, entry->n_bytes);
    return check_crc(zip, entry, content);
}
