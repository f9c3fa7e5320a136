/* Slices in storage order and in RAS, and which zooms are taken (spec 6.1). The numbers of the zooms are test_zoom's. */
#include "tests/check.h"
#include "tests/pipeline/volumes.h"

#include "pipeline/slices.h"
#include "pipeline/zoom.h"

/* Slice k as an image; *image with free. */
static void draw(const io_volume *volume, const pipe_options *options, int64_t k, float **image)
{
    const size_t n = (size_t)options->image_size * (size_t)options->image_size;
    pipe_slices *slices = NULL;
    void *scratch = NULL;

    check_ok(pipe_slices_create(volume, options, &slices));
    check_ok(io_alloc(pipe_slices_scratch_bytes(slices), 1, &scratch));
    *image = malloc(n * sizeof **image);
    pipe_slices_image(slices, k, *image, scratch);
    io_free(&scratch);
    pipe_slices_free(&slices);
}

static void fill_pattern(io_volume *volume)
{
    for (int64_t i = 0; i < volume->n_voxels; i++) ((int16_t *)volume->voxels)[i] = (int16_t)(i * 7919 % 401 - 125);
}

static void scale_pattern(const io_volume *volume, int64_t k, float *out)
{
    const int64_t n = volume->grid.dims[0] * volume->grid.dims[1];

    for (int64_t i = 0; i < n; i++) out[i] = ((float)((int16_t *)volume->voxels)[k * n + i] + 125.0f) / 400.0f;
}

static void zoom_once(const float *in, int rows, int cols, int size, float *out)
{
    pipe_zoom *zoom = NULL;
    void *scratch = NULL;

    check_ok(pipe_zoom_create(rows, cols, size, size, &zoom));
    check_ok(io_alloc(pipe_zoom_scratch_bytes(zoom), 1, &scratch));
    pipe_zoom_cubic(zoom, in, out, scratch);
    io_free(&scratch);
    pipe_zoom_free(&zoom);
}

/* Which zooms a slice of rows x cols goes through. */
static void check_steps(int rows, int cols, pipe_preset preset, int size, bool has_first, bool has_second)
{
    float *image = NULL, *a = calloc(512 * 512, sizeof *a), *b = calloc(512 * 512, sizeof *b);
    pipe_options options;
    io_volume volume;

    volume_build(&volume, IO_INT16, cols, rows, 2, 1, 1, 3);
    fill_pattern(&volume);
    pipe_options_default(&options);
    options.preset = preset;
    options.image_size = size;
    draw(&volume, &options, 1, &image);
    scale_pattern(&volume, 1, a);
    if (has_first) {
        zoom_once(a, rows, cols, 224, b);
        memcpy(a, b, 224 * 224 * sizeof *a);
        rows = cols = 224;
    }
    if (has_second) {
        zoom_once(a, rows, cols, size, b);
        memcpy(a, b, (size_t)size * (size_t)size * sizeof *a);
    }
    assert_memory_equal(image, a, (size_t)size * (size_t)size * sizeof *a);
    free(image);
    free(a);
    free(b);
    volume_clear(&volume);
}

static void test_the_zooms_of_the_specification(void **state)
{
    check_steps(100, 90, PIPE_PRESET_SAMED, 512, true, true);
    check_steps(224, 224, PIPE_PRESET_SAMED, 512, false, true); /* already the reference's size */
    check_steps(224, 200, PIPE_PRESET_SAMED, 512, true, true);  /* one side differs: both are zoomed */
    check_steps(100, 90, PIPE_PRESET_SAMED, 224, true, false);
    check_steps(224, 224, PIPE_PRESET_SAMED, 224, false, false);
    check_steps(100, 90, PIPE_PRESET_DIRECT, 512, false, true);
    check_steps(128, 128, PIPE_PRESET_DIRECT, 128, false, false);
}

/* A voxel's value tells where it lies in the world: 100 R + 10 A + S, by rank along each direction. */
static void fill_world(io_volume *volume, const int world[3], const int sign[3])
{
    int64_t at = 0, index[3];

    for (index[2] = 0; index[2] < volume->grid.dims[2]; index[2]++)
        for (index[1] = 0; index[1] < volume->grid.dims[1]; index[1]++)
            for (index[0] = 0; index[0] < volume->grid.dims[0]; index[0]++, at++) {
                static const int64_t weight[3] = {100, 10, 1};
                int64_t value = 0;
                for (int a = 0; a < 3; a++) value += weight[world[a]] * (sign[a] > 0 ? index[a] : volume->grid.dims[a] - 1 - index[a]);
                ((uint16_t *)volume->voxels)[at] = (uint16_t)value;
            }
}

static void put_all(const io_volume *volume, const pipe_slices *slices, int rows, int cols, pipe_labelmap *map)
{
    uint16_t labels[64];

    for (int64_t k = pipe_slices_count(slices) - 1; k >= 0; k--) {
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < cols; c++) labels[r * cols + c] = (uint16_t)(100 * c + 10 * r + k);
        check_ok(pipe_labelmap_put(map, k, labels));
    }
}

