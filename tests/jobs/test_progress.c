/* What the bar says. */
#include "tests/check.h"

#include "jobs/progress.h"

static void test_durations(void **state)
{
    char text[32];

    job_duration_text(12.3, text);
    assert_string_equal(text, "12 s");
    job_duration_text(43 * 60, text);
    assert_string_equal(text, "43 min");
    job_duration_text(2 * 3600 + 5 * 60, text);
    assert_string_equal(text, "2 h 05 min");
    job_duration_text(NAN, text);
    assert_string_equal(text, "0 s");
}

static void test_text(void **state)
{
    job_progress progress = {.n_cases = 40, .n_slices = 6000, .cases_done = 10, .cases_failed = 2, .slices_done = 1000};
    char text[256];

    job_progress_text(&progress, 500, text, sizeof text);
    assert_string_equal(text, "12/40 cases (2 failed), 1000/6000 slices, 2.00 slices/s, 42 min left");
    progress.slices_done = 0;
    progress.cases_failed = 0;
    job_progress_text(&progress, 0, text, sizeof text);
    assert_string_equal(text, "10/40 cases, 0/6000 slices, 0.00 slices/s");
}

/* The bar of samed evaluate, which has no slices: whole cases, or parts of them. */
static void test_units(void **state)
{
    job_progress progress = {.unit = "cases", .n_cases = 40, .n_slices = 40, .cases_done = 10, .slices_done = 10};
    char text[256];

    job_progress_text(&progress, 20, text, sizeof text);
    assert_string_equal(text, "10/40 cases, 0.50 cases/s, 1 min left");
    progress.unit = "parts";
    progress.n_slices = 120;
    progress.slices_done = 32;
    job_progress_text(&progress, 16, text, sizeof text);
    assert_string_equal(text, "10/40 cases, 32/120 parts, 2.00 parts/s, 44 s left");
    progress.n_cases = progress.cases_done = 1;
    job_progress_text(&progress, 0, text, sizeof text);
    assert_string_equal(text, "1/1 case, 32/120 parts, 0.00 parts/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
