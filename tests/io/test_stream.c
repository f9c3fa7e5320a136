/* Streams against the system's gzip and zstd programs, and against files damaged on purpose. */
#include "tests/check.h"

#include <sys/mman.h>
#include <unistd.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"
#include "io/stream.h"

enum { N_BYTES = 3000017 }; /* odd, several blocks of the reader, not a multiple of any of its steps */

static uint8_t *original; /* [N_BYTES] */

/* Bytes that compress about as CT voxels do: small signed steps, two bytes each, with flat stretches. */
static int make_original(void **state)
{
    uint32_t random = 12345;

    original = malloc(N_BYTES);
    for (size_t i = 0; i < N_BYTES; i++) {
        random = random * 1664525u + 1013904223u;
        original[i] = i / 5000 % 3 == 0 ? 7 : i % 2 ? 252 + (random >> 30) : random >> 26;
    }
    return original == NULL;
}

static int free_original(void **state)
{
    free(original);
    return 0;
}

static void write_bytes(const char *path, const void *bytes, size_t n_bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

static bool run(const char *command)
{
    return system(command) == 0;
}

static uint8_t *map_copy(const char *path, size_t *n_bytes)
{
    io_mapping *file;
    uint8_t *copy;
    check_ok(io_mapping_open(path, &file));
    *n_bytes = file->n_bytes;
    copy = malloc(file->n_bytes + 1);
    memcpy(copy, file->bytes, file->n_bytes);
    io_mapping_free(&file);
    return copy;
}

/* Everything a stream over memory yields, up to n_max bytes: its status from first read to finish. */
static io_status read_memory(const void *bytes, size_t n_bytes, size_t n_max, size_t *n_read)
{
    uint8_t *buffer = malloc(n_max + 1);
    io_stream *stream;
    io_status status;

    check_ok(io_stream_open_memory(bytes, n_bytes, "memory", &stream));
    status = io_stream_read_some(stream, buffer, n_max, n_read);
    if (status == IO_OK) status = io_stream_finish(stream, 0);
    io_stream_close(&stream);
    free(buffer);
    return status;
}

/* Reads path in pieces of piece bytes and compares with n_copies of the original. */
static void check_content(const char *path, size_t piece, int n_copies)
{
    uint8_t *buffer = malloc((size_t)N_BYTES * n_copies);
    char found[65], expected[65];
    io_stream *stream;

    check_ok(io_stream_open(path, &stream));
    assert_true(io_stream_bound(stream) >= (uint64_t)N_BYTES * n_copies);
    for (size_t n_done = 0; n_done < (size_t)N_BYTES * n_copies;) {
        const size_t n_left = (size_t)N_BYTES * n_copies - n_done, n = piece < n_left ? piece : n_left;
        check_ok(io_stream_read(stream, buffer + n_done, n));
        n_done += n;
    }
    for (int i = 0; i < n_copies; i++) assert_memory_equal(buffer + (size_t)i * N_BYTES, original, N_BYTES);
    check_ok(io_stream_finish(stream, 0));
    check_ok(io_stream_sha256(stream, found));
    check_ok(io_hash_file(path, expected));
    assert_string_equal(found, expected);
    io_stream_close(&stream);
    assert_null(stream);
    io_stream_close(&stream);
    free(buffer);
}

static void test_plain_gzip_and_zstd_give_the_bytes_back(void **state)
{
    static const size_t pieces[] = {N_BYTES, 1, 352, 65536, 1000003};

    write_bytes("stream.raw", original, N_BYTES);
    assert_true(run("gzip -n -1 -k -c stream.raw > stream.raw.gz"));
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        check_content("stream.raw", pieces[i], 1);
        check_content("stream.raw.gz", pieces[i], 1);
    }
    assert_true(run("gzip -9 -k -c stream.raw > stream9.gz")); /* with name and time in the header */
    check_content("stream9.gz", N_BYTES, 1);
    if (!run("zstd -q -f -k stream.raw -o stream.raw.zst 2> /dev/null")) return;
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) check_content("stream.raw.zst", pieces[i], 1);
}

static void test_members_follow_each_other(void **state)
{
    assert_true(run("cat stream.raw.gz stream9.gz stream.raw.gz > members.gz"));
    check_content("members.gz", 4096, 3);
    check_content("members.gz", 3 * (size_t)N_BYTES, 3);
}

