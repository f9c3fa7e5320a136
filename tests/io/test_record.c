/* A case counts as done only when everything agrees; whatever is done to its record or output, it is redone and never fails. */
#include "tests/check.h"

#include "io/file.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/memory.h"
#include "io/record.h"

static const char record_path[] = "record_case.json", output_path[] = "record_case.out";

static const io_record_key key = {
    .input_sha256 = "aa", .sam_sha256 = "bb", .adapter_sha256 = "", .options = "labels=9 size=512", .version = "0.1.0"};

static void write_case(void)
{
    char hex[65];
    io_json *details;

    check_ok(io_file_write_text(output_path, "label map"));
    check_ok(io_hash_file(output_path, hex));
    check_ok(io_json_create_object(&details));
    check_ok(io_json_put_number(details, "seconds", 1.25));
    check_ok(io_record_write(record_path, &key, hex, details));
    io_json_free(&details);
}

static void check_is_done(const io_record_key *with)
{
    char reason[160];
    bool is_done = false;
    check_ok(io_record_check(record_path, output_path, with, &is_done, reason));
    if (!is_done) fail_msg("expected done, got: %s", reason);
    assert_string_equal(reason, "");
}

static void check_not_done(const io_record_key *with, const char *expected)
{
    char reason[160];
    bool is_done = true;
    check_ok(io_record_check(record_path, output_path, with, &is_done, reason));
    assert_false(is_done);
    if (!strstr(reason, expected)) fail_msg("expected a reason with \"%s\", got \"%s\"", expected, reason);
    check_ok(io_record_check(record_path, output_path, with, &is_done, NULL));
    assert_false(is_done);
}

static void test_a_written_case_is_done(void **state)
{
    io_json *record;
    double seconds;

    write_case();
    check_is_done(&key);
    check_ok(io_json_read(record_path, 10000, &record));
    assert_true(io_json_get_number(record, "seconds", &seconds) && seconds == 1.25);
    io_json_free(&record);
}

static void test_each_part_of_the_key_counts(void **state)
{
    io_record_key other;

    write_case();
    other = key, other.input_sha256 = "ab", check_not_done(&other, "input");
    other = key, other.sam_sha256 = "ab", check_not_done(&other, "SAM weights");
    other = key, other.adapter_sha256 = "ab", check_not_done(&other, "adapter");
    other = key, other.options = "labels=9 size=256", check_not_done(&other, "options");
    other = key, other.version = "0.2.0", check_not_done(&other, "version");
    check_is_done(&key);
}

static void test_a_changed_or_missing_output_is_redone(void **state)
{
    write_case();
    check_ok(io_file_write_text(output_path, "label maq"));
    check_not_done(&key, "not the one");
    check_ok(io_file_remove(output_path));
    check_not_done(&key, "not there");
    check_ok(io_folder_create(output_path));
    check_not_done(&key, "not there");
    assert_int_equal(system("rmdir record_case.out"), 0);
}

static void test_a_missing_or_foreign_record_is_redone(void **state)
{
    static const char *const texts[] = {
        "", "{", "[]", "7", "null", "{}", "{\"format\":\"other\"}", "{\"format\":\"samed-record-1\"}", "\"samed-record-1\""};

    write_case();
    check_ok(io_file_remove(record_path));
    check_not_done(&key, "no record");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        check_ok(io_file_write_text(record_path, texts[i]));
        check_not_done(&key, "record");
    }
}

/* Cut anywhere, it is either refused or, once the last brace is there, the same record. */
static void test_a_cut_record_is_redone(void **state)
{
    char *text;
    size_t n_bytes;

    write_case();
    check_ok(io_file_read_text(record_path, 100000, &text));
    n_bytes = strlen(text);
    assert_true(n_bytes > 100 && text[n_bytes - 2] == '}');
    for (size_t cut = n_bytes - 2; cut > 0; cut--) {
        FILE *file = fopen(record_path, "wb");
        assert_int_equal(fwrite(text, 1, cut, file), cut);
        fclose(file);
        check_not_done(&key, "cannot be read");
    }
    io_free(&text);
}

static void test_a_tampered_output_hash_is_redone(void **state)
{
    io_json *record;

    write_case();
    check_ok(io_json_read(record_path, 100000, &record));
    check_ok(io_json_put_number(record, "output_sha256", 5));
    check_ok(io_json_write(record, record_path));
    check_not_done(&key, "output_sha256");
    check_ok(io_json_put_text(record, "output_sha256", "00"));
    check_ok(io_json_write(record, record_path));
    check_not_done(&key, "not the one");
    io_json_free(&record);
}

static void test_details_cannot_replace_the_key(void **state)
{
    io_json *details;

    write_case();
    check_ok(io_json_create_object(&details));
    check_ok(io_json_put_text(details, "output_sha256", "00"));
    check_fails(IO_ERR_ARGUMENT, io_record_write(record_path, &key, "11", details));
    io_json_free(&details);
    check_is_done(&key);
    check_ok(io_file_remove(record_path));
    check_ok(io_file_remove(output_path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_written_case_is_done),
        cmocka_unit_test(test_each_part_of_the_key_counts),
        cmocka_unit_test(test_a_changed_or_missing_output_is_redone),
        cmocka_unit_test(test_a_missing_or_foreign_record_is_redone),
        cmocka_unit_test(test_a_cut_record_is_redone),
        cmocka_unit_test(test_a_tampered_output_hash_is_redone),
        cmocka_unit_test(test_details_cannot_replace_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
