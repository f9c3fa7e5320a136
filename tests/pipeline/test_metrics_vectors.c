/* Published test values of other projects (values only): MONAI, Metrics Reloaded, DeepMind surface-distance, MedPy, panoptica. Where a
 * value is not printed in the project's tests, an independent computation gave it (the last digits show which). */
#include "tests/pipeline/masks.h"

#include "pipeline/study.h"

enum { SPHERE_GRID = 99, N_SPHERE_VOXELS = SPHERE_GRID * SPHERE_GRID * SPHERE_GRID };

static pipe_metrics_options make_options(double i, double j, double k, double tolerance)
{
    return (pipe_metrics_options){.conventions = ALL_CONVENTIONS,
                                  .spacing_mm = {i, j, k},
                                  .percentile = 95,
                                  .tolerances_mm = {tolerance, 2 * tolerance},
                                  .n_tolerances = 2};
}

/* ---- MONAI tests/metrics/test_hausdorff_distance.py, test_surface_distance.py: balls in mm on a grid of 99 ---- */

typedef struct balls {
    double spacing[3];
    double radius[2], center[2][3];   /* mm; prediction and reference */
    double hd, hd95, pooled, medpy95; /* NaN: not given. hd95 and pooled as monai has them */
    double means;                     /* mean of the two means */
} balls;

static const balls spheres[] = {
    {{1, 1, 1}, {20, 20}, {{20, 20, 20}, {19, 19, 19}}, 1.7320508, 1.7320508, .895743, NAN, NAN},
    {{1, 1, 1}, {33, 33}, {{19, 33, 22}, {20, 33, 22}}, 1, 1, .350217, NAN, NAN},
    {{1, 1, 1}, {20, 40}, {{20, 33, 22}, {20, 33, 22}}, 20.223748416156685, 20.09975124224178, 15.117741, 20.0499, 13.9757},
    {{.85, 1.2, .9}, {20, 20}, {{20, 20, 20}, {19, 19, 19}}, 2.2671568, 1.724094, .868472, NAN, NAN},
    {{.85, 1.2, .9}, {15, 30}, {{20, 33, 22}, {20, 33, 22}}, 15.62594, 15.215206, 13.491868, 15.1672, 13.1357},
    {{.85, 1.2, .9}, {33, 33}, {{42, 45, 52}, {43, 45, 52}}, 1.7, 1.2, .4951, NAN, NAN},
};

static void draw_sphere(const balls *b, int which, uint8_t *mask)
{
    for (int at = 0; at < N_SPHERE_VOXELS; at++) {
        const int p[3] = {at % SPHERE_GRID, at / SPHERE_GRID % SPHERE_GRID, at / SPHERE_GRID / SPHERE_GRID};
        double squared = 0;
        for (int a = 0; a < 3; a++) {
            const double step = p[a] * b->spacing[a] - b->center[which][a];
            squared += step * step;
        }
        mask[at] = sqrt(squared) <= b->radius[which];
    }
}

/* The values have six or more significant digits, those of Metrics Reloaded's and ours with four decimals less. */
static void check_if_given(double found, double expected, double tolerance)
{
    if (!isnan(expected)) check_near(found, expected, tolerance);
}

static void test_spheres(void **state)
{
    const int64_t dims[3] = {SPHERE_GRID, SPHERE_GRID, SPHERE_GRID};
    static uint8_t prediction[N_SPHERE_VOXELS], reference[N_SPHERE_VOXELS];
    pipe_metrics m;

    for (size_t n = 0; n < sizeof spheres / sizeof *spheres; n++) {
        const balls *b = &spheres[n];
        const pipe_metrics_options options = make_options(b->spacing[0], b->spacing[1], b->spacing[2], 1);
        draw_sphere(b, 0, prediction);
        draw_sphere(b, 1, reference);
        mask_measure(dims, reference, prediction, &options, &m);
        for (int c = PIPE_MEDPY; c <= PIPE_RELOADED; c++) check_if_given(m.surface[c].hd, b->hd, 6e-7 * b->hd);
        check_if_given(m.surface[PIPE_MONAI].hd95, b->hd95, 6e-7 * b->hd95);
        check_if_given(m.surface[PIPE_RELOADED].hd95, b->hd95, 6e-7 * b->hd95);
        check_if_given(m.surface[PIPE_MONAI].assd, b->pooled, n == 5 ? 5e-5 : 6e-7); /* half of the last digit */
        check_if_given(m.surface[PIPE_RELOADED].assd, b->pooled, n == 5 ? 5e-5 : 6e-7);
        check_if_given(m.surface[PIPE_MEDPY].hd95, b->medpy95, 5e-5);
        check_if_given(m.surface[PIPE_MEDPY].assd, b->pooled, n == 5 ? 5e-5 : 6e-7);
        check_if_given(m.surface[PIPE_MEDPY].masd, b->means, 5e-5);
        check_if_given(m.surface[PIPE_RELOADED].masd, b->means, 5e-5);
    }
}

