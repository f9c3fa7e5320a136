/* The queue and the choice of teams use many ranks well: simulated runs (simulation.h) end within 5 % of the bound that no schedule beats.
 * The full table, with the sizes where the bound is missed, is printed by tests/bench/bench_queue.c. */
#include "tests/check.h"

#include "tests/jobs/simulation.h"

enum { N_SEEDS = 3 };

typedef struct sizes {
    int n_cases, n_ranks;
    double slice_s;
} sizes;

static double run(const sizes *s, uint64_t seed)
{
    const simulation what = {.n_ranks = s->n_ranks, .n_cases = s->n_cases, .slice_s = s->slice_s, .seed = seed};
    simulated found = {0};

    assert_true(simulate(&what, &found));
    assert_true(isfinite(found.makespan_s) && found.bound_s > 0);
    assert_true(found.makespan_s >= 0.97 * found.bound_s); /* jitter may beat the mean a little: much below, the simulation is wrong */
    return found.makespan_s / found.bound_s - 1;
}

static void expect_close(const sizes *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (uint64_t seed = 1; seed <= N_SEEDS; seed++) {
            const double over = run(&list[i], seed);
            if (!(over < 0.05))
                fail_msg("%d cases on %d ranks, %g s a slice, seed %d: %.1f %% over the bound", list[i].n_cases, list[i].n_ranks,
                         list[i].slice_s, (int)seed, 100 * over);
        }
}

/* A rank of CPUs: from twelve cases for each rank down to two for each four. */
static void test_cpu_ranks(void **state)
{
    static const sizes list[] = {{100, 8, 1.2},   {100, 16, 1.2},   {100, 64, 1.2},    {300, 64, 1.2},     {300, 256, 1.2},
                                 {1000, 64, 1.2}, {1000, 256, 1.2}, {10000, 256, 1.2}, {10000, 1024, 1.2}, {10000, 4096, 1.2}};
    expect_close(list, sizeof list / sizeof *list);
}

/* A GPU: reading a case takes as long as computing it, so at least eight cases for each rank are needed to hide it. */
static void test_gpu_ranks(void **state)
{
    static const sizes list[] = {{300, 8, 0.03}, {300, 16, 0.03}, {1000, 64, 0.03}, {10000, 256, 0.03}, {10000, 1024, 0.03}};
    expect_close(list, sizeof list / sizeof *list);
}

static void test_hundred_thousand_cases(void **state)
{
    static const sizes list[] = {{100000, 4096, 0.03}};
    assert_true(run(list, 1) < 0.05);
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
