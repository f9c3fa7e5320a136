/* The counter-based generator against the known answers of Random123, and what makes its numbers fit for use. */
#include "tests/check.h"

#include "pipeline/random.h"

/* kat_vectors of Random123, "philox4x32 10": counter and key of zeros, and the first digits of pi (Salmon et al.). */
static void test_known_answers(void **state)
{
    static const uint32_t zeros[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    static const uint32_t pi[4] = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
    pipe_random random = {0};

    for (int i = 0; i < 4; i++) assert_int_equal(pipe_random_word(&random), zeros[i]);
    random = (pipe_random){
        .seed = 0x299f31d0a4093822u, .purpose = 0x03707344, .epoch = 0x13198a2e, .sample = 0x85a308d3, .n_drawn = 4ull * 0x243f6a88};
    for (int i = 0; i < 4; i++) assert_int_equal(pipe_random_word(&random), pi[i]);
}

static void test_streams_differ(void **state)
{
    pipe_random a, b;

    for (int change = 0; change < 4; change++) {
        int n_equal = 0;
        pipe_random_start(&a, 5, PIPE_RANDOM_AUGMENT, 6, 7);
        pipe_random_start(&b, 5 + (change == 0), change == 1 ? PIPE_RANDOM_ORDER : PIPE_RANDOM_AUGMENT, 6 + (change == 2),
                          7 + (change == 3));
        for (int i = 0; i < 1000; i++) n_equal += pipe_random_word(&a) == pipe_random_word(&b);
        assert_int_equal(n_equal, 0);
    }
}

/* Every value of a small range equally often: within five standard deviations. */
static void test_integers(void **state)
{
    enum { N = 70000 };
    int counts[7] = {0};
    pipe_random random;

    pipe_random_start(&random, 9, PIPE_RANDOM_AUGMENT, 0, 0);
    for (int i = 0; i < N; i++) {
        const int64_t v = pipe_random_integer(&random, -3, 4);
        assert_true(v >= -3 && v < 4);
        counts[v + 3]++;
    }
    for (int i = 0; i < 7; i++) check_near(counts[i], N / 7.0, 5 * sqrt(N / 7.0));
    for (int i = 0; i < 100; i++) assert_int_equal(pipe_random_integer(&random, 8, 9), 8);
}

static void test_uniform(void **state)
{
    double sum = 0, low = 1, high = 0;
    pipe_random random;

    pipe_random_start(&random, 10, PIPE_RANDOM_AUGMENT, 0, 0);
    for (int i = 0; i < 100000; i++) {
        const double v = pipe_random_uniform(&random);
        assert_true(v >= 0 && v < 1);
        sum += v;
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    check_near(sum / 100000, 0.5, 5 * sqrt(1.0 / 12 / 100000));
    assert_true(low < 1e-3 && high > 0.999);
}

/* All 24 orders of four things equally often, and long orders are permutations. */
static void test_shuffle(void **state)
{
    enum { N = 48000 };
    int counts[256] = {0}, n_seen = 0;
    uint32_t order[1000];
    uint8_t is_there[1000] = {0};
    pipe_random random;

    for (uint32_t epoch = 0; epoch < N; epoch++) {
        pipe_random_start(&random, 4, PIPE_RANDOM_ORDER, epoch, 0);
        pipe_random_shuffle(&random, order, 4);
        counts[order[0] << 6 | order[1] << 4 | order[2] << 2 | order[3]]++;
    }
    for (int i = 0; i < 256; i++) {
        if (!counts[i]) continue;
        n_seen++;
        check_near(counts[i], N / 24.0, 5 * sqrt(N / 24.0));
    }
    assert_int_equal(n_seen, 24);
    pipe_random_start(&random, 4, PIPE_RANDOM_ORDER, 0, 0);
    pipe_random_shuffle(&random, order, 1000);
    for (int i = 0; i < 1000; i++) {
        assert_true(order[i] < 1000 && !is_there[order[i]]);
        is_there[order[i]] = 1;
    }
    pipe_random_shuffle(&random, order, 1);
    assert_int_equal(order[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_known_answers), cmocka_unit_test(test_streams_differ),
                                       cmocka_unit_test(test_integers), cmocka_unit_test(test_uniform), cmocka_unit_test(test_shuffle)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
