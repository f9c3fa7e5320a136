/* JSON: what RFC 8259 allows is read, what it forbids is refused, numbers come back bit for bit, order and duplicates stay. */
#include "tests/check.h"

#include <float.h>

#include "io/file.h"
#include "io/json.h"
#include "io/memory.h"

static void check_printed(const io_json *root, bool pretty, const char *expected)
{
    char *text;
    check_ok(io_json_print(root, pretty, &text));
    assert_string_equal(text, expected);
    io_free(&text);
}

static void test_order_and_duplicates_stay(void **state)
{
    static const char text[] = "{\"b\":1,\"a\":[true,false,null,\"x\",{}],\"b\":2,\"\":[]}";
    io_json *root;

    check_ok(io_json_parse(text, "test", &root));
    check_printed(root, false, text);
    assert_int_equal(io_json_size(root), 4);
    assert_string_equal(io_json_key(io_json_at(root, 2)), "b");
    assert_null(io_json_at(root, 4));
    io_json_free(&root);
    assert_null(root);
    io_json_free(&root);
}

static void test_absent_and_other_types_are_null(void **state)
{
    io_json *root;
    double number = 42;

    check_ok(io_json_parse("{\"n\":1.5,\"s\":\"text\",\"t\":true,\"big\":1e999}", "test", &root));
    assert_null(io_json_get(root, "absent"));
    assert_null(io_json_get(root, "N"));
    assert_null(io_json_get(io_json_get(root, "n"), "n"));
    assert_null(io_json_get(NULL, "n"));
    assert_null(io_json_get_text(root, "n"));
    assert_string_equal(io_json_get_text(root, "s"), "text");
    assert_false(io_json_get_number(root, "s", &number));
    assert_false(io_json_get_number(root, "big", &number));
    assert_true(number == 42);
    assert_true(io_json_get_number(root, "n", &number));
    assert_true(number == 1.5);
    assert_true(io_json_is_true(io_json_get(root, "t")));
    assert_false(io_json_is_true(io_json_get(root, "s")));
    assert_true(io_json_is_object(root) && !io_json_is_array(root));
    io_json_free(&root);
}

/* Shortest texts that read back equal, as Python's repr() gives their digits. */
static void test_numbers_are_shortest_and_exact(void **state)
{
    static const struct {
        double number;
        const char *text;
    } cases[] = {
        {0, "[0]"},
        {-7, "[-7]"},
        {9007199254740991.0, "[9007199254740991]"},
        {0.1, "[0.1]"},
        {0.1 + 0.2, "[0.30000000000000004]"},
        {1.0 / 3, "[0.3333333333333333]"},
        {-DBL_MAX, "[-1.7976931348623157e+308]"},
        {5e-324, "[5e-324]"},
        {DBL_MIN, "[2.2250738585072014e-308]"},
        {1e23, "[1e+23]"},
        {(double)1.1f, "[1.100000023841858]"},
        {NAN, "[null]"},
        {-INFINITY, "[null]"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        io_json *array;
        check_ok(io_json_create_array(&array));
        check_ok(io_json_add_number(array, cases[i].number));
        check_printed(array, false, cases[i].text);
        io_json_free(&array);
    }
}

static void test_random_numbers_survive(void **state)
{
    uint64_t random = 1;

    for (int i = 0; i < 20000; i++) {
        io_json *array, *again;
        char *text;
        double number, back = NAN;
        random = random * 6364136223846793005u + 1442695040888963407u;
        memcpy(&number, &random, sizeof number);
        if (!isfinite(number)) continue;
        check_ok(io_json_create_array(&array));
        check_ok(io_json_add_number(array, number));
        check_ok(io_json_print(array, false, &text));
        check_ok(io_json_parse(text, "test", &again));
        assert_true(io_json_number(io_json_at(again, 0), &back));
        assert_memory_equal(&back, &number, sizeof number);
        io_free(&text);
        io_json_free(&again);
        io_json_free(&array);
    }
}

static void test_strings_are_escaped_and_made_utf8(void **state)
{
#define R "\xef\xbf\xbd" /* U+FFFD */
    io_json *object;

    check_ok(io_json_create_object(&object));
    check_ok(io_json_put_text(object, "a\"b", "\\ \b\f\n\r\t\x01 \x7f / \xc3\xa9 \xf0\x9f\xa7\xa0"));
    check_ok(io_json_put_text(object, "bad", "\xe9|\xc0\x80|\xed\xa0\x80|\xf5|\xe2\x82"));
    check_printed(object, false,
                  "{\"a\\\"b\":\"\\\\ \\b\\f\\n\\r\\t\\u0001 \x7f / \xc3\xa9 \xf0\x9f\xa7\xa0\","
                  "\"bad\":\"" R "|" R R "|" R R R "|" R "|" R R "\"}");
    io_json_free(&object);
}

static void test_building_nests_and_replaces(void **state)
{
    io_json *root, *list, *copy;

    check_ok(io_json_create_object(&root));
    check_ok(io_json_put_bool(root, "yes", true));
    check_ok(io_json_put_number(root, "n", 1));
    check_ok(io_json_create_array(&list));
    check_ok(io_json_add_text(list, "x"));
    check_ok(io_json_put(root, "list", &list));
    assert_null(list);
    check_ok(io_json_put_text(root, "n", "replaced"));
    check_ok(io_json_create_object(&list));
    check_ok(io_json_put(root, "empty", &list));
    check_printed(root, true, "{\n  \"yes\": true,\n  \"n\": \"replaced\",\n  \"list\": [\n    \"x\"\n  ],\n  \"empty\": {}\n}\n");
    check_ok(io_json_copy(root, &copy));
    check_ok(io_json_put_bool(root, "yes", false));
    assert_true(io_json_is_true(io_json_get(copy, "yes")));
    io_json_free(&copy);
    io_json_free(&root);
}

static void test_what_is_not_json_is_refused(void **state)
{
    static const char *const texts[] = {
        "",    " ",   "{",      "[1,",     "{\"a\"}",     "{\"a\":}", "{a:1}", "[1,]", "{\"a\":1,}", "[1] x",
        "'a'", "nul", "\"open", "\"\\x\"", "\"\\ud800\"", "[1 2]",    "+1",    "NaN",  "]",
    };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        io_json *root;
        check_fails(IO_ERR_FORMAT, io_json_parse(texts[i], "bad.json", &root));
        assert_null(root);
        assert_non_null(strstr(io_last_error_text(), "bad.json"));
    }
}

