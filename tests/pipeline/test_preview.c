/* The contact sheet, read back: what is where, in true proportions, whatever the storage order. */
#include "tests/check.h"
#include "tests/pipeline/volumes.h"

#include <png.h>

#include "io/labels.h"
#include "pipeline/preview.h"

/* Layout of preview.c: panels of 384 pixels, 14 apart, below 30 of title. */
enum { PANEL = 384, GAP = 14, TOP = 30 };

typedef struct sheet {
    int width, height;
    uint8_t *rgb; /* [height][width][3] */
} sheet;

static void read_sheet(const char *path, sheet *s)
{
    png_image image = {.version = PNG_IMAGE_VERSION};

    assert_true(png_image_begin_read_from_file(&image, path));
    image.format = PNG_FORMAT_RGB;
    s->width = (int)image.width;
    s->height = (int)image.height;
    s->rgb = malloc(PNG_IMAGE_SIZE(image));
    assert_true(png_image_finish_read(&image, NULL, s->rgb, 0, NULL));
}

/* Box of a colour within [x, x + PANEL) and [y, y + PANEL): left, right, top, bottom, or right -1 where there is none. */
static void find_colour(const sheet *s, const uint8_t rgb[3], int x, int y, int box[4])
{
    box[0] = box[2] = 1 << 30;
    box[1] = box[3] = -1;
    for (int r = y; r < y + PANEL && r < s->height; r++) {
        for (int c = x; c < x + PANEL && c < s->width; c++) {
            if (memcmp(s->rgb + ((size_t)r * (size_t)s->width + (size_t)c) * 3, rgb, 3) != 0) continue;
            box[0] = c - x < box[0] ? c - x : box[0];
            box[1] = c - x > box[1] ? c - x : box[1];
            box[2] = r - y < box[2] ? r - y : box[2];
            box[3] = r - y > box[3] ? r - y : box[3];
        }
    }
}

/* 40 x 40 x 20 voxels of 2 x 2 x 4 mm, 80 mm each way, so a pixel is 80 / 384 mm. Label 5 (liver's orange) is a block at the patient's
 * right, front and head. */
static void build(io_volume *volume, uint8_t *labels)
{
    volume_build(volume, IO_INT16, 40, 40, 20, 2, 2, 4);
    memset(labels, 0, (size_t)volume->n_voxels);
    for (int64_t k = 12; k < 17; k++)
        for (int64_t j = 22; j < 37; j++)
            for (int64_t i = 25; i < 35; i++) labels[(k * 40 + j) * 40 + i] = 5;
}

static void write_sheet(const char *path, const io_volume *volume, const void *labels, int label_bytes, sheet *s)
{
    io_labels *names = NULL;
    pipe_options options;

    pipe_options_default(&options);
    check_ok(io_labels_default(9, &names));
    check_ok(pipe_preview_write(path, volume, labels, label_bytes, names, &options));
    io_labels_free(&names);
    read_sheet(path, s);
}

static void check_box(const sheet *s, int panel, const double expected_mm[4])
{
    static const uint8_t orange[3] = {245, 130, 48};
    int box[4];

    find_colour(s, orange, GAP + panel * (PANEL + GAP), TOP, box);
    /* A contour pixel's edges against mm; nearest sampling moves it by less than one pixel, 0.21 mm. */
    check_near(box[0] * 80.0 / PANEL, expected_mm[0], 0.25);
    check_near((box[1] + 1) * 80.0 / PANEL, expected_mm[1], 0.25);
    check_near(box[2] * 80.0 / PANEL, expected_mm[2], 0.25);
    check_near((box[3] + 1) * 80.0 / PANEL, expected_mm[3], 0.25);
}

/* Right on the left, front up, head up; the sagittal plane faces left. mm from the left and upper edges. */
static void test_radiological_directions_and_proportions(void **state)
{
    uint8_t labels[40 * 40 * 20];
    io_volume volume;
    sheet s;

    build(&volume, labels);
    write_sheet("preview.png", &volume, labels, 1, &s);
    check_box(&s, 0, (const double[4]){80 - 70, 80 - 50, 80 - 74, 80 - 44});
    check_box(&s, 1, (const double[4]){80 - 70, 80 - 50, 80 - 68, 80 - 48});
    check_box(&s, 2, (const double[4]){80 - 74, 80 - 44, 80 - 68, 80 - 48});
    free(s.rgb);
    volume_clear(&volume);
}