/* tests/metrics/test_surface_dice.py L25-86: an edge moved by ten columns in 480 x 640, tolerance 0. */
static void test_moved_edge(void **state)
{
    const int64_t dims[3] = {480, 640, 1};
    static uint8_t prediction[480 * 640], reference[480 * 640];
    pipe_metrics_options options = make_options(1, 1, 1, 0);
    pipe_metrics m;

    options.is_planar = true;
    for (int side = 0; side < 2; side++) {
        const double all = side ? 480 * 4 + 588 * 2 + 578 * 2 : 480 * 4 + 48 * 2 + 58 * 2;
        for (int at = 0; at < 480 * 640; at++) {
            prediction[at] = (at / 480 >= 50) == side;
            reference[at] = (at / 480 >= 60) == side;
        }
        mask_measure(dims, reference, prediction, &options, &m);
        check_near(m.surface[PIPE_MONAI].nsd[0], 1 - (478 + 480 + 9 * 2) / all, 1e-15);
        check_near(m.surface[PIPE_RELOADED].nsd[0], 1 - (478 + 480 + 9 * 2) / all, 1e-15);
    }
}

/* ---- Metrics Reloaded test/test_metrics/test_pairwise_measures.py: squares on small images ---- */

enum { IMAGE = 14 };

static void fill_square(uint8_t image[IMAGE * IMAGE], int i0, int i1, int j0, int j1)
{
    for (int j = j0; j < j1; j++) {
        for (int i = i0; i < i1; i++) image[i + IMAGE * j] = 1;
    }
}

static const pipe_surface *measure_image(const uint8_t *reference, const uint8_t *prediction, pipe_metrics *m)
{
    pipe_metrics_options options = make_options(1, 1, 1, 1);

    options.is_planar = true;
    mask_measure((const int64_t[3]){IMAGE, IMAGE, 1}, reference, prediction, &options, m);
    return m->surface;
}

static void test_squares(void **state)
{
    uint8_t reference[IMAGE * IMAGE] = {0}, smaller[IMAGE * IMAGE] = {0}, larger[IMAGE * IMAGE] = {0};
    const pipe_surface *s;
    pipe_metrics m;

    fill_square(reference, 5, 9, 5, 9);
    fill_square(smaller, 6, 8, 6, 8);
    fill_square(larger, 4, 10, 4, 10);
    s = measure_image(reference, smaller, &m);
    check_near(s[PIPE_RELOADED].hd, sqrt(2), 1e-15);
    check_near(s[PIPE_RELOADED].masd, 1.069036, 5e-7);
    check_near(s[PIPE_RELOADED].assd, 1.103553, 5e-7);
    check_near(s[PIPE_RELOADED].nsd[0], .75, 1e-15);
    s = measure_image(reference, larger, &m);
    check_near(s[PIPE_RELOADED].hd, sqrt(2), 1e-15);
    check_near(s[PIPE_RELOADED].masd, 1.041421, 5e-7);
    check_near(s[PIPE_RELOADED].assd, 1.051777, 5e-7);
    check_near(s[PIPE_RELOADED].nsd[0], .875, 1e-15);
}

/* Figure 5c: one stray pixel of the reference; here the conventions fall apart. */
static void test_stray_pixel(void **state)
{
    uint8_t reference[IMAGE * IMAGE] = {0}, prediction[IMAGE * IMAGE] = {0};
    const pipe_surface *s;
    pipe_metrics m;

    fill_square(reference, 1, 2, 1, 2);
    fill_square(reference, 9, 12, 9, 12);
    fill_square(prediction, 9, 12, 9, 12);
    s = measure_image(reference, prediction, &m);
    for (int c = PIPE_MEDPY; c <= PIPE_RELOADED; c++) check_near(s[c].hd, 8 * sqrt(2), 1e-14);
    check_near(s[PIPE_MEDPY].hd95, 2.2627, 5e-5);
    check_near(s[PIPE_SAMED].hd95, 2.2627, 5e-5);
    check_near(s[PIPE_MONAI].hd95, 6.7882, 5e-5);
    check_near(s[PIPE_RELOADED].hd95, 6.7882, 5e-5);
    check_near(s[PIPE_MEDPY].masd, .6285, 6e-5);
    check_near(s[PIPE_MEDPY].assd, .6655, 5e-5);
    check_near(s[PIPE_RELOADED].masd, .6285, 6e-5);
    check_near(s[PIPE_RELOADED].assd, .6655, 5e-5);
    check_near(s[PIPE_MONAI].assd, .6655, 5e-5);
}

