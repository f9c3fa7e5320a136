/* From a store to training samples: order, augmentation, sizes, splits, threads, what is refused. */
#include "tests/check.h"

#include <pthread.h>
#include <unistd.h>

#include "io/file.h"
#include "io/labels.h"
#include "io/memory.h"
#include "io/record.h"
#include "io/slices.h"
#include "pipeline/augment.h"
#include "pipeline/dataset.h"
#include "pipeline/zoom.h"
#include "tests/pipeline/folders.h"

enum { SIZE = 24, S = 32 };

static void fill_slice(int case_index, int64_t k, float *image, uint16_t *labels)
{
    for (int i = 0; i < SIZE * SIZE; i++) {
        image[i] = (float)(case_index * 100 + k) + (float)i / 1000;
        labels[i] = (uint16_t)((i / 7 + i + case_index + k) % 9);
    }
}

/* A store of three cases with 5, 2 and 4 slices, the second held out. Records are written with the same calls as samed prepare's. */
static void build_store(const char *folder)
{
    static const char *const ids[] = {"a", "b", "c"};
    static const int64_t n_slices[] = {5, 2, 4};
    static const bool has_failed[3] = {false};
    const pipe_part parts[] = {PIPE_PART_TRAIN, PIPE_PART_VAL, PIPE_PART_TRAIN};
    const pipe_split split = {0};
    io_labels *names = NULL;

    check_ok(io_folder_create(folder));
    check_ok(io_labels_default(9, &names));
    for (int c = 0; c < 3; c++) {
        const io_slices_shape shape = {SIZE, SIZE, n_slices[c], 8};
        const io_record_key key = {"", "", "", "", ""};
        io_slices_writer *writer = NULL;
        io_json *details = NULL;
        float image[SIZE * SIZE];
        uint16_t labels[SIZE * SIZE];
        char path[512], sha256[65];
        snprintf(path, sizeof path, "%s/%s.slices", folder, ids[c]);
        check_ok(io_slices_writer_open(path, &shape, &writer));
        for (int64_t k = 0; k < n_slices[c]; k++) {
            fill_slice(c, k, image, labels);
            check_ok(io_slices_writer_add(writer, image, labels));
        }
        check_ok(io_slices_writer_commit(&writer, sha256));
        check_ok(io_json_create_object(&details));
        check_ok(io_json_put_number(details, "slices", (double)n_slices[c]));
        snprintf(path, sizeof path, "%s/%s.json", folder, ids[c]);
        check_ok(io_record_write(path, &key, sha256, details));
        io_json_free(&details);
    }
    const pipe_store_about about = {folder, "", SIZE, names, &split};
    check_ok(pipe_store_write(&about, ids, parts, has_failed, 3));
    io_labels_free(&names);
}

static int set_up(void **state)
{
    build_store(folder_of("store"));
    return 0;
}

static int tear_down(void **state)
{
    remove_folder(folder_of("store"));
    return 0;
}

static pipe_dataset *open_part(pipe_part part, int image_size, bool shuffle, bool augment)
{
    pipe_dataset *dataset = NULL;
    const pipe_dataset_options options = {folder_of("store"), part, image_size, 42, shuffle, augment, 0};

    check_ok(pipe_dataset_open(&options, &dataset));
    assert_int_equal(pipe_dataset_classes(dataset), 8);
    return dataset;
}

static void test_slices_as_they_are(void **state)
{
    pipe_dataset *dataset = open_part(PIPE_PART_TRAIN, SIZE, false, false);
    static const struct {
        const char *id;
        int case_index;
        int64_t k;
    } expected[] = {{"a", 0, 0}, {"a", 0, 1}, {"a", 0, 2}, {"a", 0, 3}, {"a", 0, 4}, {"c", 2, 0}, {"c", 2, 1}, {"c", 2, 2}, {"c", 2, 3}};

    assert_int_equal(pipe_dataset_count(dataset), 9);
    for (uint32_t n = 0; n < 9; n++) {
        float image[SIZE * SIZE], stored[SIZE * SIZE];
        uint16_t low[SIZE * SIZE / 16], labels[SIZE * SIZE];
        pipe_sample about;
        check_ok(pipe_dataset_get(dataset, 0, n, image, low, &about));
        fill_slice(expected[n].case_index, expected[n].k, stored, labels);
        assert_string_equal(about.case_id, expected[n].id);
        assert_int_equal(about.slice, expected[n].k);
        assert_memory_equal(image, stored, sizeof stored);
        for (int r = 0; r < SIZE / 4; r++) { /* spec 5.3: index floor(k (n - 1) / (m - 1) + 0.5) */
            for (int c = 0; c < SIZE / 4; c++) {
                const int y = (int)floor(r * (23.0 / 5) + 0.5), x = (int)floor(c * (23.0 / 5) + 0.5);
                assert_int_equal(low[r * SIZE / 4 + c], labels[y * SIZE + x]);
            }
        }
    }
    float image[SIZE * SIZE];
    uint16_t low[SIZE * SIZE / 16];
    check_fails(IO_ERR_ARGUMENT, pipe_dataset_get(dataset, 0, 9, image, low, NULL));
    pipe_dataset_free(&dataset);
    dataset = open_part(PIPE_PART_VAL, SIZE, false, false);
    assert_int_equal(pipe_dataset_count(dataset), 2);
    pipe_dataset_free(&dataset);
}