/* The same patient stored with axes A (backwards), S, R (backwards) gives the same picture below the title. */
static void test_storage_order_does_not_show(void **state)
{
    uint8_t labels[40 * 40 * 20], turned_labels[40 * 40 * 20];
    io_volume volume, turned;
    sheet a, b;

    build(&volume, labels);
    volume_build(&turned, IO_INT16, 40, 20, 40, 2, 4, 2);
    volume_turn(&turned, (const int[3]){1, 2, 0}, (const int[3]){-1, 1, -1});
    for (int64_t at = 0; at < volume.n_voxels; at++) {
        const int64_t x = at % 40, y = at / 40 % 40, z = at / 1600, to = ((39 - x) * 20 + z) * 40 + (39 - y);
        ((int16_t *)volume.voxels)[at] = ((int16_t *)turned.voxels)[to] = (int16_t)(x * 9 - y * 5 + z * 13 - 100);
        turned_labels[to] = labels[at];
    }
    write_sheet("preview.png", &volume, labels, 1, &a);
    write_sheet("preview_turned.png", &turned, turned_labels, 1, &b);
    assert_true(a.width == b.width && a.height == b.height);
    assert_memory_equal(a.rgb + a.width * TOP * 3, b.rgb + b.width * TOP * 3, (size_t)(a.width * (a.height - TOP) * 3));
    assert_memory_not_equal(a.rgb, b.rgb, (size_t)(a.width * TOP * 3)); /* the title tells the order */
    free(a.rgb);
    free(b.rgb);
    volume_clear(&volume);
    volume_clear(&turned);
}

static void test_impossible_spacings_have_a_sheet_too(void **state)
{
    static const double spacings[][3] = {
        {NAN, INFINITY, 1}, {1, NAN, INFINITY}, {INFINITY, INFINITY, INFINITY}, {1e308, 1e-308, 1}, {0, -1, 1e300}};
    uint8_t labels[40 * 40 * 20];
    io_volume volume;
    sheet s;

    build(&volume, labels);
    for (size_t i = 0; i < sizeof spacings / sizeof spacings[0]; i++) {
        memcpy(volume.grid.spacing_mm, spacings[i], sizeof spacings[i]);
        write_sheet("preview.png", &volume, labels, 1, &s);
        assert_true(s.width < 2000 && s.height < 4000);
        free(s.rgb);
    }
    volume_clear(&volume);
}

static void test_odd_volumes_have_a_sheet_too(void **state)
{
    uint16_t labels[600] = {0};
    pipe_options options;
    io_volume volume;
    sheet s;

    volume_build(&volume, IO_FLOAT32, 1, 1, 1, 1, 1, 1);
    write_sheet("preview.png", &volume, labels, 2, &s);
    free(s.rgb);
    volume_clear(&volume);
    volume_build(&volume, IO_UINT8, 600, 1, 1, 0.5, 1, 30);
    for (int i = 0; i < 600; i++) labels[i] = (uint16_t)(i * 100); /* far more values than the legend has room for, none of them named */
    write_sheet("preview.png", &volume, labels, 2, &s);
    free(s.rgb);
    pipe_options_default(&options);
    check_ok(pipe_preview_write("preview.png", &volume, labels, 2, NULL, &options));
    check_fails(IO_ERR_ARGUMENT, pipe_preview_write("preview.png", &volume, labels, 3, NULL, &options));
    options.high = options.low;
    check_fails(IO_ERR_ARGUMENT, pipe_preview_write("preview.png", &volume, labels, 2, NULL, &options));
    volume_clear(&volume);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_radiological_directions_and_proportions),
        cmocka_unit_test(test_storage_order_does_not_show),
        cmocka_unit_test(test_impossible_spacings_have_a_sheet_too),
        cmocka_unit_test(test_odd_volumes_have_a_sheet_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
