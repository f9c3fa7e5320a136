/* Copies and moves of whole files, also between file systems. */
#include "tests/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"

enum { N_BYTES = 3000001 }; /* more than the buffer, and no multiple of it */

static char folder[128], elsewhere[128];

static int make_folders(void **state)
{
    struct stat here, there;

    snprintf(folder, sizeof folder, "copy.%ld", (long)getpid());
    snprintf(elsewhere, sizeof elsewhere, "/dev/shm/samed-copy.%ld", (long)getpid());
    if (io_folder_create(folder) != IO_OK) return -1;
    if (io_folder_create(elsewhere) != IO_OK) snprintf(elsewhere, sizeof elsewhere, "%s", folder);
    if (stat(folder, &here) == 0 && stat(elsewhere, &there) == 0 && here.st_dev == there.st_dev)
        print_message("one file system only: moving between two is not tested here\n");
    return 0;
}

static int remove_folders(void **state)
{
    (void)rmdir(elsewhere);
    return 0;
}

static void make_file(const char *path, char sha256[65])
{
    uint8_t *bytes = NULL;
    io_writer *writer = NULL;

    check_ok(io_alloc(N_BYTES, 1, (void **)&bytes));
    for (size_t i = 0; i < N_BYTES; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    check_ok(io_writer_open(path, &writer));
    check_ok(io_writer_write(writer, bytes, N_BYTES));
    check_ok(io_writer_commit(&writer));
    check_ok(io_hash_bytes(bytes, N_BYTES, sha256));
    io_free(&bytes);
}

static size_t count_names(const char *path)
{
    char **names = NULL;
    size_t n = 0;

    check_ok(io_folder_list(path, &names, &n));
    io_names_free(&names, n);
    return n;
}

static void test_copy(void **state)
{
    char from[192], to[192], expected[65], sha256[65], found[65];

    snprintf(from, sizeof from, "%s/a", folder);
    snprintf(to, sizeof to, "%s/b", elsewhere);
    make_file(from, expected);
    check_ok(io_file_write_text(to, "something longer was here, or shorter"));
    check_ok(io_file_copy(from, to, sha256));
    assert_string_equal(sha256, expected);
    check_ok(io_hash_file(to, found));
    assert_string_equal(found, expected);
    check_ok(io_file_remove(to));
    check_ok(io_file_remove(from));
}

static void test_move(void **state)
{
    char from[192], to[192], expected[65], found[65];

    snprintf(from, sizeof from, "%s/a", elsewhere);
    snprintf(to, sizeof to, "%s/b", folder);
    make_file(from, expected);
    check_ok(io_file_write_text(to, "an older result"));
    check_fails(IO_ERR_CHECKSUM, io_file_move(from, to, "0000000000000000000000000000000000000000000000000000000000000000"));
    assert_true(io_file_exists(from));
    check_ok(io_hash_file(to, found));
    assert_string_not_equal(found, expected); /* the older result stays */
    assert_int_equal(count_names(folder), 1); /* and no temporary file */
    check_ok(io_file_move(from, to, expected));
    assert_false(io_file_exists(from));
    check_ok(io_hash_file(to, found));
    assert_string_equal(found, expected);
    check_ok(io_file_remove(to));
}

static void test_faults(void **state)
{
    char from[192], to[192], sha256[65];

    snprintf(from, sizeof from, "%s/nothing", folder);
    snprintf(to, sizeof to, "%s/b", folder);
    assert_int_not_equal(io_file_copy(from, to, sha256), IO_OK);
    assert_false(io_file_exists(to));
    assert_int_not_equal(io_file_move(from, to, NULL), IO_OK);
    assert_int_equal(count_names(folder), 0);
    check_ok(io_file_write_text(from, "x"));
    assert_int_not_equal(io_file_copy(from, "/nowhere/b", sha256), IO_OK);

    check_ok(io_file_remove(from));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, make_folders, remove_folders);
}
