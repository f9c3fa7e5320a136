/* Which cases a run has: files, folders, pairs, lists, and everything that would make two cases write one output. */
#include "tests/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "io/manifest.h"
#include "io/memory.h"

static void touch(const char *path)
{
    check_ok(io_file_write_text(path, path));
}

static io_status find(const char *const *inputs, size_t n_inputs, io_manifest **out)
{
    *out = NULL;
    return io_manifest_from_paths(inputs, n_inputs, out);
}
#define FIND(out, ...) find((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), out)

static void check_case(const io_manifest *m, size_t i, const char *id, const char *path)
{
    assert_true(i < m->n_cases);
    assert_string_equal(m->cases[i].id, id);
    assert_string_equal(m->cases[i].path, path);
}

static void test_ids(void **state)
{
    static const char *const pairs[][2] = {{"a/b/case1.nii.gz", "case1"},
                                           {"case.1.nii", "case.1"},
                                           {"x.NII.GZ", "x"},
                                           {"p.hdr", "p"},
                                           {"p.img.gz", "p"},
                                           {"z.nii.zst", "z"},
                                           {"odd.dcm", "odd.dcm"},
                                           {"M\u00e4x.nii", "M\u00e4x"}};
    char *id = NULL;

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        check_ok(io_case_id(pairs[i][0], &id));
        assert_string_equal(id, pairs[i][1]);
        io_free(&id);
    }
    check_fails(IO_ERR_ARGUMENT, io_case_id("folder/.nii.gz", &id));
    check_fails(IO_ERR_ARGUMENT, io_case_id("...nii", &id));
    check_fails(IO_ERR_ARGUMENT, io_case_id("a\nb.nii", &id));
    assert_null(id);
}

static void test_folder_gives_its_nifti_files(void **state)
{
    io_manifest *m;

    check_ok(io_folder_create("study/sub"));
    check_ok(io_folder_create("study/not_a_file.nii"));
    touch("study/b.nii.gz");
    touch("study/a.nii");
    touch("study/p.hdr");
    touch("study/p.img");
    touch("study/lonely.img");
    touch("study/._b.nii.gz");
    touch("study/notes.txt");
    touch("study/sub/deep.nii");
    check_ok(io_folder_create("study/folder.nii"));
    unlink("study/unfetched.nii.gz"); /* of an earlier run */
    unlink("study/queue.nii");
    assert_int_equal(symlink("../annex/objects/gone", "study/unfetched.nii.gz"), 0);
    assert_int_equal(mkfifo("study/queue.nii", 0666), 0);
    check_ok(FIND(&m, "study"));
    assert_int_equal(m->n_cases, 6);
    check_case(m, 0, "a", "study/a.nii");
    check_case(m, 1, "b", "study/b.nii.gz");
    check_case(m, 2, "lonely", "study/lonely.img"); /* fails by itself later; hiding it would hide a lost header */
    check_case(m, 3, "p", "study/p.hdr");
    check_case(m, 4, "queue", "study/queue.nii"); /* and these fail by themselves too */
    check_case(m, 5, "unfetched", "study/unfetched.nii.gz");
    assert_int_equal(m->cases[0].file_bytes, strlen("study/a.nii"));
    assert_int_equal(m->cases[3].file_bytes, strlen("study/p.hdr") + strlen("study/p.img"));
    io_manifest_free(&m);
    assert_null(m);
}

static void test_inputs_mix(void **state)
{
    io_manifest *m;

    touch("one.nii");
    touch("study2.nii");
    check_ok(FIND(&m, "one.nii", "gone.nii.gz", "study/sub"));
    assert_int_equal(m->n_cases, 3);
    check_case(m, 0, "deep", "study/sub/deep.nii");
    check_case(m, 1, "gone", "gone.nii.gz");
    assert_int_equal(m->cases[1].file_bytes, 0);
    io_manifest_free(&m);
    check_ok(FIND(&m, "study/p.img", "study/p.hdr")); /* as a shell's study/p.* gives them */
    assert_int_equal(m->n_cases, 1);
    check_case(m, 0, "p", "study/p.hdr");
    io_manifest_free(&m);
}