/* CRC-32 bit by bit (RFC 1952 section 8). */
static uint32_t compute_crc(uint32_t crc, const uint8_t *bytes, size_t n_bytes)
{
    crc = ~crc;
    for (size_t i = 0; i < n_bytes; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320u ^ crc >> 1 : crc >> 1;
    }
    return ~crc;
}

static uint8_t *put_little(uint8_t *out, uint32_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++) *out++ = (uint8_t)(value >> 8 * i);
    return out;
}

/* A member built by hand: stored blocks (RFC 1951 3.2.4) of at most 65535 bytes, then "abc" in a fixed Huffman block, so that the decoder's
 * bit buffer reaches beyond the end. Returns the end of it; crc is that of the n_bytes. */
static uint8_t *put_member(uint8_t *out, const uint8_t *bytes, size_t n_bytes, uint32_t crc)
{
    static const uint8_t header[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}, abc[] = {0x4b, 0x4c, 0x4a, 0x06, 0x00};

    memcpy(out, header, sizeof header);
    out += sizeof header;
    for (size_t n_done = 0; n_done < n_bytes;) {
        const size_t n = n_bytes - n_done < 65535 ? n_bytes - n_done : 65535;
        *out++ = 0;
        out = put_little(put_little(out, (uint32_t)n, 2), ~(uint32_t)n, 2);
        memcpy(out, bytes + n_done, n);
        out += n;
        n_done += n;
    }
    memcpy(out, abc, sizeof abc);
    out = put_little(out + sizeof abc, compute_crc(crc, (const uint8_t *)"abc", 3), 4);
    return put_little(out, (uint32_t)n_bytes + 3, 4);
}

/* Members that end at every place around the end of the reader's block of 256 KiB: their last bytes, the trailer and the next header are
 * cut anywhere. */
static void test_members_may_end_anywhere_in_a_block(void **state)
{
    enum { BLOCK = 1 << 18, N_FIRST = BLOCK - 1000, N_MAX = BLOCK + 2000 };
    const uint32_t crc = compute_crc(0, original, N_FIRST);
    uint8_t *file = malloc(N_MAX), *back = malloc(N_MAX);

    for (size_t shift = 880; shift < 960; shift++) { /* the first member is as long as its data and 53 bytes */
        const size_t n_first = N_FIRST + shift;
        uint8_t *end = put_member(file, original, n_first, compute_crc(crc, original + N_FIRST, shift));
        io_stream *stream;
        size_t n_read;
        end = put_member(end, original, 50, compute_crc(0, original, 50));
        write_bytes("stream_cut.gz", file, (size_t)(end - file));
        check_ok(io_stream_open("stream_cut.gz", &stream));
        check_ok(io_stream_read_some(stream, back, N_MAX, &n_read));
        assert_int_equal(n_read, n_first + 56);
        assert_memory_equal(back, original, n_first);
        assert_memory_equal(back + n_first, "abc", 3);
        assert_memory_equal(back + n_first + 3, original, 50);
        check_ok(io_stream_finish(stream, 0));
        io_stream_close(&stream);
    }
    free(file);
    free(back);
}

