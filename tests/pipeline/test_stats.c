/* Volumes and intensities per label against sums done by hand. */
#include "tests/check.h"
#include "tests/pipeline/volumes.h"

#include "pipeline/stats.h"

/* 4 x 3 x 3 voxels of 1 x 2 x 2.5 mm; value = 10 i + j + 1000 k; one voxel of label 2 in the middle, a column of label 1. */
static void build(io_volume *volume, uint16_t labels[36])
{
    volume_build(volume, IO_INT16, 4, 3, 3, 1, 2, 2.5);
    memset(labels, 0, 36 * sizeof *labels);
    for (int at = 0; at < 36; at++) ((int16_t *)volume->voxels)[at] = (int16_t)(10 * (at % 4) + at / 4 % 3 + 1000 * (at / 12));
    labels[1 + 4 * 1 + 12 * 1] = 2;
    labels[2 + 4 * 1 + 12 * 1] = 1;
    labels[2 + 4 * 1 + 12 * 2] = 1;
}

static void check_all(const io_volume *volume, const void *labels, int label_bytes, double slope, double inter)
{
    pipe_label_stats stats[4];

    check_ok(pipe_stats_measure(volume, labels, label_bytes, 4, stats));
    assert_int_equal(stats[0].n_voxels, 33);
    assert_int_equal(stats[0].touches_border, 1);
    assert_int_equal(stats[1].n_voxels, 2);
    check_near(stats[1].volume_ml, 2 * 5.0 / 1000, 1e-12);
    check_near(stats[1].mean, slope * 1521 + inter, 1e-9);
    check_near(stats[1].sd, slope * 500, 1e-9);
    assert_true(stats[1].first_slice == 1 && stats[1].last_slice == 2 && stats[1].touches_border == 1);
    assert_int_equal(stats[2].n_voxels, 1);
    check_near(stats[2].mean, slope * 1011 + inter, 1e-9);
    check_near(stats[2].sd, 0, 0);
    assert_true(stats[2].first_slice == 1 && stats[2].last_slice == 1 && stats[2].touches_border == 0);
    assert_true(stats[3].value == 3 && stats[3].n_voxels == 0 && stats[3].first_slice == -1 && stats[3].last_slice == -1);
    assert_true(stats[3].volume_ml == 0 && stats[3].mean == 0 && stats[3].sd == 0 && stats[3].touches_border == 0);
}

static void test_sums_by_hand(void **state)
{
    uint16_t words[36];
    uint8_t bytes[36];
    io_volume volume;

    build(&volume, words);
    for (int i = 0; i < 36; i++) bytes[i] = (uint8_t)words[i];
    check_all(&volume, words, 2, 1, 0);
    check_all(&volume, bytes, 1, 1, 0);
    volume.slope = 0.5;
    volume.inter = -1024;
    check_all(&volume, bytes, 1, 0.5, -1024);
    volume_clear(&volume);
}

/* A sheared affine keeps the determinant, not the product of the column lengths. */
static void test_volume_follows_the_determinant(void **state)
{
    pipe_label_stats stats[4];
    uint16_t labels[36];
    io_volume volume;

    build(&volume, labels);
    volume.grid.affine[0][2] = 2.5;
    volume.grid.affine[1][1] = -2;
    check_ok(pipe_stats_measure(&volume, labels, 2, 4, stats));
    check_near(stats[0].volume_ml, 33 * 5.0 / 1000, 1e-12);
    volume_clear(&volume);
}

static void test_strange_labels_are_refused(void **state)
{
    pipe_label_stats stats[4];
    uint16_t labels[36];
    io_volume volume;

    build(&volume, labels);
    labels[17] = 4;
    check_fails(IO_ERR_RANGE, pipe_stats_measure(&volume, labels, 2, 4, stats));
    assert_non_null(strstr(io_last_error_text(), "voxel (1, 1, 1) has label 4; expected 0 to 3"));
    check_fails(IO_ERR_ARGUMENT, pipe_stats_measure(&volume, labels, 3, 4, stats));
    volume_clear(&volume);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_by_hand),
        cmocka_unit_test(test_volume_follows_the_determinant),
        cmocka_unit_test(test_strange_labels_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
