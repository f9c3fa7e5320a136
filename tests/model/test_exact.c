/* Sums that do not depend on order or grouping: permuted, dealt out to several ranks and joined, they have the same bits. */
#include "model/exact.h"
#include "tests/check.h"

enum { N = 257, TERMS = 24 };

static float terms[TERMS][N];

static double draw(void)
{
    static uint64_t state = 7;

    state = state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
    return (double)(state >> 11) / 9007199254740992.0 - 0.5;
}

/* Magnitudes from 1e-9 to 10, as gradients have. */
static int make_terms(void **state)
{
    for (int t = 0; t < TERMS; t++)
        for (int i = 0; i < N; i++) terms[t][i] = (float)(draw() * pow(10, 10 * draw() - 4));
    return 0;
}

/* Terms t = first, first + step ... in the order of a permutation. */
static void add_terms(int64_t *sums, int first, int step, int turn)
{
    for (int t = first; t < TERMS; t += step) check_ok(model_exact_add(sums, terms[(t * 7 + turn) % TERMS], N, TERMS)); /* 7, 24 coprime */
}

static void test_order(void **state)
{
    int64_t expected[N] = {0};
    float naive[N] = {0}, other[N] = {0};
    int n_naive = 0;

    add_terms(expected, 0, 1, 0);
    for (int ranks = 1; ranks <= 5; ranks++)
        for (int turn = 0; turn < TERMS; turn++) {
            int64_t total[N] = {0};

            for (int rank = ranks - 1; rank >= 0; rank--) {
                int64_t own[N] = {0};

                add_terms(own, rank, ranks, turn);
                for (int i = 0; i < N; i++) total[i] += own[i];
            }
            assert_memory_equal(total, expected, sizeof total);
        }
    for (int t = 0; t < TERMS; t++)
        for (int i = 0; i < N; i++) {
            naive[i] += terms[t][i];
            other[i] += terms[TERMS - 1 - t][i];
        }
    for (int i = 0; i < N; i++) n_naive += naive[i] != other[i];
    print_message("f32 sums in two orders differ in %d of %d places\n", n_naive, N);
    assert_true(n_naive > 0); /* or this test would prove nothing */
}

/* Each term is rounded to 2^-48 at most, the result to f32 once. */
static void test_value(void **state)
{
    int64_t sums[N] = {0};
    float found[N];

    add_terms(sums, 0, 1, 0);
    model_exact_read(found, sums, N);
    for (int i = 0; i < N; i++) {
        double expected = 0;

        for (int t = 0; t < TERMS; t++) expected += terms[t][i];
        check_near(found[i], expected, fabs(expected) * 6e-8 + TERMS * ldexp(1, -49));
    }
}

static void test_refusals(void **state)
{
    int64_t sums[1] = {0};

    check_fails(IO_ERR_DIVERGED, model_exact_add(sums, (float[]){NAN}, 1, 1));
    check_fails(IO_ERR_DIVERGED, model_exact_add(sums, (float[]){INFINITY}, 1, 1));
    check_fails(IO_ERR_DIVERGED, model_exact_add(sums, (float[]){-16384}, 1, 1));
    check_fails(IO_ERR_DIVERGED, model_exact_add(sums, (float[]){700}, 1, 24));
    check_ok(model_exact_add(sums, (float[]){600}, 1, 24));
    check_fails(IO_ERR_DIVERGED, model_exact_add_pixels(sums, (double[]){NAN}, 1));
}

/* The loss's sums: pixels counted exactly, probabilities to 2^-31. */
static void test_pixels(void **state)
{
    int64_t sums[2] = {0}, back[2] = {0};
    double values[2], expected[2] = {0};

    for (int t = 0; t < TERMS; t++) {
        const double pair[2] = {16384, 16384 * fabs(draw())}, turned[2] = {16384, pair[1]};

        check_ok(model_exact_add_pixels(sums, pair, 2));
        check_ok(model_exact_add_pixels(back, turned, 2));
        for (int i = 0; i < 2; i++) expected[i] += pair[i];
    }
    assert_memory_equal(sums, back, sizeof sums);
    model_exact_read_pixels(values, sums, 2);
    check_near(values[0], expected[0], 0);
    check_near(values[1], expected[1], TERMS * ldexp(1, -31));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_order, make_terms), cmocka_unit_test_setup(test_value, make_terms),
                                       cmocka_unit_test(test_refusals), cmocka_unit_test(test_pixels)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
