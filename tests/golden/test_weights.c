/* Weight files of full size: every tensor of the golden ViT-B files has the name, shape, kind and bytes that Python's zipfile and pickle
 * find (list_weights.py), and the seeded weights have the same layouts. The files are ./weights, from make_weights.sh. */
#include "tests/check.h"

#include "io/hash.h"
#include "io/memory.h"
#include "pipeline/seeded.h"

/* Starts of the SHA-256 that the shared golden/README.md gives. */
static const struct {
    const char *path, *sha256;
    size_t n;
} files[] = {{"weights/sam_vit_b.pth", "29627e00", 314},
             {"weights/samed_vit_b.pth", "e3bfb089", 215},
             {"weights/samed_s_vit_b.pth", "7bb510a5", 161}};
enum { N_FILES = 3 };

static void test_files_are_the_golden_ones(void **state)
{
    for (int i = 0; i < N_FILES; i++) {
        char hex[65];
        check_ok(io_hash_file(files[i].path, hex));
        hex[8] = 0;
        assert_string_equal(hex, files[i].sha256);
    }
}

/* line: name, shape, kind, SHA-256. */
static void compare_line(const io_tensors *list, size_t index, char *line)
{
    const io_tensor *tensor = io_tensors_at(list, index);
    char *rest = line, *fields[4], shape[64], hex[65];
    float *values = NULL;

    for (int i = 0; i < 4; i++) fields[i] = strsep(&rest, "\t\n");
    assert_non_null(fields[3]);
    assert_string_equal(tensor->name, fields[0]);
    io_tensor_shape_text(tensor->n_dims, tensor->shape, shape, sizeof shape);
    assert_string_equal(shape, fields[1]);
    assert_int_equal(tensor->is_parameter, strcmp(fields[2], "parameter") == 0);
    check_ok(io_alloc(tensor->n_elements, sizeof *values, (void **)&values));
    check_ok(io_tensor_read_f32(tensor, values));
    check_ok(io_hash_bytes(values, tensor->n_elements * sizeof *values, hex));
    assert_string_equal(hex, fields[3]);
    io_tensors_release(list, tensor);
    io_free(&values);
}

static void test_every_tensor_is_what_python_reads(void **state)
{
    for (int i = 0; i < N_FILES; i++) {
        char command[8192], line[512];
        io_tensors *list;
        size_t n = 0;
        FILE *table;

        snprintf(command, sizeof command, "'%s' '%s/tests/golden/list_weights.py' %s", getenv("SAMED_PYTHON"), getenv("SAMED_SOURCE"),
                 files[i].path);
        check_ok(io_tensors_open(files[i].path, &list));
        assert_int_equal(io_tensors_count(list), files[i].n);
        table = popen(command, "r");
        assert_non_null(table);
        while (n < files[i].n && fgets(line, sizeof line, table)) compare_line(list, n++, line);
        assert_int_equal(pclose(table), 0);
        assert_int_equal(n, files[i].n);
        check_ok(io_tensors_check(list));
        io_tensors_free(&list);
    }
}

static void compare_layout(const char *path, const io_tensors *seeded)
{
    io_tensors *list;

    check_ok(io_tensors_open(path, &list));
    assert_int_equal(io_tensors_count(list), io_tensors_count(seeded));
    for (size_t i = 0; i < io_tensors_count(list); i++) {
        const io_tensor *expected = io_tensors_at(list, i), *found = NULL;
        check_ok(io_tensors_require(seeded, expected->name, expected->n_dims, expected->shape, &found));
        assert_int_equal(found->is_parameter, expected->is_parameter);
    }
    io_tensors_free(&list);
}

static void test_seeded_weights_have_the_same_layouts(void **state)
{
    io_tensors *sam, *samed, *samed_s;

    check_ok(pipe_seeded_create("vit_b", 1, 4, 8, 0, &sam, &samed));
    check_ok(pipe_seeded_create("vit_b", 1, 4, 8, 1, NULL, &samed_s));
    compare_layout(files[0].path, sam);
    compare_layout(files[1].path, samed);
    compare_layout(files[2].path, samed_s);
    io_tensors_free(&sam);
    io_tensors_free(&samed);
    io_tensors_free(&samed_s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_are_the_golden_ones),
        cmocka_unit_test(test_every_tensor_is_what_python_reads),
        cmocka_unit_test(test_seeded_weights_have_the_same_layouts),
    };

    if (!check_shared("golden/seeded_weights.py")) {
        printf("skipped: the golden weights are not there (SAMED_SHARED)\n");
        return CHECK_SKIP;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