/* What Python's zlib and the zstd program made, right and wrong (tests/fuzz/make_gzip.py). */
static void test_each_kind_of_damage_has_its_status(void **state)
{
    static const struct {
        const char *name;
        io_status status;
    } cases[] = {
        {"dynamic.gz", IO_OK},
        {"fixed.gz", IO_OK},
        {"stored.gz", IO_OK},
        {"empty.gz", IO_OK},
        {"all_fields.gz", IO_OK},
        {"name.gz", IO_OK},
        {"two_members.gz", IO_OK},
        {"zero_padding.gz", IO_OK},
        {"padding_between.gz", IO_OK},
        {"runs.gz", IO_OK},
        {"bad_crc.gz", IO_ERR_CHECKSUM},
        {"bad_length.gz", IO_ERR_CHECKSUM},
        {"bad_header_crc.gz", IO_ERR_CHECKSUM},
        {"garbage_behind.gz", IO_ERR_FORMAT},
        {"half_member_behind.gz", IO_ERR_TRUNCATED},
        {"no_method.gz", IO_ERR_FORMAT},
        {"reserved_block.gz", IO_ERR_FORMAT},
        {"far_reference.gz", IO_ERR_FORMAT},
        {"frame.zst", IO_OK},
        {"no_checksum.zst", IO_OK},
        {"runs.zst", IO_OK},
        {"noise.zst", IO_OK},
        {"two_frames.zst", IO_OK},
        {"bad_checksum.zst", IO_ERR_CHECKSUM},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[4096];
        size_t n_bytes, n_read;
        uint8_t *bytes;
        io_status status;
        snprintf(path, sizeof path, "%s/tests/fuzz/corpus/gzip/%s", getenv("SAMED_SOURCE"), cases[i].name);
        bytes = map_copy(path, &n_bytes);
        status = read_memory(bytes, n_bytes, 1 << 20, &n_read);
        if (status != cases[i].status)
            fail_msg("%s: expected %s, got %s (%s)", cases[i].name, io_status_name(cases[i].status), io_status_name(status),
                     status == IO_OK ? "" : io_last_error());
        free(bytes);
    }
}

/* Cut anywhere, also inside the trailer, a compressed file is "truncated" and never whole. */
static void check_every_cut(const char *path)
{
    size_t n_bytes, n_read;
    uint8_t *bytes = map_copy(path, &n_bytes);

    for (size_t cut = 4; cut < n_bytes; cut++) check_fails(IO_ERR_TRUNCATED, read_memory(bytes, cut, 100000, &n_read));
    check_ok(read_memory(bytes, n_bytes, 100000, &n_read));
    assert_int_equal(n_read, 5000);
    free(bytes);
}

static void test_a_cut_is_noticed_everywhere(void **state)
{
    write_bytes("stream.cut", original + 5000, 5000);
    assert_true(run("gzip -c stream.cut > stream.cut.gz && gzip -1 -c stream.cut | cat > stream.cut1.gz"));
    check_every_cut("stream.cut.gz");
    check_every_cut("stream.cut1.gz");
    if (run("zstd -q -f -k stream.cut -o stream.cut.zst 2> /dev/null")) check_every_cut("stream.cut.zst");
}

/* No flipped bit of a gzip file gives wrong bytes. A few give the right ones: padding behind the last block, codes that are never used. */
static void test_no_flipped_bit_gives_wrong_bytes(void **state)
{
    size_t n_bytes, n_read, n_harmless = 0;
    uint8_t *bytes, *buffer = malloc(100000);

    assert_true(run("gzip -n -c stream.cut > stream.cut.gz"));
    bytes = map_copy("stream.cut.gz", &n_bytes);
    for (size_t bit = 2 * 8; bit < n_bytes * 8; bit++) {
        io_stream *stream;
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        check_ok(io_stream_open_memory(bytes, n_bytes, "flipped", &stream));
        if (io_stream_read_some(stream, buffer, 100000, &n_read) == IO_OK && io_stream_finish(stream, 0) == IO_OK) {
            assert_int_equal(n_read, 5000);
            assert_memory_equal(buffer, original + 5000, 5000);
            n_harmless++;
        }
        io_stream_close(&stream);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(n_harmless < 100); /* 52 in the header (time, system, text and reserved flags), 10 that zlib accepts too */
    free(bytes);
    free(buffer);
}

/* n_bytes that end where the next page may not be touched: a sanitizer does not see what ISA-L's assembly reads and writes. */
static uint8_t *map_before_guard(size_t n_bytes, void **pages, size_t *n_mapped)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), used = (n_bytes + page - 1) / page * page;

    *n_mapped = used + page;
    *pages = mmap(NULL, *n_mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(*pages != MAP_FAILED);
    assert_int_equal(mprotect((uint8_t *)*pages + used, page, PROT_NONE), 0);
    return (uint8_t *)*pages + used - n_bytes;
}

