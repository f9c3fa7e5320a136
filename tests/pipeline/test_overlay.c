/* The pictures of the worst cases, read back: contours of both sides in their colours, as radiologists look. */
#include "tests/check.h"

#include <png.h>

#include "io/memory.h"
#include "io/nifti.h"
#include "pipeline/overlay.h"
#include "pipeline/overlay_image.h"

enum { SIDE = 40, N = SIDE * SIDE * SIDE };

static const uint8_t green[3] = PIPE_OVERLAY_REFERENCE, magenta[3] = PIPE_OVERLAY_PREDICTION, white[3] = PIPE_OVERLAY_BOTH;
static const uint8_t ink[3] = {210, 210, 210}; /* of titles */

typedef struct panel {
    double x[2], y[2]; /* mean place of the reference's and the prediction's contour pixels */
    int n[2], n_both;
} panel;

static void build(pipe_label_volume *volume, uint8_t *organs)
{
    memset(organs, 0, N);
    *volume = (pipe_label_volume){.organs = organs, .organ_bytes = 1, .n_voxels = N};
    io_grid_create_plain((const int64_t[3]){SIDE, SIDE, SIDE}, (const double[3]){2, 2, 2}, (const double[3]){0, 0, 0}, &volume->grid);
}

/* A cube of 6 voxels with its centre `shift` voxels from the middle along an axis. */
static void paint(uint8_t *organs, int axis, int shift)
{
    int low[3] = {17, 17, 17};

    low[axis] += shift;
    for (int k = low[2]; k < low[2] + 6; k++)
        for (int j = low[1]; j < low[1] + 6; j++)
            for (int i = low[0]; i < low[0] + 6; i++) organs[(k * SIDE + j) * SIDE + i] = 1;
}

static void read_panel(const uint8_t *rgb, int width, const pipe_overlay_panel *where, panel *p)
{
    *p = (panel){.n_both = 0};
    for (int y = where->top; y < where->top + where->height; y++) {
        for (int x = where->left; x < where->left + where->width; x++) {
            const uint8_t *pixel = rgb + ((size_t)y * (size_t)width + (size_t)x) * 3;
            const int side = !memcmp(pixel, green, 3) ? 0 : !memcmp(pixel, magenta, 3) ? 1 : -1;
            p->n_both += !memcmp(pixel, white, 3);
            assert_memory_not_equal(pixel, ink, 3); /* a title over the anatomy */
            if (side < 0) continue;
            p->x[side] += x;
            p->y[side] += y;
            p->n[side]++;
        }
    }
    for (int side = 0; side < 2; side++) {
        p->x[side] /= p->n[side];
        p->y[side] /= p->n[side];
    }
}

/* Draws reference and prediction and takes the three panels apart. extents in voxels of 2 mm; letters are above panels only. */
static void draw(const pipe_label_volume *reference, const pipe_label_volume *prediction, const int extents[3][2], panel panels[3])
{
    io_labels *labels = NULL;
    png_image image = {.version = PNG_IMAGE_VERSION};
    uint8_t *png = NULL, *rgb;
    size_t n_bytes = 0;
    double extents_mm[3][2];
    pipe_overlay_panel where[3];
    int width, height, n_ink = 0;
    char fault[200];

    for (int p = 0; p < 3; p++)
        for (int i = 0; i < 2; i++) extents_mm[p][i] = 2.0 * extents[p][i];
    pipe_overlay_arrange((const double(*)[2])extents_mm, where, &width, &height);
    check_ok(io_labels_default(9, &labels));
    check_ok(pipe_overlay_draw(reference, prediction, labels, "no_such_image.nii", fault, sizeof fault, &png, &n_bytes));
    assert_non_null(strstr(fault, "no_such_image.nii"));
    assert_true(png_image_begin_read_from_memory(&image, png, n_bytes));
    image.format = PNG_FORMAT_RGB;
    rgb = malloc(PNG_IMAGE_SIZE(image));
    assert_true(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    for (int p = 0; p < 3; p++) read_panel(rgb, width, &where[p], &panels[p]);
    for (int i = 0; i < width * height; i++) n_ink += !memcmp(rgb + 3 * (size_t)i, ink, 3);
    assert_true(n_ink > 200);
    free(rgb);
    io_free(&png);
    io_labels_free(&labels);
}

/* On this RAS+ grid the reference lies towards the right, the front or the head, the prediction on the other side. */
static void draw_shifted(int axis, panel panels[3])
{
    static uint8_t reference_organs[N], prediction_organs[N];
    pipe_label_volume reference, prediction;
    int shown[3] = {6 + 22, 6 + 22, 6 + 22}; /* voxels: the cube and margins of 20 mm and one voxel */

    shown[axis] = 6 + 12 + 22;
    build(&reference, reference_organs);
    build(&prediction, prediction_organs);
    paint(reference_organs, axis, 6);
    paint(prediction_organs, axis, -6);
    draw(&reference, &prediction, (const int[3][2]){{shown[0], shown[1]}, {shown[0], shown[2]}, {shown[1], shown[2]}}, panels);
}

static void test_radiological_directions(void **state)
{
    panel p[3];

    draw_shifted(0, p); /* the patient's right is on the left */
    assert_true(p[0].n[0] > 20 && p[0].n[1] > 20);
    assert_true(p[0].x[0] < p[0].x[1] - 50);
    assert_true(p[1].x[0] < p[1].x[1] - 50);
    check_near(p[0].y[0], p[0].y[1], 4); /* the two cubes' rows are the same; dashes are 10 pixels, a voxel as many */
    draw_shifted(1, p);                  /* the front is up, and on the left of the sagittal plane */
    assert_true(p[0].y[0] < p[0].y[1] - 50);
    assert_true(p[2].x[0] < p[2].x[1] - 50);
    draw_shifted(2, p); /* the head is up */
    assert_true(p[1].y[0] < p[1].y[1] - 50);
    assert_true(p[2].y[0] < p[2].y[1] - 50);
}

static void test_equal_maps_show_one_line(void **state)
{
    static uint8_t organs[N];
    pipe_label_volume volume;
    panel p[3];

    build(&volume, organs);
    paint(organs, 0, 0);
    draw(&volume, &volume, (const int[3][2]){{28, 28}, {28, 28}, {28, 28}}, p);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(p[i].n[0], 0);
        assert_int_equal(p[i].n[1], 0);
        assert_true(p[i].n_both > 20);
    }
}

