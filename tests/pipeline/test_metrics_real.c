/* Real pairs of label maps against values that medpy 0.5 and surface-distance 0.1 gave for them: ../shared/data/metrics_reference_A.json.
 */
#include "tests/pipeline/masks.h"

#include "io/json.h"
#include "io/nifti.h"

enum { MAX_JSON_BYTES = 1 << 20, MAX_LABEL = 255 };

static const char *get_shared(const io_json *entry, const char *key)
{
    char name[512];

    snprintf(name, sizeof name, "data/%s", io_json_get_text(entry, key));
    return check_shared(name);
}

/* The labels of a map as bytes [nz][ny][nx]; caller frees. */
static uint8_t *read_map(const char *path, io_grid *grid)
{
    io_volume *volume = NULL;
    uint8_t *labels;
    float *slice;
    int64_t n;

    assert_non_null(path);
    check_ok(io_nifti_read(path, &volume));
    *grid = volume->grid;
    n = grid->dims[0] * grid->dims[1];
    labels = malloc((size_t)volume->n_voxels);
    slice = malloc((size_t)n * sizeof *slice);
    assert_true(labels && slice);
    for (int64_t k = 0; k < grid->dims[2]; k++) {
        io_volume_slice(volume, k, slice);
        for (int64_t at = 0; at < n; at++) {
            assert_true(slice[at] >= 0 && slice[at] <= MAX_LABEL && slice[at] == floorf(slice[at]));
            labels[k * n + at] = (uint8_t)slice[at];
        }
    }
    free(slice);
    io_volume_free(&volume);
    return labels;
}

/* Both null and NaN, or the same number to 1e-6; returns 1 if a number was compared. */
static int check_number(const io_json *object, const char *key, double found)
{
    double expected;

    if (!io_json_get_number(object, key, &expected)) {
        assert_true(isnan(found));
        return 0;
    }
    check_relative(found, expected, 1e-6);
    return 1;
}

static int check_label(const io_json *label, const pipe_metrics *m)
{
    const io_json *mm = io_json_get(label, "medpy_mm"), *voxels = io_json_get(label, "medpy_vox");
    const io_json *surfels = io_json_get(label, "surface_distance");
    const pipe_surface *s = m->surface;
    double there = NAN, back = NAN;
    int n = 0;

    n += check_number(label, "ref_vox", (double)m->overlap.n_reference);
    n += check_number(label, "seg_vox", (double)m->overlap.n_prediction);
    n += check_number(label, "inter", (double)m->overlap.n_both);
    if (m->overlap.n_reference == 0 || m->overlap.n_prediction == 0) {
        assert_true(isnan(s[PIPE_MEDPY].hd) && isnan(s[PIPE_DEEPMIND].hd) && isnan(s[PIPE_SAMED].hd95));
        return n;
    }
    n += check_number(label, "dice", pipe_overlap_dice(&m->overlap));
    n += check_number(mm, "hd", s[PIPE_MEDPY].hd) + check_number(mm, "hd95", s[PIPE_MEDPY].hd95);
    n += check_number(mm, "assd_medpy", s[PIPE_MEDPY].masd) + check_number(mm, "assd_pooled", s[PIPE_RELOADED].assd);
    n += check_number(mm, "assd_pooled", s[PIPE_MEDPY].assd); /* MedPy 0.5.2; the file is older and calls the mean of means assd_medpy */
    n += check_number(mm, "assd_medpy", s[PIPE_RELOADED].masd) + check_number(mm, "hd95_maxdir", s[PIPE_RELOADED].hd95);
    n += check_number(voxels, "hd95", s[PIPE_SAMED].hd95);
    n += check_number(surfels, "hd", s[PIPE_DEEPMIND].hd) + check_number(surfels, "hd95", s[PIPE_DEEPMIND].hd95);
    n += check_number(surfels, "nsd1", s[PIPE_DEEPMIND].nsd[0]) + check_number(surfels, "nsd2", s[PIPE_DEEPMIND].nsd[1]);
    n += check_number(surfels, "nsd3", s[PIPE_DEEPMIND].nsd[2]);
    assert_true(io_json_get_number(surfels, "avg_gt2pred", &there) && io_json_get_number(surfels, "avg_pred2gt", &back));
    check_relative(s[PIPE_DEEPMIND].masd, (there + back) / 2, 1e-6);
    return n + 1;
}

static int check_pair(const io_json *entry)
{
    pipe_metrics_options options = {.conventions = ALL_CONVENTIONS, .percentile = 95, .tolerances_mm = {1, 2, 3}, .n_tolerances = 3};
    const io_json *labels = io_json_get(entry, "per_label");
    pipe_metrics_scratch *scratch = NULL;
    pipe_label_boxes *boxes = NULL;
    io_grid grid, other;
    uint8_t *reference = read_map(get_shared(entry, "ref"), &grid), *prediction = read_map(get_shared(entry, "seg"), &other);
    int n = 0;

    assert_memory_equal(grid.dims, other.dims, sizeof grid.dims);
    for (size_t a = 0; a < 3; a++) assert_true(io_json_number(io_json_at(io_json_get(entry, "spacing"), a), &options.spacing_mm[a]));
    check_ok(pipe_metrics_scratch_create(&scratch));
    check_ok(pipe_label_boxes_create(grid.dims, reference, 1, prediction, 1, MAX_LABEL + 1, &boxes));
    for (const io_json *label = io_json_at(labels, 0); label; label = io_json_next(label)) {
        pipe_metrics m;
        check_ok(pipe_metrics_measure(boxes, (int)strtol(io_json_key(label), NULL, 10), &options, scratch, &m));
        n += check_label(label, &m);
    }
    pipe_label_boxes_free(&boxes);
    pipe_metrics_scratch_free(&scratch);
    free(reference);
    free(prediction);
    return n;
}

static void test_reference_values(void **state)
{
    io_json *root = NULL;
    int n = 0;

    check_ok(io_json_read(check_shared("data/metrics_reference_A.json"), MAX_JSON_BYTES, &root));
    for (const io_json *entry = io_json_at(root, 0); entry; entry = io_json_next(entry)) {
        if (io_json_is_object(entry)) n += check_pair(entry);
    }
    io_json_free(&root);
    print_message("%d values agree\n", n);
    assert_true(n > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference_values)};

    if (!check_shared("data/metrics_reference_A.json")) {
        printf("skipped: ../shared/data is not here\n");
        return CHECK_SKIP;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
