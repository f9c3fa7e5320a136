/* Which cases are held out: folds that cover everything once, lists, and lists that are wrong. */
#include "tests/check.h"

#include "pipeline/store.h"
#include "tests/pipeline/folders.h"

enum { MAX_CASES = 40 };

static const char *ids[MAX_CASES];
static char id_texts[MAX_CASES][16], list_path[512], other_path[512];

static int set_up(void **state)
{
    for (int i = 0; i < MAX_CASES; i++) {
        snprintf(id_texts[i], sizeof id_texts[i], "case%04d", i);
        ids[i] = id_texts[i];
    }
    check_ok(io_folder_create(folder_of("split")));
    snprintf(list_path, sizeof list_path, "%s/list.txt", folder_of("split"));
    snprintf(other_path, sizeof other_path, "%s/other.txt", folder_of("split"));
    return 0;
}

static int tear_down(void **state)
{
    remove_folder(folder_of("split"));
    return 0;
}

static size_t count(const pipe_part *parts, size_t n, pipe_part part)
{
    size_t n_found = 0;

    for (size_t i = 0; i < n; i++) n_found += parts[i] == part;
    return n_found;
}

/* For any number of cases and folds: every case is held out exactly once, and folds differ by one case at most. */
static void test_folds_cover(void **state)
{
    for (size_t n = 2; n <= MAX_CASES; n += 3) {
        for (int n_folds = 2; n_folds <= (int)n && n_folds <= 10; n_folds++) {
            int n_held_out[MAX_CASES] = {0};
            for (int fold = 0; fold < n_folds; fold++) {
                pipe_part parts[MAX_CASES];
                const pipe_split split = {.n_folds = n_folds, .fold = fold, .seed = 5};
                check_ok(pipe_split_assign(&split, ids, n, parts));
                assert_in_range(count(parts, n, PIPE_PART_VAL), n / (size_t)n_folds, (n + (size_t)n_folds - 1) / (size_t)n_folds);
                assert_int_equal(count(parts, n, PIPE_PART_NONE), 0);
                for (size_t i = 0; i < n; i++) n_held_out[i] += parts[i] == PIPE_PART_VAL;
            }
            for (size_t i = 0; i < n; i++) assert_int_equal(n_held_out[i], 1);
        }
    }
}

static void test_seeds(void **state)
{
    pipe_part first[MAX_CASES], again[MAX_CASES], other[MAX_CASES];
    pipe_split split = {.n_folds = 4, .fold = 1, .seed = 5};

    check_ok(pipe_split_assign(&split, ids, MAX_CASES, first));
    check_ok(pipe_split_assign(&split, ids, MAX_CASES, again));
    split.seed = 6;
    check_ok(pipe_split_assign(&split, ids, MAX_CASES, other));
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
}

static void test_slice_names(void **state)
{
    pipe_part parts[MAX_CASES];
    const pipe_split split = {.train_list = list_path};

    /* SAMed's train.txt, and a case whose own name looks like a slice's */
    check_ok(io_file_write_text(list_path, "case0003_slice000\r\ncase0003_slice001\n\n# case0005\ncase0007\n"));
    check_ok(pipe_split_assign(&split, ids, MAX_CASES, parts));
    assert_int_equal(count(parts, MAX_CASES, PIPE_PART_TRAIN), 2);
    assert_int_equal(count(parts, MAX_CASES, PIPE_PART_NONE), MAX_CASES - 2);
    assert_true(parts[3] == PIPE_PART_TRAIN && parts[7] == PIPE_PART_TRAIN);
    const char *const odd_ids[] = {"a_slice1", "b"};
    check_ok(io_file_write_text(list_path, "a_slice1\n"));
    check_ok(pipe_split_assign(&split, odd_ids, 2, parts));
    assert_true(parts[0] == PIPE_PART_TRAIN && parts[1] == PIPE_PART_NONE);
}

static void test_refuses(void **state)
{
    pipe_part parts[MAX_CASES];
    pipe_split split = {.train_list = list_path, .val_list = other_path};

    check_ok(io_file_write_text(list_path, "case0001\ncase0002\n"));
    check_ok(io_file_write_text(other_path, "case0004\ncase0002_slice003\n")); /* by its slice, too, a case is in one list only */
    check_fails(IO_ERR_MISMATCH, pipe_split_assign(&split, ids, MAX_CASES, parts));
    assert_non_null(strstr(io_last_error_text(), "line 2: case \"case0002\" is in both lists"));
    check_ok(io_file_write_text(other_path, "case0004\ncase0002_slice\n"));
    check_fails(IO_ERR_MISMATCH, pipe_split_assign(&split, ids, MAX_CASES, parts));
    split = (pipe_split){.val_list = list_path};
    check_fails(IO_ERR_MISMATCH, pipe_split_assign(&split, ids + 1, 2, parts)); /* nothing is left to train on */
    split = (pipe_split){.val_list = "nowhere.txt"};
    check_fails(IO_ERR_ARGUMENT, pipe_split_assign(&split, ids, MAX_CASES, parts));
    split = (pipe_split){.n_folds = 5};
    check_fails(IO_ERR_ARGUMENT, pipe_split_assign(&split, ids, 4, parts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folds_cover), cmocka_unit_test(test_seeds), cmocka_unit_test(test_slice_names),
                                       cmocka_unit_test(test_refuses)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
