/* What stands between label maps and a report: label tables and their maps, reading as organ numbers, grids, rules for empty masks, the
 * three means, text that cannot break the file it is written to. */
#include "tests/check.h"

#include "io/file.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "pipeline/label_map.h"
#include "pipeline/label_volume.h"
#include "pipeline/report.h"
#include "pipeline/study.h"
#include "pipeline/study_summary.h"
#include "pipeline/text_out.h"

static void make_map(io_labels **labels, pipe_label_map **map)
{
    check_ok(io_labels_default(9, labels));
    check_ok(pipe_label_map_create(*labels, map));
}

static void free_map(io_labels **labels, pipe_label_map **map)
{
    pipe_label_map_free(map);
    io_labels_free(labels);
}

static void test_values_stand_for_themselves(void **state)
{
    io_labels *labels = NULL;
    pipe_label_map *map = NULL;

    make_map(&labels, &map);
    assert_int_equal(pipe_organ_count(labels), 8);
    for (int value = 0; value <= 8; value++) assert_int_equal(map->organ_of[value], value);
    assert_int_equal(map->organ_of[9], PIPE_LABEL_UNKNOWN);
    assert_int_equal(map->organ_of[65535], PIPE_LABEL_UNKNOWN);
    assert_string_equal(pipe_organ_label(labels, 8)->name, "pancreas");
    assert_null(pipe_organ_label(labels, 9));
    free_map(&labels, &map);
}

/* SAMed's own remapping (spec of its preprocessing): BTCV's 13 to 8. */
static void test_ready_maps(void **state)
{
    static const int btcv[14] = {0, 1, 2, 3, 4, 0, 5, 6, 7, 0, 0, 8, 0, 0};
    io_labels *labels = NULL;
    pipe_label_map *map = NULL;

    make_map(&labels, &map);
    check_ok(pipe_label_map_apply(map, "btcv"));
    for (int value = 0; value < 14; value++) assert_int_equal(map->organ_of[value], btcv[value]);
    assert_int_equal(map->organ_of[14], PIPE_LABEL_UNKNOWN);
    free_map(&labels, &map);
    make_map(&labels, &map);
    check_ok(pipe_label_map_apply(map, "totalsegmentator"));
    assert_int_equal(map->organ_of[7], 8);
    assert_int_equal(map->organ_of[52], 7);
    assert_int_equal(map->organ_of[117], 0);
    assert_int_equal(map->organ_of[118], PIPE_LABEL_UNKNOWN);
    check_fails(IO_ERR_ARGUMENT, pipe_label_map_apply(map, "no_such_map.json"));
    free_map(&labels, &map);
}

static void test_names_are_compared_by_words(void **state)
{
    io_labels *labels = NULL;
    pipe_label_map *map = NULL;

    make_map(&labels, &map);
    assert_int_equal(pipe_label_map_find(map, "kidney_right"), 2);
    assert_int_equal(pipe_label_map_find(map, "Left-Kidney"), 3);
    assert_int_equal(pipe_label_map_find(map, "kidney"), -1);
    assert_int_equal(pipe_label_map_find(map, ""), -1);
    check_ok(io_file_write_text("map.json", "{\"map\": {\"gall bladder\": \"gallbladder\", \"20\": 5, \"6\": 0}}"));
    check_ok(pipe_label_map_apply(map, "map.json"));
    assert_int_equal(pipe_label_map_find(map, "gall_bladder"), 4);
    assert_int_equal(map->organ_of[20], 5);
    assert_int_equal(map->organ_of[6], 0);
    assert_int_equal(map->organ_of[5], 5);
    check_ok(io_file_write_text("map.json", "{\"6\": 77}"));
    check_fails(IO_ERR_MISMATCH, pipe_label_map_apply(map, "map.json"));
    check_ok(io_file_write_text("map.json", "[]"));
    check_fails(IO_ERR_FORMAT, pipe_label_map_apply(map, "map.json"));
    free_map(&labels, &map);
}

enum { NX = 11, NY = 5, NZ = 3, N = NX * NY * NZ };

static void make_grid(double shift_mm, io_grid *grid)
{
    io_grid_create_plain((const int64_t[3]){NX, NY, NZ}, (const double[3]){1, 2, 3}, (const double[3]){shift_mm, 0, 0}, grid);
}

static int organ_at(const pipe_label_volume *volume, int64_t at)
{
    return volume->organ_bytes == 1 ? ((const uint8_t *)volume->organs)[at] : ((const uint16_t *)volume->organs)[at];
}

