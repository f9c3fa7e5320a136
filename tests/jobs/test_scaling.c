/* The queue and the cutting of cases use many ranks well: simulated runs (simulation.h) end within 5 % of the bound that no schedule beats,
 * and those of few seconds, of which opening the first case is a large part, within a second of it. tests/bench/bench_queue.c prints the
 * table. */
#include "tests/check.h"

#include "tests/jobs/simulation.h"

enum { N_SEEDS = 3 };

static const double most_over = 0.05, most_over_s = 1, short_s = 10; /* the heaviest case takes 1.25 s to open */

static void expect_close(int n_cases, int n_ranks, double slice_s, uint64_t seed)
{
    const simulation what = {.n_ranks = n_ranks, .n_cases = n_cases, .slice_s = slice_s, .seed = seed};
    simulated found = {0};
    double over_s;

    assert_true(simulate(&what, &found));
    assert_true(isfinite(found.makespan_s) && found.bound_s > 0);
    assert_true(found.makespan_s >= 0.97 * found.bound_s); /* jitter may beat the mean a little: much below, the simulation is wrong */
    over_s = found.makespan_s - found.bound_s;
    if (!(over_s < most_over * found.bound_s || (found.makespan_s < short_s && over_s < most_over_s)))
        fail_msg("%d cases on %d ranks, %g s a slice, seed %d: %.3g s, %.2g s over the bound", n_cases, n_ranks, slice_s, (int)seed,
                 found.makespan_s, over_s);
}

static void expect_all_close(double slice_s)
{
    static const int ranks[] = {8, 16, 64, 256, 1024, 4096}, cases[] = {100, 300, 1000, 10000};

    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
            for (uint64_t seed = 1; seed <= N_SEEDS; seed++) expect_close(cases[c], ranks[r], slice_s, seed);
}

static void test_cpu_ranks(void **state)
{
    expect_all_close(1.2);
}

/* Opening a case takes as long as several of its slices. */
static void test_gpu_ranks(void **state)
{
    expect_all_close(0.03);
}

static void test_hundred_thousand_cases(void **state)
{
    expect_close(100000, 4096, 0.03, 1);
    expect_close(100000, 8, 1.2, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_ranks),
        cmocka_unit_test(test_gpu_ranks),
        cmocka_unit_test(test_hundred_thousand_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
