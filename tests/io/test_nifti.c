/* NIfTI files of every kind, built byte by byte, read back; label maps written and compared bit for bit. */
#include "tests/check.h"

#include <sys/stat.h>
#include <unistd.h>

#include <nifti2_io.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/sink.h"
#include "io/stream.h"
#include "io/volume.h"
#include "tests/io/nifti_bytes.h"

static const struct {
    int code;
    size_t n_bytes;
} types[] = {{DT_UINT8, 1},  {DT_INT8, 1},  {DT_INT16, 2},  {DT_UINT16, 2},  {DT_INT32, 4},
             {DT_UINT32, 4}, {DT_INT64, 8}, {DT_UINT64, 8}, {DT_FLOAT32, 4}, {DT_FLOAT64, 8}};
enum { N_TYPES = sizeof types / sizeof types[0] };

static nasty n; /* 128 KiB: not on the stack */

static void save(const char *path, const void *bytes, size_t n_bytes)
{
    io_sink *sink;
    check_ok(io_sink_open(path, n_bytes, &sink));
    check_ok(io_sink_write(sink, bytes, n_bytes));
    check_ok(io_sink_commit(&sink, NULL));
}

/* Voxels, scaling and place of a nasty volume, against the recipe and nifti_clib's own affine. */
static void check_nasty(const io_volume *volume)
{
    static float slice[NASTY_NX * NASTY_NY];
    const nifti_dmat44 expected = nifti_quatern_to_dmat44(0.1f, -0.2f, 0.3f, -91.5, 12.25, -700.125, 0.75f, 1.3f, 2.9f, -1);

    assert_int_equal(volume->grid.dims[0], NASTY_NX);
    assert_int_equal(volume->grid.dims[1], NASTY_NY);
    assert_int_equal(volume->grid.dims[2], NASTY_NZ);
    assert_int_equal(volume->n_voxels, NASTY_N);
    for (int row = 0; row < 3; row++)
        for (int column = 0; column < 4; column++)
            check_near(volume->grid.affine[row][column], expected.m[row][column], 1e-9); /* double arithmetic */
    check_near(volume->grid.spacing_mm[1], 1.3f, 1e-12);
    for (int64_t k = 0; k < NASTY_NZ; k++) {
        io_volume_slice(volume, k, slice);
        for (int64_t i = 0; i < NASTY_NX * NASTY_NY; i++)
            check_near(slice[i], 0.25 * nasty_value((int)volume->datatype, k * NASTY_NX * NASTY_NY + i) - 3, 0); /* all exact in float */
    }
}

static void check_file(const char *path)
{
    io_volume *volume = NULL;
    io_nifti_info info;
    char sha256[65];

    check_ok(io_nifti_read(path, &volume));
    check_nasty(volume);
    check_ok(io_nifti_read_info(path, &info));
    assert_int_equal(info.datatype, n.datatype);
    assert_int_equal(info.is_big_endian, n.is_swapped); /* this machine is little-endian */
    assert_int_equal(info.is_pair, n.is_pair);
    assert_string_equal(info.description, "nasty");
    assert_memory_equal(&info.grid, &volume->grid, sizeof info.grid);
    check_ok(io_nifti_hash(path, sha256));
    assert_string_equal(sha256, volume->sha256);
    assert_int_equal(strlen(sha256), 64);
    io_volume_free(&volume);
    assert_null(volume);
}

static void test_every_datatype_version_and_byte_order(void **state)
{
    for (int t = 0; t < N_TYPES; t++)
        for (int version = 1; version <= 2; version++)
            for (int swapped = 0; swapped < 2; swapped++) {
                n = (nasty){.version = version, .is_swapped = swapped, .datatype = types[t].code, .voxel_bytes = types[t].n_bytes};
                nasty_build(&n);
                save("nasty.nii", n.bytes, n.n_bytes);
                check_file("nasty.nii");
            }
}

static void test_every_container(void **state)
{
    static const char *const paths[] = {"c.nii", "c.nii.gz", "c.nii.zst"};

    n = (nasty){.version = 1, .is_swapped = true, .datatype = DT_INT16, .voxel_bytes = 2, .offset = 512};
    nasty_build(&n);
    for (int i = 0; i < 3; i++) {
        save(paths[i], n.bytes, n.n_bytes);
        check_file(paths[i]);
    }
}