/* p_ref and p_pred: a square, and the square with two bars one pixel wide. */
static void test_bars(void **state)
{
    uint8_t reference[IMAGE * IMAGE] = {0}, prediction[IMAGE * IMAGE] = {0};
    const pipe_surface *s;
    pipe_metrics m;

    fill_square(reference, 3, 8, 3, 8);
    fill_square(prediction, 3, 8, 3, 8);
    fill_square(prediction, 5, 6, 1, 10);
    fill_square(prediction, 1, 10, 5, 6);
    s = measure_image(reference, prediction, &m);
    check_near(s[PIPE_RELOADED].assd, .44, 5e-3);
    check_near(s[PIPE_RELOADED].masd, .425, 5e-4);
    check_near(s[PIPE_RELOADED].nsd[0], .89, 5e-3);
    check_near(s[PIPE_RELOADED].nsd[1], 1, 0);
    check_near(pipe_overlap_dice(&m.overlap), .862, 5e-4);
}

/* ---- DeepMind surface_distance_test.py ---- */

static void test_two_pixels(void **state)
{
    static uint8_t reference[128 * 128], prediction[128 * 128];
    pipe_metrics_options options = make_options(2, 1, 1, 1);
    pipe_metrics m;

    options.is_planar = true;
    reference[50 + 128 * 70] = prediction[50 + 128 * 72] = 1;
    mask_measure((const int64_t[3]){128, 128, 1}, reference, prediction, &options, &m);
    check_near(m.surface[PIPE_DEEPMIND].hd, 2, 0);
    check_near(m.surface[PIPE_DEEPMIND].hd95, 2, 0);
    check_near(m.surface[PIPE_DEEPMIND].masd, 1.5, 1e-15);
    check_near(m.surface[PIPE_DEEPMIND].assd, 1.5, 1e-15);
    check_near(m.surface[PIPE_DEEPMIND].nsd[0], .5, 1e-15);
}

/* Reference surfels d 1 d 2 d 1 d 2 with d = sqrt(5) / 2: one of length 1 lies 1 mm away; of the prediction's, d 1 d lie 2 mm away. */
static void test_small_squares(void **state)
{
    const double d = sqrt(5) / 2;
    uint8_t reference[36] = {0}, prediction[36] = {0};
    pipe_metrics_options options = make_options(2, 1, 1, 0.5);
    pipe_metrics m;

    options.is_planar = true;
    for (int i = 1; i < 4; i++) {
        prediction[i + 6] = prediction[i + 12] = 1;
        if (i < 3) reference[i + 6] = reference[i + 12] = 1;
    }
    mask_measure((const int64_t[3]){6, 6, 1}, reference, prediction, &options, &m);
    const double sum_there = 1 * 1, area_there = 4 * d + 6; /* the reference's edge of length 1 inside the prediction */
    const double sum_back = 2 * (d + 1 + d), area_back = 4 * d + 10;
    check_near(m.surface[PIPE_DEEPMIND].masd, (sum_there / area_there + sum_back / area_back) / 2, 1e-15);
    check_near(m.surface[PIPE_DEEPMIND].hd, 2, 0);
    check_near(m.surface[PIPE_DEEPMIND].nsd[0], (area_there - 1 + area_back - 2 * d - 1) / (area_there + area_back), 1e-15);
}

static void test_cubes(void **state)
{
    static uint8_t reference[1000000], prediction[1000000];
    const pipe_metrics_options options = make_options(2, 1, 1, 1);
    pipe_metrics m;

    for (int at = 0; at < 1000000; at++) {
        reference[at] = at % 100 < 50;
        prediction[at] = at % 100 < 51;
    }
    mask_measure((const int64_t[3]){100, 100, 100}, reference, prediction, &options, &m);
    check_near(m.surface[PIPE_DEEPMIND].masd, (.322 + .339) / 2, 5e-4);
    check_near(m.surface[PIPE_DEEPMIND].hd, 2, 0);
    check_near(m.surface[PIPE_DEEPMIND].hd95, 2, 0);
    check_near(m.surface[PIPE_DEEPMIND].nsd[0], .836, 5e-4);
    check_near(pipe_overlap_dice(&m.overlap), .990, 5e-4);
}

