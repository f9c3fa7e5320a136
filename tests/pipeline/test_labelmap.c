/* Every slice exactly once, and no label that does not fit. */
#include "tests/check.h"
#include "tests/pipeline/volumes.h"

#include "pipeline/slices.h"

typedef struct fixture {
    io_volume volume;
    pipe_slices *slices;
} fixture;

static void open_fixture(fixture *f)
{
    pipe_options options;

    pipe_options_default(&options);
    f->slices = NULL;
    volume_build(&f->volume, IO_INT16, 3, 2, 4, 1, 1, 1);
    check_ok(pipe_slices_create(&f->volume, &options, &f->slices));
}

static void close_fixture(fixture *f)
{
    pipe_slices_free(&f->slices);
    volume_clear(&f->volume);
}

static void test_slices_land_in_storage_order(void **state)
{
    pipe_labelmap *map = NULL;
    const void *labels;
    fixture f;

    open_fixture(&f);
    check_ok(pipe_labelmap_create(f.slices, 1, &map));
    for (int k = 3; k >= 0; k--) {
        uint8_t slice[6];
        for (int i = 0; i < 6; i++) slice[i] = (uint8_t)(k * 6 + i);
        check_ok(pipe_labelmap_put(map, k, slice));
    }
    check_ok(pipe_labelmap_finish(map, &labels));
    for (int i = 0; i < 24; i++) assert_int_equal(((const uint8_t *)labels)[i], i);
    pipe_labelmap_free(&map);
    close_fixture(&f);
}

static void test_every_slice_exactly_once(void **state)
{
    const uint16_t slice[6] = {0};
    pipe_labelmap *map = NULL;
    const void *labels;
    fixture f;

    open_fixture(&f);
    check_ok(pipe_labelmap_create(f.slices, 2, &map));
    check_ok(pipe_labelmap_put(map, 0, slice));
    check_ok(pipe_labelmap_put(map, 3, slice));
    check_fails(IO_ERR_MISMATCH, pipe_labelmap_put(map, 3, slice));
    assert_non_null(strstr(io_last_error_text(), "slice 3 arrived a second time"));
    check_fails(IO_ERR_MISMATCH, pipe_labelmap_put(map, 4, slice));
    check_fails(IO_ERR_MISMATCH, pipe_labelmap_put(map, -1, slice));
    check_fails(IO_ERR_MISMATCH, pipe_labelmap_finish(map, &labels));
    assert_non_null(strstr(io_last_error_text(), "2 of 4 slices never arrived, first of them slice 1"));
    assert_null(labels);
    pipe_labelmap_free(&map);
    close_fixture(&f);
}

static void test_labels_have_one_or_two_bytes(void **state)
{
    const uint16_t slice[6] = {0, 0, 256, 0, 0, 0};
    const void *labels;
    pipe_labelmap *map = NULL;
    fixture f;

    open_fixture(&f);
    check_fails(IO_ERR_ARGUMENT, pipe_labelmap_create(f.slices, 4, &map));
    check_ok(pipe_labelmap_create(f.slices, 2, &map));
    for (int k = 0; k < 4; k++) check_ok(pipe_labelmap_put(map, k, slice));
    check_ok(pipe_labelmap_finish(map, &labels));
    assert_int_equal(((const uint16_t *)labels)[2], 256);
    pipe_labelmap_free(&map);
    pipe_labelmap_free(&map);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_land_in_storage_order),
        cmocka_unit_test(test_every_slice_exactly_once),
        cmocka_unit_test(test_labels_have_one_or_two_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
