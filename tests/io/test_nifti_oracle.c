/* Every file of the shared data collection against what nibabel 5 said about it (oracle_A.json): shape, affine, axis codes, and the scaled
 * values' minimum, maximum, mean, first and middle. Files that hold no single real volume must be refused with their status. */
#include "tests/check.h"

#include "io/json.h"
#include "io/memory.h"
#include "io/nifti.h"

typedef struct value_stats {
    double min, max, sum;
    int64_t n_nonfinite;
} value_stats;

/* The scaled value of voxel i, in double; proves io_volume_slice's float against the same number. */
static double read_value(const io_volume *volume, int64_t i)
{
    double voxel = NAN;

    switch (volume->datatype) {
    case IO_UINT8: voxel = ((uint8_t *)volume->voxels)[i]; break;
    case IO_INT8: voxel = ((int8_t *)volume->voxels)[i]; break;
    case IO_UINT16: voxel = ((uint16_t *)volume->voxels)[i]; break;
    case IO_INT16: voxel = ((int16_t *)volume->voxels)[i]; break;
    case IO_UINT32: voxel = ((uint32_t *)volume->voxels)[i]; break;
    case IO_INT32: voxel = ((int32_t *)volume->voxels)[i]; break;
    case IO_UINT64: voxel = (double)((uint64_t *)volume->voxels)[i]; break;
    case IO_INT64: voxel = (double)((int64_t *)volume->voxels)[i]; break;
    case IO_FLOAT32: voxel = ((float *)volume->voxels)[i]; break;
    case IO_FLOAT64: voxel = ((double *)volume->voxels)[i]; break;
    }
    return volume->slope * voxel + volume->inter;
}

static value_stats measure(const io_volume *volume)
{
    const int64_t n_slice = volume->grid.dims[0] * volume->grid.dims[1];
    float *slice = malloc((size_t)n_slice * sizeof *slice);
    value_stats s = {.min = INFINITY, .max = -INFINITY};

    assert_non_null(slice);
    for (int64_t i = 0; i < volume->n_voxels; i++) {
        const double value = read_value(volume, i);
        if (i % n_slice == 0) io_volume_slice(volume, i / n_slice, slice);
        if (slice[i % n_slice] != (float)value) fail_msg("slice value %g, voxel value %g", slice[i % n_slice], value);
        s.n_nonfinite += !isfinite(value);
        s.min = fmin(s.min, value);
        s.max = fmax(s.max, value);
        s.sum += value;
    }
    free(slice);
    return s;
}

static double get(const io_json *entry, const char *key)
{
    double value = NAN;
    if (!io_json_get_number(entry, key, &value)) fail_msg("the oracle has no %s", key);
    return value;
}

static double get_at(const io_json *array, size_t i)
{
    double value = NAN;
    assert_true(io_json_number(io_json_at(array, i), &value));
    return value;
}

/* nibabel reads floats as we do and sums in double; 1e-9 of the range covers the order of its pairwise sum. */
static void check_close(double found, double expected, double range, const char *what, const char *name)
{
    if (!(fabs(found - expected) <= 1e-9 * fmax(1, range))) fail_msg("%s: %s is %.17g, nibabel says %.17g", name, what, found, expected);
}

/* The oracle keeps six significant digits of the affine: half a unit in the sixth, and 1e-9 mm for zeros. */
static void check_rounded(double found, double expected, const char *name)
{
    if (!(fabs(found - expected) <= 5.1e-6 * fabs(found) + 1e-9))
        fail_msg("%s: affine entry %.17g, nibabel says %.6g", name, found, expected);
}

static void check_place(const io_grid *grid, const io_json *entry, const char *name)
{
    const io_json *affine = io_json_get(entry, "affine");
    char codes[4];

    for (size_t row = 0; row < 3; row++)
        for (size_t column = 0; column < 4; column++)
            check_rounded(grid->affine[row][column], get_at(io_json_at(affine, row), column), name);
    io_grid_axcodes(grid, codes);
    if (strcmp(codes, io_json_get_text(entry, "axcodes")) != 0)
        fail_msg("%s: axes %s, nibabel says %s", name, codes, io_json_get_text(entry, "axcodes"));
}

