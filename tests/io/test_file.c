/* Files that appear whole or not at all, mappings, listings, paths. Damage is real: processes are killed, disks are full. */
#include "tests/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utime.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"
#include "io/stream.h"

static const char folder[] = "file_folder";

static int empty_folder(void **state)
{
    return system("rm -rf file_folder && mkdir file_folder");
}

static int remove_folder(void **state)
{
    return system("rm -rf file_folder");
}

/* The number of entries, so that a forgotten temporary file is seen. */
static size_t count_entries(const char *path)
{
    char **names;
    size_t n_names;
    check_ok(io_folder_list(path, &names, &n_names));
    io_names_free(&names, n_names);
    assert_null(names);
    return n_names;
}

static void check_text(const char *path, const char *expected)
{
    char *text;
    check_ok(io_file_read_text(path, 1 << 20, &text));
    assert_string_equal(text, expected);
    io_free(&text);
}

/* ---- atomic writing ---- */

static void test_nothing_is_there_before_commit(void **state)
{
    io_writer *writer;
    char hex[65], expected[65];

    check_ok(io_writer_open("file_folder/a.txt", &writer));
    check_ok(io_writer_write(writer, "hello ", 6));
    check_ok(io_writer_write(writer, "world", 5));
    assert_false(io_file_exists("file_folder/a.txt"));
    assert_int_equal(count_entries(folder), 1);
    assert_int_equal(io_writer_position(writer), 11);
    check_ok(io_writer_sha256(writer, hex));
    check_ok(io_hash_bytes("hello world", 11, expected));
    assert_string_equal(hex, expected);
    check_ok(io_writer_commit(&writer));
    assert_null(writer);
    check_text("file_folder/a.txt", "hello world");
    assert_int_equal(count_entries(folder), 1);
}

static void test_giving_up_keeps_the_old_file(void **state)
{
    io_writer *writer;

    check_ok(io_file_write_text("file_folder/a.txt", "old"));
    check_ok(io_writer_open("file_folder/a.txt", &writer));
    check_ok(io_writer_write(writer, "new", 3));
    io_writer_free(&writer);
    assert_null(writer);
    io_writer_free(&writer);
    check_text("file_folder/a.txt", "old");
    assert_int_equal(count_entries(folder), 1);
    check_ok(io_file_write_text("file_folder/a.txt", "new"));
    check_text("file_folder/a.txt", "new");
}

static void test_large_and_small_pieces_keep_their_order(void **state)
{
    enum { N_BYTES = 3000000 };
    uint8_t *bytes = malloc(N_BYTES);
    char hex[65], expected[65];
    io_writer *writer;
    size_t n_done = 0;

    for (size_t i = 0; i < N_BYTES; i++) bytes[i] = (uint8_t)(i * i >> 7);
    check_ok(io_writer_open("file_folder/big", &writer));
    for (size_t piece = 1; n_done < N_BYTES; piece = piece * 3 % 1000003) { /* from one byte to a megabyte */
        const size_t n = piece < N_BYTES - n_done ? piece : N_BYTES - n_done;
        check_ok(io_writer_write(writer, bytes + n_done, n));
        n_done += n;
    }
    check_ok(io_writer_commit(&writer));
    check_ok(io_hash_file("file_folder/big", hex));
    check_ok(io_hash_bytes(bytes, N_BYTES, expected));
    assert_string_equal(hex, expected);
    free(bytes);
}

static void test_paths_that_cannot_be_written_are_refused(void **state)
{
    io_writer *writer;
    char name[400];

    check_fails(IO_ERR_FILE, io_writer_open(folder, &writer));
    assert_null(writer);
    check_fails(IO_ERR_FILE, io_writer_open("file_folder/", &writer));
    check_fails(IO_ERR_NOT_FOUND, io_writer_open("file_folder/absent/a", &writer));
    memset(name, 'n', sizeof name);
    memcpy(name, "file_folder/", 12);
    name[12 + 255] = 0; /* the longest name a file can have works too */
    check_ok(io_file_write_text(name, "x"));
    assert_int_equal(count_entries(folder), 1);
    name[12 + 255] = 'n', name[12 + 256] = 0;
    check_fails(IO_ERR_FILE, io_file_write_text(name, "x"));
    assert_int_equal(count_entries(folder), 1);
}

