/* Prepared slices: written, read, damaged everywhere. What must be refused: tests/refuse; broken input: tests/fuzz. */
#include "tests/check.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"
#include "io/slices.h"

enum {
    ROWS = 5,
    COLS = 7,
    N = ROWS * COLS,
    SLICES = 4,
    MAX_HARMLESS = 3 /* per slice: bits that libzstd ignores, one
of the frame's header and two of the compression modes (RFC 8878, 3.1.1.1.1.3 and 3.1.1.3.2.1) */
};

static char path[256];

/* Values of every kind, bit patterns included: infinities, a NaN with payload, -0, subnormals. */
static void fill(int64_t k, int n_classes, float *image, uint16_t *labels)
{
    static const uint32_t odd_bits[] = {0x7f800000, 0xff800000, 0x7fc12345, 0x80000000, 0x00000001, 0x3f800000, 0xffffffff};

    for (int i = 0; i < N; i++) {
        const uint32_t bits = i < 7 ? odd_bits[i] : (uint32_t)(i * 2654435761u + (uint32_t)k * 40503u);
        memcpy(&image[i], &bits, sizeof bits);
        labels[i] = (uint16_t)((i * 7 + k * 3) % (n_classes + 1));
    }
}

static void write_file(int n_classes, char sha256[65])
{
    const io_slices_shape shape = {ROWS, COLS, SLICES, n_classes};
    io_slices_writer *writer = NULL;
    float image[N];
    uint16_t labels[N];

    check_ok(io_slices_writer_open(path, &shape, &writer));
    for (int64_t k = 0; k < SLICES; k++) {
        fill(k, n_classes, image, labels);
        check_ok(io_slices_writer_add(writer, image, labels));
    }
    check_ok(io_slices_writer_commit(&writer, sha256));
    assert_null(writer);
}

static void check_slice(const io_slices *slices, int64_t k, int n_classes)
{
    float image[N], expected[N];
    uint16_t labels[N], expected_labels[N];

    fill(k, n_classes, expected, expected_labels);
    check_ok(io_slices_read(slices, k, image, labels));
    assert_memory_equal(image, expected, sizeof image); /* bit for bit */
    assert_memory_equal(labels, expected_labels, sizeof labels);
}

static void test_round_trip(void **state)
{
    static const int classes[] = {1, 8, 255, 256, 300, 65534};
    static const int64_t order[] = {2, 0, 3, 3, 1};

    for (size_t c = 0; c < sizeof classes / sizeof *classes; c++) {
        io_slices *slices = NULL;
        char written[65], found[65];
        write_file(classes[c], written);
        check_ok(io_hash_file(path, found));
        assert_string_equal(written, found);
        check_ok(io_slices_open(path, &slices));
        assert_int_equal(io_slices_get_shape(slices)->n_slices, SLICES);
        assert_int_equal(io_slices_get_shape(slices)->n_classes, classes[c]);
        for (size_t i = 0; i < sizeof order / sizeof *order; i++) check_slice(slices, order[i], classes[c]);
        float image[N];
        uint16_t labels[N];
        check_fails(IO_ERR_ARGUMENT, io_slices_read(slices, SLICES, image, labels));
        check_fails(IO_ERR_ARGUMENT, io_slices_read(slices, -1, image, labels));
        io_slices_free(&slices);
    }
}

/* The zstd program unpacks the file to the slices one after the other: the frames are zstd's, the rest is skippable. */
static void test_zstd_program(void **state)
{
    char command[512];
    FILE *stream;
    size_t n_read;
    uint8_t content[SLICES * N * 5 + 1];
    float image[N];
    uint16_t labels[N];

    if (system("zstd --version > zstd.version") != 0) skip();
    write_file(8, NULL);
    snprintf(command, sizeof command, "zstd -dc --stdout %s", path);
    stream = popen(command, "r");
    assert_non_null(stream);
    n_read = fread(content, 1, sizeof content, stream);
    assert_int_equal(pclose(stream), 0);
    assert_int_equal(n_read, SLICES * N * 5);
    for (int k = 0; k < SLICES; k++) {
        const uint8_t *slice = content + (size_t)k * N * 5;
        fill(k, 8, image, labels);
        for (int i = 0; i < N; i++) {
            const uint32_t bits =
                slice[i] | (uint32_t)slice[N + i] << 8 | (uint32_t)slice[2 * N + i] << 16 | (uint32_t)slice[3 * N + i] << 24;
            assert_memory_equal(&bits, &image[i], 4);
            assert_int_equal(slice[4 * N + i], labels[i]);
        }
    }
    unlink("zstd.version");
}

