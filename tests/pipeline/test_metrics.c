/* Metrics against the libraries' values (tests/golden/metrics.txt), against definitions written out with full distance maps, and what
 * swapping, turning, moving and scaling must do to them. */
#include "tests/pipeline/distance.h"
#include "tests/pipeline/masks.h"

#include "io/memory.h"

enum { MAX_VOXELS = 100000, N_TURNS = 48 };

static const pipe_metrics_options plain = {
    .conventions = ALL_CONVENTIONS, .spacing_mm = {1, 1, 1}, .percentile = 95, .tolerances_mm = {0.5, 1, 2, 3}, .n_tolerances = 4};

typedef struct pair {
    int64_t dims[3];
    pipe_metrics_options options;
    uint8_t reference[MAX_VOXELS], prediction[MAX_VOXELS];
    pipe_metrics metrics;
} pair;

static void measure(pair *p)
{
    mask_measure(p->dims, p->reference, p->prediction, &p->options, &p->metrics);
}

/* ---- the libraries' values ---- */

static double pick_metric(const pipe_surface *s, const char *name)
{
    if (strcmp(name, "hd") == 0) return s->hd;
    if (strcmp(name, "hd95") == 0) return s->hd95;
    if (strcmp(name, "assd") == 0) return s->assd;
    if (strcmp(name, "masd") == 0) return s->masd;
    assert_int_equal(strncmp(name, "nsd", 3), 0);
    return s->nsd[strtol(name + 3, NULL, 10)];
}

static void read_pair(const char *line, pair *p)
{
    double numbers[6 + 2 * MASK_BALL];

    assert_int_equal(read_numbers(line, numbers, 6 + 2 * MASK_BALL), 6 + 2 * MASK_BALL);
    p->options = plain;
    for (int a = 0; a < 3; a++) {
        p->dims[a] = (int64_t)numbers[a];
        p->options.spacing_mm[a] = numbers[3 + a];
    }
    assert_true(p->dims[0] * p->dims[1] * p->dims[2] <= MAX_VOXELS);
    mask_draw(p->dims, numbers + 6, p->reference);
    mask_draw(p->dims, numbers + 6 + MASK_BALL, p->prediction);
}

static int check_value(const char *line, const pipe_metrics *metrics)
{
    char convention[16], metric[16];
    pipe_convention c;
    double expected;

    assert_int_equal(sscanf(line, "%15s %15s %lf", convention, metric, &expected), 3);
    check_ok(pipe_convention_parse(convention, &c));
    check_relative(pick_metric(&metrics->surface[c], metric), expected, c == PIPE_MONAI ? 1e-5 : 1e-9); /* MONAI is float32 */
    return 1;
}

static void test_libraries(void **state)
{
    FILE *file = fopen(source_path("tests/golden/metrics.txt"), "r");
    static char line[1 << 16];
    static pair p;
    int n_pairs = 0, n_values = 0;

    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "pair ", 5) == 0) {
            read_pair(line + 5, &p);
            measure(&p);
            n_pairs++;
        }
        if (strncmp(line, "value ", 6) == 0) n_values += check_value(line + 6, &p.metrics);
    }
    fclose(file);
    assert_int_equal(n_pairs, 9);
    assert_int_equal(n_values, 9 * 28);
}

/* ---- definitions written out ---- */

static int is_set(const pair *p, const uint8_t *mask, int64_t i, int64_t j, int64_t k)
{
    if (i < 0 || j < 0 || k < 0 || i >= p->dims[0] || j >= p->dims[1] || k >= p->dims[2]) return 0;
    return mask[i + p->dims[0] * (j + p->dims[1] * k)] != 0;
}

static void draw_surface(const pair *p, const uint8_t *mask, uint8_t *surface)
{
    for (int64_t k = 0; k < p->dims[2]; k++) {
        for (int64_t j = 0; j < p->dims[1]; j++) {
            for (int64_t i = 0; i < p->dims[0]; i++) {
                const int n = is_set(p, mask, i - 1, j, k) + is_set(p, mask, i + 1, j, k) + is_set(p, mask, i, j - 1, k) +
                              is_set(p, mask, i, j + 1, k) + is_set(p, mask, i, j, k - 1) + is_set(p, mask, i, j, k + 1);
                *surface++ = (uint8_t)(is_set(p, mask, i, j, k) && n < 6);
            }
        }
    }
}

