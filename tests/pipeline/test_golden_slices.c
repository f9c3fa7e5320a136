/* From the file to the network's input, against the reference's arrays (../shared/golden/infer): scaled slices bit for bit, both zooms
 * to 1e-6. */
#include "tests/check.h"
#include "tests/pipeline/arrays.h"

#include "io/memory.h"
#include "io/nifti.h"
#include "pipeline/intensity.h"
#include "pipeline/slices.h"
#include "pipeline/zoom.h"

/* Another order of a sum in double, then one rounding to float, twice. */
static const double TOLERANCE = 1e-6;

typedef struct golden {
    const char *name, *file;
    int64_t k;
} golden;

static const golden CASES[] = {
    {"ts", "data/totalseg_ct3mm/example_ct.nii.gz", 92},
    {"crlm", "data/crlm/ct1004.nii.gz", 20},
};

static void read_case(const golden *g, io_volume **volume, array *expected, const char *pattern)
{
    char path[4096];

    snprintf(path, sizeof path, "%s", check_shared(g->file));
    *volume = NULL;
    check_ok(io_nifti_read(path, volume));
    assert_true(array_read_shared(pattern, g->name, expected));
}

static void check_scaled(const golden *g)
{
    pipe_intensity intensity;
    io_volume *volume;
    array expected;
    float *slice;

    read_case(g, &volume, &expected, "golden/infer/%s_slice.npy");
    assert_int_equal(volume->grid.dims[0], expected.cols);
    assert_int_equal(volume->grid.dims[1], expected.rows);
    slice = malloc((size_t)expected.rows * (size_t)expected.cols * sizeof *slice);
    check_ok(pipe_intensity_plan(volume, PIPE_WINDOW, -125, 275, &intensity));
    io_volume_slice(volume, g->k, slice);
    pipe_intensity_scale(&intensity, slice, (int64_t)expected.rows * expected.cols);
    assert_memory_equal(slice, expected.values, (size_t)expected.rows * (size_t)expected.cols * sizeof *slice);
    free(slice);
    array_free(&expected);
    io_volume_free(&volume);
}

static void check_image(const golden *g, int size, const char *pattern)
{
    pipe_slices *slices = NULL;
    pipe_options options;
    io_volume *volume;
    array expected;
    void *scratch = NULL;
    float *image;

    read_case(g, &volume, &expected, pattern);
    pipe_options_default(&options);
    options.image_size = size;
    check_ok(pipe_slices_create(volume, &options, &slices));
    check_ok(io_alloc(pipe_slices_scratch_bytes(slices), 1, &scratch));
    image = malloc((size_t)size * (size_t)size * sizeof *image);
    pipe_slices_image(slices, g->k, image, scratch);
    assert_true(expected.rows == size && expected.cols == size);
    check_near(check_max_error(image, expected.values, (size_t)size * (size_t)size), 0, TOLERANCE);
    free(image);
    io_free(&scratch);
    pipe_slices_free(&slices);
    array_free(&expected);
    io_volume_free(&volume);
}

static void test_scaled_slices_bit_for_bit(void **state)
{
    for (int i = 0; i < 2; i++) check_scaled(&CASES[i]);
}

static void test_images_after_both_zooms(void **state)
{
    for (int i = 0; i < 2; i++) {
        check_image(&CASES[i], 224, "golden/infer/%s_224.npy");
        check_image(&CASES[i], 512, "golden/infer/%s_512.npy");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scaled_slices_bit_for_bit),
        cmocka_unit_test(test_images_after_both_zooms),
    };
    if (!check_shared("golden/infer/ts_slice.npy")) {
        fprintf(stderr, "skipped: ../shared/golden is not there\n");
        return CHECK_SKIP;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
