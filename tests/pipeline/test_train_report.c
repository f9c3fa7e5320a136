/* The curves of train.html against the table that they are drawn from. */
#include <stdio.h>

#include "io/file.h"
#include "io/memory.h"
#include "pipeline/train_report.h"
#include "tests/check.h"

enum { MAX_BYTES = 1 << 24 };

/* n steps whose loss is 1, but for the last one's, which is 0: it alone reaches the bottom of the curve. */
static void write_log(const char *folder, int n)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof path, "%s/log.csv", folder);
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "step,epoch,slices,loss\n");
    for (int i = 1; i <= n; i++) fprintf(file, "%d,0,5,%d\n", i, i < n);
    fclose(file);
}

static size_t count_commas(const char *text, const char *end)
{
    size_t n = 0;

    for (; text < end; text++) n += *text == ',';
    return n;
}

/* The polyline's points: how many, and that the last is the last step's. */
static void check_curve(int n, size_t n_points)
{
    char *text = NULL, *start, *end, label[64];

    check_ok(io_folder_create("train_report"));
    write_log("train_report", n);
    check_ok(pipe_train_report_write("train_report", "seed=1\n", 0));
    check_ok(io_file_read_text("train_report/train.html", MAX_BYTES, &text));
    start = strstr(text, "<polyline points=\"");
    assert_non_null(start);
    end = strstr(start, "\"/>");
    assert_non_null(end);
    assert_int_equal(count_commas(start, end), n_points);
    assert_memory_equal(end - strlen("852.0,196.0 "), "852.0,196.0 ",
                        strlen("852.0,196.0 ")); /* right and bottom: WIDTH - 8, HEIGHT - BOTTOM */
    snprintf(label, sizeof label, "text-anchor=\"end\">%d</text>", n);
    assert_non_null(strstr(text, label));
    io_free(&text);
}

static void test_the_last_step_is_there(void **state)
{
    check_curve(2, 2);
    check_curve(1500, 751); /* every second one, and the last */
    check_curve(1501, 751);
    check_curve(2999, 1500);
    check_curve(4001, 1335);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_last_step_is_there)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
