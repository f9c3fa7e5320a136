/* Streams against the system's gzip and zstd programs, and against files damaged on purpose. */
#include "tests/check.h"

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
    io_writer *writer;
    check_ok(io_writer_open(path, &writer));
    check_ok(io_writer_write(writer, bytes, n_bytes));
    check_ok(io_writer_commit(&writer));
}

static bool run(const char *command)
{
    return system(command) == 0;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_gzip_and_zstd_give_the_bytes_back),
        cmocka_unit_test(test_members_follow_each_other),
    };
    return cmocka_run_group_tests(tests, make_original, free_original);
}