static void test_the_place_of_an_error_is_told(void **state)
{
    io_json *root;

    check_fails(IO_ERR_FORMAT, io_json_parse("{\n  \"a\": 1,\n  \"b\": ?\n}", "bad.json", &root));
    assert_non_null(strstr(io_last_error_text(), "line 3, column 8"));
}

static void test_deep_and_large_input_is_refused_calmly(void **state)
{
    enum { DEPTH = 1000000 };
    char *text = malloc(DEPTH + 1);
    io_json *root;

    memset(text, '[', DEPTH);
    text[DEPTH] = 0;
    check_fails(IO_ERR_FORMAT, io_json_parse(text, "deep.json", &root));
    check_ok(io_file_write_text("json_large.json", text));
    check_fails(IO_ERR_RANGE, io_json_read("json_large.json", 1000, &root));
    check_ok(io_file_remove("json_large.json"));
    free(text);
}

static void test_files_go_there_and_back(void **state)
{
    io_json *root, *again;
    double number;

    check_ok(io_json_create_object(&root));
    check_ok(io_json_put_number(root, "spacing", 0.7421875));
    check_ok(io_json_write(root, "json_file.json"));
    check_ok(io_json_read("json_file.json", 1000, &again));
    assert_true(io_json_get_number(again, "spacing", &number) && number == 0.7421875);
    io_json_free(&again);
    check_ok(io_file_remove("json_file.json"));
    check_fails(IO_ERR_NOT_FOUND, io_json_read("json_file.json", 1000, &again));
    assert_null(again);
    io_json_free(&root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_duplicates_stay),
        cmocka_unit_test(test_absent_and_other_types_are_null),
        cmocka_unit_test(test_numbers_are_shortest_and_exact),
        cmocka_unit_test(test_random_numbers_survive),
        cmocka_unit_test(test_strings_are_escaped_and_made_utf8),
        cmocka_unit_test(test_building_nests_and_replaces),
        cmocka_unit_test(test_what_is_not_json_is_refused),
        cmocka_unit_test(test_the_place_of_an_error_is_told),
        cmocka_unit_test(test_deep_and_large_input_is_refused_calmly),
        cmocka_unit_test(test_files_go_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
