/* Datatypes, scaled slices and the names of axes, on volumes made in memory. */
#include "tests/check.h"

#include "io/memory.h"
#include "io/nifti.h"
#include "io/volume.h"

enum { NX = 19, NY = 3, NZ = 4, N_SLICE = NX * NY, N = N_SLICE * NZ }; /* 57 voxels per slice: no vector length divides it */

static const io_datatype types[] = {IO_UINT8,  IO_INT8,  IO_INT16,  IO_UINT16,  IO_INT32,
                                    IO_UINT32, IO_INT64, IO_UINT64, IO_FLOAT32, IO_FLOAT64};
enum { N_TYPES = sizeof types / sizeof types[0] };

static void test_datatypes(void **state)
{
    static const size_t n_bytes[] = {1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
    static const char *const names[] = {"uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"};

    for (int t = 0; t < N_TYPES; t++) {
        assert_int_equal(io_datatype_bytes(types[t]), n_bytes[t]);
        assert_string_equal(io_datatype_name(types[t]), names[t]);
    }
    assert_int_equal(io_datatype_bytes((io_datatype)128), 0);
    assert_string_equal(io_datatype_name((io_datatype)128), "unknown");
}

/* The smallest and largest value of the type at voxels 0 and 1, then counting up. */
static double put_value(io_datatype type, void *voxels, int i)
{
#define PUT(code, ctype, low, high)                                                                                                        \
    case code: ((ctype *)voxels)[i] = i == 0 ? (ctype)(low) : i == 1 ? (ctype)(high) : (ctype)i; return (double)((ctype *)voxels)[i]
    switch (type) {
        PUT(IO_UINT8, uint8_t, 0, UINT8_MAX);
        PUT(IO_INT8, int8_t, INT8_MIN, INT8_MAX);
        PUT(IO_INT16, int16_t, INT16_MIN, INT16_MAX);
        PUT(IO_UINT16, uint16_t, 0, UINT16_MAX);
        PUT(IO_INT32, int32_t, INT32_MIN, INT32_MAX);
        PUT(IO_UINT32, uint32_t, 0, UINT32_MAX);
        PUT(IO_INT64, int64_t, INT64_MIN, INT64_MAX);
        PUT(IO_UINT64, uint64_t, 0, UINT64_MAX);
        PUT(IO_FLOAT32, float, -1e38f, 0.1f);
        PUT(IO_FLOAT64, double, -1e30, 1.0 / 3);
    }
#undef PUT
    return NAN;
}

/* Scaled in double and rounded once: the same expression here, written for one voxel. */
static void check_slices(io_datatype type, double slope, double inter)
{
    static double expected[N];
    float slice[N_SLICE + 1];
    io_volume *volume = NULL;

    check_ok(io_alloc(1, sizeof *volume, (void **)&volume));
    *volume = (io_volume){.grid = {.dims = {NX, NY, NZ}}, .datatype = type, .slope = slope, .inter = inter, .n_voxels = N};
    check_ok(io_alloc(N, io_datatype_bytes(type), &volume->voxels));
    for (int i = 0; i < N; i++) expected[i] = slope * put_value(type, volume->voxels, i) + inter;
    for (int k = 0; k < NZ; k++) {
        slice[N_SLICE] = 12345;
        io_volume_slice(volume, k, slice);
        for (int i = 0; i < N_SLICE; i++) check_near(slice[i], (float)expected[k * N_SLICE + i], 0);
        check_near(slice[N_SLICE], 12345, 0); /* nothing behind the slice is touched */
    }
    io_volume_free(&volume);
    assert_null(volume);
    io_volume_free(&volume);
}

static void test_slices_of_every_type(void **state)
{
    for (int t = 0; t < N_TYPES; t++) {
        check_slices(types[t], 1, 0);
        check_slices(types[t], 0.1f, -1024);
        check_slices(types[t], 1, 0.5);
        check_slices(types[t], -2, 0);
    }
}

/* A grid whose affine is the given columns times spacing. */
static io_grid grid_of(const double columns[3][3])
{
    io_grid grid = {.dims = {NX, NY, NZ}};
    for (int axis = 0; axis < 3; axis++) {
        grid.spacing_mm[axis] = axis + 0.5;
        for (int row = 0; row < 3; row++) grid.affine[row][axis] = columns[axis][row] * grid.spacing_mm[axis];
    }
    return grid;
}

/* All 48 ways to lay three axes along three axes, a little oblique so that nothing is exactly zero. */
static void test_axes_of_all_orientations(void **state)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static const char letters[2][4] = {"RAS", "LPI"};

    for (int o = 0; o < 48; o++) {
        const int *order = orders[o / 8];
        double columns[3][3];
        char codes[4];
        int axis_of_world[3], flip_of_world[3];
        for (int axis = 0; axis < 3; axis++)
            for (int row = 0; row < 3; row++) columns[axis][row] = (row == order[axis] ? 0.98 : 0.1) * (o >> axis & 1 ? -1 : 1);
        const io_grid grid = grid_of(columns);
        io_grid_axcodes(&grid, codes);
        io_grid_orientation(&grid, axis_of_world, flip_of_world);
        for (int axis = 0; axis < 3; axis++) {
            assert_int_equal(codes[axis], letters[o >> axis & 1][order[axis]]);
            assert_int_equal(axis_of_world[order[axis]], axis);
            assert_int_equal(flip_of_world[order[axis]], o >> axis & 1);
        }
        assert_int_equal(codes[3], 0);
    }
}

/* Two axes that both lie nearest to R: the stronger takes it, the other what is left (nibabel: the same). */
static void test_axes_that_compete(void **state)
{
    const double columns[3][3] = {{0.75, 0.66, 0}, {0.72, -0.69, 0}, {0, 0, 1}};
    const io_grid grid = grid_of(columns);
    char codes[4];

    io_grid_axcodes(&grid, codes);
    assert_string_equal(codes, "RPS");
}

static void check_degenerate(const double columns[3][3], const char *expected)
{
    const io_grid grid = grid_of(columns);
    char codes[4];
    int axis_of_world[3], flip_of_world[3];

    io_grid_axcodes(&grid, codes);
    assert_string_equal(codes, expected);
    io_grid_orientation(&grid, axis_of_world, flip_of_world);
    assert_int_equal(1 << axis_of_world[0] | 1 << axis_of_world[1] | 1 << axis_of_world[2], 7); /* still a permutation */
}

static void test_degenerate_affines(void **state)
{
    check_degenerate((const double[3][3]){{0, 0, 0}, {0, 0, 0}, {0, 0, 0}}, "???");
    check_degenerate((const double[3][3]){{1, 0, 0}, {1, 0, 0}, {0, 0, 1}}, "R?S");
    check_degenerate((const double[3][3]){{0, 0, -1}, {0, 0, 0}, {1, 0, 0}}, "I?R");
    check_degenerate((const double[3][3]){{NAN, 0, 0}, {0, 1, 0}, {0, 0, 1}}, "???");
    check_degenerate((const double[3][3]){{1, 0, 0}, {0, INFINITY, 0}, {0, 0, 1}}, "???");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_datatypes),
        cmocka_unit_test(test_slices_of_every_type),
        cmocka_unit_test(test_axes_of_all_orientations),
        cmocka_unit_test(test_axes_that_compete),
        cmocka_unit_test(test_degenerate_affines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
