/* Safetensors: a file of the safetensors package is read as the package reads it, and files are written that it reads; headers that lie
 * about the file are refused. */
#include "tests/check.h"

#include <unistd.h>

#include "io/file.h"
#include "io/memory.h"
#include "tests/io/expected_weights.h"

static void test_file_of_the_package_is_read_as_the_package_does(void **state)
{
    io_tensors *list;

    check_ok(io_tensors_open(expected_path("types.safetensors"), &list));
    assert_int_equal(io_tensors_get_format(list), IO_TENSORS_SAFETENSORS);
    check_ok(io_tensors_check(list));
    expected_compare(list, "types.safetensors");
    io_tensors_free(&list);
}

static void test_written_file_holds_the_same(void **state)
{
    const char *const files[] = {"types.safetensors", "views.pth", "module.pth"};

    for (int i = 0; i < 3; i++) {
        io_tensors *list, *back;
        check_ok(io_tensors_open(expected_path(files[i]), &list));
        check_ok(io_safetensors_write("st_again.safetensors", list, i ? NULL : "{\"format\":\"pt\"}"));
        check_ok(io_tensors_open("st_again.safetensors", &back));
        expected_compare(back, files[i]);
        for (size_t k = 0; k < io_tensors_count(back); k++) {
            const io_tensor *tensor = io_tensors_at(back, k);
            assert_string_equal(tensor->name, io_tensors_at(list, k)->name);
            assert_int_equal((size_t)tensor->data % io_tensor_type_bytes(tensor->type), 0);
        }
        io_tensors_free(&list);
        io_tensors_free(&back);
    }
    remove("st_again.safetensors");
}

static void test_names_and_metadata_are_escaped(void **state)
{
    io_tensors *list;
    const float value = 3;

    check_ok(io_tensors_create(&list));
    check_ok(io_tensors_add(list, "a \"quoted\\ name\", \xc3\xa9", 1, (const int64_t[]){1}, &value, false));
    check_fails(IO_ERR_ARGUMENT, io_safetensors_write("st_escaped.safetensors", list, "{\"rank\":4}"));
    check_fails(IO_ERR_ARGUMENT, io_safetensors_write("st_escaped.safetensors", list, "[]"));
    check_fails(IO_ERR_FORMAT, io_safetensors_write("st_escaped.safetensors", list, "{"));
    assert_false(io_file_exists("st_escaped.safetensors"));
    check_ok(io_safetensors_write("st_escaped.safetensors", list, "{\"rank\":\"4\"}"));
    io_tensors_free(&list);
    check_ok(io_tensors_open("st_escaped.safetensors", &list));
    assert_non_null(io_tensors_find(list, "a \"quoted\\ name\", \xc3\xa9"));
    io_tensors_free(&list);
    remove("st_escaped.safetensors");
}

/* A file with this header text and n_values bytes of values. */
static io_status open_header(const char *header, size_t n_values)
{
    const size_t n_header = strlen(header);
    FILE *file = fopen("st_header.safetensors", "wb");
    io_tensors *list = NULL;
    io_status status;

    assert_non_null(file);
    for (int i = 0; i < 8; i++) fputc((int)((uint64_t)n_header >> (8 * i) & 255), file);
    assert_int_equal(fwrite(header, 1, n_header, file), n_header);
    for (size_t i = 0; i < n_values; i++) fputc(0, file);
    fclose(file);
    status = io_tensors_open("st_header.safetensors", &list);
    if (status != IO_OK) assert_null(list);
    io_tensors_free(&list);
    remove("st_header.safetensors");
    return status;
}

#define TENSOR(name, dtype, shape, begin, end)                                                                                             \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void test_valid_headers_pass(void **state)
{
    check_ok(open_header("{" TENSOR("a", "F32", "[2]", "0", "8") "}", 8));
    check_ok(open_header("{" TENSOR("b", "F32", "[1]", "4", "8") "," TENSOR("a", "F16", "[2,1]", "0", "4") "}   ", 8));
    check_ok(open_header("{" TENSOR("e", "F32", "[0,9]", "4", "4") "," TENSOR("a", "U8", "[4]", "0", "4") "}", 4));
    check_ok(open_header("{\"__metadata__\":{\"a\":\"b\"}," TENSOR("a", "I64", "[]", "0", "8") "}", 8));
}