/* Reads a copy of bytes [n_bytes] that lies before a guard into pieces that lie before one. */
static void read_between_guards(const uint8_t *bytes, size_t n_bytes, size_t piece)
{
    void *in_pages, *out_pages;
    size_t n_in, n_out, n_read = 1;
    uint8_t *in = map_before_guard(n_bytes, &in_pages, &n_in), *out = map_before_guard(piece, &out_pages, &n_out);
    io_stream *stream;

    memcpy(in, bytes, n_bytes);
    check_ok(io_stream_open_memory(in, n_bytes, "guarded", &stream));
    while (n_read > 0) check_ok(io_stream_read_some(stream, out, piece, &n_read));
    io_stream_close(&stream);
    munmap(in_pages, n_in);
    munmap(out_pages, n_out);
}

static void test_nothing_is_touched_beyond_the_buffers(void **state)
{
    size_t n_bytes;
    uint8_t *bytes;

    assert_true(run("gzip -c stream.raw > stream.raw.gz"));
    bytes = map_copy("stream.raw.gz", &n_bytes);
    read_between_guards(bytes, n_bytes, N_BYTES);
    read_between_guards(bytes, n_bytes, N_BYTES - 1);
    free(bytes);
    bytes = map_copy("stream.cut.gz", &n_bytes);
    for (size_t piece = 1; piece < 600; piece++) read_between_guards(bytes, n_bytes, piece);
    for (size_t piece = 4900; piece < 5100; piece++) read_between_guards(bytes, n_bytes, piece);
    free(bytes);
}

static void check_skip_and_limits(const char *path)
{
    uint8_t byte;
    io_stream *stream;

    check_ok(io_stream_open(path, &stream));
    check_ok(io_stream_skip(stream, 1234567));
    check_ok(io_stream_read(stream, &byte, 1));
    assert_int_equal(byte, original[1234567]);
    check_fails(IO_ERR_ARGUMENT, io_stream_sha256(stream, (char[65]){0}));
    check_ok(io_stream_finish(stream, N_BYTES - 1234568));
    io_stream_close(&stream);

    check_ok(io_stream_open(path, &stream));
    check_ok(io_stream_skip(stream, N_BYTES - 10));
    check_fails(IO_ERR_FORMAT, io_stream_finish(stream, 9));
    io_stream_close(&stream);

    check_ok(io_stream_open(path, &stream));
    check_fails(IO_ERR_TRUNCATED, io_stream_skip(stream, N_BYTES + 1));
    io_stream_close(&stream);
}

static void test_skipping_and_limits(void **state)
{
    check_skip_and_limits("stream.raw");
    check_skip_and_limits("stream.raw.gz");
}

static void test_a_failed_stream_stays_failed(void **state)
{
    size_t n_bytes, n_read;
    uint8_t *bytes = map_copy("stream.raw.gz", &n_bytes), *buffer = malloc(N_BYTES);
    io_stream *stream;

    bytes[n_bytes / 2] ^= 0x55;
    bytes[n_bytes / 2 + 1] ^= 0x55;
    check_ok(io_stream_open_memory(bytes, n_bytes, "damaged.gz", &stream));
    assert_int_not_equal(io_stream_read(stream, buffer, N_BYTES) == IO_OK && io_stream_finish(stream, 0) == IO_OK, true);
    assert_int_not_equal(io_stream_read_some(stream, buffer, 1, &n_read), IO_OK);
    assert_int_not_equal(io_stream_finish(stream, 0), IO_OK);
    assert_non_null(strstr(io_last_error_text(), "damaged.gz"));
    io_stream_close(&stream);
    free(buffer);
    free(bytes);
}

static void test_what_is_no_file_is_refused(void **state)
{
    size_t n_read;
    io_stream *stream;

    check_fails(IO_ERR_NOT_FOUND, io_stream_open("no_such_file", &stream));
    assert_null(stream);
    check_fails(IO_ERR_FILE, io_stream_open(".", &stream));
    check_fails(IO_ERR_FILE, io_stream_open("/dev/null", &stream));
    check_ok(read_memory("", 0, 10, &n_read));
    assert_int_equal(n_read, 0);
    check_ok(read_memory("\x1f", 1, 10, &n_read)); /* too short to be gzip */
    assert_int_equal(n_read, 1);
}