static void test_pairs_from_either_end(void **state)
{
    static const char *const names[][2] = {{"p1.hdr", "p1.img"}, {"p2.hdr.gz", "p2.img.gz"}, {"p3.hdr", "p3.img.gz"}, {"p4.HDR", "p4.IMG"}};

    for (int i = 0; i < 4; i++) {
        n = (nasty){.version = 1 + i % 2, .is_pair = true, .datatype = DT_INT16, .voxel_bytes = 2, .offset = (size_t)(i == 1 ? 64 : 0)};
        nasty_build(&n);
        check_ok(io_file_remove(names[i][1])); /* of a run that failed */
        save(names[i][0], n.bytes, n.header_bytes);
        check_fails(IO_ERR_NOT_FOUND, io_nifti_read(names[i][0], &(io_volume *){NULL}));
        save(names[i][1], n.bytes + n.header_bytes, n.n_bytes - n.header_bytes);
        check_file(names[i][0]);
        check_file(names[i][1]);
        check_ok(io_file_remove(names[i][0]));
        check_ok(io_file_remove(names[i][1]));
    }
}

/* A header that changed beside the same voxels is another input, whichever half is asked for. */
static void test_hash_of_a_pair_covers_both(void **state)
{
    char before[65], after[65], image[65];

    n = (nasty){.version = 1, .is_pair = true, .datatype = DT_INT16, .voxel_bytes = 2};
    nasty_build(&n);
    save("h.hdr", n.bytes, n.header_bytes);
    save("h.img", n.bytes + n.header_bytes, n.n_bytes - n.header_bytes);
    check_ok(io_nifti_hash("h.hdr", before));
    check_ok(io_nifti_hash("h.img", image));
    assert_string_equal(image, before);
    ((nifti_1_header *)n.bytes)->scl_slope = 2;
    save("h.hdr", n.bytes, n.header_bytes);
    check_ok(io_nifti_hash("h.img", after));
    assert_string_not_equal(after, before);
}

/* Two extensions of 32 and 20 bytes (the second against the standard, as some converters write), then padding. */
static void test_extensions_are_counted_and_skipped(void **state)
{
    io_nifti_info info;

    n = (nasty){.version = 1, .datatype = DT_UINT8, .voxel_bytes = 1, .offset = 352 + 32 + 20 + 12};
    nasty_build(&n);
    n.bytes[348] = 1;
    memcpy(n.bytes + 352, &(int32_t[2]){32, 6}, 8);
    memcpy(n.bytes + 384, &(int32_t[2]){20, 4}, 8);
    save("e.nii", n.bytes, n.n_bytes);
    check_file("e.nii");
    check_ok(io_nifti_read_info("e.nii", &info));
    assert_int_equal(info.n_extensions, 2);
    memcpy(n.bytes + 384, &(int32_t[2]){40, 4}, 8); /* reaches into the voxels */
    save("e.nii", n.bytes, n.n_bytes);
    check_fails(IO_ERR_FORMAT, io_nifti_read_info("e.nii", &info));
}

static nifti_1_header *header(void)
{
    return (nifti_1_header *)n.bytes;
}

static void start_plain(void)
{
    n = (nasty){.version = 1, .datatype = DT_INT16, .voxel_bytes = 2};
    nasty_build(&n);
}

/* The reader refuses what the header now says, both in full and header-only, and names the file. */
static void check_refused(io_status expected)
{
    io_nifti_info info;
    io_volume *volume = NULL;

    save("r.nii", n.bytes, n.n_bytes);
    check_fails(expected, io_nifti_read_info("r.nii", &info));
    check_fails(expected, io_nifti_read("r.nii", &volume));
    assert_non_null(strstr(io_last_error_text(), "r.nii"));
    assert_null(volume);
    start_plain();
}

