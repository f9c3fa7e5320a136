/* The error text and the checked sizes. */
#include "tests/check.h"

#include "io/memory.h"

static io_status refuse(void)
{
    return IO_FAIL(IO_ERR_RANGE, "value %d; expected 0..9", 12);
}

static void test_text_says_where_and_what(void **state)
{
    check_fails(IO_ERR_RANGE, refuse());
    assert_string_equal(io_last_error_text(), "value 12; expected 0..9");
    assert_non_null(strstr(io_last_error(), "test_status.c:"));
    assert_non_null(strstr(io_last_error(), "refuse()"));
    assert_string_equal(io_status_name(IO_ERR_RANGE), "range");
}

static void test_context_goes_in_front(void **state)
{
    assert_int_equal(io_fail_context(refuse(), "case %s", "0042"), IO_ERR_RANGE);
    assert_string_equal(io_last_error_text(), "case 0042: value 12; expected 0..9");
}

static void test_sizes_are_checked(void **state)
{
    size_t out;
    void *block;
    check_ok(io_size_mul(3, 5, &out));
    assert_int_equal(out, 15);
    check_fails(IO_ERR_RANGE, io_size_mul(SIZE_MAX / 2, 3, &out));
    check_fails(IO_ERR_RANGE, io_size_add(SIZE_MAX, 1, &out));
    check_fails(IO_ERR_RANGE, io_alloc(SIZE_MAX / 2, 3, &block));
    check_fails(IO_ERR_RANGE, io_alloc(SIZE_MAX, 1, &block));
}

static void test_allocations_are_zeroed_and_aligned(void **state)
{
    uint8_t *block = NULL;
    check_ok(io_alloc(100, 1, (void **)&block));
    assert_int_equal((uintptr_t)block % 64, 0);
    for (int i = 0; i < 100; i++) assert_int_equal(block[i], 0);
    io_free(&block);
    assert_null(block);
    io_free(&block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_says_where_and_what),
        cmocka_unit_test(test_context_goes_in_front),
        cmocka_unit_test(test_sizes_are_checked),
        cmocka_unit_test(test_allocations_are_zeroed_and_aligned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
