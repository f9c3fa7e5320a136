/* Every file of files/ is refused by its reader with the status that expected.tsv gives, with a text that names the file, and without a
 * result. A file without a row, or a row without a file, fails. */
#include "tests/check.h"

#include "io/file.h"
#include "io/labels.h"
#include "io/manifest.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/npz.h"
#include "io/slices.h"
#include "io/tensors.h"

enum { MAX_FILES = 1000 };

static io_status read_nifti(const char *path)
{
    io_volume *volume = NULL;
    const io_status status = io_nifti_read(path, &volume);
    assert_true(status == IO_OK || !volume);
    io_volume_free(&volume);
    return status;
}

static io_status read_tensors(const char *path)
{
    io_tensors *tensors = NULL;
    const io_status status = io_tensors_open(path, &tensors);
    assert_true(status == IO_OK || !tensors);
    io_tensors_free(&tensors);
    return status;
}

static io_status read_labels(const char *path)
{
    io_labels *labels = NULL;
    const io_status status = io_labels_read(path, &labels);
    assert_true(status == IO_OK || !labels);
    io_labels_free(&labels);
    return status;
}

static io_status read_manifest(const char *path)
{
    io_manifest *manifest = NULL;
    const io_status status = io_manifest_read(path, &manifest);
    assert_true(status == IO_OK || !manifest);
    io_manifest_free(&manifest);
    return status;
}

/* The whole file: a slice is looked at when it is read. */
static io_status read_slices(const char *path)
{
    io_slices *slices = NULL;
    io_status status = io_slices_open(path, &slices);
    float image[64];
    uint16_t labels[64];

    assert_true(status == IO_OK || !slices);
    if (slices) assert_true(io_slices_get_shape(slices)->rows * io_slices_get_shape(slices)->cols <= 64);
    for (int64_t k = 0; status == IO_OK && k < io_slices_get_shape(slices)->n_slices; k++)
        status = io_slices_read(slices, k, image, labels);
    io_slices_free(&slices);
    return status;
}

static io_status read_npz(const char *path)
{
    io_npz_array array;
    const io_status status = io_npz_read(path, "image", &array);

    assert_true(status == IO_OK || !array.values);
    io_free(&array.values);
    return status;
}

static const struct {
    const char *name;
    io_status (*read)(const char *path);
} readers[] = {{"nifti", read_nifti},       {"tensors", read_tensors}, {"labels", read_labels},
               {"manifest", read_manifest}, {"slices", read_slices},   {"npz", read_npz}};

static char folder[4096];

/* True when the file was refused as expected; else says what happened. */
static bool is_refused(const char *name, const char *reader, const char *expected)
{
    char *path = NULL;
    io_status status = IO_OK;
    size_t r = 0;
    bool is_good;

    while (r < sizeof readers / sizeof readers[0] && strcmp(readers[r].name, reader) != 0) r++;
    if (r == sizeof readers / sizeof readers[0]) fail_msg("%s: no reader is called \"%s\"", name, reader);
    check_ok(io_path_join(folder, name, &path));
    if (!io_file_exists(path)) fail_msg("%s has a row but is not there", name);
    status = readers[r].read(path);
    is_good = strcmp(io_status_name(status), expected) == 0 && strstr(io_last_error_text(), name);
    if (!is_good)
        print_error("%s: expected %s and the file's name in the text, got %s: %s\n", name, expected, io_status_name(status),
                    status == IO_OK ? "" : io_last_error());
    io_free(&path);
    return is_good;
}

static void test_every_file_is_refused(void **state)
{
    char **names = NULL, *table = NULL, *rows = NULL, *path = NULL, *line;
    size_t n_names = 0, n_rows = 0, n_bad = 0;
    char seen[MAX_FILES][128];

    check_ok(io_folder_list(folder, &names, &n_names));
    check_ok(io_path_join(folder, "../expected.tsv", &path));
    check_ok(io_file_read_text(path, 1 << 20, &table));
    for (line = strtok_r(table, "\n", &rows); (line = strtok_r(NULL, "\n", &rows)); n_rows++) { /* the first line is the head */
        char reader[32], status[32];
        assert_true(n_rows < MAX_FILES);
        if (sscanf(line, "%127[^\t]\t%31[^\t]\t%31s", seen[n_rows], reader, status) != 3) fail_msg("expected.tsv: \"%s\"", line);
        n_bad += !is_refused(seen[n_rows], reader, status);
    }
    for (size_t i = 0; i < n_names; i++) {
        size_t row = 0;
        while (row < n_rows && strcmp(seen[row], names[i]) != 0) row++;
        if (row == n_rows) fail_msg("%s has no row in expected.tsv", names[i]);
    }
    assert_int_equal(n_bad, 0);
    assert_true(n_rows > 60); /* a table that lost its rows proves nothing */
    print_message("%zu files refused\n", n_rows);
    io_names_free(&names, n_names);
    io_free(&table);
    io_free(&path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_file_is_refused)};
    const char *source = getenv("SAMED_SOURCE");

    if (!source) return fprintf(stderr, "SAMED_SOURCE is not set; run this with ctest\n"), 1;
    snprintf(folder, sizeof folder, "%s/tests/refuse/files", source);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
