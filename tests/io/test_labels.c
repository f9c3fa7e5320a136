/* Label tables: the reference's organs, the styles of dataset.json, and the exact text that each viewer reads. */
#include "tests/check.h"

#include <unistd.h>

#include "io/file.h"
#include "io/labels.h"
#include "io/memory.h"

static io_status read_text(const char *text, io_labels **out)
{
    check_ok(io_file_write_text("labels.json", text));
    return io_labels_read("labels.json", out);
}

static void check_label(const io_labels *labels, int value, const char *name)
{
    const io_label *label = io_labels_find(labels, value);
    assert_non_null(label);
    assert_string_equal(label->name, name);
}

static void test_samed_organs(void **state)
{
    static const char *const names[] = {"background", "spleen",  "right kidney", "left kidney", "gallbladder",
                                        "liver",      "stomach", "aorta",        "pancreas"};
    io_labels *labels = NULL;

    check_ok(io_labels_default(9, &labels));
    assert_int_equal(labels->n_labels, 9);
    for (int value = 0; value < 9; value++) check_label(labels, value, names[value]);
    assert_null(io_labels_find(labels, 9));
    io_labels_free(&labels);
    assert_null(labels);
    check_ok(io_labels_default(300, &labels));
    check_label(labels, 299, "class_299");
    check_label(labels, 0, "background");
    io_labels_free(&labels);
    check_fails(IO_ERR_ARGUMENT, io_labels_default(0, &labels));
    check_fails(IO_ERR_ARGUMENT, io_labels_default(65537, &labels));
}

static void test_styles_of_dataset_json(void **state)
{
    static const char *const texts[] = {
        "{\"labels\": {\"background\": 0, \"liver\": 1, \"tumour\": 2}, \"file_ending\": \".nii.gz\"}",
        "{\"name\": \"MSD\", \"labels\": {\"0\": \"background\", \"1\": \"liver\", \"2\": \"tumour\"}}",
        "{\"tumour\": 2, \"liver\": 1}",
        "{\"2\": \"tumour\", \"1\": \"liver\", \"colors\": {\"liver\": \"#DD8265\"}}",
    };
    io_labels *labels = NULL;

    for (int i = 0; i < 4; i++) {
        check_ok(read_text(texts[i], &labels));
        assert_int_equal(labels->n_labels, 3);
        check_label(labels, 0, "background");
        check_label(labels, 1, "liver");
        check_label(labels, 2, "tumour");
        for (int v = 0; v < 3; v++) assert_int_equal(labels->labels[v].value, v);
        if (i == 3) assert_memory_equal(labels->labels[1].rgb, "\xdd\x82\x65", 3);
        io_labels_free(&labels);
    }
}

static void test_organs_keep_their_colours(void **state)
{
    io_labels *samed = NULL, *labels = NULL;

    check_ok(io_labels_default(9, &samed));
    check_ok(read_text("{\"labels\": {\"Liver\": 1, \"kidney_right\": 5, \"heart\": 7}, \"colors\": {\"heart\": \"#010203\"}}", &labels));
    assert_memory_equal(labels->labels[1].rgb, io_labels_find(samed, 5)->rgb, 3);
    assert_memory_equal(labels->labels[2].rgb, io_labels_find(samed, 2)->rgb, 3);
    assert_memory_equal(labels->labels[3].rgb, "\1\2\3", 3);
    io_labels_free(&labels);
    io_labels_free(&samed);
}

static void test_refusals(void **state)
{
    static const struct {
        io_status status;
        const char *text;
    } cases[] = {
        {IO_ERR_UNSUPPORTED, "{\"labels\": {\"background\": 0, \"whole tumour\": [1, 2]}}"},
        {IO_ERR_MISMATCH, "{\"labels\": {\"a\": 1, \"b\": 1}}"},
        {IO_ERR_RANGE, "{\"labels\": {\"a\": 65536}}"},
        {IO_ERR_RANGE, "{\"labels\": {\"a\": -1}}"},
        {IO_ERR_RANGE, "{\"labels\": {\"a\": 1.5}}"},
        {IO_ERR_RANGE, "{\"labels\": {\"\": 1}}"},
        {IO_ERR_FORMAT, "{\"labels\": {\"a\": null}}"},
        {IO_ERR_FORMAT, "{\"labels\": {\"one\": \"liver\"}}"},
        {IO_ERR_FORMAT, "{\"labels\": {\"a\\tb\": 1}}"},
        {IO_ERR_FORMAT, "{\"labels\": [\"a\"]}"},
        {IO_ERR_FORMAT, "{\"labels\": {}}"},
        {IO_ERR_FORMAT, "[]"},
        {IO_ERR_FORMAT, "{\"a\": 1, \"colors\": {\"a\": \"red\"}}"},
        {IO_ERR_FORMAT, "{\"a\": 1"},
        {IO_ERR_MISMATCH, "{\"labels\": {\"1\": \"left kidney\", \"2\": \"liver\", \"3\": \"kidney_Left\"}}"},
        {IO_ERR_MISMATCH, "{\"labels\": {\"a\": 1, \"ignore\": 1}}"},
        {IO_ERR_MISMATCH, "{\"labels\": {\"a\": 1, \"ignore\": 0}}"},
    };
    io_labels *labels = NULL;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_fails(cases[i].status, read_text(cases[i].text, &labels));
        assert_non_null(strstr(io_last_error_text(), "labels.json"));
        assert_null(labels);
    }
}