static void test_two_voxels(void **state)
{
    static uint8_t reference[1000000], prediction[1000000];
    const pipe_metrics_options options = make_options(3, 2, 1, 1);
    pipe_metrics m;

    reference[50 + 100 * (60 + 100 * 70)] = prediction[50 + 100 * (60 + 100 * 72)] = 1;
    mask_measure((const int64_t[3]){100, 100, 100}, reference, prediction, &options, &m);
    check_near(m.surface[PIPE_DEEPMIND].masd, 1.5, 1e-15);
    check_near(m.surface[PIPE_DEEPMIND].hd, 2, 0);
    check_near(m.surface[PIPE_DEEPMIND].nsd[0], .5, 1e-15);
}

/* ---- MedPy tests/metric_/binary.py ---- */

static void test_two_places(void **state)
{
    const uint8_t reference[2] = {1, 0}, prediction[2] = {0, 1};
    pipe_metrics_options options = make_options(1, 1, 1, 1);
    pipe_metrics m;

    mask_measure((const int64_t[3]){2, 1, 1}, reference, prediction, &options, &m);
    check_near(m.surface[PIPE_MEDPY].assd, 1, 0);
    options = make_options(2, 1, 1, 1);
    mask_measure((const int64_t[3]){2, 1, 1}, reference, prediction, &options, &m);
    check_near(m.surface[PIPE_MEDPY].assd, 2, 0);
}

/* ---- Images of few pixels, row by row as their tests print them: 1 is the organ ---- */

static void read_rows(const char *rows, uint8_t *mask)
{
    for (; *rows; rows++)
        if (*rows != ' ') *mask++ = (uint8_t)(*rows - '0');
}

static void measure_rows(int side, const char *reference, const char *prediction, double spacing, double tolerance, pipe_metrics *m)
{
    uint8_t masks[2][16];
    pipe_metrics_options options = make_options(spacing, spacing, 1, tolerance);

    assert_true(side <= 4);
    options.is_planar = true;
    read_rows(reference, masks[0]);
    read_rows(prediction, masks[1]);
    mask_measure((const int64_t[3]){side, side, 1}, masks[0], masks[1], &options, m);
}

/* MedPy tests/metric_/binary.py, its symmetric pair; the value was computed independently and is the mean of both means. */
static void test_medpy_pair(void **state)
{
    static const char one[] = "1000 1000 1000 1100", other[] = "1100 1000 1000 0000";
    pipe_metrics there, back;

    measure_rows(4, one, other, 1, 1, &there);
    measure_rows(4, other, one, 1, 1, &back);
    check_near(there.surface[PIPE_MEDPY].masd, .366421, 5e-7); /* half of the last digit */
    check_near(back.surface[PIPE_MEDPY].masd, there.surface[PIPE_MEDPY].masd, 0);
    check_near(back.surface[PIPE_MEDPY].assd, there.surface[PIPE_MEDPY].assd, 0);
}

/* panoptica unit_tests/test_metrics.py, whose ASSD is the mean of both means and whose relative volume difference is ours. */
static void test_panoptica(void **state)
{
    static const char none[2][20] = {"0101 0101 0100 0100", "1010 1010 1011 1011"};
    static const char small[] = "0000 0110 0110 0000", large[] = "0010 1110 1111 0110";
    pipe_metrics m;

    measure_rows(4, none[1], none[0], 1, 1, &m);
    check_near(m.surface[PIPE_MEDPY].masd, 1.05, 1e-15);
    check_near(pipe_overlap_volume_difference(&m.overlap), -.4, 1e-15);
    check_near(pipe_overlap_dice(&m.overlap), 0, 0);
    measure_rows(4, none[1], none[0], 20, 1, &m);
    check_near(m.surface[PIPE_MEDPY].masd, 21, 1e-14);
    check_near(m.surface[PIPE_MEDPY].hd, 40, 0);
    measure_rows(4, "0000 0000 0011 0011", "1110 1110 1110 1000", 1, 1, &m);
    check_near(m.surface[PIPE_MEDPY].hd, 2.82842712474619, 1e-14);
    check_near(m.surface[PIPE_MEDPY].hd95, 2.473011636398349, 1e-14);
    for (int way = 0; way < 2; way++) {
        measure_rows(4, way ? large : small, way ? small : large, 1, 1, &m);
        check_near(m.surface[PIPE_MEDPY].masd, .625, 1e-15);
        check_near(m.surface[PIPE_MEDPY].hd, 1, 0);
        check_near(m.surface[PIPE_RELOADED].nsd[0], 1, 0);
        check_near(pipe_overlap_dice(&m.overlap), .5714285714285714, 1e-15);
        check_near(pipe_overlap_volume_difference(&m.overlap), way ? -.6 : 1.5, 1e-15);
    }
}

