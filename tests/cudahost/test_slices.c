/* Slices on the device against pipeline/slices.h on the host, bit for bit: intensities, both zooms, labels back, every voxel type, odd
 * sizes, both presets, slices that lie across the volume. */
#include "tests/check.h"
#include "tests/pipeline/volumes.h"

#include "model/device.h"
#include "pipeline/slices.h"

enum { IMAGE_SIZE = 80 };

static model_device *device;

static void fill(io_volume *volume)
{
    const size_t n_bytes = (size_t)volume->n_voxels * io_datatype_bytes(volume->datatype);
    uint32_t x = 12345;

    for (int64_t i = 0; i < volume->n_voxels; i++) {
        x = x * 1664525u + 1013904223u; /* Numerical Recipes' generator */
        if (volume->datatype == IO_FLOAT32)
            ((float *)volume->voxels)[i] = (float)((int32_t)x >> 22) + 0.37f;
        else if (volume->datatype == IO_FLOAT64)
            ((double *)volume->voxels)[i] = (double)((int32_t)x >> 22) + 0.37;
    }
    if (volume->datatype == IO_FLOAT32 || volume->datatype == IO_FLOAT64) return;
    for (size_t i = 0; i < n_bytes; i++) {
        x = x * 1664525u + 1013904223u;
        ((uint8_t *)volume->voxels)[i] = (uint8_t)(x >> 24);
    }
}

static int count_batch(void)
{
    return device->ops->slices_per_pass < 3 ? device->ops->slices_per_pass : 3;
}

/* Slices 0 .. B-1 there and as images back. */
static void make_images(const pipe_slices *slices, const model_slicer *slicer, int lane, int B, float *images)
{
    const model_ops *ops = device->ops;
    const size_t slice_bytes = pipe_slices_raw_bytes(slices), image_bytes = (size_t)B * IMAGE_SIZE * IMAGE_SIZE * sizeof *images;
    void *raw = NULL, *host = NULL, *made = NULL, *scratch = malloc(pipe_slices_scratch_bytes(slices) + 1);

    check_ok(ops->host_create(device->backend, slice_bytes * (size_t)B, &host));
    check_ok(ops->memory_create(device->backend, slice_bytes * (size_t)B, &raw));
    check_ok(ops->memory_create(device->backend, image_bytes, &made));
    for (int b = 0; b < B; b++) pipe_slices_raw(slices, b, (uint8_t *)host + (size_t)b * slice_bytes, scratch);
    check_ok(ops->upload_begin(device->backend, lane, raw, host, slice_bytes * (size_t)B));
    check_ok(ops->images_forward(device->backend, made, raw, slicer, B));
    check_ok(ops->download(device->backend, images, made, image_bytes));
    ops->memory_free(device->backend, &made);
    ops->memory_free(device->backend, &raw);
    ops->host_free(device->backend, &host);
    free(scratch);
}

static void check_images(const pipe_slices *slices, const model_slicer *slicer, int B, const char *what)
{
    const size_t area = (size_t)IMAGE_SIZE * IMAGE_SIZE;
    float *found = malloc((size_t)B * area * sizeof *found), *expected = NULL;
    void *scratch = aligned_alloc(64, (pipe_slices_scratch_bytes(slices) + 64) / 64 * 64);

    check_ok(io_alloc(area, sizeof *expected, (void **)&expected));
    make_images(slices, slicer, B % 2, B, found);
    for (int b = 0; b < B; b++) {
        pipe_slices_image(slices, b, expected, scratch);
        for (size_t i = 0; i < area; i++)
            if (memcmp(&found[(size_t)b * area + i], &expected[i], sizeof *found) != 0)
                fail_msg("%s, slice %d, pixel %zu: %.9g on the device, %.9g on the host", what, b, i, found[(size_t)b * area + i],
                         expected[i]);
    }
    io_free(&expected);
    free(scratch);
    free(found);
}

/* Labels of one and of two bytes come back through a lane. */
static void check_labels(const pipe_slices *slices, const model_slicer *slicer, int label_bytes, const char *what)
{
    const model_ops *ops = device->ops;
    const size_t area = (size_t)IMAGE_SIZE * IMAGE_SIZE;
    uint16_t *labels = malloc(area * sizeof *labels), *expected;
    void *there = NULL, *back = NULL, *found = NULL;
    int rows, cols;
    size_t n;

    pipe_slices_size(slices, &rows, &cols);
    n = (size_t)rows * (size_t)cols;
    expected = malloc(n * sizeof *expected);
    for (size_t i = 0; i < area; i++) labels[i] = (uint16_t)(i * 31 % (label_bytes == 1 ? 251 : 1009));
    check_ok(ops->memory_create(device->backend, area * sizeof *labels, &there));
    check_ok(ops->memory_create(device->backend, n * (size_t)label_bytes, &back));
    check_ok(ops->host_create(device->backend, n * (size_t)label_bytes, &found));
    check_ok(ops->upload(device->backend, there, labels, area * sizeof *labels));
    check_ok(ops->labels_back(device->backend, back, there, slicer, label_bytes, 1));
    check_ok(ops->download_begin(device->backend, 1, found, back, n * (size_t)label_bytes));
    check_ok(ops->lane_finish(device->backend, 1));
    pipe_labels_zoom_back(slices, labels, expected);
    for (size_t i = 0; i < n; i++) {
        const int label = label_bytes == 1 ? ((uint8_t *)found)[i] : ((uint16_t *)found)[i];
        if (label != expected[i]) fail_msg("%s, pixel %zu: label %d, expected %d", what, i, label, expected[i]);
    }
    ops->host_free(device->backend, &found);
    ops->memory_free(device->backend, &back);
    ops->memory_free(device->backend, &there);
    free(expected);
    free(labels);
}