/* int16 with a slope goes through double, uint8 past the background by words; both must give what was written, voxel by voxel. */
static void test_reading_gives_every_voxel(void **state)
{
    io_labels *labels = NULL;
    pipe_label_map *map = NULL;
    pipe_label_volume *volume = NULL;
    uint8_t values[N];
    int16_t scaled[N];
    io_grid grid;
    int64_t n_unknown = 0;

    make_map(&labels, &map);
    make_grid(0, &grid);
    for (int i = 0; i < N; i++) {
        values[i] = (uint8_t)(i * 7 % 5 == 0 ? i % 12 : 0); /* 9, 10 and 11 are unknown */
        scaled[i] = (int16_t)(values[i] * 2);
        n_unknown += values[i] > 8;
    }
    check_ok(io_nifti_write_labels("study.nii.gz", &grid, values, 1, NULL, NULL));
    check_ok(io_nifti_write_int16("scaled.nii", &grid, scaled, 0.5, 0));
    for (int f = 0; f < 2; f++) {
        check_ok(pipe_label_volume_read(f ? "scaled.nii" : "study.nii.gz", map, false, &volume));
        for (int i = 0; i < N; i++) assert_int_equal(organ_at(volume, i), values[i] > 8 ? 0 : values[i]);
        assert_int_equal(volume->unnamed.n_voxels, n_unknown);
        assert_int_equal(volume->unnamed.values[0], 9);
        assert_int_equal(strlen(volume->sha256), 64);
        pipe_label_volume_free(&volume);
    }
    free_map(&labels, &map);
}

static void test_what_is_no_label_is_refused_or_rounded(void **state)
{
    io_labels *labels = NULL;
    pipe_label_map *map = NULL;
    pipe_label_volume *volume = NULL;
    int16_t values[N] = {0};
    io_grid grid;

    make_map(&labels, &map);
    make_grid(0, &grid);
    values[NX + 2] = 3;
    check_ok(io_nifti_write_int16("almost.nii", &grid, values, 0.99999, 0)); /* 2.99997, as some tools write labels */
    check_fails(IO_ERR_RANGE, pipe_label_volume_read("almost.nii", map, false, &volume));
    assert_non_null(strstr(io_last_error(), "(2, 1, 0)"));
    assert_non_null(strstr(io_last_error(), "--round"));
    check_ok(pipe_label_volume_read("almost.nii", map, true, &volume));
    assert_int_equal(organ_at(volume, NX + 2), 3);
    pipe_label_volume_free(&volume);
    values[0] = -4;
    check_ok(io_nifti_write_int16("negative.nii", &grid, values, 1, 0));
    check_fails(IO_ERR_RANGE, pipe_label_volume_read("negative.nii", map, true, &volume));
    assert_null(volume);
    free_map(&labels, &map);
}

static void test_grids(void **state)
{
    io_grid a, b;

    make_grid(0, &a);
    make_grid(0.04, &b);
    check_ok(pipe_grid_compare(&a, &b, 0.05));
    check_near(pipe_grid_distance(&a, &b), 0.04, 1e-12);
    check_fails(IO_ERR_MISMATCH, pipe_grid_compare(&a, &b, 0.03));
    b.affine[0][0] = NAN;
    check_fails(IO_ERR_MISMATCH, pipe_grid_compare(&a, &b, 1e9)); /* NaN never passes */
    make_grid(0, &b);
    b.dims[2] = 4;
    check_fails(IO_ERR_MISMATCH, pipe_grid_compare(&a, &b, 1e9));
    assert_non_null(strstr(io_last_error(), "11x5x3"));
    assert_non_null(strstr(io_last_error(), "11x5x4"));
}

/* Moved by one voxel and mirrored: every voxel must be found where its place in the patient is. */
static void test_resampling_follows_the_affine(void **state)
{
    io_labels *labels = NULL;
    pipe_label_map *map = NULL;
    pipe_label_volume *volume = NULL;
    uint8_t values[N];
    io_grid grid, target;

    make_map(&labels, &map);
    make_grid(0, &grid);
    for (int i = 0; i < N; i++) values[i] = (uint8_t)(i % 9);
    check_ok(io_nifti_write_labels("move.nii.gz", &grid, values, 1, NULL, NULL));
    check_ok(pipe_label_volume_read("move.nii.gz", map, false, &volume));
    target = grid;
    target.affine[0][0] = -1; /* i runs the other way, from x = 9.7 down to -0.3: 10 and 0 are nearest */
    target.affine[0][3] = 9.7;
    target.affine[1][3] = 2; /* one voxel along j */
    check_ok(pipe_label_volume_resample(volume, &target));
    for (int k = 0; k < NZ; k++)
        for (int j = 0; j < NY; j++)
            for (int i = 0; i < NX; i++) {
                const int expected = j + 1 < NY ? values[(k * NY + j + 1) * NX + 10 - i] : 0;
                assert_int_equal(organ_at(volume, (k * NY + j) * NX + i), expected);
            }
    memset(volume->grid.affine, 0, sizeof volume->grid.affine);
    check_fails(IO_ERR_RANGE, pipe_label_volume_resample(volume, &grid));
    pipe_label_volume_free(&volume);
    free_map(&labels, &map);
}