static int compare_doubles(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static double take_percentile(double *values, size_t n, double q)
{
    const double at = q / 100 * (double)(n - 1);
    const size_t below = (size_t)at, above = below + 1 < n ? below + 1 : below;

    qsort(values, n, sizeof *values, compare_doubles);
    return values[below] + (at - (double)below) * (values[above] - values[below]);
}

/* distances [..] of the voxels of from's surface to that of to, by a full distance map. */
static size_t list_distances(const pair *p, const double spacing[3], const uint8_t *from, const uint8_t *to, double *distances)
{
    static uint8_t surface[MAX_VOXELS];
    static double map[MAX_VOXELS];
    void *scratch = NULL;
    size_t n = 0;

    draw_surface(p, to, surface);
    check_ok(io_alloc(1, distance_scratch_bytes(p->dims), &scratch));
    distance_squared(p->dims, spacing, surface, map, scratch);
    io_free(&scratch);
    draw_surface(p, from, surface);
    for (int64_t at = 0; at < p->dims[0] * p->dims[1] * p->dims[2]; at++) {
        if (surface[at]) distances[n++] = sqrt(map[at]);
    }
    return n;
}

static double average(const double *values, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) sum += values[i];
    return sum / (double)n;
}

static void check_definitions(pair *p)
{
    static double there[2 * MAX_VOXELS];
    const double *spacing = p->options.spacing_mm;
    const pipe_surface *s = p->metrics.surface;
    const size_t n = list_distances(p, spacing, p->reference, p->prediction, there);
    const size_t m = list_distances(p, spacing, p->prediction, p->reference, there + n);
    const double tight = 1e-12; /* rounding of sums of some thousand */

    check_relative(s[PIPE_MEDPY].masd, (average(there, n) + average(there + n, m)) / 2, tight);
    check_relative(s[PIPE_MEDPY].assd, average(there, n + m), tight);
    check_relative(s[PIPE_RELOADED].masd, (average(there, n) + average(there + n, m)) / 2, tight);
    check_relative(s[PIPE_MONAI].assd, average(there, n + m), tight);
    check_relative(s[PIPE_RELOADED].assd, average(there, n + m), tight);
    for (int t = 0; t < p->options.n_tolerances; t++) {
        size_t n_within = 0;
        for (size_t at = 0; at < n + m; at++) n_within += there[at] <= p->options.tolerances_mm[t];
        check_relative(s[PIPE_RELOADED].nsd[t], (double)n_within / (double)(n + m), tight);
    }
    check_relative(s[PIPE_RELOADED].hd95, fmax(take_percentile(there, n, 95), take_percentile(there + n, m, 95)), tight);
    check_relative(s[PIPE_MEDPY].hd95, take_percentile(there, n + m, 95), tight);
    check_relative(s[PIPE_MEDPY].hd, there[n + m - 1], tight); /* sorted by the percentile */
}

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

/* Pairs near each other and far apart, round and speckled, long in x so that a word's end is crossed. */
static void draw_random_pair(pair *p, uint32_t *random)
{
    double balls[2][MASK_BALL];

    p->options = plain;
    for (int a = 0; a < 3; a++) {
        p->dims[a] = 1 + draw(random) % (a == 0 ? 140 : 24);
        p->options.spacing_mm[a] = 0.25 * (1 + draw(random) % 16);
    }
    for (int b = 0; b < 2; b++) {
        for (int a = 0; a < 3; a++) {
            balls[b][a] = (double)(draw(random) % (uint32_t)p->dims[a]);
            balls[b][3 + a] = 1 + draw(random) % 3;
        }
        balls[b][6] = draw(random) % 150;
        balls[b][7] = draw(random) % 2 ? 0 : 50 + draw(random) % 500;
    }
    mask_draw(p->dims, balls[0], p->reference);
    mask_draw(p->dims, balls[1], p->prediction);
}

