/* The queue and the cutting of cases use many ranks well: simulated runs (simulation.h) end within 5 % of the bound that no schedule beats,
 * and those of few seconds, of which opening the first case is a large part, within 1.25 s of it. tests/bench/bench_queue.c prints the
 * table. */
#include "tests/check.h"

#include "tests/jobs/simulation.h"

enum { N_SEEDS = 3 };

static const double most_over = 0.05, most_over_s = 1.25; /* what the heaviest case takes to open */

/* Runs of less than short_s may miss most_over; most_over_s too where the guess is wrong, by seconds. */
static void expect_close(simulation what, double short_s)
{
    simulated found = {0};
    double over_s;

    assert_true(simulate(&what, &found));
    assert_true(isfinite(found.makespan_s) && found.bound_s > 0);
    assert_true(found.makespan_s >= 0.97 * found.bound_s); /* jitter may beat the mean a little: much below, the simulation is wrong */
    over_s = found.makespan_s - found.bound_s;
    if (!(over_s < most_over * found.bound_s || (found.makespan_s < short_s && (what.guess != 1 || over_s < most_over_s))))
        fail_msg("%d cases on %d ranks, %g s a slice, guess %g, seed %d: %.3g s, %.2g s over the bound", what.n_cases, what.n_ranks,
                 what.slice_s, what.guess, (int)what.seed, found.makespan_s, over_s);
}

static void expect_all_close(double slice_s, double guess, double short_s)
{
    static const int ranks[] = {8, 16, 64, 256, 1024, 4096}, cases[] = {100, 300, 1000, 10000};

    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (size_t r = 0; r < sizeof ranks / sizeof *ranks; r++)
            for (uint64_t seed = 1; seed <= N_SEEDS; seed++) expect_close((simulation){ranks[r], cases[c], slice_s, seed, guess}, short_s);
}

static void test_cpu_ranks(void **state)
{
    expect_all_close(1.2, 1, 10);
}

/* Opening a case takes as long as several of its slices. */
static void test_gpu_ranks(void **state)
{
    expect_all_close(0.03, 1, 10);
}

/* What a slice takes is not known when cases are cut. */
static void test_wrong_guesses(void **state)
{
    expect_all_close(1.2, 1.0 / 3, 10);
    expect_all_close(1.2, 3, 10);
    expect_all_close(0.03, 1.0 / 3, 15);
    expect_all_close(0.03, 3, 15);
}

static void test_hundred_thousand_cases(void **state)
{
    expect_close((simulation){4096, 100000, 0.03, 1, 1}, 10);
    expect_close((simulation){8, 100000, 1.2, 1, 1}, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu_ranks),
        cmocka_unit_test(test_gpu_ranks),
        cmocka_unit_test(test_wrong_guesses),
        cmocka_unit_test(test_hundred_thousand_cases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
