/* Statistics against NumPy and SciPy (tests/golden/metrics.txt), and by hand. */
#include "tests/pipeline/masks.h"

#include "pipeline/summary.h"

enum { MAX_VALUES = 512 };

typedef struct sample {
    unsigned long long seed;
    double values[MAX_VALUES]; /* [n] */
    int n;
} sample;

static void read_sample(const char *line, sample *s)
{
    int used = 0;

    assert_int_equal(sscanf(line, "%llu%n", &s->seed, &used), 1);
    s->n = read_numbers(line + used, s->values, MAX_VALUES);
}

/* Blocks last to first: their order must not matter. Returns how many there were. */
static size_t bootstrap(const double *values, size_t n, uint64_t seed, size_t max_bytes, double *low, double *high)
{
    pipe_resamples *resamples = NULL;
    pipe_bootstrap *sums = NULL;
    size_t n_blocks;

    check_ok(pipe_resamples_create(n, seed, max_bytes, &resamples));
    check_ok(pipe_bootstrap_create(&sums));
    pipe_bootstrap_start(sums, n);
    n_blocks = pipe_resamples_blocks(resamples);
    for (size_t block = n_blocks; block-- > 0;) {
        pipe_resamples_draw(resamples, block);
        pipe_bootstrap_add(sums, values, resamples);
    }
    pipe_bootstrap_finish(sums, low, high);
    pipe_bootstrap_free(&sums);
    pipe_resamples_free(&resamples);
    return n_blocks;
}

static void summarise(const double *values, size_t n, uint64_t seed, pipe_summary *out)
{
    check_ok(pipe_summary_measure(values, n, out));
    if (out->n > 0) bootstrap(values, n, seed, PIPE_RESAMPLE_BYTES, &out->ci_low, &out->ci_high);
}

static void compare(const double *a, const double *b, size_t n, pipe_paired *out)
{
    double difference[MAX_VALUES];

    assert_true(n <= MAX_VALUES);
    pipe_paired_subtract(a, b, n, difference);
    check_ok(pipe_paired_measure(difference, n, out));
    bootstrap(difference, n, 3, PIPE_RESAMPLE_BYTES, &out->ci_low, &out->ci_high);
}

/* Quantiles and the bootstrap add in another order than NumPy: some roundings of a mean. */
static void check_summary(const sample *s, const char *line)
{
    double e[9];
    pipe_summary out;
    size_t n = 0;

    assert_int_equal(read_numbers(line, e, 9), 9);
    summarise(s->values, (size_t)s->n, s->seed, &out);
    for (int i = 0; i < s->n; i++) n += isfinite(s->values[i]);
    assert_int_equal(out.n, n);
    const double found[9] = {out.mean, out.sd, out.median, out.quartile1, out.quartile3, out.minimum, out.maximum, out.ci_low, out.ci_high};
    for (int i = 0; i < 9; i++) check_near(found[i], e[i], 1e-13 * fabs(e[i]));
}

/* Finds line number n of the given word. */
typedef struct picker {
    int wanted, at;
    char *line; /* [1 << 16] */
} picker;

static void pick_line(const char *line, void *context)
{
    picker *p = context;

    if (p->at++ == p->wanted) snprintf(p->line, 1 << 16, "%s", line);
}

static const char *get_line(const char *word, int n)
{
    static char lines[2][1 << 16];
    static int turn;
    picker p = {.wanted = n, .line = lines[turn ^= 1]};

    p.line[0] = 0;
    metrics_lines(word, pick_line, &p);
    return p.line[0] ? p.line : NULL;
}

static void test_samples(void **state)
{
    static sample s;
    int n = 0;

    for (const char *line; (line = get_line("sample", n)); n++) {
        read_sample(line, &s);
        check_summary(&s, get_line("summary", n));
    }
    assert_int_equal(n, 5);
}

static void test_wilcoxon(void **state)
{
    static double numbers[1 + 2 * MAX_VALUES];
    int n = 0;

    for (const char *line; (line = get_line("paired", n)); n++) {
        const int n_numbers = read_numbers(line, numbers, 1 + 2 * MAX_VALUES), n_pairs = (int)numbers[0];
        double p = NAN;
        pipe_paired out;
        assert_int_equal(n_numbers, 1 + 2 * n_pairs);
        assert_int_equal(read_numbers(get_line("wilcoxon", n), &p, 1), 1);
        compare(numbers + 1, numbers + 1 + n_pairs, (size_t)n_pairs, &out);
        check_near(out.wilcoxon_p, p, 1e-12 * p); /* erfc and sums of exact counts: rounding only */
    }
    assert_int_equal(n, 12);
}