static double rule(const pipe_empty_rules *rules, int convention, int metric, pipe_presence presence)
{
    const pipe_empty_rule *r = &rules->rule[convention][metric][presence - 1];
    return r->is_worst ? -12345 : r->value;
}

static void test_empty_rules(void **state)
{
    pipe_empty_rules rules;

    pipe_empty_rules_default(&rules);
    check_near(rule(&rules, PIPE_RELOADED, PIPE_DSC, PIPE_BOTH_EMPTY), 1, 0);
    check_near(rule(&rules, PIPE_RELOADED, PIPE_DSC, PIPE_MISSED), 0, 0);
    check_near(rule(&rules, PIPE_MEDPY, PIPE_HD95, PIPE_BOTH_EMPTY), 0, 0);
    assert_true(isnan(rule(&rules, PIPE_MEDPY, PIPE_HD95, PIPE_MISSED)));
    check_near(rule(&rules, PIPE_SAMED, PIPE_DSC, PIPE_FALSE_POSITIVE), 1, 0); /* the paper's (1, 0) */
    check_near(rule(&rules, PIPE_SAMED, PIPE_HD95, PIPE_FALSE_POSITIVE), 0, 0);
    check_near(rule(&rules, PIPE_SAMED, PIPE_DSC, PIPE_BOTH_EMPTY), 0, 0); /* and (0, 0) */
    check_ok(pipe_empty_rules_change(&rules, "library"));
    assert_true(isnan(rule(&rules, PIPE_MONAI, PIPE_DSC, PIPE_FALSE_POSITIVE)));
    assert_true(isinf(rule(&rules, PIPE_DEEPMIND, PIPE_HD, PIPE_MISSED)));
    check_near(rule(&rules, PIPE_MEDPY, PIPE_DSC, PIPE_BOTH_EMPTY), 1, 0);
    check_ok(pipe_empty_rules_change(&rules, "distance:missed=worst,monai/dsc:any=0.25"));
    check_near(rule(&rules, PIPE_DEEPMIND, PIPE_HD, PIPE_MISSED), -12345, 0);
    check_near(rule(&rules, PIPE_MONAI, PIPE_DSC, PIPE_BOTH_EMPTY), 0.25, 0);
    check_near(rule(&rules, PIPE_MEDPY, PIPE_DSC, PIPE_BOTH_EMPTY), 1, 0);
    check_fails(IO_ERR_ARGUMENT, pipe_empty_rules_change(&rules, "dsc:gone=1"));
    check_fails(IO_ERR_ARGUMENT, pipe_empty_rules_change(&rules, "dsc:both=1x"));
    check_fails(IO_ERR_ARGUMENT, pipe_empty_rules_change(&rules, "mine/dsc:both=1"));
    check_fails(IO_ERR_ARGUMENT, pipe_empty_rules_change(&rules, "dsc"));
}

static void make_study(const io_labels *labels, pipe_study **study)
{
    pipe_study_options options = {
        .conventions = 1u << PIPE_MEDPY, .order = {PIPE_MEDPY}, .n_conventions = 1, .tolerances_mm = {1}, .n_tolerances = 1};

    pipe_empty_rules_default(&options.rules);
    check_ok(pipe_study_create(labels, &options, study));
    for (int i = 0; i < 4; i++) check_ok(pipe_study_add_case(*study, (const char[2]){(char)('a' + i), 0}, "r", "p", NULL));
    check_ok(pipe_study_allocate(*study));
}

/* Ranks must not take "no memory" for "no case": they would wait for pictures that never come. */
static void test_ranking_tells_when_memory_is_short(void **state)
{
    const pipe_study study = {.n_cases = SIZE_MAX};
    size_t order[1], n = 1;

    check_fails(IO_ERR_RANGE, pipe_report_rank_cases(&study, order, &n));
    assert_int_equal(n, 0);
}

