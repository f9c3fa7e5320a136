/* prepare and dataset on the real CT of the shared data: the very images and labels that the reference was trained with. */
#include "tests/check.h"

#include "io/labels.h"
#include "pipeline/dataset.h"
#include "pipeline/prepare.h"
#include "tests/golden/npy.h"
#include "tests/pipeline/folders.h"

static bool go_on(void *context)
{
    return true;
}

static void copy_shared(char *out, size_t n_bytes, const char *name)
{
    const char *path = check_shared(name);

    assert_non_null(path);
    snprintf(out, n_bytes, "%s", path);
}

static void prepare_shared(const char *folder, const char *image, const char *label)
{
    static const char *const ids[] = {"ct"};
    static const bool has_failed[1] = {false};
    const pipe_part parts[] = {PIPE_PART_TRAIN};
    const char *const paths[] = {image, label};
    const pipe_source source = {"ct", paths, 2, false};
    const pipe_split split = {0};
    const char *stage;
    char text[PIPE_PREPARE_TEXT_BYTES];
    io_labels *names = NULL;
    pipe_label_map *map = NULL;
    int64_t n_slices = 0;

    check_ok(io_folder_create(folder));
    check_ok(io_labels_default(9, &names));
    check_ok(pipe_label_map_create(names, &map));
    check_ok(pipe_label_map_apply(map, "totalsegmentator"));
    pipe_prepare_options options = {.folder = folder, .map = map, .tolerance_mm = 0.01, .text = text};
    pipe_options_default(&options.slices);
    options.slices.image_size = 224;
    check_ok(pipe_prepare_text(&options, text));
    check_ok(pipe_prepare_case(&options, &source, go_on, NULL, &n_slices, &stage));
    assert_true(n_slices > 94);
    const pipe_store_about about = {folder, text, 224, names, &split};
    check_ok(pipe_store_write(&about, ids, parts, has_failed, 1));
    pipe_label_map_free(&map);
    io_labels_free(&names);
}

static void test_reference_images(void **state)
{
    static const uint32_t slices[] = {90, 94}; /* of example_ct: golden/README.md of the shared data */
    char image_path[4096], label_path[4096], golden_image[4096], golden_label[4096];
    const char *folder = folder_of("golden");
    npy_array images, labels;
    pipe_dataset *dataset = NULL;
    const size_t n_image = 512 * 512, n_low = 128 * 128;

    copy_shared(image_path, sizeof image_path, "data/totalseg_ct3mm/example_ct.nii.gz");
    copy_shared(label_path, sizeof label_path, "data/totalseg_ct3mm/example_seg_fast_force_split.nii.gz");
    copy_shared(golden_image, sizeof golden_image, "golden/train/images_512.npy");
    copy_shared(golden_label, sizeof golden_label, "golden/train/low_res_labels.npy");
    prepare_shared(folder, image_path, label_path);
    npy_read(golden_image, &images);
    npy_read(golden_label, &labels);
    assert_int_equal(images.n, 2 * n_image);
    assert_int_equal(labels.n, 2 * n_low);
    const pipe_dataset_options options = {folder, PIPE_PART_TRAIN, 512, 0, false, false, 0};
    check_ok(pipe_dataset_open(&options, &dataset));
    float *image = malloc(n_image * sizeof *image);
    uint16_t *low = malloc(n_low * sizeof *low);
    int n_foreground = 0;
    for (size_t i = 0; i < 2; i++) {
        check_ok(pipe_dataset_get(dataset, 0, slices[i], image, low, NULL));
        /* SciPy sums the spline in another order: one unit in the last place of values from 1 to 2 */
        check_near(check_max_error(image, images.f + i * n_image, n_image), 0, 1.2e-7);
        for (size_t p = 0; p < n_low; p++) {
            assert_int_equal(low[p], labels.u[i * n_low + p]);
            n_foreground += low[p] > 0;
        }
    }
    assert_true(n_foreground > 1000);
    free(image);
    free(low);
    npy_free(&images);
    npy_free(&labels);
    pipe_dataset_free(&dataset);
    remove_folder(folder_of("golden"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference_images)};

    if (!check_shared("golden/train/images_512.npy") || !check_shared("data/totalseg_ct3mm/example_ct.nii.gz")) return CHECK_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