/* ---- killed processes ---- */

/* A child that has written but not committed when it is killed. Returns its process id, after its end. */
static pid_t kill_while_writing(const char *path)
{
    int ready[2], how;
    char token;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    if (child == 0) {
        io_writer *writer;
        static uint8_t bytes[1 << 20];
        if (io_writer_open(path, &writer) == IO_OK && io_writer_write(writer, bytes, sizeof bytes) == IO_OK) (void)!write(ready[1], "x", 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &token, 1), 1);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void test_a_kill_leaves_no_final_file_and_is_cleaned(void **state)
{
    io_writer *mine;

    kill_while_writing("file_folder/case.nii.gz");
    assert_false(io_file_exists("file_folder/case.nii.gz"));
    assert_int_equal(count_entries(folder), 1);
    check_ok(io_writer_open("file_folder/mine", &mine)); /* of a living process: stays */
    check_ok(io_folder_clean(folder, 86400));
    assert_int_equal(count_entries(folder), 1);
    check_ok(io_writer_write(mine, "x", 1));
    check_ok(io_writer_commit(&mine));
    check_text("file_folder/mine", "x");
}

static void make_aged(const char *path, int64_t age_s)
{
    const time_t then = time(NULL) - age_s;
    const struct utimbuf times = {then, then};
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fclose(file);
    assert_int_equal(utime(path, &times), 0);
}

static void test_cleaning_spares_what_is_not_abandoned(void **state)
{
    make_aged("file_folder/.case.nii.gz.node17.cluster.4242.0.tmp", 100); /* another host's, young: its process may live */
    make_aged("file_folder/.case.nii.gz.node17.cluster.4242.1.tmp", 10000);
    make_aged("file_folder/.user.tmp", 10000); /* not of our form */
    make_aged("file_folder/notes.1.2.tmp", 10000);
    make_aged("file_folder/.hidden", 10000);
    make_aged("file_folder/.a.b.-3.0.tmp", 10000);
    assert_int_equal(mkdir("file_folder/.case.node.1.2.tmp", 0777), 0);
    check_ok(io_folder_clean(folder, 3600));
    assert_int_equal(count_entries(folder), 6);
    assert_false(io_file_exists("file_folder/.case.nii.gz.node17.cluster.4242.1.tmp"));
    check_ok(io_folder_clean(folder, 50));
    assert_false(io_file_exists("file_folder/.case.nii.gz.node17.cluster.4242.0.tmp"));
    assert_int_equal(count_entries(folder), 5);
    check_fails(IO_ERR_NOT_FOUND, io_folder_clean("file_folder/absent", 0));
}

/* ---- full disks ---- */

static bool write_line(const char *path, const char *line)
{
    FILE *file = fopen(path, "w");
    const bool is_good = file && fputs(line, file) >= 0;
    return file && fclose(file) == 0 && is_good;
}

/* A mount namespace of its own, also for a user who is not root where the kernel lets him (user_namespaces(7)). */
static bool leave_namespace(void)
{
    char users[64], groups[64];

    snprintf(users, sizeof users, "0 %ld 1", (long)geteuid());
    snprintf(groups, sizeof groups, "0 %ld 1", (long)getegid());
    if (geteuid() == 0) return unshare(CLONE_NEWNS) == 0;
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_line("/proc/self/uid_map", users) &&
           write_line("/proc/self/setgroups", "deny") && write_line("/proc/self/gid_map", groups);
}

/* In a child with a file system of 256 KiB of its own; exits 0 when all went as it must, 77 where that cannot be made. */
static int write_to_tiny_disk(void)
{
    static uint8_t bytes[1 << 20];
    io_writer *writer;

    if (!leave_namespace()) return CHECK_SKIP;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("none", folder, "tmpfs", 0, "size=256k")) return CHECK_SKIP;
    if (io_writer_open("file_folder/full", &writer) != IO_OK) return 1;
    if (io_writer_write(writer, bytes, sizeof bytes) != IO_ERR_NO_SPACE) return 2;
    if (!strstr(io_last_error_text(), "file_folder/full") || !strstr(io_last_error_text(), "another output folder")) return 3;
    if (io_writer_write(writer, "x", 1) != IO_ERR_NO_SPACE) return 4;
    if (io_writer_commit(&writer) != IO_ERR_NO_SPACE || writer) return 5;
    if (io_file_exists("file_folder/full") || count_entries(folder) != 0) return 6;
    if (io_file_write_text("file_folder/fits", "fits") != IO_OK) return 7; /* the room was given back */
    return 0;
}