static void test_one_id_twice_is_refused(void **state)
{
    io_manifest *m;

    check_ok(io_folder_create("other"));
    touch("other/a.nii.gz");
    check_fails(IO_ERR_ARGUMENT, FIND(&m, "study", "other"));
    assert_non_null(strstr(io_last_error_text(), "study/a.nii"));
    assert_non_null(strstr(io_last_error_text(), "other/a.nii.gz"));
    check_fails(IO_ERR_ARGUMENT, FIND(&m, "study/a.nii", "study/a.nii"));
    check_fails(IO_ERR_ARGUMENT, FIND(&m, "study/p.hdr", "other/p.img"));
    check_ok(io_folder_create("empty"));
    check_fails(IO_ERR_NOT_FOUND, FIND(&m, "one.nii", "empty"));
    assert_null(m);
}

static void test_list(void **state)
{
    io_manifest *m = NULL;

    check_ok(io_file_write_text("study/list.tsv",
                                "\xef\xbb\xbfid\tpath\r\n# comment\r\n\r\nz\ta.nii\r\nM\u00e4x 2\t/abs/b.nii.gz\r\n..x\t../one.nii"));
    check_ok(io_manifest_read("study/list.tsv", &m));
    assert_int_equal(m->n_cases, 3);
    check_case(m, 0, "..x", "study/../one.nii");
    check_case(m, 1, "M\u00e4x 2", "/abs/b.nii.gz");
    check_case(m, 2, "z", "study/a.nii");
    assert_int_equal(m->cases[2].file_bytes, strlen("study/a.nii"));
    assert_int_equal(m->cases[1].file_bytes, 0);
    io_manifest_free(&m);
    check_ok(io_file_write_text("list.tsv", "z\tone.nii\n"));
    check_ok(io_manifest_read("list.tsv", &m));
    assert_true(m->cases[0].file_bytes > 0);
    io_manifest_free(&m);
}

static void test_list_faults_name_the_line(void **state)
{
    static const struct {
        io_status status;
        const char *text, *where;
    } cases[] = {
        {IO_ERR_FORMAT, "a\tx.nii\nb y.nii\n", "line 2"}, {IO_ERR_FORMAT, "\n\na\t\n", "line 3"},
        {IO_ERR_FORMAT, "a\tb\tc\n", "line 1"},           {IO_ERR_ARGUMENT, "a\tx.nii\n\tx.nii\n", "line 2"},
        {IO_ERR_ARGUMENT, "a/b\tx.nii\n", "line 1"},      {IO_ERR_ARGUMENT, "..\tx.nii\n", "line 1"},
        {IO_ERR_ARGUMENT, "a\001\tx.nii\n", "line 1"},    {IO_ERR_ARGUMENT, "a\tx.nii\nb\ty.nii\r\n#\na\tz.nii\n", "lines 1 and 4"},
        {IO_ERR_FORMAT, "# nothing\n", "no case"},        {IO_ERR_FORMAT, "", "no case"},
    };
    io_manifest *m = NULL;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_fails(cases[i].status, io_manifest_parse(cases[i].text, "my.tsv", ".", &m));
        assert_null(m);
        if (!strstr(io_last_error_text(), cases[i].where)) fail_msg("\"%s\" should say %s", io_last_error_text(), cases[i].where);
        assert_non_null(strstr(io_last_error_text(), "my.tsv"));
    }
    check_fails(IO_ERR_NOT_FOUND, io_manifest_read("gone.tsv", &m));
}

static void test_overlong_ids_are_refused(void **state)
{
    char text[256];
    io_manifest *m = NULL;

    memset(text, 'x', sizeof text);
    strcpy(text + 150, "\tp.nii\n");
    check_ok(io_manifest_parse(text, "my.tsv", ".", &m));
    io_manifest_free(&m);
    strcpy(text + 150, "x\tp.nii\n");
    check_fails(IO_ERR_ARGUMENT, io_manifest_parse(text, "my.tsv", ".", &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_folder_gives_its_nifti_files),
        cmocka_unit_test(test_inputs_mix),
        cmocka_unit_test(test_one_id_twice_is_refused),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_faults_name_the_line),
        cmocka_unit_test(test_overlong_ids_are_refused),
    };
    check_ok(io_folder_create("manifest"));
    if (chdir("manifest") != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
