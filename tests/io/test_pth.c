/* PyTorch files: files that PyTorch wrote are read as PyTorch reads them, files written here are what PyTorch writes, and damaged or
 * hostile ones are refused. Files whose pickle asks for what it must not are in tests/refuse. */
#include "tests/check.h"

#include <unistd.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/zip.h"
#include "tests/io/expected_weights.h"

static void test_files_of_pytorch_are_read_as_pytorch_does(void **state)
{
    const char *const files[] = {"module.pth", "views.pth",  "types.pth",   "adapter.pth",  "ordered.pth",
                                 "many.pth",   "single.pth", "wrapped.pth", "protocol4.pth"};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        io_tensors *list;
        check_ok(io_tensors_open(expected_path(files[i]), &list));
        assert_int_equal(io_tensors_get_format(list), IO_TENSORS_PTH);
        check_ok(io_tensors_check(list));
        expected_compare(list, files[i]);
        for (size_t k = 0; k < io_tensors_count(list); k++) io_tensors_release(list, io_tensors_at(list, k));
        expected_compare(list, files[i]);
        io_tensors_free(&list);
    }
}

/* Every kind of tensor, strided ones too, comes back from a file written here with the values that PyTorch saw. */
static void test_written_files_hold_the_same(void **state)
{
    const char *const files[] = {"module.pth", "views.pth", "types.pth", "adapter.pth", "types.safetensors"};

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        io_tensors *list, *back;
        check_ok(io_tensors_open(expected_path(files[i]), &list));
        check_ok(io_pth_write("pth_again.pth", list, i % 2 == 0));
        check_ok(io_tensors_open("pth_again.pth", &back));
        check_ok(io_tensors_check(back));
        expected_compare(back, files[i]);
        for (size_t k = 0; k < io_tensors_count(back); k++) {
            assert_string_equal(io_tensors_at(back, k)->name, io_tensors_at(list, k)->name);
            assert_int_equal((size_t)io_tensors_at(back, k)->data % 64, 0);
        }
        io_tensors_free(&list);
        io_tensors_free(&back);
    }
    remove("pth_again.pth");
}

/* *bytes [*n_bytes]: data.pkl of a file, copied; caller frees. */
static void read_pickle(const char *path, const char *root, uint8_t **bytes, size_t *n_bytes)
{
    io_mapping *mapping;
    io_zip *zip;
    const io_zip_entry *entry;

    check_ok(io_mapping_open(path, &mapping));
    check_ok(io_zip_open(mapping->bytes, mapping->n_bytes, path, &zip));
    entry = io_zip_find(zip, root, strlen(root), "data.pkl");
    assert_non_null(entry);
    *n_bytes = entry->n_bytes;
    check_ok(io_alloc(entry->n_bytes, 1, (void **)bytes));
    memcpy(*bytes, mapping->bytes + entry->offset, entry->n_bytes);
    io_zip_free(&zip);
    io_mapping_free(&mapping);
}

/* These files of PyTorch hold contiguous tensors with a storage each: their pickle must be matched byte for byte. */
static void test_pickle_is_the_one_of_pytorch(void **state)
{
    const char *const roots[] = {"ordered", "adapter", "types", "many", "single"};

    for (int i = 0; i < 5; i++) {
        char name[64];
        io_tensors *list;
        uint8_t *expected, *found;
        size_t n_expected, n_found;

        snprintf(name, sizeof name, "%s.pth", roots[i]);
        check_ok(io_tensors_open(expected_path(name), &list));
        check_ok(io_pth_write("pth_pickle.pth", list, i == 0));
        read_pickle(expected_path(name), roots[i], &expected, &n_expected);
        read_pickle("pth_pickle.pth", "archive", &found, &n_found);
        assert_int_equal(n_found, n_expected);
        assert_memory_equal(found, expected, n_expected);
        io_tensors_free(&list);
        io_free(&expected);
        io_free(&found);
    }
    remove("pth_pickle.pth");
}

static void write_bytes(const char *path, const uint8_t *bytes, size_t n_bytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    fclose(file);
}

static void test_every_truncation_is_refused(void **state)
{
    io_mapping *mapping;

    check_ok(io_mapping_open(expected_path("adapter.pth"), &mapping));
    write_bytes("pth_short.pth", mapping->bytes, mapping->n_bytes);
    for (size_t n = mapping->n_bytes; n-- > 0;) {
        io_tensors *list = NULL;
        assert_int_equal(truncate("pth_short.pth", (off_t)n), 0);
        if (io_tensors_open("pth_short.pth", &list) == IO_OK) fail_msg("%zu of %zu bytes were taken for a whole file", n, mapping->n_bytes);
        assert_null(list);
    }
    remove("pth_short.pth");
    io_mapping_free(&mapping);
}

