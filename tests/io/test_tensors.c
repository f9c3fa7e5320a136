/* Lists of tensors in memory, looking up, and what io_tensors_open says about files of other kinds. */
#include "tests/check.h"

#include "io/file.h"
#include "io/memory.h"
#include "io/tensors_list.h"

static io_tensors *make_list(void)
{
    io_tensors *list;
    const float values[6] = {1, 2, 3, 4, 5, 6};

    check_ok(io_tensors_create(&list));
    check_ok(io_tensors_add(list, "b", 2, (const int64_t[]){2, 3}, values, false));
    check_ok(io_tensors_add(list, "a", 1, (const int64_t[]){6}, values, true));
    check_ok(io_tensors_add(list, "scalar", 0, NULL, values + 5, false));
    check_ok(io_tensors_add(list, "empty", 2, (const int64_t[]){0, 7}, values, false));
    return list;
}

static void test_list_keeps_order_names_and_values(void **state)
{
    io_tensors *list = make_list();
    float values[6] = {0};

    assert_int_equal(io_tensors_count(list), 4);
    assert_string_equal(io_tensors_at(list, 0)->name, "b");
    assert_string_equal(io_tensors_at(list, 1)->name, "a");
    assert_int_equal(io_tensors_get_format(list), IO_TENSORS_MEMORY);
    assert_ptr_equal(io_tensors_find(list, "a"), io_tensors_at(list, 1));
    assert_null(io_tensors_find(list, "c"));
    assert_true(io_tensors_find(list, "a")->is_parameter);
    assert_int_equal(io_tensors_find(list, "b")->stride[0], 3);
    check_ok(io_tensor_read_f32(io_tensors_find(list, "b"), values));
    for (int i = 0; i < 6; i++) check_near(values[i], i + 1, 0);
    check_ok(io_tensor_read_f32(io_tensors_find(list, "scalar"), values));
    check_near(values[0], 6, 0);
    assert_int_equal(io_tensors_find(list, "empty")->n_elements, 0);
    for (size_t i = 0; i < io_tensors_count(list); i++) io_tensors_release(list, io_tensors_at(list, i));
    check_ok(io_tensors_check(list));
    io_tensors_free(&list);
    assert_null(list);
    io_tensors_free(&list);
}

static void test_many_names_are_found(void **state)
{
    io_tensors *list;
    char name[32];

    check_ok(io_tensors_create(&list));
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof name, "t%d", (i * 7919) % 2000); /* 7919 is prime to 2000: each name once, in no order */
        check_ok(io_tensors_add(list, name, 1, (const int64_t[]){1}, &(const float){(float)i}, false));
    }
    for (int i = 0; i < 2000; i++) {
        float value = -1;
        snprintf(name, sizeof name, "t%d", (i * 7919) % 2000);
        assert_non_null(io_tensors_find(list, name));
        check_ok(io_tensor_read_f32(io_tensors_find(list, name), &value));
        check_near(value, i, 0);
    }
    io_tensors_free(&list);
}

static void test_bad_entries_are_refused(void **state)
{
    io_tensors *list = make_list();
    const float value = 0;
    float *values;

    check_fails(IO_ERR_FORMAT, io_tensors_add(list, "a", 1, (const int64_t[]){1}, &value, false));
    check_fails(IO_ERR_FORMAT, io_tensors_add(list, "", 1, (const int64_t[]){1}, &value, false));
    check_fails(IO_ERR_FORMAT, io_tensors_add(list, "x\ny", 1, (const int64_t[]){1}, &value, false));
    check_fails(IO_ERR_FORMAT, io_tensors_add(list, "x\xc2\x9b", 1, (const int64_t[]){1}, &value, false));
    check_fails(IO_ERR_FORMAT, io_tensors_add(list, "x\xf4", 1, (const int64_t[]){1}, &value, false));
    check_fails(IO_ERR_RANGE, io_tensors_add(list, "c", 1, (const int64_t[]){-1}, &value, false));
    check_fails(IO_ERR_UNSUPPORTED, io_tensors_add(list, "c", 9, (const int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1}, &value, false));
    check_fails(IO_ERR_RANGE, io_tensors_reserve(list, "c", 2, (const int64_t[]){INT64_MAX, INT64_MAX}, false, &values));
    check_fails(IO_ERR_RANGE, io_tensors_reserve(list, "c", 3, (const int64_t[]){0, INT64_MAX, INT64_MAX}, false, &values));
    assert_int_equal(io_tensors_count(list), 4);
    assert_null(io_tensors_find(list, "c"));
    io_tensors_free(&list);
}