static void test_header_lies_are_refused(void **state)
{
    start_plain();
    header()->dim[0] = 8, check_refused(IO_ERR_RANGE);
    header()->dim[0] = 0, check_refused(IO_ERR_RANGE);
    header()->dim[2] = 0, check_refused(IO_ERR_RANGE);
    header()->dim[1] = -5, check_refused(IO_ERR_RANGE);
    header()->dim[3] = 12, check_refused(IO_ERR_TRUNCATED);
    header()->dim[0] = 5, header()->dim[5] = 3, check_refused(IO_ERR_UNSUPPORTED);
    header()->datatype = DT_RGB24, header()->bitpix = 24, check_refused(IO_ERR_UNSUPPORTED);
    header()->datatype = DT_COMPLEX64, header()->bitpix = 64, check_refused(IO_ERR_UNSUPPORTED);
    header()->datatype = 12345, check_refused(IO_ERR_UNSUPPORTED);
    header()->bitpix = 8, check_refused(IO_ERR_MISMATCH);
    header()->scl_slope = NAN, check_refused(IO_ERR_RANGE);
    header()->scl_slope = INFINITY, check_refused(IO_ERR_RANGE);
    header()->scl_inter = NAN, check_refused(IO_ERR_RANGE);
    header()->vox_offset = 300, check_refused(IO_ERR_RANGE);
    header()->vox_offset = 352.5f, check_refused(IO_ERR_RANGE);
    header()->vox_offset = NAN, check_refused(IO_ERR_RANGE);
    header()->vox_offset = 1e30f, check_refused(IO_ERR_RANGE);
    header()->vox_offset = 1 << 20, check_refused(IO_ERR_TRUNCATED);
    header()->sizeof_hdr = 349, check_refused(IO_ERR_FORMAT);
    memcpy(header()->magic, "n+3", 4), check_refused(IO_ERR_FORMAT);
    memcpy(header()->magic, "ni1", 4), check_refused(IO_ERR_FORMAT);
    memset(header()->magic, 0, 4), check_refused(IO_ERR_UNSUPPORTED);
    n.n_bytes -= 1, check_refused(IO_ERR_TRUNCATED);
    n.n_bytes = 100, check_refused(IO_ERR_TRUNCATED);
    n.n_bytes = 0, check_refused(IO_ERR_TRUNCATED);
    memcpy(n.bytes, "\0\0\0\0", 4), memcpy(n.bytes + 128, "DICM", 4), check_refused(IO_ERR_FORMAT);
    assert_non_null(strstr(io_last_error_text(), "DICOM"));
    check_fails(IO_ERR_NOT_FOUND, io_nifti_read("not_there.nii", &(io_volume *){NULL}));
}

static void test_dimensions_that_overflow_are_refused(void **state)
{
    n = (nasty){.version = 2, .datatype = DT_INT16, .voxel_bytes = 2};
    nasty_build(&n);
    nifti_2_header h;
    memcpy(&h, n.bytes, sizeof h);
    for (int i = 1; i <= 3; i++) h.dim[i] = INT64_C(3) << 30;
    memcpy(n.bytes, &h, sizeof h);
    check_refused(IO_ERR_RANGE);
}

/* More than a padded block behind the voxels: the header does not describe this file. */
static void test_trailing_data_is_bounded(void **state)
{
    static uint8_t big[1 << 18];
    io_volume *volume = NULL;

    start_plain();
    memcpy(big, n.bytes, n.n_bytes);
    save("t.nii.gz", big, n.n_bytes + 1000);
    check_file("t.nii.gz");
    save("t.nii.gz", big, sizeof big);
    check_fails(IO_ERR_FORMAT, io_nifti_read("t.nii.gz", &volume));
}

static void test_slope_zero_means_unscaled(void **state)
{
    io_volume *volume = NULL;

    start_plain();
    header()->scl_slope = 0;
    save("s.nii", n.bytes, n.n_bytes);
    check_ok(io_nifti_read("s.nii", &volume));
    check_near(volume->slope, 1, 0);
    check_near(volume->inter, 0, 0);
    io_volume_free(&volume);
}

/* The quaternion cases where readers differ: a half turn spoilt by float32, and one that is no rotation. */
static void test_quaternions_at_the_edge(void **state)
{
    io_nifti_info info;
    char texts[16][160];

    start_plain();
    header()->quatern_b = 0, header()->quatern_c = 0, header()->quatern_d = 0.99999988f; /* 1 - d*d = 2.4e-7: a half turn to nibabel */
    save("q.nii", n.bytes, n.n_bytes);
    check_ok(io_nifti_read_info("q.nii", &info));
    check_near(info.grid.affine[0][0], -0.75, 1e-12);
    check_near(info.grid.affine[0][1], 0, 1e-12);
    assert_int_equal(io_nifti_check(&info, texts, 16), 0);
    header()->quatern_d = 1.5f;
    save("q.nii", n.bytes, n.n_bytes);
    check_ok(io_nifti_read_info("q.nii", &info));
    check_near(info.grid.affine[0][0], -0.75, 1e-12);
    assert_int_equal(io_nifti_check(&info, texts, 16), 1);
    assert_non_null(strstr(texts[0], "quaternion"));
}

static int check_texts(const char *word)
{
    io_nifti_info info;
    char texts[16][160];
    int n_found = 0;

    save("w.nii", n.bytes, n.n_bytes);
    check_ok(io_nifti_read_info("w.nii", &info));
    for (int i = io_nifti_check(&info, texts, 16); i-- > 0;) n_found += strstr(texts[i], word) != NULL;
    start_plain();
    return n_found;
}

