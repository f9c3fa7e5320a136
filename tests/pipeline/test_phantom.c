/* The phantom looks human: organ volumes, places and densities over many patients; and the same seed gives the same bytes. */
#include <stdbool.h>

#include "tests/check.h"

#include "io/hash.h"
#include "io/memory.h"
#include "pipeline/phantom.h"

/* The field of view of 512 x 512 x 150 at 0.8 x 0.8 x 3 mm, coarser. */
static const pipe_phantom_options COARSE = {.dims = {144, 128, 90}, .spacing_mm = {2.8, 2.8, 5}, .seed = 11, .noise_hu = 12};

enum { N_PATIENTS = 8, N_LABELS = 9 };

typedef struct patient {
    int64_t n;
    int16_t *image;
    uint8_t *labels;
} patient;

static void draw_patient(const pipe_phantom_options *options, patient *p)
{
    p->n = options->dims[0] * options->dims[1] * options->dims[2];
    check_ok(io_alloc((size_t)p->n, sizeof *p->image, (void **)&p->image));
    check_ok(io_alloc((size_t)p->n, 1, (void **)&p->labels));
    check_ok(pipe_phantom_draw(options, p->image, p->labels));
}

static void free_patient(patient *p)
{
    io_free(&p->image);
    io_free(&p->labels);
}

/* Adult ranges with some slack; ids of spec 7. */
static const struct {
    const char *name;
    double least_ml, most_ml, least_hu, most_hu;
} ORGANS[N_LABELS] = {
    {"background", 0, 1e9, -1024, 500},  {"spleen", 100, 350, 100, 140},  {"right kidney", 100, 250, 140, 210},
    {"left kidney", 100, 250, 140, 210}, {"gallbladder", 15, 70, -5, 40}, {"liver", 1000, 2200, 85, 130},
    {"stomach", 150, 700, -600, 80},     {"aorta", 60, 220, 130, 190},    {"pancreas", 40, 140, 70, 115},
};

static void check_organs(const pipe_phantom_options *options, const patient *p)
{
    const double voxel_ml = options->spacing_mm[0] * options->spacing_mm[1] * options->spacing_mm[2] / 1000;
    double count[N_LABELS] = {0}, sum[N_LABELS] = {0};

    for (int64_t i = 0; i < p->n; i++) {
        assert_true(p->labels[i] < N_LABELS);
        count[p->labels[i]]++;
        sum[p->labels[i]] += p->image[i];
    }
    for (int l = 1; l < N_LABELS; l++) {
        const double ml = count[l] * voxel_ml, hu = sum[l] / count[l];
        if (!(ml >= ORGANS[l].least_ml && ml <= ORGANS[l].most_ml))
            fail_msg("case %d: %s has %.0f ml", (int)options->case_index, ORGANS[l].name, ml);
        if (!(hu >= ORGANS[l].least_hu && hu <= ORGANS[l].most_hu))
            fail_msg("case %d: %s has %.0f HU", (int)options->case_index, ORGANS[l].name, hu);
    }
}

/* Marks the air around the patient of one slice: what is reached from the upper corners without crossing anything denser than -300 HU. */
static void flood_air(const int16_t *image, int64_t nx, int64_t ny, uint8_t *is_air, int64_t *stack)
{
    int64_t n = 0;

    memset(is_air, 0, (size_t)(nx * ny));
    stack[n++] = nx * ny - 1;
    is_air[nx * ny - 1] = 1;
    while (n > 0) {
        const int64_t at = stack[--n], x = at % nx, y = at / nx;
        const int64_t next[4] = {x > 0 ? at - 1 : at, x + 1 < nx ? at + 1 : at, y > 0 ? at - nx : at, y + 1 < ny ? at + nx : at};
        for (int i = 0; i < 4; i++) {
            if (is_air[next[i]] || image[next[i]] > -300) continue;
            is_air[next[i]] = 1;
            stack[n++] = next[i];
        }
    }
}

static void check_inside(const pipe_phantom_options *options, const patient *p)
{
    const int64_t nx = options->dims[0], ny = options->dims[1];
    uint8_t *is_air = malloc((size_t)(nx * ny));
    int64_t *stack = malloc((size_t)(nx * ny) * sizeof *stack);

    for (int64_t k = 0; k < options->dims[2]; k++) {
        int64_t n_air = 0;
        flood_air(p->image + k * nx * ny, nx, ny, is_air, stack);
        for (int64_t i = 0; i < nx * ny; i++) {
            const int label = p->labels[k * nx * ny + i];
            const bool is_edge = i < nx || i >= nx * (ny - 1) || i % nx == 0 || i % nx == nx - 1;
            n_air += is_air[i];
            if (label && is_edge) fail_msg("case %d slice %d: %s at the edge", (int)options->case_index, (int)k, ORGANS[label].name);
            if (label && (is_air[i] || is_air[i - 1] || is_air[i + 1] || is_air[i - nx] || is_air[i + nx]))
                fail_msg("case %d slice %d: %s touches the air", (int)options->case_index, (int)k, ORGANS[label].name);
        }
        assert_true(n_air > nx * ny / 5 && n_air < nx * ny * 4 / 5); /* the flood neither stuck nor broke in */
    }
    free(is_air);
    free(stack);
}