static void check_volume(io_datatype type, int cols, int rows, const pipe_options *options, double slope)
{
    pipe_slices *slices = NULL;
    model_slicer *slicer = NULL;
    model_slicing_room room;
    model_slicing slicing;
    io_volume volume;
    char what[128];
    int B = count_batch();

    snprintf(what, sizeof what, "%s %dx%d, preset %d, orient %d, slope %g", io_datatype_name(type), rows, cols, options->preset,
             options->orient, slope);
    volume_build(&volume, type, cols, rows, 3, 1, 1, 1);
    if (options->orient == PIPE_ORIENT_RAS) volume_turn(&volume, (const int[3]){1, 2, 0}, (const int[3]){1, -1, 1});
    volume.slope = slope;
    volume.inter = slope == 1 ? 0 : -17.5;
    fill(&volume);
    check_ok(pipe_slices_create(&volume, options, &slices));
    if (pipe_slices_count(slices) < B) B = (int)pipe_slices_count(slices);
    pipe_slices_slicing(slices, &slicing);
    check_ok(pipe_slices_room(options, pipe_slices_raw_bytes(slices), (size_t)slicing.rows * (size_t)slicing.cols,
                              (size_t)(slicing.rows > slicing.cols ? slicing.rows : slicing.cols), &room));
    check_ok(device->ops->slicer_create(device->backend, &room, B, &slicer));
    check_ok(device->ops->slicer_set(device->backend, slicer, &slicing));
    check_images(slices, slicer, B, what);
    check_labels(slices, slicer, 1, what);
    check_labels(slices, slicer, 2, what);
    device->ops->slicer_free(device->backend, &slicer);
    pipe_slices_free(&slices);
    volume_clear(&volume);
}

static pipe_options choose(pipe_preset preset, pipe_orient orient)
{
    pipe_options options;

    pipe_options_default(&options);
    options.preset = preset;
    options.orient = orient;
    options.image_size = IMAGE_SIZE;
    return options;
}

static void test_voxel_types(void **state)
{
    static const io_datatype types[] = {IO_UINT8, IO_INT8,    IO_UINT16,  IO_INT16, IO_UINT32,
                                        IO_INT32, IO_FLOAT32, IO_FLOAT64, IO_INT64, IO_UINT64};
    const pipe_options options = choose(PIPE_PRESET_DIRECT, PIPE_ORIENT_NATIVE);

    for (size_t i = 0; i < sizeof types / sizeof *types; i++) check_volume(types[i], 45, 37, &options, i % 2 ? 0.75 : 1);
}

static void test_presets_and_sizes(void **state)
{
    static const int sizes[][2] = {{IMAGE_SIZE, IMAGE_SIZE}, {224, 224}, {33, 101}, {2, 3}, {1, 40}, {90, 1}};
    const pipe_options samed = choose(PIPE_PRESET_SAMED, PIPE_ORIENT_NATIVE), direct = choose(PIPE_PRESET_DIRECT, PIPE_ORIENT_NATIVE);

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_volume(IO_INT16, sizes[i][0], sizes[i][1], &direct, 1);
        if (i < 3) check_volume(IO_INT16, sizes[i][0], sizes[i][1], &samed, 1);
    }
}

static void test_slices_across_the_volume(void **state)
{
    const pipe_options options = choose(PIPE_PRESET_DIRECT, PIPE_ORIENT_RAS);

    check_volume(IO_INT16, 19, 23, &options, 2);
    check_volume(IO_FLOAT64, 19, 23, &options, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_voxel_types),
        cmocka_unit_test(test_presets_and_sizes),
        cmocka_unit_test(test_slices_across_the_volume),
    };
    const io_status status = model_device_open(MODEL_DEVICE_CUDA, 0, MODEL_F32, 1, &device);
    int n_failed;

    if (status != IO_OK) {
        printf("no CUDA device: %s\n", io_last_error_text());
        return status != IO_ERR_NOT_FOUND || getenv("TEST_REQUIRE_CUDA") ? 1 : CHECK_SKIP;
    }
    n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    model_device_free(&device);
    return n_failed;
}