static void test_definitions(void **state)
{
    uint32_t random = 3;
    static pair p;

    for (int n = 0; n < 120; n++) {
        draw_random_pair(&p, &random);
        measure(&p);
        check_definitions(&p);
        memcpy(p.options.spacing_mm, plain.spacing_mm, sizeof plain.spacing_mm); /* samed is medpy with spacing 1, whatever the spacing */
        const double hd95 = p.metrics.surface[PIPE_SAMED].hd95;
        measure(&p);
        assert_true(p.metrics.surface[PIPE_MEDPY].hd95 == hd95 && p.metrics.surface[PIPE_SAMED].hd95 == hd95);
    }
}

/* ---- what changes must do ---- */

static void check_alike(const pipe_metrics *a, const pipe_metrics *b, double scale, double relative)
{
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++) {
        const pipe_surface *x = &a->surface[c], *y = &b->surface[c];
        const double by = c == PIPE_SAMED ? 1 : scale;
        check_relative(x->hd95, by * y->hd95, relative);
        if (c == PIPE_SAMED) continue;
        check_relative(x->hd, by * y->hd, relative);
        check_relative(x->assd, by * y->assd, relative);
        if (c >= PIPE_RELOADED) check_relative(x->masd, by * y->masd, relative);
        for (int t = 0; t < 4 && c != PIPE_MEDPY; t++) check_relative(x->nsd[t], y->nsd[t], relative);
    }
}

static void draw_pair(pair *p)
{
    p->options = plain;
    memcpy(p->dims, (const int64_t[3]){21, 17, 14}, sizeof p->dims);
    memcpy(p->options.spacing_mm, (const double[3]){0.75, 1.25, 2}, sizeof p->options.spacing_mm);
    mask_draw(p->dims, (const double[MASK_BALL]){9, 8, 6, 1, 2, 3, 60, 211}, p->reference);
    mask_draw(p->dims, (const double[MASK_BALL]){11, 7, 7, 2, 1, 3, 70, 0}, p->prediction);
    measure(p);
}

static void test_swap(void **state)
{
    static pair p, swapped;

    draw_pair(&p);
    swapped = p;
    memcpy(swapped.reference, p.prediction, sizeof p.reference);
    memcpy(swapped.prediction, p.reference, sizeof p.reference);
    measure(&swapped);
    check_alike(&swapped.metrics, &p.metrics, 1, 1e-12);
    assert_true(swapped.metrics.overlap.n_reference == p.metrics.overlap.n_prediction);
    check_near(pipe_overlap_precision(&swapped.metrics.overlap), pipe_overlap_recall(&p.metrics.overlap), 0);
}

static void turn_masks(const pair *p, const int order[3], int flips, pair *out)
{
    for (int a = 0; a < 3; a++) {
        out->dims[a] = p->dims[order[a]];
        out->options.spacing_mm[a] = p->options.spacing_mm[order[a]];
    }
    for (int64_t at = 0; at < p->dims[0] * p->dims[1] * p->dims[2]; at++) {
        const int64_t to[3] = {at % out->dims[0], at / out->dims[0] % out->dims[1], at / out->dims[0] / out->dims[1]};
        int64_t from[3];
        for (int a = 0; a < 3; a++) from[order[a]] = (flips >> a & 1) ? out->dims[a] - 1 - to[a] : to[a];
        out->reference[at] = (uint8_t)is_set(p, p->reference, from[0], from[1], from[2]);
        out->prediction[at] = (uint8_t)is_set(p, p->prediction, from[0], from[1], from[2]);
    }
}

static void test_turns(void **state)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static pair p, turned;

    draw_pair(&p);
    turned = p;
    for (int n = 0; n < N_TURNS; n++) {
        turn_masks(&p, orders[n / 8], n % 8, &turned);
        measure(&turned);
        check_alike(&turned.metrics, &p.metrics, 1, 1e-12);
    }
}

/* Moved within a larger volume, away from its edges: nothing may change. */
static void test_shift(void **state)
{
    static pair p, moved;

    draw_pair(&p);
    moved = p;
    memcpy(moved.dims, (const int64_t[3]){90, 20, 19}, sizeof moved.dims);
    for (int64_t start = 1; start < 68; start += 11) {
        memset(moved.reference, 0, sizeof moved.reference);
        memset(moved.prediction, 0, sizeof moved.prediction);
        for (int64_t at = 0; at < p.dims[0] * p.dims[1] * p.dims[2]; at++) {
            const int64_t i = at % p.dims[0] + start, j = at / p.dims[0] % p.dims[1] + 2, k = at / p.dims[0] / p.dims[1] + 3;
            moved.reference[i + 90 * (j + 20 * k)] = p.reference[at];
            moved.prediction[i + 90 * (j + 20 * k)] = p.prediction[at];
        }
        measure(&moved);
        check_alike(&moved.metrics, &p.metrics, 1, 0);
    }
}