static void check_values(const io_volume *volume, const io_json *entry, const char *name)
{
    const io_json *middle = io_json_get(entry, "mid_index");
    const value_stats s = measure(volume);
    const double range = fmax(fabs(s.min), fabs(s.max));
    int64_t index = 0;

    assert_int_equal(volume->n_voxels, (int64_t)get(entry, "n"));
    assert_int_equal(s.n_nonfinite, (int64_t)get(entry, "nonfinite"));
    check_close(s.min, get(entry, "min"), range, "minimum", name);
    check_close(s.max, get(entry, "max"), range, "maximum", name);
    check_close(s.sum / (double)volume->n_voxels, get(entry, "mean"), range, "mean", name);
    check_close(read_value(volume, 0), get(entry, "first"), range, "first value", name);
    for (size_t axis = io_json_size(middle); axis-- > 0;)
        if (axis < 3) index = index * volume->grid.dims[axis] + (int64_t)get_at(middle, axis);
    check_close(read_value(volume, index), get(entry, "mid_value"), range, "middle value", name);
}

/* One volume of real numbers? RGB, complex and files with a longer fourth or fifth axis are not. */
static bool is_readable(const io_json *entry)
{
    const io_json *shape = io_json_get(entry, "shape");

    if (io_json_get(entry, "note")) return false; /* nibabel's own dtype is a structure or complex */
    for (size_t axis = 3; axis < io_json_size(shape); axis++)
        if (get_at(shape, axis) != 1) return false;
    return true;
}

static void check_entry(const char *name, const io_json *entry)
{
    char shared_name[512];
    const io_json *shape = io_json_get(entry, "shape");
    io_volume *volume = NULL;

    snprintf(shared_name, sizeof shared_name, "data/%s", name);
    const char *path = check_shared(shared_name);
    if (!path) fail_msg("%s is in the oracle but not in the collection", name);
    if (!is_readable(entry)) {
        check_fails(IO_ERR_UNSUPPORTED, io_nifti_read(path, &volume));
        return;
    }
    check_ok(io_nifti_read(path, &volume));
    for (size_t axis = 0; axis < 3; axis++)
        assert_int_equal(volume->grid.dims[axis], axis < io_json_size(shape) ? (int64_t)get_at(shape, axis) : 1);
    check_place(&volume->grid, entry, name);
    check_values(volume, entry, name);
    io_volume_free(&volume);
}

/* minimal2 is a pair whose two halves differ in compression; nibabel cannot open it, its content is that of minimal. */
static void check_mixed_pair(const io_json *oracle)
{
    const io_json *entry = io_json_get(oracle, "odd/nifti-rs/minimal.hdr");
    assert_non_null(entry);
    check_entry("odd/nifti-rs/minimal2.hdr", entry);
    check_entry("odd/nifti-rs/minimal2.img.gz", entry);
    check_entry("odd/nifti-rs/minimal.img", entry);
    check_entry("odd/reader-js/air.img.gz", io_json_get(oracle, "odd/reader-js/air.hdr.gz"));
}

static void test_every_file_reads_as_nibabel_says(void **state)
{
    io_json *oracle = NULL;
    size_t n_checked = 0;

    check_ok(io_json_read(check_shared("data/oracle_A.json"), 1 << 24, &oracle));
    for (size_t i = 0; i < io_json_size(oracle); i++) {
        const io_json *entry = io_json_at(oracle, i);
        if (io_json_get(entry, "error")) continue; /* nibabel itself fails; see check_mixed_pair */
        check_entry(io_json_key(entry), entry);
        n_checked++;
    }
    check_mixed_pair(oracle);
    assert_true(n_checked >= 70); /* an oracle that lost its entries proves nothing */
    print_message("%zu files\n", n_checked);
    io_json_free(&oracle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_file_reads_as_nibabel_says),
    };
    if (!check_shared("data/oracle_A.json")) return CHECK_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
