/* Arrays that NumPy wrote (tests/fuzz/make_slices.py): every type, order and way of packing. What must be refused: tests/refuse. */
#include "tests/check.h"

#include "io/memory.h"
#include "io/npz.h"

static void check_image(const char *name, double step, double offset, int modulo)
{
    char path[4096];
    io_npz_array array;

    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/npz/%s.npz", getenv("SAMED_SOURCE"), name);
    check_ok(io_npz_read(path, "image", &array));
    assert_int_equal(array.rows, 5);
    assert_int_equal(array.cols, 7);
    for (int i = 0; i < 35; i++) assert_true(array.values[i] == (float)((modulo ? i % modulo : i) * step + offset));
    io_free(&array.values);
}

static void test_types(void **state)
{
    static const char *const names[] = {"stored_f4", "stored_f8", "deflated_f4", "fortran_f4"};
    static const char *const unsigned_names[] = {"stored_u1", "stored_u2", "stored_u4", "stored_u8"};
    static const char *const signed_names[] = {"stored_i1", "stored_i2", "stored_i4", "stored_i8"};

    for (int i = 0; i < 4; i++) {
        check_image(names[i], 1, 0.25, 0);
        check_image(unsigned_names[i], 1, 0, 0);
        check_image(signed_names[i], 1, -9, 0);
    }
    check_image("stored_b1", 1, 0, 2);
}

static void test_missing(void **state)
{
    char path[4096];
    io_npz_array array;

    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/npz/fortran_f4.npz", getenv("SAMED_SOURCE"));
    check_fails(IO_ERR_NOT_FOUND, io_npz_read(path, "label", &array));
    assert_non_null(strstr(io_last_error_text(), "\"label\""));
    check_fails(IO_ERR_NOT_FOUND, io_npz_read(path, "imag", &array));
    check_fails(IO_ERR_NOT_FOUND, io_npz_read("nowhere.npz", "image", &array));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types), cmocka_unit_test(test_missing)};

    if (!getenv("SAMED_SOURCE")) return fprintf(stderr, "SAMED_SOURCE is not set; run this with ctest\n"), 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