static void test_scaled_spacing(void **state)
{
    static pair p, scaled;

    draw_pair(&p);
    scaled = p;
    for (int a = 0; a < 3; a++) scaled.options.spacing_mm[a] *= 4;
    for (int t = 0; t < 4; t++) scaled.options.tolerances_mm[t] *= 4;
    measure(&scaled);
    check_alike(&scaled.metrics, &p.metrics, 4, 1e-15);
}

/* ---- label maps ---- */

static void test_many_labels(void **state)
{
    static uint16_t wide[MAX_VOXELS];
    static uint8_t narrow[MAX_VOXELS];
    static pair p;
    pipe_label_boxes *boxes = NULL;
    pipe_metrics_scratch *scratch = NULL;
    pipe_metrics metrics;

    draw_pair(&p);
    for (int64_t at = 0; at < p.dims[0] * p.dims[1] * p.dims[2]; at++) {
        wide[at] = p.reference[at] ? 200 : at % 3 ? 65535 : 0;
        narrow[at] = p.prediction[at] ? 200 : at % 5 ? 7 : 0;
    }
    check_ok(pipe_metrics_scratch_create(&scratch));
    check_ok(pipe_label_boxes_create(p.dims, wide, 2, narrow, 1, 65536, &boxes));
    check_ok(pipe_metrics_measure(boxes, 7, &p.options, scratch, &metrics)); /* another size first: the scratch is used again */
    assert_true(isnan(metrics.surface[PIPE_MEDPY].hd) && metrics.overlap.n_reference == 0 && metrics.overlap.n_prediction > 0);
    check_ok(pipe_metrics_measure(boxes, 200, &p.options, scratch, &metrics));
    check_alike(&metrics, &p.metrics, 1, 0);
    assert_memory_equal(&metrics.overlap, &p.metrics.overlap, sizeof metrics.overlap);
    assert_true(pipe_label_boxes_overlap(boxes, 65535).n_reference > 0 && pipe_label_boxes_overlap(boxes, 300).n_reference == 0);
    pipe_label_boxes_free(&boxes);
    pipe_metrics_scratch_free(&scratch);
}

static void test_empty_masks(void **state)
{
    static pair p;

    for (int empty = 1; empty < 4; empty++) {
        draw_pair(&p);
        if (empty & 1) memset(p.reference, 0, sizeof p.reference);
        if (empty & 2) memset(p.prediction, 0, sizeof p.prediction);
        measure(&p);
        for (int c = 0; c < PIPE_N_CONVENTIONS; c++) {
            const pipe_surface *s = &p.metrics.surface[c];
            assert_true(p.metrics.is_computed[c] && isnan(s->hd) && isnan(s->hd95) && isnan(s->assd) && isnan(s->masd) && isnan(s->nsd[0]));
        }
        assert_true(empty == 3 ? isnan(pipe_overlap_dice(&p.metrics.overlap)) : pipe_overlap_dice(&p.metrics.overlap) == 0);
        assert_true((empty & 2) ? isnan(pipe_overlap_precision(&p.metrics.overlap)) : pipe_overlap_precision(&p.metrics.overlap) == 0);
        assert_true((empty & 1) ? isnan(pipe_overlap_volume_difference(&p.metrics.overlap))
                                : pipe_overlap_volume_difference(&p.metrics.overlap) == -1);
    }
}

/* A mask against itself: exactly 0 and exactly 1 in every convention. */
static void test_itself(void **state)
{
    static pair p;

    draw_pair(&p);
    memcpy(p.prediction, p.reference, sizeof p.prediction);
    measure(&p);
    for (int c = 0; c < PIPE_SAMED; c++) {
        const pipe_surface *s = &p.metrics.surface[c];
        assert_true(s->hd == 0 && s->hd95 == 0 && s->assd == 0);
        for (int t = 0; t < 4 && c != PIPE_MEDPY; t++) assert_true(s->nsd[t] == 1);
    }
    assert_true(p.metrics.surface[PIPE_SAMED].hd95 == 0 && pipe_overlap_dice(&p.metrics.overlap) == 1);
}