/* The largest ratio deflate allows is inside the bound, and a bomb yields no more than what is asked for. */
static void test_the_bound_holds_for_a_bomb(void **state)
{
    enum { N_ZEROS = 20000000 };
    io_stream *stream;
    uint8_t byte;

    assert_true(run("head -c 20000000 /dev/zero | gzip -9 > stream_bomb.gz"));
    check_ok(io_stream_open("stream_bomb.gz", &stream));
    assert_true(io_stream_bound(stream) >= N_ZEROS);
    assert_true(io_stream_bound(stream) < N_ZEROS + N_ZEROS / 10);
    check_ok(io_stream_read(stream, &byte, 1));
    check_fails(IO_ERR_FORMAT, io_stream_finish(stream, 1000));
    io_stream_close(&stream);
    write_bytes("stream_plain", original, 1000);
    check_ok(io_stream_open("stream_plain", &stream));
    check_ok(io_stream_skip(stream, 10));
    assert_true(io_stream_bound(stream) == 990);
    io_stream_close(&stream);
}

/* ---- writing ---- */

static void write_gzip(const char *path, size_t piece, char sha256[65])
{
    io_gzip_writer *writer;

    check_ok(io_gzip_writer_open(path, &writer));
    for (size_t n_done = 0; n_done < N_BYTES; n_done += piece) {
        const size_t n = N_BYTES - n_done < piece ? N_BYTES - n_done : piece;
        check_ok(io_gzip_writer_write(writer, original + n_done, n));
    }
    check_ok(io_gzip_writer_commit(&writer, sha256));
    assert_null(writer);
}

static void test_the_gzip_program_reads_what_is_written(void **state)
{
    static const uint8_t header[10] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}; /* no name, no time, unknown system: RFC 1952 2.3.1 */
    char expected[65], found[65];
    size_t n_bytes;
    uint8_t *bytes;

    write_gzip("written.gz", N_BYTES, expected);
    assert_true(run("gzip -t written.gz && gzip -dc written.gz | cmp -s - stream.raw"));
    check_ok(io_hash_file("written.gz", found));
    assert_string_equal(found, expected);
    bytes = map_copy("written.gz", &n_bytes);
    assert_memory_equal(bytes, header, sizeof header);
    assert_true(n_bytes < N_BYTES);
    free(bytes);
    check_content("written.gz", N_BYTES, 1);
}

static void test_written_bytes_depend_on_the_input_only(void **state)
{
    static const size_t pieces[] = {1000, 65536, 999983, 1 << 20};
    char first[65], again[65];

    write_gzip("written.gz", N_BYTES, first);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        write_gzip("written.gz", pieces[i], again);
        assert_string_equal(again, first);
    }
}

static void test_empty_and_abandoned_gzip_files(void **state)
{
    io_gzip_writer *writer;

    check_ok(io_gzip_writer_open("empty.gz", &writer));
    check_ok(io_gzip_writer_commit(&writer, NULL));
    assert_true(run("gzip -t empty.gz && test -z \"$(gzip -dc empty.gz)\""));
    check_ok(io_gzip_writer_open("abandoned.gz", &writer));
    check_ok(io_gzip_writer_write(writer, original, N_BYTES));
    io_gzip_writer_free(&writer);
    assert_null(writer);
    io_gzip_writer_free(&writer);
    assert_false(io_file_exists("abandoned.gz"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_gzip_and_zstd_give_the_bytes_back),
        cmocka_unit_test(test_members_follow_each_other),
        cmocka_unit_test(test_members_may_end_anywhere_in_a_block),
        cmocka_unit_test(test_each_kind_of_damage_has_its_status),
        cmocka_unit_test(test_a_cut_is_noticed_everywhere),
        cmocka_unit_test(test_no_flipped_bit_gives_wrong_bytes),
        cmocka_unit_test(test_nothing_is_touched_beyond_the_buffers),
        cmocka_unit_test(test_skipping_and_limits),
        cmocka_unit_test(test_a_failed_stream_stays_failed),
        cmocka_unit_test(test_what_is_no_file_is_refused),
        cmocka_unit_test(test_the_bound_holds_for_a_bomb),
        cmocka_unit_test(test_the_gzip_program_reads_what_is_written),
        cmocka_unit_test(test_written_bytes_depend_on_the_input_only),
        cmocka_unit_test(test_empty_and_abandoned_gzip_files),
    };
    return cmocka_run_group_tests(tests, make_original, free_original);
}
