/* Areas of all 256 neighbour codes and of the 16 plane ones against surface-distance's own tables (tests/golden/metrics.txt). */
#include "tests/pipeline/masks.h"

#include "pipeline/metrics_surfel.h"

static void check_areas(const char *line, void *context)
{
    double numbers[3 + PIPE_SURFEL_CODES];
    pipe_surfels surfels;

    assert_int_equal(read_numbers(line, numbers, 3 + PIPE_SURFEL_CODES), 3 + PIPE_SURFEL_CODES);
    pipe_surfels_build(numbers, false, &surfels);
    for (int code = 0; code < PIPE_SURFEL_CODES; code++) {
        check_near(surfels.areas[surfels.classes[code]], numbers[3 + code], 1e-14 * numbers[3 + code]); /* written with 15 digits */
    }
    for (int c = 1; c < surfels.n_classes; c++) assert_true(surfels.areas[c] > surfels.areas[c - 1]);
}

static void test_areas(void **state)
{
    assert_int_equal(metrics_lines("areas", check_areas, NULL), 3);
}

static void check_lengths(const char *line, void *context)
{
    double numbers[2 + 16], spacing[3];
    pipe_surfels surfels;

    assert_int_equal(read_numbers(line, numbers, 2 + 16), 2 + 16);
    memcpy(spacing, numbers, 2 * sizeof *spacing);
    spacing[2] = 17; /* must not matter */
    pipe_surfels_build(spacing, true, &surfels);
    for (int flat = 0; flat < 16; flat++) {
        int code = 0;
        for (int bit = 0; bit < 4; bit++) code |= (flat >> bit & 1) * (3 << (2 * bit)); /* the slice and its copy below */
        check_near(surfels.areas[surfels.classes[code]], numbers[2 + flat], 1e-15 * numbers[2 + flat]);
    }
}

static void test_lengths(void **state)
{
    assert_int_equal(metrics_lines("lengths", check_lengths, NULL), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_areas), cmocka_unit_test(test_lengths)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
