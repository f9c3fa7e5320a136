/* One case on its way into a store: image and labels stay together in every storage order, zooms are those of spec 5.3, and what does not
 * fit is refused with the stage and a text. The reference's own numbers: test_golden_dataset.c. */
#include "tests/check.h"

#include "io/labels.h"
#include "io/nifti.h"
#include "io/slices.h"
#include "pipeline/prepare.h"
#include "pipeline/zoom.h"
#include "tests/pipeline/folders.h"

enum { NX = 16, NY = 16, NZ = 16, SIZE = 16, N = NX * NY * NZ };

static io_labels *names;
static pipe_label_map *map;
static char text[PIPE_PREPARE_TEXT_BYTES], image_path[512], label_path[512];
static pipe_prepare_options options;
static int n_ticks_left;

static bool count_down(void *context)
{
    return n_ticks_left-- > 0;
}

static int set_up(void **state)
{
    check_ok(io_folder_create(folder_of("prepare")));
    snprintf(image_path, sizeof image_path, "%s/image.nii", folder_of("prepare"));
    snprintf(label_path, sizeof label_path, "%s/label.nii", folder_of("prepare"));
    check_ok(io_labels_default(9, &names));
    check_ok(pipe_label_map_create(names, &map));
    options = (pipe_prepare_options){.folder = folder_of("prepare"), .map = map, .tolerance_mm = 0.01, .text = text};
    pipe_options_default(&options.slices);
    options.slices.image_size = SIZE;
    check_ok(pipe_prepare_text(&options, text));
    n_ticks_left = 1 << 20;
    return 0;
}

static int tear_down(void **state)
{
    pipe_label_map_free(&map);
    io_labels_free(&names);
    remove_folder(folder_of("prepare"));
    return 0;
}

/* Voxel axis a runs along world axis world[a], against it where sign[a] is -1. */
static void turn_grid(io_grid *grid, const int world[3], const int sign[3])
{
    const int64_t dims[3] = {NX, NY, NZ};

    io_grid_create_plain(dims, (const double[3]){1, 1, 1}, (const double[3]){0, 0, 0}, grid);
    memset(grid->srow, 0, sizeof grid->srow);
    for (int a = 0; a < 3; a++) grid->srow[world[a]][a] = sign[a];
    grid->qform_code = 0;
    memcpy(grid->affine, grid->srow, sizeof grid->affine);
}

/* Labels 0..8 without symmetry, and an image that tells the label: -100 + 40 label HU. */
static void write_pair(const io_grid *grid, int add_to_labels)
{
    int16_t image[N];
    uint8_t labels[N];

    for (int i = 0; i < N; i++) {
        const int label = (int)((uint32_t)i * 2654435761u >> 8) % 9;
        image[i] = (int16_t)(-100 + 40 * label);
        labels[i] = (uint8_t)(label + add_to_labels);
    }
    check_ok(io_nifti_write_int16(image_path, grid, image, 1, 0));
    check_ok(io_nifti_write_labels(label_path, grid, labels, 1, NULL, NULL));
}

static io_status prepare(const char **stage)
{
    const char *const paths[] = {image_path, label_path};
    const pipe_source source = {"case", paths, 2, false};

    return pipe_prepare_case(&options, &source, count_down, NULL, NULL, stage);
}

static void open_case(io_slices **out)
{
    char *path = NULL;

    check_ok(io_path_join(options.folder, "case.slices", &path));
    check_ok(io_slices_open(path, out));
    io_free(&path);
}

static void check_pair(void)
{
    io_slices *slices = NULL;
    const char *stage;
    float image[SIZE * SIZE];
    uint16_t labels[SIZE * SIZE];

    check_ok(prepare(&stage));
    open_case(&slices);
    assert_int_equal(io_slices_get_shape(slices)->n_slices, NZ);
    for (int64_t k = 0; k < NZ; k++) {
        check_ok(io_slices_read(slices, k, image, labels));
        for (int i = 0; i < SIZE * SIZE; i++) check_near(image[i], (25 + 40.0 * labels[i]) / 400, 1e-7); /* one rounding to float */
    }
    io_slices_free(&slices);
}

static void test_orientations(void **state)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

    for (int turn = 0; turn < 48; turn++) {
        const int sign[3] = {turn & 1 ? -1 : 1, turn & 2 ? -1 : 1, turn & 4 ? -1 : 1};
        io_grid grid;
        turn_grid(&grid, orders[turn / 8], sign);
        write_pair(&grid, 0);
        options.slices.orient = PIPE_ORIENT_RAS;
        check_pair();
        options.slices.orient = PIPE_ORIENT_NATIVE;
        if (turn % 16 == 5) check_pair();
    }
}