/* All 48 storage orders: in RAS the columns go to the right, the rows to the front, the slices to the head; labels go back. */
static void check_storage(const int world[3], const int sign[3])
{
    static const int64_t along[3] = {4, 5, 3}; /* voxels along R, A, S */
    pipe_labelmap *map = NULL;
    pipe_slices *slices = NULL;
    pipe_options options;
    io_volume volume;
    const void *labels;
    float *image;
    int rows, cols;

    volume_build(&volume, IO_UINT16, along[world[0]], along[world[1]], along[world[2]], 1, 2, 3);
    volume_turn(&volume, world, sign);
    fill_world(&volume, world, sign);
    pipe_options_default(&options);
    options.orient = PIPE_ORIENT_RAS;
    options.low = 0;
    options.high = 1000;
    options.preset = PIPE_PRESET_DIRECT;
    check_ok(pipe_slices_create(&volume, &options, &slices));
    pipe_slices_size(slices, &rows, &cols);
    assert_true(rows == 5 && cols == 4 && pipe_slices_count(slices) == 3);
    check_ok(pipe_labelmap_create(slices, 2, &map));
    put_all(&volume, slices, rows, cols, map);
    check_ok(pipe_labelmap_finish(map, &labels));
    assert_memory_equal(labels, volume.voxels, (size_t)volume.n_voxels * 2);
    options.image_size = 2; /* corners of the slice: 2 of 2 samples per axis, exact up to rounding */
    draw(&volume, &options, 2, &image);
    check_near(image[0], 0.002, 1e-6);
    check_near(image[1], 0.302, 1e-6);
    check_near(image[2], 0.042, 1e-6);
    check_near(image[3], 0.342, 1e-6);
    free(image);
    pipe_labelmap_free(&map);
    pipe_slices_free(&slices);
    volume_clear(&volume);
}

static void test_any_storage_order_becomes_ras_and_back(void **state)
{
    static const int worlds[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

    for (int w = 0; w < 6; w++)
        for (int bits = 0; bits < 8; bits++)
            check_storage(worlds[w], (const int[3]){bits & 1 ? -1 : 1, bits & 2 ? -1 : 1, bits & 4 ? -1 : 1});
}

static void test_native_order_ignores_the_affine(void **state)
{
    float *plain, *turned;
    pipe_options options;
    io_volume volume;

    volume_build(&volume, IO_INT16, 30, 20, 4, 1, 1, 1);
    fill_pattern(&volume);
    pipe_options_default(&options);
    options.image_size = 64;
    draw(&volume, &options, 3, &plain);
    volume_turn(&volume, (const int[3]){1, 2, 0}, (const int[3]){-1, 1, -1});
    draw(&volume, &options, 3, &turned);
    assert_memory_equal(plain, turned, 64 * 64 * sizeof *plain);
    free(plain);
    free(turned);
    volume_clear(&volume);
}

static void test_labels_zoom_back_like_scipy(void **state)
{
    uint16_t *labels = calloc(512 * 512, sizeof *labels), *out = calloc(512 * 512, sizeof *out);
    pipe_slices *slices = NULL;
    pipe_options options;
    io_volume volume;

    for (int i = 0; i < 512 * 512; i++) labels[i] = (uint16_t)(i * 31 % 1009);
    pipe_options_default(&options);
    volume_build(&volume, IO_INT16, 512, 512, 1, 1, 1, 1);
    check_ok(pipe_slices_create(&volume, &options, &slices));
    pipe_labels_zoom_back(slices, labels, out);
    assert_memory_equal(out, labels, 512 * 512 * sizeof *out); /* spec 6.1 step 5: skipped */
    pipe_slices_free(&slices);
    volume_clear(&volume);
    volume_build(&volume, IO_INT16, 300, 180, 1, 1, 1, 1);
    check_ok(pipe_slices_create(&volume, &options, &slices));
    pipe_labels_zoom_back(slices, labels, out);
    for (int r = 0; r < 180; r++) /* spec 5.3, order 0; neither 299 (511 / 299) nor 179 (511 / 179) exceeds 511 in double */
        for (int c = 0; c < 300; c++)
            assert_int_equal(out[r * 300 + c], labels[(int)(r * (511.0 / 179) + 0.5) * 512 + (int)(c * (511.0 / 299) + 0.5)]);
    pipe_slices_free(&slices);
    volume_clear(&volume);
    free(labels);
    free(out);
}

static void test_refusals_and_text(void **state)
{
    pipe_slices *slices = NULL;
    pipe_options options;
    io_volume volume;
    char text[160];

    volume_build(&volume, IO_FLOAT32, 3, 3, 3, 1, 1, 1);
    pipe_options_default(&options);
    pipe_options_text(&options, text);
    assert_string_equal(text, "preset=samed window=-125:275 orient=native size=512");
    ((float *)volume.voxels)[7] = NAN;
    check_fails(IO_ERR_RANGE, pipe_slices_create(&volume, &options, &slices));
    assert_null(slices);
    options.image_size = 0;
    check_fails(IO_ERR_ARGUMENT, pipe_slices_create(&volume, &options, &slices));
    pipe_slices_free(&slices);
    volume_clear(&volume);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_zooms_of_the_specification),
        cmocka_unit_test(test_any_storage_order_becomes_ras_and_back),
        cmocka_unit_test(test_native_order_ignores_the_affine),
        cmocka_unit_test(test_labels_zoom_back_like_scipy),
        cmocka_unit_test(test_refusals_and_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