static void test_patients_are_human(void **state)
{
    for (uint64_t i = 0; i < N_PATIENTS; i++) {
        pipe_phantom_options options = COARSE;
        patient p;
        options.case_index = i;
        draw_patient(&options, &p);
        check_organs(&options, &p);
        check_inside(&options, &p);
        free_patient(&p);
    }
}

/* Right of the patient is +x, front +y, head +z. */
static void test_organs_lie_where_they_should(void **state)
{
    double sum[N_LABELS][3] = {{0}}, count[N_LABELS] = {0};
    patient p;

    draw_patient(&COARSE, &p);
    for (int64_t i = 0; i < p.n; i++) {
        const int64_t x = i % COARSE.dims[0], y = i / COARSE.dims[0] % COARSE.dims[1], z = i / (COARSE.dims[0] * COARSE.dims[1]);
        count[p.labels[i]]++;
        sum[p.labels[i]][0] += ((double)x - 71.5) * 2.8;
        sum[p.labels[i]][1] += ((double)y - 63.5) * 2.8;
        sum[p.labels[i]][2] += ((double)z - 44.5) * 5;
    }
    for (int l = 1; l < N_LABELS; l++)
        for (int a = 0; a < 3; a++) sum[l][a] /= count[l];
    assert_true(sum[5][0] > 20 && sum[2][0] > 30 && sum[4][0] > 20);    /* liver, right kidney, gallbladder */
    assert_true(sum[1][0] < -60 && sum[3][0] < -30 && sum[6][0] < -20); /* spleen, left kidney, stomach */
    assert_true(sum[6][1] > sum[7][1] && sum[4][1] > sum[2][1]);        /* stomach before aorta, gallbladder before kidney */
    assert_true(sum[2][2] < sum[3][2] && sum[5][2] > sum[2][2]);        /* the right kidney lies lower, the liver above it */
    free_patient(&p);
}

static void hash_patient(const pipe_phantom_options *options, char hex[65])
{
    io_hash *hash = NULL;
    patient p;

    draw_patient(options, &p);
    check_ok(io_hash_create(&hash));
    check_ok(io_hash_update(hash, p.image, (size_t)p.n * sizeof *p.image));
    check_ok(io_hash_update(hash, p.labels, (size_t)p.n));
    check_ok(io_hash_hex(hash, hex));
    io_hash_free(&hash);
    free_patient(&p);
}

static void test_same_seed_same_bytes(void **state)
{
    pipe_phantom_options options = {.dims = {50, 43, 20}, .spacing_mm = {8, 8, 20}, .seed = 5, .case_index = 2, .noise_hu = 12};
    char first[65], second[65];

    hash_patient(&options, first);
    hash_patient(&options, second);
    assert_string_equal(first, second);
    /* GCC 12 and clang 14 agree, at any optimisation. */
    assert_string_equal(first, "24a56d0875e0ac3ecae8018f1b747e1c693cf2fc6b7caed7fb9c9b2ddda21bef");
    options.case_index = 3;
    hash_patient(&options, second);
    assert_string_not_equal(first, second);
    options.case_index = 2;
    options.seed = 6;
    hash_patient(&options, second);
    assert_string_not_equal(first, second);
}

/* In the corner of the first slice lies nothing but air: its spread is the noise. The noise is asked for without regard to -1024. */
static void test_noise_is_as_asked(void **state)
{
    pipe_phantom_options quiet = {.dims = {256, 200, 1}, .spacing_mm = {0.4, 0.4, 3}, .seed = 1}, loud = quiet;
    double mean = 0, square = 0, neighbour = 0;
    patient a, b;

    loud.noise_hu = 20;
    draw_patient(&quiet, &a);
    draw_patient(&loud, &b);
    for (int64_t i = 0; i < a.n; i++) {
        const double off = b.image[i] - a.image[i];
        mean += off;
        square += off * off;
        neighbour += i + 1 < a.n ? off * (b.image[i + 1] - a.image[i + 1]) : 0;
    }
    mean /= (double)a.n;
    check_near(mean, 0, 0.6); /* 51200 samples, correlated over about 2.5 x 2.5: 20 / 90 twice over */
    check_near(sqrt(square / (double)a.n), 20, 0.4);
    check_near(neighbour / square, 8.0 / 18, 0.03); /* (1 4 1) against itself moved by one */
    assert_memory_equal(a.labels, b.labels, (size_t)a.n);
    free_patient(&a);
    free_patient(&b);
}

static void test_refuses_impossible_grids(void **state)
{
    pipe_phantom_options options = COARSE;

    options.dims[1] = 0;
    check_fails(IO_ERR_ARGUMENT, pipe_phantom_draw(&options, NULL, NULL));
    options = COARSE;
    options.spacing_mm[2] = NAN;
    check_fails(IO_ERR_ARGUMENT, pipe_phantom_draw(&options, NULL, NULL));
    options = COARSE;
    options.noise_hu = -1;
    check_fails(IO_ERR_ARGUMENT, pipe_phantom_draw(&options, NULL, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patients_are_human),       cmocka_unit_test(test_organs_lie_where_they_should),
        cmocka_unit_test(test_same_seed_same_bytes),     cmocka_unit_test(test_noise_is_as_asked),
        cmocka_unit_test(test_refuses_impossible_grids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