static void test_require_names_what_is_wrong(void **state)
{
    io_tensors *list = make_list();
    const io_tensor *tensor = NULL;

    check_ok(io_tensors_require(list, "b", 2, (const int64_t[]){2, 3}, &tensor));
    assert_string_equal(tensor->name, "b");
    check_ok(io_tensors_require(list, "scalar", 0, NULL, &tensor));
    check_fails(IO_ERR_MISMATCH, io_tensors_require(list, "b", 2, (const int64_t[]){3, 2}, &tensor));
    assert_string_equal(io_last_error_text(), "(memory): tensor b: expected shape [3,2], found [2,3]");
    check_fails(IO_ERR_MISMATCH, io_tensors_require(list, "b", 1, (const int64_t[]){6}, &tensor));
    check_fails(IO_ERR_NOT_FOUND, io_tensors_require(list, "z", 1, (const int64_t[]){6}, &tensor));
    assert_string_equal(io_last_error_text(), "(memory): tensor z [6] is missing");
    io_tensors_free(&list);
}

static void test_shape_text_fits(void **state)
{
    char text[16];

    io_tensor_shape_text(4, (const int64_t[]){768, 3, 16, 16}, text, sizeof text);
    assert_string_equal(text, "[768,3,16,16]");
    io_tensor_shape_text(0, NULL, text, sizeof text);
    assert_string_equal(text, "[]");
    for (size_t n = 1; n < sizeof text; n++) {
        memset(text, '#', sizeof text);
        io_tensor_shape_text(4, (const int64_t[]){768, 3, 16, 16}, text, n);
        assert_true(strlen(text) < n);
        assert_int_equal(text[n], '#');
    }
}

static void check_refused(io_status expected, const char *bytes, size_t n_bytes, const char *word)
{
    io_tensors *list = NULL;
    FILE *file = fopen("tensors_foreign", "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    fclose(file);
    check_fails(expected, io_tensors_open("tensors_foreign", &list));
    assert_null(list);
    assert_non_null(strstr(io_last_error_text(), "tensors_foreign"));
    if (!strstr(io_last_error_text(), word)) fail_msg("\"%s\" is not in \"%s\"", word, io_last_error_text());
    remove("tensors_foreign");
}

static void test_other_files_are_refused_with_advice(void **state)
{
    static const char legacy[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M";
    io_tensors *list;

    check_refused(IO_ERR_TRUNCATED, "", 0, "empty");
    check_refused(IO_ERR_UNSUPPORTED, legacy, sizeof legacy - 1, "before version 1.6");
    check_refused(IO_ERR_UNSUPPORTED, "version https://git-lfs.github.com/spec/v1\n", 43, "git lfs pull");
    check_refused(IO_ERR_UNSUPPORTED, "<!DOCTYPE html>", 15, "web page");
    check_refused(IO_ERR_UNSUPPORTED, "\x1f\x8b\x08", 3, "gunzip");
    check_refused(IO_ERR_UNSUPPORTED, "\x80\x03}q\x00.", 6, "bare Python pickle");
    check_refused(IO_ERR_FORMAT, "P", 1, "neither");
    check_refused(IO_ERR_FORMAT, "hello, world", 12, "neither");
    check_refused(IO_ERR_TRUNCATED, "PK\3\4", 4, "cut short");
    check_fails(IO_ERR_NOT_FOUND, io_tensors_open("no such file", &list));
}

static io_status collect(void *end, const void *bytes, size_t n_bytes)
{
    memcpy(*(uint8_t **)end, bytes, n_bytes);
    *(uint8_t **)end += n_bytes;
    return IO_OK;
}

/* A transposed tensor larger than one block of the gathering writer. */
static void test_strided_values_come_in_row_major_order(void **state)
{
    enum { N = 301 };
    io_tensor tensor = {.n_dims = 2, .shape = {N, N}, .stride = {1, N}, .type = IO_TENSOR_F32, .n_elements = N * N};
    float *stored = NULL, *read = NULL, *streamed = NULL;
    uint8_t *end;

    check_ok(io_alloc(N * N, sizeof(float), (void **)&stored));
    check_ok(io_alloc(N * N, sizeof(float), (void **)&read));
    check_ok(io_alloc(N * N, sizeof(float), (void **)&streamed));
    for (int i = 0; i < N * N; i++) stored[i] = (float)i;
    tensor.data = (const uint8_t *)stored;
    end = (uint8_t *)streamed;
    check_ok(io_tensor_read_f32(&tensor, read));
    check_ok(io_tensor_stream(&tensor, collect, &end));
    assert_ptr_equal(end, streamed + N * N);
    for (int row = 0; row < N; row++) {
        for (int column = 0; column < N; column++) {
            check_near(read[row * N + column], column * N + row, 0);
            check_near(streamed[row * N + column], column * N + row, 0);
        }
    }
    io_free(&stored);
    io_free(&read);
    io_free(&streamed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_keeps_order_names_and_values),
        cmocka_unit_test(test_many_names_are_found),
        cmocka_unit_test(test_bad_entries_are_refused),
        cmocka_unit_test(test_require_names_what_is_wrong),
        cmocka_unit_test(test_shape_text_fits),
        cmocka_unit_test(test_strided_values_come_in_row_major_order),
        cmocka_unit_test(test_other_files_are_refused_with_advice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