static void test_chosen_conventions(void **state)
{
    static pair p;

    draw_pair(&p);
    p.options.conventions = 1 << PIPE_SAMED;
    measure(&p);
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++) {
        assert_true(p.metrics.is_computed[c] == (c == PIPE_SAMED));
        assert_true(isnan(p.metrics.surface[c].hd95) == (c != PIPE_SAMED));
    }
}

static void test_overlap(void **state)
{
    const pipe_overlap overlap = {10, 6, 4};

    check_near(pipe_overlap_dice(&overlap), 0.5, 0);
    check_near(pipe_overlap_jaccard(&overlap), 1.0 / 3, 1e-16);
    check_near(pipe_overlap_precision(&overlap), 2.0 / 3, 1e-15);
    check_near(pipe_overlap_recall(&overlap), 0.4, 1e-16);
    check_near(pipe_overlap_volume_difference(&overlap), -0.4, 1e-16);
}

static void test_names(void **state)
{
    pipe_convention c;

    for (int n = 0; n < PIPE_N_CONVENTIONS; n++) {
        check_ok(pipe_convention_parse(pipe_convention_name((pipe_convention)n), &c));
        assert_int_equal(c, n);
    }
    check_fails(IO_ERR_ARGUMENT, pipe_convention_parse("MedPy", &c));
}

static void test_refusals(void **state)
{
    static pair p;
    pipe_label_boxes *boxes = NULL;
    pipe_metrics_scratch *scratch = NULL;
    pipe_metrics_options bad;

    draw_pair(&p);
    check_fails(IO_ERR_ARGUMENT, pipe_label_boxes_create(p.dims, p.reference, 4, p.prediction, 1, 2, &boxes));
    check_fails(IO_ERR_RANGE, pipe_label_boxes_create(p.dims, p.reference, 1, p.prediction, 1, 70000, &boxes));
    check_fails(IO_ERR_RANGE, pipe_label_boxes_create((const int64_t[3]){0, 1, 1}, p.reference, 1, p.prediction, 1, 2, &boxes));
    assert_null(boxes);
    check_ok(pipe_metrics_scratch_create(&scratch));
    check_ok(pipe_label_boxes_create(p.dims, p.reference, 1, p.prediction, 1, 2, &boxes));
    check_fails(IO_ERR_RANGE, pipe_metrics_measure(boxes, 0, &plain, scratch, &p.metrics));
    check_fails(IO_ERR_RANGE, pipe_metrics_measure(boxes, 2, &plain, scratch, &p.metrics));
    bad = plain;
    bad.spacing_mm[1] = 0;
    check_fails(IO_ERR_RANGE, pipe_metrics_measure(boxes, 1, &bad, scratch, &p.metrics));
    bad.spacing_mm[1] = 1e200; /* whose areas would be infinite */
    check_fails(IO_ERR_RANGE, pipe_metrics_measure(boxes, 1, &bad, scratch, &p.metrics));
    bad = plain;
    bad.percentile = NAN;
    check_fails(IO_ERR_RANGE, pipe_metrics_measure(boxes, 1, &bad, scratch, &p.metrics));
    bad = plain;
    bad.n_tolerances = PIPE_MAX_TOLERANCES + 1;
    check_fails(IO_ERR_RANGE, pipe_metrics_measure(boxes, 1, &bad, scratch, &p.metrics));
    bad = plain;
    bad.is_planar = true;
    check_fails(IO_ERR_ARGUMENT, pipe_metrics_measure(boxes, 1, &bad, scratch, &p.metrics));
    pipe_label_boxes_free(&boxes);
    pipe_metrics_scratch_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_libraries),   cmocka_unit_test(test_definitions), cmocka_unit_test(test_swap),
        cmocka_unit_test(test_turns),       cmocka_unit_test(test_shift),       cmocka_unit_test(test_scaled_spacing),
        cmocka_unit_test(test_many_labels), cmocka_unit_test(test_empty_masks), cmocka_unit_test(test_chosen_conventions),
        cmocka_unit_test(test_overlap),     cmocka_unit_test(test_names),       cmocka_unit_test(test_itself),
        cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