/* Another stored size: the zooms of zoom.h on each slice, which are proven against SciPy. */
static void test_zooms(void **state)
{
    static const int sign[3] = {1, 1, 1}, order[3] = {0, 1, 2};
    io_grid grid;
    io_slices *slices = NULL;
    pipe_zoom *zoom = NULL;
    const char *stage;
    float small[NX * NY], expected[24 * 24], image[24 * 24];
    uint16_t small_labels[NX * NY], expected_labels[24 * 24], labels[24 * 24];
    void *scratch = NULL;

    turn_grid(&grid, order, sign);
    write_pair(&grid, 0);
    check_pair();
    open_case(&slices);
    check_ok(io_slices_read(slices, 5, small, small_labels)); /* as it is, unzoomed */
    io_slices_free(&slices);
    options.slices.image_size = 24;
    check_ok(prepare(&stage));
    options.slices.image_size = SIZE;
    open_case(&slices);
    check_ok(io_slices_read(slices, 5, image, labels));
    io_slices_free(&slices);
    check_ok(pipe_zoom_create(NX, NY, 24, 24, &zoom));
    check_ok(io_alloc(pipe_zoom_scratch_bytes(zoom), 1, &scratch));
    pipe_zoom_cubic(zoom, small, expected, scratch);
    pipe_zoom_nearest(zoom, small_labels, expected_labels);
    assert_memory_equal(image, expected, sizeof expected);
    assert_memory_equal(labels, expected_labels, sizeof expected_labels);
    io_free(&scratch);
    pipe_zoom_free(&zoom);
}

static void expect_failure(io_status expected, const char *expected_stage, const char *words)
{
    const char *stage = "";

    check_fails(expected, prepare(&stage));
    assert_string_equal(stage, expected_stage);
    if (!strstr(io_last_error_text(), words)) fail_msg("\"%s\" lacks \"%s\"", io_last_error_text(), words);
}

static void test_refuses(void **state)
{
    static const int sign[3] = {1, 1, 1}, order[3] = {0, 1, 2};
    io_grid grid;
    char *path = NULL;
    uint8_t labels[N] = {0};

    check_ok(io_path_join(options.folder, "case.slices", &path));
    check_ok(io_file_remove(path));
    turn_grid(&grid, order, sign);
    write_pair(&grid, 1); /* labels 1..9 */
    expect_failure(IO_ERR_RANGE, "labels", "values such as 9");
    write_pair(&grid, 0);
    grid.srow[1][3] = 0.02; /* mm */
    check_ok(io_nifti_write_labels(label_path, &grid, labels, 1, NULL, NULL));
    expect_failure(IO_ERR_MISMATCH, "labels", "0.02 mm apart");
    grid.dims[2]--;
    check_ok(io_nifti_write_labels(label_path, &grid, labels, 1, NULL, NULL));
    expect_failure(IO_ERR_MISMATCH, "labels", "16 x 16 x 15");
    grid.dims[2]++;
    grid.srow[1][3] = 0;
    write_pair(&grid, 0);
    n_ticks_left = 3;
    expect_failure(IO_ERR_STOPPED, "prepare", "stopped");
    n_ticks_left = 1 << 20;
    assert_false(io_file_exists(path)); /* none of them left a file */
    io_free(&path);
}

static void test_done(void **state)
{
    static const int sign[3] = {1, 1, 1}, order[3] = {0, 1, 2};
    const char *const paths[] = {image_path, label_path};
    const pipe_source source = {"case", paths, 2, false};
    const char *stage;
    io_grid grid;
    bool is_done;
    char reason[160], other[PIPE_PREPARE_TEXT_BYTES];
    pipe_prepare_options changed = options;

    turn_grid(&grid, order, sign);
    write_pair(&grid, 0);
    check_ok(prepare(&stage));
    check_ok(pipe_prepare_check_done(&options, &source, &is_done, reason));
    assert_true(is_done);
    changed.slices.high = 300;
    changed.text = other;
    check_ok(pipe_prepare_text(&changed, other));
    check_ok(pipe_prepare_check_done(&changed, &source, &is_done, reason));
    assert_false(is_done);
    map->organ_of[3] = 4; /* another label map is another text */
    check_ok(pipe_prepare_text(&options, other));
    map->organ_of[3] = 3;
    assert_string_not_equal(other, text);
    write_pair(&grid, 0);
    check_ok(io_nifti_write_labels(label_path, &grid, (const uint8_t[N]){1}, 1, NULL, NULL));
    check_ok(pipe_prepare_check_done(&options, &source, &is_done, reason));
    assert_false(is_done);
    assert_string_equal(reason, "the input has changed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_orientations), cmocka_unit_test(test_zooms), cmocka_unit_test(test_refuses),
                                       cmocka_unit_test(test_done)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