/* What became of a damaged file: refused when opened, found by the checksums, or still the same tensors. */
static void count_outcome(size_t *n_refused, size_t *n_checksum)
{
    io_tensors *list = NULL;

    if (io_tensors_open("pth_flipped.pth", &list) != IO_OK)
        ++*n_refused;
    else if (io_tensors_check(list) == IO_ERR_CHECKSUM)
        ++*n_checksum;
    else
        expected_compare(list, "ordered.pth");
    io_tensors_free(&list);
}

/* A flipped bit is noticed, or lies in bytes that carry nothing (paddings, dates, PyTorch's own notes). */
static void test_every_flipped_bit_is_harmless(void **state)
{
    io_mapping *mapping;
    size_t n_refused = 0, n_checksum = 0;
    FILE *file;

    check_ok(io_mapping_open(expected_path("ordered.pth"), &mapping));
    write_bytes("pth_flipped.pth", mapping->bytes, mapping->n_bytes);
    file = fopen("pth_flipped.pth", "r+b");
    assert_non_null(file);
    for (size_t bit = 0; bit < 8 * mapping->n_bytes; bit++) {
        const uint8_t right = mapping->bytes[bit / 8], wrong = right ^ (uint8_t)(1 << bit % 8);
        assert_int_equal(pwrite(fileno(file), &wrong, 1, (off_t)(bit / 8)), 1);
        count_outcome(&n_refused, &n_checksum);
        assert_int_equal(pwrite(fileno(file), &right, 1, (off_t)(bit / 8)), 1);
    }
    fclose(file);
    assert_true(n_refused > 1000); /* the pickle alone has more bits */
    assert_true(n_checksum >= 3 * 64);
    remove("pth_flipped.pth");
    io_mapping_free(&mapping);
}

static void test_writing_is_deterministic_and_atomic(void **state)
{
    io_tensors *list;
    io_mapping *first, *second;

    check_ok(io_tensors_open(expected_path("views.pth"), &list));
    check_ok(io_pth_write("pth_one.pth", list, true));
    check_ok(io_pth_write("pth_other_name.pth", list, true));
    check_ok(io_mapping_open("pth_one.pth", &first));
    check_ok(io_mapping_open("pth_other_name.pth", &second));
    assert_int_equal(first->n_bytes, second->n_bytes);
    assert_memory_equal(first->bytes, second->bytes, first->n_bytes);
    assert_true(io_pth_write("no such folder/x.pth", list, true) != IO_OK);
    io_mapping_free(&first);
    io_mapping_free(&second);
    io_tensors_free(&list);
    remove("pth_one.pth");
    remove("pth_other_name.pth");
}

/* PyTorch itself reads what was written here, where it is installed. */
static void test_pytorch_reads_what_is_written(void **state)
{
    static const char script[] =
        "import sys\n"
        "try: import torch\n"
        "except ImportError: sys.exit(77)\n"
        "for a, b in (sys.argv[1:3], sys.argv[3:5]):\n"
        "    a, b = torch.load(a, weights_only=True), torch.load(b, weights_only=True)\n"
        "    assert list(a) == list(b) and type(a) == type(b), (list(a), list(b), type(a), type(b))\n"
        "    for k in a:\n"
        "        assert type(a[k]) == type(b[k]) and a[k].dtype == b[k].dtype and a[k].requires_grad == b[k].requires_grad, k\n"
        "        assert a[k].shape == b[k].shape and torch.equal(a[k].nan_to_num(7), b[k].nan_to_num(7)), k\n";
    const char *python = getenv("SAMED_PYTHON");
    char command[16384];
    io_tensors *list;
    int code;

    check_ok(io_file_write_text("pth_compare.py", script));
    check_ok(io_tensors_open(expected_path("adapter.pth"), &list));
    check_ok(io_pth_write("pth_adapter.pth", list, false));
    io_tensors_free(&list);
    check_ok(io_tensors_open(expected_path("views.pth"), &list));
    check_ok(io_pth_write("pth_views.pth", list, true));
    io_tensors_free(&list);
    snprintf(command, sizeof command, "%s pth_compare.py '%s' pth_adapter.pth ", python ? python : "python3", expected_path("adapter.pth"));
    snprintf(command + strlen(command), sizeof command - strlen(command), "'%s' pth_views.pth", expected_path("views.pth"));
    code = system(command);
    remove("pth_compare.py");
    remove("pth_adapter.pth");
    remove("pth_views.pth");
    if (WIFEXITED(code) && WEXITSTATUS(code) == 77) {
        print_message("no PyTorch in %s: its reading of files written here is not checked\n", python ? python : "python3");
        skip();
    }
    assert_int_equal(code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_of_pytorch_are_read_as_pytorch_does),
        cmocka_unit_test(test_written_files_hold_the_same),
        cmocka_unit_test(test_pickle_is_the_one_of_pytorch),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_every_flipped_bit_is_harmless),
        cmocka_unit_test(test_writing_is_deterministic_and_atomic),
        cmocka_unit_test(test_pytorch_reads_what_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