static void test_suspicious_headers_are_named(void **state)
{
    const float sheared[3][4] = {{0.75f, 0.1f, 0, 0}, {0, 1.3f, 0, 0}, {0, 0, 2.9f, 0}};

    start_plain();
    assert_int_equal(check_texts(""), 0); /* the nasty header itself is in order */
    header()->pixdim[2] = 0;
    assert_int_equal(check_texts("pixdim[2]"), 1);
    header()->qform_code = 0;
    assert_int_equal(check_texts("neither"), 1);
    header()->qform_code = 0, header()->sform_code = 1, memcpy(header()->srow_x, sheared, sizeof sheared);
    assert_int_equal(check_texts("right angles"), 1);
    header()->sform_code = 1, memcpy(header()->srow_x, sheared, sizeof sheared);
    assert_int_equal(check_texts("disagree"), 1);
    header()->sform_code = 1, header()->srow_y[1] = NAN;
    assert_int_equal(check_texts("not finite"), 1);
    header()->sform_code = 1;
    assert_int_equal(check_texts("degenerate"), 1);
    header()->xyzt_units = NIFTI_UNITS_METER;
    assert_int_equal(check_texts("metres"), 1);
    header()->dim[3] = 1;
    assert_int_equal(check_texts("single voxel"), 1);
    header()->pixdim[3] = 2900;
    assert_int_equal(check_texts("units right"), 1);
}

/* Labels written on the nasty grid carry its place bit for bit, whatever the version and container. */
static void check_written(const char *path, const io_grid *grid, int label_bytes, const char *xml)
{
    static uint16_t labels16[NASTY_N];
    static uint8_t labels8[NASTY_N];
    io_volume *volume = NULL;
    io_nifti_info info;
    char sha256[65];

    for (int64_t i = 0; i < NASTY_N; i++) labels8[i] = (uint8_t)(labels16[i] = (uint16_t)(i * 7919 % 9));
    labels16[5] = 40000;
    check_ok(io_nifti_write_labels(path, grid, label_bytes == 2 ? (void *)labels16 : labels8, label_bytes, xml, sha256));
    check_ok(io_nifti_read(path, &volume));
    assert_int_equal(volume->datatype, label_bytes == 2 ? IO_UINT16 : IO_UINT8);
    assert_memory_equal(volume->voxels, label_bytes == 2 ? (void *)labels16 : labels8, NASTY_N * (size_t)label_bytes);
    assert_memory_equal(&volume->grid, grid, sizeof *grid);
    assert_string_equal(volume->sha256, sha256);
    check_near(volume->slope, 1, 0);
    check_near(volume->inter, 0, 0);
    check_ok(io_nifti_read_info(path, &info));
    assert_int_equal(info.intent_code, NIFTI_INTENT_LABEL);
    assert_int_equal(info.n_extensions, xml != NULL);
    assert_int_equal(info.voxel_offset % 16, 0);
    io_volume_free(&volume);
}

static void test_labels_keep_the_grid_bit_for_bit(void **state)
{
    static const char *const paths[] = {"l.nii", "l.nii.gz", "l.nii.zst"};
    io_nifti_info info;

    for (int i = 0; i < 12; i++) {
        n = (nasty){.version = 1 + i % 2, .is_swapped = i & 4, .datatype = DT_INT16, .voxel_bytes = 2};
        nasty_build(&n);
        save("g.nii", n.bytes, n.n_bytes);
        check_ok(io_nifti_read_info("g.nii", &info));
        check_written(paths[i % 3], &info.grid, 1 + (i & 1), i & 2 ? "<names/>" : NULL);
    }
}

/* The raw bytes of a written NIfTI-1 header against the input's: place fields equal, unused ones as the standard wants. */
static void test_written_header_bytes(void **state)
{
    static uint8_t labels[NASTY_N];
    nifti_1_header written;
    io_nifti_info info;
    FILE *file;

    start_plain();
    header()->sform_code = 3, header()->srow_x[0] = -0.1f, header()->srow_y[3] = 1e-20f, header()->xyzt_units = 10;
    header()->pixdim[1] = 0.7f;
    save("g.nii", n.bytes, n.n_bytes);
    check_ok(io_nifti_read_info("g.nii", &info));
    check_ok(io_nifti_write_labels("h.nii", &info.grid, labels, 1, "x", NULL));
    file = fopen("h.nii", "rb");
    assert_non_null(file);
    assert_int_equal(fread(&written, sizeof written, 1, file), 1);
    fclose(file);
    assert_memory_equal(written.pixdim, header()->pixdim, 4 * sizeof(float));
    assert_memory_equal(&written.qform_code, &header()->qform_code,
                        offsetof(nifti_1_header, intent_name) - offsetof(nifti_1_header, qform_code));
    assert_int_equal(written.xyzt_units, 10);
    assert_int_equal(written.dim[0], 3);
    assert_int_equal((int)written.vox_offset, 352 + 16);
    assert_string_equal(written.magic, "n+1");
}