static void test_a_full_disk_is_told_and_leaves_nothing(void **state)
{
    const pid_t child = fork();
    int how;

    if (child == 0) _exit(write_to_tiny_disk());
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how));
    if (WEXITSTATUS(how) == CHECK_SKIP) {
        print_message("SKIP: no right to mount a tiny file system here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(how), 0);
}

/* A limit on file sizes (ulimit -f) stops the write in the middle: told as a full disk is, the same clean end. */
static void test_a_refused_write_leaves_nothing(void **state)
{
    static uint8_t bytes[1 << 20];
    struct rlimit before, limit;
    io_writer *writer;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    check_ok(io_writer_open("file_folder/limited", &writer));
    limit = before;
    limit.rlim_cur = 1000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    check_fails(IO_ERR_NO_SPACE, io_writer_write(writer, bytes, sizeof bytes));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    check_fails(IO_ERR_NO_SPACE, io_writer_commit(&writer));
    assert_int_equal(count_entries(folder), 0);
}

/* ---- reading ---- */

static void test_mappings_show_the_bytes(void **state)
{
    io_mapping *mapping;
    char *text = malloc(100001);

    memset(text, 'm', 100000);
    text[100000] = 0;
    check_ok(io_file_write_text("file_folder/map", text));
    check_ok(io_mapping_open("file_folder/map", &mapping));
    assert_int_equal(mapping->n_bytes, 100000);
    io_mapping_release(mapping, 5000, 50000);
    io_mapping_release(mapping, 99999, SIZE_MAX);
    io_mapping_release(mapping, SIZE_MAX, 1);
    assert_memory_equal(mapping->bytes, text, 100000);
    assert_string_equal(mapping->path, "file_folder/map");
    io_mapping_free(&mapping);
    assert_null(mapping);
    io_mapping_free(&mapping);
    free(text);
}

static void test_a_fifo_is_refused_at_once(void **state)
{
    io_mapping *mapping;
    io_stream *stream;
    char sha256[65];

    assert_int_equal(mkfifo("file_folder/fifo", 0666), 0);
    alarm(10); /* instead of waiting for a writer for ever */
    check_fails(IO_ERR_FILE, io_mapping_open("file_folder/fifo", &mapping));
    check_fails(IO_ERR_FILE, io_stream_open("file_folder/fifo", &stream));
    check_fails(IO_ERR_FILE, io_hash_file("file_folder/fifo", sha256));
    alarm(0);
    check_ok(io_file_remove("file_folder/fifo"));
}

static void test_the_reason_for_a_missing_folder_is_told(void **state)
{
    check_ok(io_file_write_text("file_folder/file", ""));
    check_fails(IO_ERR_FILE, io_folder_create("file_folder/file"));
    assert_non_null(strstr(io_last_error_text(), "File exists"));
    check_ok(io_file_remove("file_folder/file"));
}

static void test_empty_files_and_folders_as_mappings(void **state)
{
    io_mapping *mapping;

    check_ok(io_file_write_text("file_folder/empty", ""));
    check_ok(io_mapping_open("file_folder/empty", &mapping));
    assert_non_null(mapping->bytes);
    assert_int_equal(mapping->n_bytes, 0);
    io_mapping_free(&mapping);
    check_fails(IO_ERR_FILE, io_mapping_open(folder, &mapping));
    assert_null(mapping);
    check_fails(IO_ERR_NOT_FOUND, io_mapping_open("file_folder/absent", &mapping));
}

/* Pages that were let go no longer count as resident (Linux: mincore tells of the page cache, so the process's own count is asked). */
static size_t count_resident_pages(void)
{
    size_t n_all = 0, n_resident = 0, n_shared = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu %zu %zu", &n_all, &n_resident, &n_shared), 3);
    fclose(file);
    return n_shared; /* file-backed ones */
}

static void test_released_pages_are_no_longer_resident(void **state)
{
    enum { N_BYTES = 8 << 20 };
    io_mapping *mapping;
    io_writer *writer;
    uint8_t *zeros = calloc(1, N_BYTES);
    size_t n_before, n_touched, sum = 0;

    check_ok(io_writer_open("file_folder/pages", &writer));
    check_ok(io_writer_write(writer, zeros, N_BYTES));
    check_ok(io_writer_commit(&writer));
    check_ok(io_mapping_open("file_folder/pages", &mapping));
    n_before = count_resident_pages();
    for (size_t i = 0; i < N_BYTES; i += 4096) sum += mapping->bytes[i];
    n_touched = count_resident_pages();
    assert_int_equal(sum, 0);
    assert_true(n_touched >= n_before + N_BYTES / 4096 / 2);
    io_mapping_release(mapping, 0, N_BYTES);
    assert_true(count_resident_pages() <= n_before + 64);
    io_mapping_free(&mapping);
    free(zeros);
}

static void test_texts_are_bounded_and_free_of_zero_bytes(void **state)
{
    io_writer *writer;
    char *text;

    check_ok(io_file_write_text("file_folder/t", "12345"));
    check_ok(io_file_read_text("file_folder/t", 5, &text));
    assert_string_equal(text, "12345");
    io_free(&text);
    check_fails(IO_ERR_RANGE, io_file_read_text("file_folder/t", 4, &text));
    assert_null(text);
    check_ok(io_writer_open("file_folder/z", &writer));
    check_ok(io_writer_write(writer, "ab\0cd", 5));
    check_ok(io_writer_commit(&writer));
    check_fails(IO_ERR_FORMAT, io_file_read_text("file_folder/z", 100, &text));
    assert_non_null(strstr(io_last_error_text(), "offset 2"));
    check_fails(IO_ERR_NOT_FOUND, io_file_read_text("file_folder/absent", 100, &text));
    check_fails(IO_ERR_FILE, io_file_read_text(folder, 100, &text));
}

/* ---- folders and paths ---- */

static void test_folders_are_made_with_their_parents(void **state)
{
    check_ok(io_folder_create("file_folder/a/b//c/"));
    assert_true(io_folder_exists("file_folder/a/b/c"));
    check_ok(io_folder_create("file_folder/a/b"));
    check_ok(io_folder_create("/"));
    check_ok(io_file_write_text("file_folder/file", ""));
    check_fails(IO_ERR_FILE, io_folder_create("file_folder/file"));
    check_fails(IO_ERR_FILE, io_folder_create("file_folder/file/below"));
}

static void test_listings_are_sorted_by_bytes(void **state)
{
    static const char *const expected[] = {".dot", "A", "a", "a10", "a2", "\xc3\xa9"};
    char **names, path[64];
    size_t n_names;

    for (size_t i = 0; i < 6; i++) {
        snprintf(path, sizeof path, "file_folder/%s", expected[(i * 5 + 3) % 6]);
        check_ok(io_file_write_text(path, ""));
    }
    check_ok(io_folder_list(folder, &names, &n_names));
    assert_int_equal(n_names, 6);
    for (size_t i = 0; i < 6; i++) assert_string_equal(names[i], expected[i]);
    io_names_free(&names, n_names);
    check_fails(IO_ERR_NOT_FOUND, io_folder_list("file_folder/absent", &names, &n_names));
    assert_null(names);
}

static void test_sizes_and_removal(void **state)
{
    uint64_t n_bytes;

    check_ok(io_file_write_text("file_folder/s", "123"));
    check_ok(io_file_size("file_folder/s", &n_bytes));
    assert_int_equal(n_bytes, 3);
    assert_true(io_file_exists("file_folder/s"));
    assert_false(io_folder_exists("file_folder/s"));
    check_ok(io_file_remove("file_folder/s"));
    check_ok(io_file_remove("file_folder/s"));
    assert_false(io_file_exists("file_folder/s"));
    assert_false(io_file_exists(folder));
    check_fails(IO_ERR_NOT_FOUND, io_file_size("file_folder/s", &n_bytes));
    check_fails(IO_ERR_FILE, io_file_size(folder, &n_bytes));
    check_fails(IO_ERR_FILE, io_file_remove(folder));
}

static void check_join(const char *path, const char *name, const char *expected)
{
    char *joined;
    check_ok(io_path_join(path, name, &joined));
    assert_string_equal(joined, expected);
    io_free(&joined);
}

static void test_paths(void **state)
{
    check_join("a", "b", "a/b");
    check_join("a/", "b", "a/b");
    check_join("", "b", "b");
    check_join("/", "b", "/b");
    assert_string_equal(io_path_name("a/b.nii"), "b.nii");
    assert_string_equal(io_path_name("b.nii"), "b.nii");
    assert_string_equal(io_path_name("a/"), "");
    assert_true(io_path_has_suffix("x.NII.GZ", ".nii.gz"));
    assert_false(io_path_has_suffix("x.nii.gz", ".nii"));
    assert_false(io_path_has_suffix("z", ".gz"));
}

static void test_free_space_of_a_folder_yet_to_be_made(void **state)
{
    uint64_t n_free, n_total, n_free_later, n_total_later;

    check_ok(io_disk_free(folder, &n_free, &n_total));
    assert_true(n_total > 0 && n_free <= n_total);
    check_ok(io_disk_free("file_folder/not/yet/there", &n_free_later, &n_total_later));
    assert_true(n_total_later == n_total);
    check_ok(io_disk_free("not_yet_there", &n_free_later, &n_total_later));
    check_ok(io_disk_free("/not_yet_there", &n_free_later, &n_total_later));
}

int main(void)
{
#define in_empty_folder(test) cmocka_unit_test_setup_teardown(test, empty_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        in_empty_folder(test_nothing_is_there_before_commit),
        in_empty_folder(test_giving_up_keeps_the_old_file),
        in_empty_folder(test_large_and_small_pieces_keep_their_order),
        in_empty_folder(test_paths_that_cannot_be_written_are_refused),
        in_empty_folder(test_a_kill_leaves_no_final_file_and_is_cleaned),
        in_empty_folder(test_cleaning_spares_what_is_not_abandoned),
        in_empty_folder(test_a_full_disk_is_told_and_leaves_nothing),
        in_empty_folder(test_a_refused_write_leaves_nothing),
        in_empty_folder(test_mappings_show_the_bytes),
        in_empty_folder(test_a_fifo_is_refused_at_once),
        in_empty_folder(test_the_reason_for_a_missing_folder_is_told),
        in_empty_folder(test_empty_files_and_folders_as_mappings),
        in_empty_folder(test_released_pages_are_no_longer_resident),
        in_empty_folder(test_texts_are_bounded_and_free_of_zero_bytes),
        in_empty_folder(test_folders_are_made_with_their_parents),
        in_empty_folder(test_listings_are_sorted_by_bytes),
        in_empty_folder(test_sizes_and_removal),
        in_empty_folder(test_paths),
        in_empty_folder(test_free_space_of_a_folder_yet_to_be_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