/* A class of a case of MONAI tests/metrics/test_compute_meandice.py; NaN where it leaves the class out. */
typedef struct dice_vector {
    const char *reference, *prediction;
    double dice;
} dice_vector;

static double ruled_dice(const pipe_empty_rules *rules, const dice_vector *v)
{
    pipe_presence presence;
    pipe_metrics m;

    measure_rows(2, v->reference, v->prediction, 1, 1, &m);
    presence = pipe_presence_of(&m.overlap);
    return presence == PIPE_BOTH_PRESENT ? pipe_overlap_dice(&m.overlap) : rules->rule[PIPE_MONAI][PIPE_DSC][presence - 1].value;
}

static void test_mean_dice(void **state)
{
    static const dice_vector vectors[] = {
        {"10 11", "10 01", .8},    {"10 10", "00 11", .5},  {"01 00", "10 00", 0},     {"11 00", "10 00", .6667},
        {"00 10", "01 10", .6667}, {"11 11", "00 00", 0},   {"00 00", "00 00", NAN},   {"00 00", "11 11", NAN},
        {"11 11", "11 10", .8571}, {"00 00", "01 00", NAN}, {"00 00", "01 11", NAN},   /* the classes of a first case, */
        {"00 01", "10 11", .5},    {"11 00", "01 11", .4},  {"00 10", "01 10", .6667}, /* and of a second one */
    };
    enum { N = sizeof vectors / sizeof *vectors, FIRST = N - 6 };
    pipe_empty_rules rules;
    double found[N];

    pipe_empty_rules_default(&rules);
    check_ok(pipe_empty_rules_change(&rules, "library"));
    for (int i = 0; i < N; i++) {
        found[i] = ruled_dice(&rules, &vectors[i]);
        if (isnan(vectors[i].dice))
            assert_true(isnan(found[i]));
        else
            check_near(found[i], vectors[i].dice, 5e-5); /* half of the last digit */
    }
    check_near((found[FIRST] + found[FIRST + 3]) / 2, .6786, 5e-5); /* the means of the classes: NaN is left out */
    check_near((found[FIRST] + (found[FIRST + 3] + found[FIRST + 4] + found[FIRST + 5]) / 3) / 2, .689683, 5e-7);
}

/* DeepMind surface_distance_test.py: empty masks in 2-D and 3-D. Its two averages are (inf, NaN), (NaN, inf) and (NaN, NaN): no mean. */
static void test_deepmind_empty(void **state)
{
    static const struct {
        pipe_metric metric;
        double both, missed, false_positive;
    } table[] = {{PIPE_HD, INFINITY, INFINITY, INFINITY}, {PIPE_MASD, NAN, NAN, NAN}, {PIPE_NSD, NAN, 0, 0}, {PIPE_DSC, NAN, 0, 0}};
    static const char *const masks[2] = {"00 00", "01 00"};
    pipe_empty_rules rules;
    pipe_metrics m;

    pipe_empty_rules_default(&rules);
    check_ok(pipe_empty_rules_change(&rules, "library"));
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const double expected[PIPE_N_EMPTY] = {table[i].both, table[i].missed, table[i].false_positive};
        for (int s = 0; s < PIPE_N_EMPTY; s++) {
            const pipe_empty_rule *rule = &rules.rule[PIPE_DEEPMIND][table[i].metric][s];
            assert_false(rule->is_worst);
            assert_true(isnan(expected[s]) ? isnan(rule->value) : rule->value == expected[s]);
        }
    }
    for (int pair = 0; pair < 3; pair++) { /* what is measured of an empty mask is NaN in every convention, the NSD of MONAI too */
        measure_rows(2, masks[pair & 1], masks[pair >> 1], 3, 1, &m);
        for (int c = 0; c < PIPE_N_CONVENTIONS; c++)
            assert_true(isnan(m.surface[c].hd) && isnan(m.surface[c].hd95) && isnan(m.surface[c].assd) && isnan(m.surface[c].nsd[0]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spheres),     cmocka_unit_test(test_moved_edge),     cmocka_unit_test(test_squares),
        cmocka_unit_test(test_stray_pixel), cmocka_unit_test(test_bars),           cmocka_unit_test(test_two_pixels),
        cmocka_unit_test(test_cubes),       cmocka_unit_test(test_small_squares),  cmocka_unit_test(test_two_voxels),
        cmocka_unit_test(test_two_places),  cmocka_unit_test(test_medpy_pair),     cmocka_unit_test(test_panoptica),
        cmocka_unit_test(test_mean_dice),   cmocka_unit_test(test_deepmind_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