static void test_missing_values(void **state)
{
    const double a[6] = {1, NAN, 3, INFINITY, 5, 2}, b[6] = {2, 7, NAN, 1, 8, 2};
    pipe_summary with, without;
    pipe_paired paired;

    summarise(a, 6, 1, &with);
    summarise((const double[4]){1, 3, 5, 2}, 4, 1, &without);
    assert_int_equal(with.n, 4);
    with.ci_low = without.ci_low = with.ci_high = without.ci_high = 0; /* resamples of six cases, and of four */
    assert_memory_equal(&with, &without, sizeof with);
    compare(a, b, 6, &paired);
    assert_int_equal(paired.n, 3);
    check_near(paired.mean_difference, 4.0 / 3, 1e-15);
    compare(b, a, 6, &paired);
    check_near(paired.mean_difference, -4.0 / 3, 1e-15);
}

static void test_nothing_to_say(void **state)
{
    const double same[3] = {4, 4, 4}, nothing[2] = {NAN, NAN};
    pipe_summary s;
    pipe_paired p;

    summarise(nothing, 2, 1, &s);
    assert_true(s.n == 0 && isnan(s.mean) && isnan(s.sd) && isnan(s.median) && isnan(s.ci_low) && isnan(s.maximum));
    summarise(NULL, 0, 1, &s);
    assert_true(s.n == 0 && isnan(s.mean));
    summarise(same, 1, 1, &s);
    assert_true(s.n == 1 && s.mean == 4 && isnan(s.sd) && s.median == 4 && s.ci_low == 4 && s.ci_high == 4);
    compare(same, same, 3, &p);
    assert_true(p.n == 3 && p.mean_difference == 0 && isnan(p.wilcoxon_p));
    compare(nothing, same, 2, &p);
    assert_true(p.n == 0 && isnan(p.mean_difference) && isnan(p.wilcoxon_p));
}

/* The same resamples for all values: shifted values have a shifted interval, to rounding, and only the seed changes it. */
static void test_resamples_are_of_cases(void **state)
{
    double values[30], shifted[30], holes[30];
    pipe_summary a, b, c, d;

    for (int i = 0; i < 30; i++) values[i] = i * i % 17;
    for (int i = 0; i < 30; i++) shifted[i] = 2 * values[i] + 5;
    for (int i = 0; i < 30; i++) holes[i] = i % 3 ? values[i] : NAN;
    summarise(values, 30, 1, &a);
    summarise(shifted, 30, 1, &b);
    summarise(values, 30, 2, &c);
    summarise(holes, 30, 1, &d);
    check_near(b.ci_low, 2 * a.ci_low + 5, 1e-13);
    check_near(b.ci_high, 2 * a.ci_high + 5, 1e-13);
    assert_true(a.ci_low != c.ci_low || a.ci_high != c.ci_high);
    assert_true(d.ci_high - d.ci_low > a.ci_high - a.ci_low); /* fewer values */
    /* The normal interval within a tenth of its half width: 10000 draws place a quantile within 2 %, the rest is skewness. */
    const double half = 1.96 * a.sd / sqrt(30);
    check_near(a.ci_low, a.mean - half, half / 10);
    check_near(a.ci_high, a.mean + half, half / 10);
}

/* Whatever the memory, the same bits: also of one resample at a time, and where the last block is a short one. */
static void test_blocks_change_no_bit(void **state)
{
    static const size_t max_bytes[] = {1, 30 * 7, 30 * 4096, 30 * 9999, 30 * 10000};
    static const size_t n_blocks[] = {10000, 1429, 3, 2, 1};
    double values[30], low, high, expected[2];

    for (int i = 0; i < 30; i++) values[i] = i % 4 ? i * i % 17 / 3.0 : NAN;
    assert_int_equal(bootstrap(values, 30, 5, PIPE_RESAMPLE_BYTES, &expected[0], &expected[1]), 1);
    assert_true(expected[0] < expected[1]);
    for (size_t i = 0; i < sizeof max_bytes / sizeof *max_bytes; i++) {
        assert_int_equal(bootstrap(values, 30, 5, max_bytes[i], &low, &high), n_blocks[i]);
        assert_true(low == expected[0] && high == expected[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_wilcoxon),
        cmocka_unit_test(test_missing_values),
        cmocka_unit_test(test_nothing_to_say),
        cmocka_unit_test(test_resamples_are_of_cases),
        cmocka_unit_test(test_blocks_change_no_bit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