/* Every epoch sees every slice once, in another order, and the same order when asked again. */
static void test_order(void **state)
{
    pipe_dataset *dataset = open_part(PIPE_PART_TRAIN, SIZE, true, false);
    int orders[4][9], n_different = 0;

    for (int pass = 0; pass < 4; pass++) { /* epochs 0, 1, 2, 0 */
        int n_seen[9] = {0};
        for (uint32_t n = 0; n < 9; n++) {
            float image[SIZE * SIZE];
            uint16_t low[SIZE * SIZE / 16];
            pipe_sample about;
            check_ok(pipe_dataset_get(dataset, (uint32_t)pass % 3, n, image, low, &about));
            orders[pass][n] = (about.case_id[0] == 'c' ? 5 : 0) + (int)about.slice;
            n_seen[orders[pass][n]]++;
        }
        for (int i = 0; i < 9; i++) assert_int_equal(n_seen[i], 1);
    }
    assert_memory_equal(orders[0], orders[3], sizeof orders[0]);
    for (int i = 0; i < 9; i++) n_different += (orders[0][i] != orders[1][i]) + (orders[1][i] != orders[2][i]);
    assert_true(n_different > 4);
    pipe_dataset_free(&dataset);
}

/* What the generator draws for (seed, epoch, sample), applied to the slice as it is stored. */
static void augment_slice(uint32_t epoch, float *moved, uint16_t *moved_labels)
{
    float stored[SIZE * SIZE];
    uint16_t labels[SIZE * SIZE];
    pipe_random random;
    pipe_augment augment;

    fill_slice(2, 1, stored, labels); /* sample 6: the second slice of case c */
    pipe_random_start(&random, 42, PIPE_RANDOM_AUGMENT, epoch, 6);
    pipe_augment_draw(&random, 0, &augment);
    pipe_augment_apply(&augment, SIZE, stored, labels, moved, moved_labels);
}

/* Augmentation comes before the zoom, for image and labels alike; labels go to S before they go to S / 4. */
static void check_augmented(uint32_t epoch, pipe_dataset *dataset, pipe_dataset *large)
{
    float image[S * S], moved[SIZE * SIZE], expected[S * S];
    uint16_t low[S * S / 16], moved_labels[SIZE * SIZE], large_labels[S * S], expected_low[S * S / 16];
    pipe_zoom *grow = NULL, *shrink = NULL;
    void *scratch = NULL;

    augment_slice(epoch, moved, moved_labels);
    check_ok(pipe_dataset_get(dataset, epoch, 6, image, low, NULL));
    assert_memory_equal(image, moved, sizeof moved);
    assert_int_equal(low[0], moved_labels[0]);
    assert_int_equal(low[SIZE * SIZE / 16 - 1], moved_labels[SIZE * SIZE - 1]);
    check_ok(pipe_zoom_create(SIZE, SIZE, S, S, &grow));
    check_ok(pipe_zoom_create(S, S, S / 4, S / 4, &shrink));
    check_ok(io_alloc(pipe_zoom_scratch_bytes(grow), 1, &scratch));
    pipe_zoom_cubic(grow, moved, expected, scratch);
    pipe_zoom_nearest(grow, moved_labels, large_labels);
    pipe_zoom_nearest(shrink, large_labels, expected_low);
    check_ok(pipe_dataset_get(large, epoch, 6, image, low, NULL));
    assert_memory_equal(image, expected, sizeof expected);
    assert_memory_equal(low, expected_low, sizeof expected_low);
    io_free(&scratch);
    pipe_zoom_free(&grow);
    pipe_zoom_free(&shrink);
}

static void test_augmented(void **state)
{
    pipe_dataset *dataset = open_part(PIPE_PART_TRAIN, SIZE, false, true), *large = open_part(PIPE_PART_TRAIN, S, false, true);
    float first[SIZE * SIZE], next[SIZE * SIZE];
    uint16_t labels[SIZE * SIZE];
    int n_changed = 0;

    augment_slice(0, first, labels);
    for (uint32_t epoch = 0; epoch < 8; epoch++) {
        check_augmented(epoch, dataset, large);
        augment_slice(epoch, next, labels);
        n_changed += memcmp(first, next, sizeof next) != 0;
    }
    assert_true(n_changed >= 4);
    pipe_dataset_free(&dataset);
    pipe_dataset_free(&large);
}

typedef struct asker {
    pipe_dataset *dataset;
    uint32_t seed;
    const float *images;    /* [3][9][S][S] */
    const uint16_t *labels; /* [3][9][S/4][S/4] */
    int n_wrong;
} asker;