/* nnU-Net's "ignore" is no class; in a bare object it is a name like any other. */
static void test_ignore_is_no_label(void **state)
{
    io_labels *labels = NULL;

    check_ok(read_text("{\"labels\": {\"background\": 0, \"liver\": 1, \"ignore\": 9}}", &labels));
    assert_int_equal(labels->n_labels, 2);
    assert_int_equal(labels->ignore_value, 9);
    assert_null(io_labels_find(labels, 9));
    io_labels_free(&labels);
    check_ok(read_text("{\"liver\": 1, \"ignore\": 9}", &labels));
    check_label(labels, 9, "ignore");
    assert_int_equal(labels->ignore_value, -1);
    io_labels_free(&labels);
    check_ok(io_labels_default(9, &labels));
    assert_int_equal(labels->ignore_value, -1);
    io_labels_free(&labels);
}

static void check_text(const char *path, const char *expected)
{
    char *text = NULL;
    check_ok(io_file_read_text(path, 1 << 20, &text));
    assert_string_equal(text, expected);
    io_free(&text);
}

/* Names that would break out of each format: quotes, a comma, the end of a CDATA section. */
static void test_tables_for_viewers(void **state)
{
    io_labels *labels = NULL;
    char *xml = NULL;

    check_ok(read_text("{\"7\": \"a, \\\"b\\\" ]]>\", \"1\": \"M\\u00e4gen\", \"colors\": {\"M\\u00e4gen\": \"#ff0080\", \"a, \\\"b\\\" "
                       "]]>\": \"#010203\"}}",
                       &labels));
    check_ok(io_labels_write_bids(labels, "dseg.tsv"));
    check_text("dseg.tsv", "index\tname\tcolor\n0\tbackground\t#000000\n1\tM\u00e4gen\t#ff0080\n7\ta, \"b\" ]]>\t#010203\n");
    check_ok(io_labels_write_slicer(labels, "slicer.csv"));
    check_text("slicer.csv", "LabelValue,Name,Color_R,Color_G,Color_B,Color_A\n0,background,0,0,0,0\n1,M\u00e4gen,255,0,128,255\n"
                             "7,\"a, \"\"b\"\" ]]>\",1,2,3,255\n");
    check_ok(io_labels_write_itksnap(labels, "itksnap.txt"));
    char *text = NULL;
    check_ok(io_file_read_text("itksnap.txt", 1 << 20, &text));
    assert_non_null(strstr(text, "\n    0     0    0    0        0  0  0    \"Clear Label\"\n"
                                 "    1   255    0  128        1  1  1    \"M\u00e4gen\"\n"
                                 "    7     1    2    3        1  1  1    \"a, 'b' ]]>\"\n"));
    io_free(&text);
    check_ok(io_labels_xml(labels, &xml));
    assert_non_null(
        strstr(xml, "<LabelTable>\n<Label Key=\"1\" Red=\"1\" Green=\"0\" Blue=\"0.501961\" Alpha=\"1\"><![CDATA[M\u00e4gen]]></Label>\n"));
    assert_non_null(strstr(xml, "<![CDATA[a, \"b\" ]]]]><![CDATA[>]]></Label>\n"));
    assert_null(strstr(xml, "background"));
    io_free(&xml);
    io_labels_free(&labels);
}

/* The largest table there can be, with the longest names of the worst bytes: nothing is cut. */
static void test_large_tables_are_whole(void **state)
{
    io_labels *labels = NULL;
    char *xml = NULL;

    check_ok(io_labels_default(65536, &labels));
    for (size_t i = 0; i < labels->n_labels; i++)
        for (int c = 0; c < 126; c += 3) memcpy(labels->labels[i].name + c, "]]>", 4);
    check_ok(io_labels_xml(labels, &xml));
    assert_string_equal(xml + strlen(xml) - 15, "\n              ");
    assert_non_null(strstr(xml, "<Label Key=\"65535\""));
    assert_non_null(strstr(xml, "</CaretExtension>"));
    io_free(&xml);
    io_labels_free(&labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samed_organs),
        cmocka_unit_test(test_styles_of_dataset_json),
        cmocka_unit_test(test_organs_keep_their_colours),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_ignore_is_no_label),
        cmocka_unit_test(test_tables_for_viewers),
        cmocka_unit_test(test_large_tables_are_whole),
    };
    check_ok(io_folder_create("labels"));
    if (chdir("labels") != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