static void test_int16_and_plain_grid(void **state)
{
    static int16_t voxels[5 * 4 * 3];
    const double spacing[3] = {0.5, 1.5, 5}, origin[3] = {-10, 20, -30};
    float slice[20];
    io_grid grid;
    io_volume *volume = NULL;
    io_nifti_info info;
    char texts[8][160], codes[4];

    for (int i = 0; i < 60; i++) voxels[i] = (int16_t)(i * 100 - 3000);
    io_grid_create_plain((int64_t[3]){5, 4, 3}, spacing, origin, &grid);
    check_ok(io_nifti_write_int16("i.nii.gz", &grid, voxels, 0.5, -1024));
    check_ok(io_nifti_read("i.nii.gz", &volume));
    assert_memory_equal(volume->voxels, voxels, sizeof voxels);
    assert_memory_equal(&volume->grid, &grid, sizeof grid);
    io_volume_slice(volume, 1, slice);
    check_near(slice[3], 0.5 * voxels[23] - 1024, 0);
    check_near(grid.affine[1][3], 20, 0);
    io_grid_axcodes(&grid, codes);
    assert_string_equal(codes, "RAS");
    check_ok(io_nifti_read_info("i.nii.gz", &info));
    assert_int_equal(io_nifti_check(&info, texts, 8), 0);
    io_volume_free(&volume);
    io_grid_create_plain((int64_t[3]){40000, 1, 1}, spacing, origin, &grid);
    assert_int_equal(grid.nifti_version, 2);
    grid.nifti_version = 1;
    check_fails(IO_ERR_RANGE, io_nifti_write_int16("i.nii.gz", &grid, voxels, 1, 0));
}

static void test_what_does_not_fit_is_refused(void **state)
{
    int16_t voxels[4 * 3 * 2] = {0};
    const double spacing[3] = {1, 1, 1}, origin[3] = {0, 0, 0};
    io_volume *volume = NULL;
    io_grid grid;

    io_grid_create_plain((int64_t[3]){4, 3, 2}, spacing, origin, &grid);
    check_ok(io_nifti_write_int16("fits.nii.gz", &grid, voxels, 1, 0));
    io_memory_set_limit(sizeof voxels - 1);
    check_fails(IO_ERR_RANGE, io_nifti_read("fits.nii.gz", &volume));
    io_memory_set_limit(sizeof voxels);
    check_ok(io_nifti_read("fits.nii.gz", &volume));
    io_volume_free(&volume);
    io_memory_set_limit(0);
    assert_true(io_memory_limit() > 1 << 20); /* the machine's own */
}

static void test_names(void **state)
{
    static const char *const good[] = {"a.nii", "a.nii.gz", "a.NII.GZ", "a.nii.zst", "b/a.hdr", "a.hdr.gz", "a.img", "a.img.gz"};
    static const char *const bad[] = {"a", "a.gz", "a.nrrd", "a.nii.bz2", "nii", "a.nii.gz.tmp"};

    for (int i = 0; i < 8; i++) assert_true(io_nifti_is_name(good[i]));
    for (int i = 0; i < 6; i++) assert_false(io_nifti_is_name(bad[i]) || io_nifti_is_volume_name(bad[i]));
    for (int i = 0; i < 8; i++) assert_int_equal(io_nifti_is_volume_name(good[i]), !strstr(good[i], ".img"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_datatype_version_and_byte_order),
        cmocka_unit_test(test_every_container),
        cmocka_unit_test(test_pairs_from_either_end),
        cmocka_unit_test(test_hash_of_a_pair_covers_both),
        cmocka_unit_test(test_extensions_are_counted_and_skipped),
        cmocka_unit_test(test_header_lies_are_refused),
        cmocka_unit_test(test_dimensions_that_overflow_are_refused),
        cmocka_unit_test(test_trailing_data_is_bounded),
        cmocka_unit_test(test_slope_zero_means_unscaled),
        cmocka_unit_test(test_quaternions_at_the_edge),
        cmocka_unit_test(test_suspicious_headers_are_named),
        cmocka_unit_test(test_labels_keep_the_grid_bit_for_bit),
        cmocka_unit_test(test_written_header_bytes),
        cmocka_unit_test(test_int16_and_plain_grid),
        cmocka_unit_test(test_what_does_not_fit_is_refused),
        cmocka_unit_test(test_names),
    };
    mkdir("nifti", 0777); /* tests run side by side in one folder */
    if (chdir("nifti") != 0) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