static void *ask(void *argument)
{
    asker *a = argument;
    uint32_t random = a->seed;
    float image[S * S];
    uint16_t low[S * S / 16];

    for (int i = 0; i < 60; i++) {
        random = random * 1664525 + 1013904223;
        const uint32_t epoch = random / 65536 % 3, n = random / 1024 % 9, at = epoch * 9 + n;
        if (pipe_dataset_get(a->dataset, epoch, n, image, low, NULL) != IO_OK) a->n_wrong++;
        a->n_wrong += memcmp(image, a->images + (size_t)at * S * S, sizeof image) != 0;
        a->n_wrong += memcmp(low, a->labels + (size_t)at * S * S / 16, sizeof low) != 0;
    }
    return NULL;
}

/* Four threads that ask in any order get the same as one that asks in order. */
static void test_threads(void **state)
{
    pipe_dataset *dataset = open_part(PIPE_PART_TRAIN, S, true, true);
    float *images = malloc((size_t)27 * S * S * sizeof *images);
    uint16_t *labels = malloc((size_t)27 * S * S / 16 * sizeof *labels);
    pthread_t threads[4];
    asker askers[4];

    for (uint32_t i = 0; i < 27; i++)
        check_ok(pipe_dataset_get(dataset, i / 9, i % 9, images + (size_t)i * S * S, labels + (size_t)i * S * S / 16, NULL));
    pipe_dataset_free(&dataset);
    dataset = open_part(PIPE_PART_TRAIN, S, true, true); /* anew: nothing is open yet */
    for (uint32_t t = 0; t < 4; t++) {
        askers[t] = (asker){dataset, t + 1, images, labels, 0};
        assert_int_equal(pthread_create(&threads[t], NULL, ask, &askers[t]), 0);
    }
    for (int t = 0; t < 4; t++) {
        pthread_join(threads[t], NULL);
        assert_int_equal(askers[t].n_wrong, 0);
    }
    pipe_dataset_free(&dataset);
    free(images);
    free(labels);
}

/* index.json names the classes in a way that every reader of label tables here takes. */
static void test_index_is_a_label_table(void **state)
{
    io_labels *expected = NULL, *found = NULL;
    char path[512];

    snprintf(path, sizeof path, "%s/index.json", folder_of("store"));
    check_ok(io_labels_default(9, &expected));
    check_ok(io_labels_read(path, &found));
    assert_int_equal(found->n_labels, expected->n_labels);
    for (size_t i = 1; i < found->n_labels; i++) {
        assert_int_equal(found->labels[i].value, expected->labels[i].value);
        assert_string_equal(found->labels[i].name, expected->labels[i].name);
        assert_memory_equal(found->labels[i].rgb, expected->labels[i].rgb, 3);
    }
    io_labels_free(&expected);
    io_labels_free(&found);
}

static void test_refuses(void **state)
{
    pipe_dataset *dataset = NULL;
    pipe_dataset_options options = {folder_of("store"), PIPE_PART_NONE, SIZE, 0, false, false, 0};
    char path[512], *index = NULL, *at;

    check_fails(IO_ERR_NOT_FOUND, pipe_dataset_open(&options, &dataset));
    options.part = PIPE_PART_TRAIN;
    options.image_size = 30;
    check_fails(IO_ERR_ARGUMENT, pipe_dataset_open(&options, &dataset));
    options.image_size = SIZE;
    options.folder = "nowhere";
    check_fails(IO_ERR_NOT_FOUND, pipe_dataset_open(&options, &dataset));
    /* an index that does not fit its files */
    options.folder = folder_of("store");
    snprintf(path, sizeof path, "%s/index.json", options.folder);
    check_ok(io_file_read_text(path, 1 << 20, &index));
    at = strstr(index, "\"slices\": 5");
    assert_non_null(at);
    at[strlen("\"slices\": ")] = '4';
    check_ok(io_file_write_text(path, index));
    check_ok(pipe_dataset_open(&options, &dataset));
    float image[SIZE * SIZE];
    uint16_t low[SIZE * SIZE / 16];
    check_fails(IO_ERR_MISMATCH, pipe_dataset_get(dataset, 0, 0, image, low, NULL));
    check_ok(pipe_dataset_get(dataset, 0, 5, image, low, NULL)); /* case c */
    pipe_dataset_free(&dataset);
    at = strstr(index, "\"classes\": 8");
    assert_non_null(at);
    at[strlen("\"classes\": ")] = '-';
    check_ok(io_file_write_text(path, index));
    check_fails(IO_ERR_FORMAT, pipe_dataset_open(&options, &dataset));
    io_free(&index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slices_as_they_are),
                                       cmocka_unit_test(test_order),
                                       cmocka_unit_test(test_augmented),
                                       cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_index_is_a_label_table),
                                       cmocka_unit_test(test_refuses)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
