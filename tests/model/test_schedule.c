/* The learning rates that the reference really used (spec 5.6), SAMed_h's power, and the paper's equation. */
#include "tests/check.h"

#include "model/schedule.h"

static const model_schedule published = {
    .kind = MODEL_SCHEDULE_SAMED, .base = 0.005, .power = 0.9, .warmup_steps = 250, .max_steps = 18600};

static void test_table(void **state)
{
    static const struct {
        int64_t n;
        double rate;
    } table[] = {{0, 2e-5},           {1, 2e-5},          {2, 4e-5},           {250, 5e-3},
                 {251, 5e-3},         {252, 4.999758e-3}, {5000, 3.834788e-3}, {10000, 2.562722e-3},
                 {14879, 1.245996e-3}};

    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        check_near(model_schedule_rate(&published, table[i].n), table[i].rate, 5e-10); /* the table has seven digits */
}

/* trainer.py's own loop: the rate is set behind the step with the old count, then the count goes up. */
static void check_loop(double power, int64_t warmup, int64_t max_steps)
{
    const model_schedule schedule = {
        .kind = MODEL_SCHEDULE_SAMED, .base = 0.005, .power = power, .warmup_steps = warmup, .max_steps = max_steps};
    double rate = warmup ? 0.005 / (double)warmup : 0.005;

    for (int64_t n = 0; n < max_steps; n++) {
        assert_true(model_schedule_rate(&schedule, n) == rate); /* the same operations in double: equal to the last bit */
        if (n < warmup)
            rate = 0.005 * ((double)(n + 1) / (double)warmup);
        else
            rate = 0.005 * pow(1.0 - (double)(n - warmup) / (double)max_steps, power);
    }
}

static void test_loop(void **state)
{
    check_loop(0.9, 250, 18600);
    check_loop(0.9, 0, 300);
    check_loop(7, 250, 1000);
    check_loop(0.9, 1, 3);
}

/* The published run of SAMed_h: 400 epochs of 93 steps planned, 300 done (spec 10). */
static void test_samed_h(void **state)
{
    const model_schedule schedule = {.kind = MODEL_SCHEDULE_SAMED, .base = 0.005, .power = 7, .warmup_steps = 250, .max_steps = 37200};

    check_near(model_schedule_rate(&schedule, 27899), 3.7e-7, 0.05e-7);
}

static void test_paper(void **state)
{
    const model_schedule schedule = {.kind = MODEL_SCHEDULE_PAPER, .base = 0.005, .power = 1, .warmup_steps = 250, .max_steps = 18600};

    check_near(model_schedule_rate(&schedule, 0), 0.005 / 250, 1e-12);
    check_near(model_schedule_rate(&schedule, 249), 0.005, 1e-12);
    check_near(model_schedule_rate(&schedule, 250), 0.005 * (1 - 1.0 / 18600), 1e-12);
    check_near(model_schedule_rate(&schedule, 9999), 0.005 * (1 - 9750.0 / 18600), 1e-12);
}

static void test_beyond_the_end(void **state)
{
    for (int64_t n = 18600; n < 20000; n += 7) {
        const double rate = model_schedule_rate(&published, n);
        assert_true(rate >= 0 && rate < 1.1e-4);
    }
    check_near(model_schedule_rate(&published, 19000), 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_loop), cmocka_unit_test(test_samed_h),
                                       cmocka_unit_test(test_paper), cmocka_unit_test(test_beyond_the_end)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