/* The file as it is now is refused, in whole or in slices, or what it still gives is right. True when nothing was refused. */
static bool is_harmless(void)
{
    io_slices *slices = NULL;
    bool is_whole = true;
    float image[N], expected[N];
    uint16_t labels[N], expected_labels[N];

    if (io_slices_open(path, &slices) != IO_OK) return false;
    for (int64_t k = 0; k < SLICES; k++) {
        fill(k, 8, expected, expected_labels);
        if (io_slices_read(slices, k, image, labels) != IO_OK)
            is_whole = false;
        else
            assert_true(!memcmp(image, expected, sizeof image) && !memcmp(labels, expected_labels, sizeof labels));
    }
    io_slices_free(&slices);
    return is_whole;
}

/* Each bit flipped, then the file cut off at each byte; in place, because making thousands of files takes a minute. */
static void test_damage(void **state)
{
    uint64_t n_bytes = 0;
    int n_harmless = 0, file;

    write_file(8, NULL);
    check_ok(io_file_size(path, &n_bytes));
    file = open(path, O_RDWR);
    assert_true(file >= 0);
    for (off_t at = 0; at < (off_t)n_bytes; at++) {
        uint8_t byte, flipped;
        assert_int_equal(pread(file, &byte, 1, at), 1);
        for (int bit = 0; bit < 8; bit++) {
            flipped = (uint8_t)(byte ^ 1 << bit);
            assert_int_equal(pwrite(file, &flipped, 1, at), 1);
            n_harmless += is_harmless();
        }
        assert_int_equal(pwrite(file, &byte, 1, at), 1);
    }
    assert_true(is_harmless());
    assert_in_range(n_harmless, 0, MAX_HARMLESS * SLICES);
    for (off_t n = (off_t)n_bytes; n-- > 0;) {
        assert_int_equal(ftruncate(file, n), 0);
        assert_false(is_harmless());
    }
    close(file);
}

static void test_writer_refuses(void **state)
{
    io_slices_shape shape = {ROWS, COLS, 1, 8};
    io_slices_writer *writer = NULL;
    float image[N] = {0};
    uint16_t labels[N] = {0};

    (void)unlink(path);
    check_ok(io_slices_writer_open(path, &shape, &writer));
    check_fails(IO_ERR_ARGUMENT, io_slices_writer_commit(&writer, NULL)); /* a slice is missing */
    assert_false(io_file_exists(path));
    check_ok(io_slices_writer_open(path, &shape, &writer));
    labels[N - 1] = 9;
    check_fails(IO_ERR_RANGE, io_slices_writer_add(writer, image, labels));
    labels[N - 1] = 8;
    check_ok(io_slices_writer_add(writer, image, labels));
    check_fails(IO_ERR_ARGUMENT, io_slices_writer_add(writer, image, labels));
    io_slices_writer_free(&writer);
    assert_false(io_file_exists(path));
    shape.n_classes = 0;
    check_fails(IO_ERR_RANGE, io_slices_writer_open(path, &shape, &writer));
    shape = (io_slices_shape){ROWS, 4097, 1, 8};
    check_fails(IO_ERR_RANGE, io_slices_writer_open(path, &shape, &writer));
    shape = (io_slices_shape){ROWS, COLS, 0, 8};
    check_fails(IO_ERR_RANGE, io_slices_writer_open(path, &shape, &writer));
    assert_null(writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_zstd_program),
                                       cmocka_unit_test(test_damage), cmocka_unit_test(test_writer_refuses)};
    int failed;

    snprintf(path, sizeof path, "slices.%ld.slices", (long)getpid());
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(path);
    return failed;
}