/* Case a: found with HD95 2; b: missed; c: false positive; d failed. The image is 30 x 40 x 0.x mm: its diagonal about 50. */
static void test_three_means(void **state)
{
    io_labels *labels = NULL;
    pipe_study *study = NULL;
    pipe_study_summary *summary = NULL;
    const pipe_overlap overlaps[3] = {{10, 10, 5}, {10, 0, 0}, {0, 10, 0}};
    size_t hd95, dsc;

    check_ok(io_labels_default(2, &labels));
    make_study(labels, &study);
    hd95 = pipe_study_find(study, PIPE_HD95, PIPE_MEDPY, false);
    dsc = pipe_study_find(study, PIPE_DSC, PIPE_MEDPY, false);
    for (size_t i = 0; i < 3; i++) {
        study->cases[i].is_done = true;
        memcpy(study->cases[i].dims, (const int64_t[3]){30, 40, 1}, sizeof study->cases[i].dims);
        memcpy(study->cases[i].spacing_mm, (const double[3]){1, 1, 1e-9}, sizeof study->cases[i].spacing_mm);
        study->overlaps[i] = overlaps[i];
    }
    study->raw[hd95] = 2;
    study->raw[dsc] = 0.5;
    check_ok(pipe_study_summarise(study, NULL, 0, 1, &summary));
    check_near(summary->cells[hd95].stats.mean, 2, 0);
    assert_int_equal(summary->cells[hd95].stats.n, 1);
    assert_int_equal(summary->cells[hd95].n_left_out, 2);
    assert_int_equal(summary->cells[dsc].n_left_out, 0);
    check_near(summary->cells[hd95].mean_present, 2, 0);
    check_near(summary->cells[hd95].mean_worst, (2 + 50 + 50) / 3.0, 1e-9); /* rounding of the third axis */
    check_near(summary->cells[dsc].stats.mean, 0.5 / 3, 1e-15);             /* one division more or less */
    check_near(summary->cells[dsc].mean_present, 0.5, 0);
    assert_int_equal(summary->counts[0].n_missed, 1);
    assert_int_equal(summary->counts[0].n_false_positive, 1);
    assert_int_equal(summary->counts[0].n_failed, 1);
    pipe_study_summary_free(&summary);
    pipe_study_free(&study);
    io_labels_free(&labels);
}

static void read_back(const char *expected)
{
    char *text = NULL;

    check_ok(io_file_read_text("text.out", 1 << 20, &text));
    assert_string_equal(text, expected);
    io_free(&text);
}

static void test_text_keeps_to_its_file(void **state)
{
    pipe_text *text = NULL;

    check_ok(pipe_text_open(".", "text.out", &text));
    pipe_text_add_csv(text, "a\"b,c");
    pipe_text_add_csv(text, "plain");
    pipe_text_add_html(text, "<b>&'\"");
    pipe_text_add_json(text, "</script>\"\\\n");
    pipe_text_add_number(text, 0.1);
    pipe_text_add_number(text, 1.0 / 3);
    pipe_text_add_number(text, NAN);
    pipe_text_add_base64(text, (const uint8_t *)"Man", 3);
    pipe_text_add_base64(text, (const uint8_t *)"Ma", 2);
    pipe_text_add_base64(text, (const uint8_t *)"M", 1);
    check_ok(pipe_text_commit(&text));
    read_back("\"a\"\"b,c\"plain&lt;b&gt;&amp;&#39;&quot;\"\\u003c/script>\\\"\\\\\\u000a\"0.10.3333333333333333nanTWFuTWE=TQ==");
    assert_null(text);
    check_ok(pipe_text_open(".", "text.out", &text)); /* Latin-1, half a character at the end, an encoded surrogate; and what is right */
    pipe_text_add_json(text, "Dr\xfcse \xc3");
    pipe_text_add_html(text, "Dr\xfcse \xed\xa0\x80<");
    pipe_text_add_line(text, "a\tb\xf0\x9f\n");
    pipe_text_add_json(text, "Dr\xc3\xbcse \xf0\x9f\xab\x80");
    check_ok(pipe_text_commit(&text));
    read_back("\"Dr\xef\xbf\xbdse \xef\xbf\xbd\""
              "Dr\xef\xbf\xbdse \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd&lt;"
              "a b\xef\xbf\xbd\xef\xbf\xbd "
              "\"Dr\xc3\xbcse \xf0\x9f\xab\x80\"");
    check_fails(IO_ERR_NOT_FOUND, pipe_text_open("no_such_folder", "text.out", &text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_stand_for_themselves),
        cmocka_unit_test(test_ready_maps),
        cmocka_unit_test(test_names_are_compared_by_words),
        cmocka_unit_test(test_reading_gives_every_voxel),
        cmocka_unit_test(test_what_is_no_label_is_refused_or_rounded),
        cmocka_unit_test(test_grids),
        cmocka_unit_test(test_resampling_follows_the_affine),
        cmocka_unit_test(test_empty_rules),
        cmocka_unit_test(test_ranking_tells_when_memory_is_short),
        cmocka_unit_test(test_three_means),
        cmocka_unit_test(test_text_keeps_to_its_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