/* One scale for all planes, which do not meet; thick slabs are shown larger than side by side. */
static void test_arrangement(void **state)
{
    static const double extents[4][3][2] = {{{330, 250}, {330, 120}, {250, 120}},
                                            {{400, 300}, {400, 900}, {300, 900}},
                                            {{50, 50}, {50, 50}, {50, 50}},
                                            {{0.5, 700}, {0.5, 3}, {700, 3}}};

    for (int i = 0; i < 4; i++) {
        pipe_overlay_panel p[3];
        int width, height;
        const double scale = pipe_overlay_arrange(extents[i], p, &width, &height);
        assert_true(width <= 962 && height <= 642); /* a pixel each by rounding */
        assert_true(width > 900 || height > 600);
        for (int a = 0; a < 3; a++) {
            check_near(p[a].width, fmax(1, extents[i][a][0] * scale), 0.51);
            check_near(p[a].height, fmax(1, extents[i][a][1] * scale), 0.51);
            assert_true(p[a].left >= 0 && p[a].top >= 14 && p[a].left + p[a].width <= width && p[a].top + p[a].height <= height);
            for (int b = 0; b < a; b++)
                assert_true(p[b].left + p[b].width < p[a].left || p[b].top + p[b].height + 14 < p[a].top); /* 14: a line of text */
        }
        assert_int_equal(p[2].left == p[1].left, i == 0);
    }
}

/* Nothing to show, one voxel, one slice: still a picture. */
static void test_odd_volumes(void **state)
{
    static const int64_t dims[3][3] = {{1, 1, 1}, {300, 200, 1}, {1, 1, 700}};
    io_labels *labels = NULL;

    check_ok(io_labels_default(9, &labels));
    for (int i = 0; i < 3; i++) {
        pipe_label_volume volume = {.organ_bytes = 2, .n_voxels = dims[i][0] * dims[i][1] * dims[i][2]};
        uint8_t *png = NULL;
        size_t n_bytes = 0;
        char fault[200] = "of an earlier picture";
        io_grid_create_plain(dims[i], (const double[3]){0.5, 1, 30}, (const double[3]){0, 0, 0}, &volume.grid);
        check_ok(io_alloc((size_t)volume.n_voxels, 2, &volume.organs));
        check_ok(pipe_overlay_draw(&volume, &volume, labels, NULL, fault, sizeof fault, &png, &n_bytes));
        assert_string_equal(fault, "");
        assert_true(n_bytes > 60 && !memcmp(png, "\x89PNG", 4));
        io_free(&png);
        io_free(&volume.organs);
    }
    io_labels_free(&labels);
}

/* Each voxel's own grey on each of the three planes; another grid is told. */
static void test_images_are_read_by_planes(void **state)
{
    enum { NX = 5, NY = 4, NZ = 3 };
    const int64_t dims[3] = {NX, NY, NZ}, cut[3] = {3, 1, 2};
    int16_t voxels[NX * NY * NZ];
    pipe_overlay_image *image = NULL;
    io_grid grid, other;

    io_grid_create_plain(dims, (const double[3]){1, 1, 1}, (const double[3]){0, 0, 0}, &grid);
    for (int i = 0; i < NX * NY * NZ; i++) voxels[i] = (int16_t)(10 * i); /* percentiles 1 and 99 of 0..590: 5.9 and 584.1 */
    check_ok(io_nifti_write_int16("image.nii.gz", &grid, voxels, 1, 0));
    check_ok(pipe_overlay_image_read("image.nii.gz", &grid, cut, &image));
    for (int at = 0; at < NX * NY * NZ; at++) {
        const bool is_shown = at % NX == 3 || at / NX % NY == 1 || at / NX / NY == 2;
        const double grey = (10 * at - 5.9) / (584.1 - 5.9);
        if (is_shown) check_near(pipe_overlay_image_grey(image, at), fmin(1, fmax(0, grey)), 1e-6); /* float32 */
    }
    pipe_overlay_image_free(&image);
    for (int i = 0; i < NX * NY * NZ; i++) voxels[i] = (int16_t)(i ? 40 : -1000); /* air: HU from -160 to 240 */
    voxels[1] = -1000;
    check_ok(io_nifti_write_int16("ct.nii", &grid, voxels, 1, 0));
    check_ok(pipe_overlay_image_read("ct.nii", &grid, cut, &image));
    check_near(pipe_overlay_image_grey(image, 3), 0.5, 1e-6);
    pipe_overlay_image_free(&image);
    other = grid;
    other.affine[0][3] += 2;
    check_fails(IO_ERR_MISMATCH, pipe_overlay_image_read("ct.nii", &other, cut, &image));
    assert_non_null(strstr(io_last_error_text(), "another grid"));
    assert_null(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_radiological_directions),
        cmocka_unit_test(test_equal_maps_show_one_line),
        cmocka_unit_test(test_arrangement),
        cmocka_unit_test(test_odd_volumes),
        cmocka_unit_test(test_images_are_read_by_planes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
