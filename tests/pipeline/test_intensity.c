/* Windows and percentiles: against the formula of spec 7 and against numbers that numpy.percentile gave. */
#include "tests/check.h"
#include "tests/pipeline/volumes.h"

#include "pipeline/intensity.h"

static void test_window_is_the_reference_formula(void **state)
{
    float values[] = {-1024, -125, -124.5f, 0, 37, 274.9f, 275, 3000, INFINITY, -INFINITY};
    const float expected[] = {0, 0, 0.5f / 400.0f, 125.0f / 400.0f, 162.0f / 400.0f, (274.9f + 125.0f) / 400.0f, 1, 1, 1, 0};
    pipe_intensity intensity;
    io_volume volume;

    volume_build(&volume, IO_INT16, 2, 2, 2, 1, 1, 1);
    check_ok(pipe_intensity_plan(&volume, PIPE_WINDOW, -125, 275, &intensity));
    pipe_intensity_scale(&intensity, values, 10);
    assert_memory_equal(values, expected, sizeof expected);
    volume_clear(&volume);
}

/* numpy.percentile([0.25 * ((7919 i) mod 1000 - 300.5) for i in range(60)], q), NumPy 2.4 */
static void test_percentiles_equal_numpy(void **state)
{
    static const struct {
        double low, high, expected_low, expected_high;
    } cases[] = {
        {0, 100, -75.125, 168.625}, {0.5, 99.5, -74.90375, 166.78125}, {2, 50, -73.25, 50.25}, {33.3, 50, 10.66874999999999, 50.25}};
    pipe_intensity intensity;
    io_volume volume;

    volume_build(&volume, IO_FLOAT32, 5, 4, 4, 1, 1, 1);
    for (int i = 0; i < 80; i++) /* the last twenty are infinite and do not count */
        ((float *)volume.voxels)[i] = i < 60 ? 0.25f * (float)(i * 7919 % 1000 - 300.5) : i % 2 ? INFINITY : -INFINITY;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_ok(pipe_intensity_plan(&volume, PIPE_PERCENTILE, cases[i].low, cases[i].high, &intensity));
        check_near(intensity.low, cases[i].expected_low, 1e-5); /* a float's rounding at 75 */
        check_near(intensity.high, cases[i].expected_high, 2e-5);
    }
    volume_clear(&volume);
}

/* numpy.percentile([(37 i) mod 101 for i in range(60)], [1, 99]) on int16, times slope 2 plus 5 */
static void test_percentiles_of_scaled_integers(void **state)
{
    pipe_intensity intensity;
    io_volume volume;

    volume_build(&volume, IO_INT16, 3, 4, 5, 1, 1, 1);
    volume.slope = 2;
    volume.inter = 5;
    for (int i = 0; i < 60; i++) ((int16_t *)volume.voxels)[i] = (int16_t)(i * 37 % 101);
    check_ok(pipe_intensity_plan(&volume, PIPE_PERCENTILE, 1, 99, &intensity));
    check_near(intensity.low, 2 * 1.18 + 5, 1e-5);
    check_near(intensity.high, 2 * 98.23 + 5, 2e-5);
    volume_clear(&volume);
}

static void test_not_a_number_is_refused_and_counted(void **state)
{
    pipe_intensity intensity;
    io_volume volume;

    volume_build(&volume, IO_FLOAT32, 3, 3, 3, 1, 1, 1);
    ((float *)volume.voxels)[4] = NAN;
    ((float *)volume.voxels)[26] = NAN;
    ((float *)volume.voxels)[5] = INFINITY;
    check_fails(IO_ERR_RANGE, pipe_intensity_plan(&volume, PIPE_WINDOW, -125, 275, &intensity));
    assert_non_null(strstr(io_last_error_text(), "2 of 27 voxels"));
    ((float *)volume.voxels)[4] = ((float *)volume.voxels)[26] = 3;
    check_ok(pipe_intensity_plan(&volume, PIPE_WINDOW, -125, 275, &intensity));
    volume_clear(&volume);
}

static void test_impossible_limits_are_refused(void **state)
{
    pipe_intensity intensity;
    io_volume volume;

    volume_build(&volume, IO_FLOAT32, 3, 3, 3, 1, 1, 1);
    check_fails(IO_ERR_ARGUMENT, pipe_intensity_plan(&volume, PIPE_WINDOW, 5, 5, &intensity));
    check_fails(IO_ERR_ARGUMENT, pipe_intensity_plan(&volume, PIPE_WINDOW, 5, -5, &intensity));
    check_fails(IO_ERR_ARGUMENT, pipe_intensity_plan(&volume, PIPE_WINDOW, NAN, 5, &intensity));
    check_fails(IO_ERR_ARGUMENT, pipe_intensity_plan(&volume, PIPE_WINDOW, 0, INFINITY, &intensity));
    check_fails(IO_ERR_ARGUMENT, pipe_intensity_plan(&volume, PIPE_PERCENTILE, -1, 99, &intensity));
    check_fails(IO_ERR_ARGUMENT, pipe_intensity_plan(&volume, PIPE_PERCENTILE, 1, 101, &intensity));
    check_fails(IO_ERR_RANGE, pipe_intensity_plan(&volume, PIPE_PERCENTILE, 1, 99, &intensity)); /* all voxels 0 */
    for (int i = 0; i < 27; i++) ((float *)volume.voxels)[i] = INFINITY;
    check_fails(IO_ERR_RANGE, pipe_intensity_plan(&volume, PIPE_PERCENTILE, 1, 99, &intensity));
    volume_clear(&volume);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window_is_the_reference_formula), cmocka_unit_test(test_percentiles_equal_numpy),
        cmocka_unit_test(test_percentiles_of_scaled_integers),  cmocka_unit_test(test_not_a_number_is_refused_and_counted),
        cmocka_unit_test(test_impossible_limits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