static void test_lying_headers_are_refused(void **state)
{
    check_fails(IO_ERR_TRUNCATED, open_header("{" TENSOR("a", "F32", "[2]", "0", "8") "}", 7));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "0", "8") "}", 9));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "4", "12") "}", 12));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "8", "0") "}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "-8", "0") "}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "0.5", "8.5") "}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[1e300]", "0", "8") "}", 8));
    check_fails(IO_ERR_MISMATCH, open_header("{" TENSOR("a", "F32", "[3]", "0", "8") "}", 8));
    check_fails(IO_ERR_MISMATCH, open_header("{" TENSOR("a", "F16", "[2]", "0", "8") "}", 8));
    check_fails(IO_ERR_RANGE, open_header("{" TENSOR("a", "F32", "[4294967296,4294967296,2]", "0", "8") "}", 8));
    check_fails(IO_ERR_UNSUPPORTED, open_header("{" TENSOR("a", "F8_E4M3", "[8]", "0", "8") "}", 8));
    check_fails(IO_ERR_UNSUPPORTED, open_header("{" TENSOR("a", "F32", "[1,1,1,1,1,1,1,1,2]", "0", "8") "}", 8));
    /* overlap, and the same name twice */
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "0", "8") "," TENSOR("b", "F32", "[2]", "4", "12") "}", 12));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "0", "8") "," TENSOR("b", "F32", "[2]", "0", "8") "}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[1]", "0", "4") "," TENSOR("a", "F32", "[1]", "4", "8") "}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a\\u0000b", "F32", "[2]", "0", "8") "}", 8));
    /* not what the format says */
    check_fails(IO_ERR_UNSUPPORTED, open_header("{}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{\"a\":7}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"shape\":[2]}}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "0", "8"), 8));
    check_fails(IO_ERR_FORMAT, open_header("{" TENSOR("a", "F32", "[2]", "0", "8") "} x", 8));
}

static void test_header_length_is_checked(void **state)
{
    static const char *const starts[] = {"\xff\xff\xff\xff\xff\xff\xff\xff{", "\x00\x00\x00\x01\x00\x00\x00\x00{",
                                         "\x09\x00\x00\x00\x00\x00\x00\x00{"};
    io_tensors *list;

    for (int i = 0; i < 3; i++) {
        FILE *file = fopen("st_length.safetensors", "wb");
        assert_non_null(file);
        fwrite(starts[i], 1, 9, file);
        fclose(file);
        check_fails(i == 0 ? IO_ERR_FORMAT : IO_ERR_TRUNCATED, io_tensors_open("st_length.safetensors", &list));
    }
    remove("st_length.safetensors");
}

static void test_every_truncation_is_refused(void **state)
{
    io_mapping *mapping;
    FILE *file = fopen("st_short.safetensors", "wb");

    assert_non_null(file);
    check_ok(io_mapping_open(expected_path("types.safetensors"), &mapping));
    assert_int_equal(fwrite(mapping->bytes, 1, mapping->n_bytes, file), mapping->n_bytes);
    fclose(file);
    for (size_t n = mapping->n_bytes; n-- > 0;) {
        io_tensors *list = NULL;
        assert_int_equal(truncate("st_short.safetensors", (off_t)n), 0);
        if (io_tensors_open("st_short.safetensors", &list) == IO_OK)
            fail_msg("%zu of %zu bytes were taken for a whole file", n, mapping->n_bytes);
    }
    remove("st_short.safetensors");
    io_mapping_free(&mapping);
}

/* The package itself reads what was written here, where it is installed. */
static void test_package_reads_what_is_written(void **state)
{
    static const char script[] = "import sys\n"
                                 "try: import safetensors.torch as s, torch\n"
                                 "except ImportError: sys.exit(77)\n"
                                 "a, b = s.load_file(sys.argv[1]), s.load_file(sys.argv[2])\n"
                                 "assert sorted(a) == sorted(b)\n"
                                 "for k in a: assert a[k].dtype == b[k].dtype and a[k].shape == b[k].shape, k\n"
                                 "for k in a: assert torch.equal(a[k].nan_to_num(7), b[k].nan_to_num(7)), k\n"
                                 "with s.safe_open(sys.argv[2], 'pt') as f: assert f.metadata() == {'made by': 'samed'}, f.metadata()\n";
    const char *python = getenv("SAMED_PYTHON");
    char command[8192];
    io_tensors *list;
    int code;

    check_ok(io_file_write_text("st_compare.py", script));
    check_ok(io_tensors_open(expected_path("types.safetensors"), &list));
    check_ok(io_safetensors_write("st_package.safetensors", list, "{\"made by\":\"samed\"}"));
    io_tensors_free(&list);
    snprintf(command, sizeof command, "%s st_compare.py '%s' st_package.safetensors", python ? python : "python3",
             expected_path("types.safetensors"));
    code = system(command);
    remove("st_compare.py");
    remove("st_package.safetensors");
    if (WIFEXITED(code) && WEXITSTATUS(code) == 77) {
        print_message("no safetensors package in %s: its reading of files written here is not checked\n", python ? python : "python3");
        skip();
    }
    assert_int_equal(code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file_of_the_package_is_read_as_the_package_does),
        cmocka_unit_test(test_written_file_holds_the_same),
        cmocka_unit_test(test_names_and_metadata_are_escaped),
        cmocka_unit_test(test_valid_headers_pass),
        cmocka_unit_test(test_lying_headers_are_refused),
        cmocka_unit_test(test_header_length_is_checked),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_package_reads_what_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
