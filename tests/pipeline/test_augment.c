/* Augmentation against SciPy and NumPy pixel by pixel (through hashes), and the frequencies of its draws. */
#include "tests/check.h"

#include "pipeline/augment.h"
#include "tests/pipeline/arrays.h"

static uint64_t hash_labels(const uint16_t *labels, size_t n)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (size_t i = 0; i < n; i++) {
        hash = (hash ^ (labels[i] & 0xff)) * 0x100000001b3u;
        hash = (hash ^ (labels[i] >> 8)) * 0x100000001b3u;
    }
    return hash;
}

/* One line of augment.tsv. The image carries the same numbers as the labels and must go the same way. */
static void check_line(int size, const pipe_augment *augment, uint64_t expected)
{
    const size_t n = (size_t)size * (size_t)size;
    float *image = malloc(n * sizeof *image), *image_out = malloc(n * sizeof *image);
    uint16_t *labels = malloc(n * sizeof *labels), *labels_out = malloc(n * sizeof *labels);

    for (size_t i = 0; i < n; i++) image[i] = labels[i] = (uint16_t)(1 + i % 65521);
    pipe_augment_apply(augment, size, image, labels, image_out, labels_out);
    if (hash_labels(labels_out, n) != expected)
        fail_msg("size %d, kind %d, %d turns, axis %d, %d degrees: not as SciPy or NumPy has it", size, (int)augment->kind,
                 augment->quarter_turns, augment->flip_axis, augment->angle_deg);
    for (size_t i = 0; i < n; i++) assert_true(image_out[i] == (float)labels_out[i]);
    free(image);
    free(image_out);
    free(labels);
    free(labels_out);
}

static void test_scipy(void **state)
{
    FILE *file = fopen(source_path("tests/golden/augment.tsv"), "r");
    char kind[16];
    int size, number, axis, n_lines = 0;
    unsigned long long hash;

    assert_non_null(file);
    while (fscanf(file, "%d %15s %d %d %llx", &size, kind, &number, &axis, &hash) == 5) {
        const pipe_augment rotate = {.kind = PIPE_AUGMENT_ROTATE, .angle_deg = number, .gain = 1};
        const pipe_augment flip = {.kind = PIPE_AUGMENT_FLIP, .quarter_turns = number, .flip_axis = axis, .gain = 1};
        check_line(size, strcmp(kind, "rotate") ? &flip : &rotate, hash);
        n_lines++;
    }
    fclose(file);
    assert_int_equal(n_lines, 6 * 48);
}

/* 50 / 25 / 25 percent, and everything inside a kind equally likely: within five standard deviations of the binomial. */
static void test_frequencies(void **state)
{
    enum { N = 40000 };
    int kinds[3] = {0}, turns[4] = {0}, axes[2] = {0}, angles[40] = {0};

    for (uint32_t sample = 0; sample < N; sample++) {
        pipe_random random;
        pipe_augment augment;
        pipe_random_start(&random, 77, PIPE_RANDOM_AUGMENT, 3, sample);
        pipe_augment_draw(&random, 0, &augment);
        assert_true(augment.gain == 1 && augment.shift == 0);
        kinds[augment.kind]++;
        if (augment.kind == PIPE_AUGMENT_FLIP) turns[augment.quarter_turns]++, axes[augment.flip_axis]++;
        if (augment.kind == PIPE_AUGMENT_ROTATE) angles[augment.angle_deg + 20]++;
    }
    check_near(kinds[PIPE_AUGMENT_FLIP], 0.5 * N, 5 * sqrt(N * 0.25));
    check_near(kinds[PIPE_AUGMENT_ROTATE], 0.25 * N, 5 * sqrt(N * 0.1875));
    for (int i = 0; i < 4; i++) check_near(turns[i], N / 8.0, 5 * sqrt(N / 8.0));
    for (int i = 0; i < 2; i++) check_near(axes[i], N / 4.0, 5 * sqrt(N / 4.0));
    for (int i = 0; i < 40; i++) check_near(angles[i], N / 160.0, 5 * sqrt(N / 160.0));
}

static void test_jitter(void **state)
{
    const float image[4] = {0, 0.25f, 0.5f, 1};
    const uint16_t labels[4] = {0, 1, 2, 3};
    float out[4], lowest = 2, highest = 0;
    uint16_t labels_out[4];

    for (uint32_t sample = 0; sample < 2000; sample++) {
        pipe_random random;
        pipe_augment augment;
        pipe_random_start(&random, 1, PIPE_RANDOM_AUGMENT, 0, sample);
        pipe_augment_draw(&random, 0.1, &augment);
        assert_true(augment.gain >= 0.9f && augment.gain <= 1.1f && fabsf(augment.shift) <= 0.1f);
        lowest = fminf(lowest, augment.gain);
        highest = fmaxf(highest, augment.gain);
        augment.kind = PIPE_AUGMENT_NONE;
        pipe_augment_apply(&augment, 2, image, labels, out, labels_out);
        for (int i = 0; i < 4; i++) check_near(out[i], image[i] * augment.gain + augment.shift, 1e-7); /* one rounding */
        assert_memory_equal(labels, labels_out, sizeof labels);
    }
    assert_true(lowest < 0.902f && highest > 1.098f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scipy), cmocka_unit_test(test_frequencies), cmocka_unit_test(test_jitter)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
