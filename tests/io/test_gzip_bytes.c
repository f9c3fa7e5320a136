/* Equal content gives equal files, wherever in memory the writer lies: the promise of same bytes rests on it. ISA-L alone does not keep it
 * (see deflate_first in io/gzip_writer.c): without that, one of 128 addresses gives other bytes for the 48 bytes below. */
#include "tests/check.h"

#include "io/file.h"
#include "io/memory.h"
#include "io/stream.h"

enum { N_WRITERS = 800, STEP_BYTES = 1 << 16, N_BYTES = 48 };

static const char path[] = "gzip_bytes.gz";

static void write_file(const void *bytes, size_t n_bytes, char sha256[65])
{
    io_gzip_writer *writer = NULL;

    check_ok(io_gzip_writer_open(path, &writer));
    check_ok(io_gzip_writer_write(writer, bytes, n_bytes));
    check_ok(io_gzip_writer_commit(&writer, sha256));
}

static void test_any_address(void **state)
{
    static void *between[N_WRITERS]; /* kept until the end, so that each writer lies elsewhere */
    const uint8_t bytes[N_BYTES] = {0x5c, 1}; /* as a NIfTI header begins: a zero follows a zero at the third position */
    char first[65], found[65];

    write_file(bytes, sizeof bytes, first);
    for (int i = 0; i < N_WRITERS; i++) {
        check_ok(io_alloc(STEP_BYTES, 1, &between[i]));
        write_file(bytes, sizeof bytes, found);
        assert_string_equal(found, first);
    }
    for (int i = 0; i < N_WRITERS; i++) io_free(&between[i]);
}

/* Lengths around the first block's, also nothing at all, are read back as written. */
static void test_short_files(void **state)
{
    uint8_t bytes[40], back[sizeof bytes + 1];

    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 37 % 11);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        io_stream *stream = NULL;
        size_t n_read = 0;
        write_file(bytes, n, NULL);
        check_ok(io_stream_open(path, &stream));
        check_ok(io_stream_read_some(stream, back, sizeof back, &n_read));
        check_ok(io_stream_finish(stream, 0));
        assert_int_equal(n_read, n);
        assert_memory_equal(back, bytes, n);
        io_stream_close(&stream);
    }
    check_ok(io_file_remove(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_address), cmocka_unit_test(test_short_files)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
