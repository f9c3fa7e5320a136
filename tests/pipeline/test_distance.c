/* Exact squared distances against brute force, and what flips, permutations and scalings must do to them. */
#include "tests/check.h"
#include "tests/pipeline/distance.h"

#include "io/memory.h"

enum { MAX_AXIS = 12, MAX_VOXELS = MAX_AXIS * MAX_AXIS * MAX_AXIS, N_VOLUMES = 150 };

typedef struct volume {
    int64_t dims[3];
    double spacing[3];
    uint8_t seeds[MAX_VOXELS];
    double squared[MAX_VOXELS];
} volume;

static uint32_t draw(uint32_t *state)
{
    *state = *state * 1664525U + 1013904223U;
    return *state >> 8;
}

static int64_t count_voxels(const volume *v)
{
    return v->dims[0] * v->dims[1] * v->dims[2];
}

static void make_volume(volume *v, uint32_t *state)
{
    const uint32_t density = 1 + draw(state) % 60;

    for (int a = 0; a < 3; a++) {
        v->dims[a] = 1 + draw(state) % MAX_AXIS;
        v->spacing[a] = 0.2 + draw(state) % 1000 / 250.0;
    }
    for (int64_t at = 0; at < count_voxels(v); at++) v->seeds[at] = draw(state) % density == 0;
}

static void transform(volume *v)
{
    void *scratch = NULL;

    check_ok(io_alloc(1, distance_scratch_bytes(v->dims), &scratch));
    distance_squared(v->dims, v->spacing, v->seeds, v->squared, scratch);
    io_free(&scratch);
}

static double search_nearest(const volume *v, const int64_t p[3])
{
    double best = INFINITY;

    for (int64_t at = 0; at < count_voxels(v); at++) {
        const int64_t q[3] = {at % v->dims[0], at / v->dims[0] % v->dims[1], at / v->dims[0] / v->dims[1]};
        double squared = 0;
        if (!v->seeds[at]) continue;
        for (int a = 0; a < 3; a++) squared += (double)((p[a] - q[a]) * (p[a] - q[a])) * v->spacing[a] * v->spacing[a];
        best = fmin(best, squared);
    }
    return best;
}

static void test_brute_force(void **state)
{
    uint32_t random = 1;
    static volume v;

    for (int n = 0; n < N_VOLUMES; n++) {
        make_volume(&v, &random);
        transform(&v);
        for (int64_t at = 0; at < count_voxels(&v); at++) {
            const int64_t p[3] = {at % v.dims[0], at / v.dims[0] % v.dims[1], at / v.dims[0] / v.dims[1]};
            const double expected = search_nearest(&v, p);
            if (isinf(expected)) {
                assert_true(isinf(v.squared[at]));
            } else {
                check_near(v.squared[at], expected, 1e-13 * expected); /* a few roundings of the same sum */
            }
        }
    }
}

static void test_no_seed_and_all_seeds(void **state)
{
    static volume v = {.dims = {5, 4, 3}, .spacing = {1, 2, 3}};

    memset(v.seeds, 0, sizeof v.seeds);
    transform(&v);
    for (int at = 0; at < 60; at++) assert_true(isinf(v.squared[at]));
    memset(v.seeds, 7, sizeof v.seeds);
    transform(&v);
    for (int at = 0; at < 60; at++) assert_true(v.squared[at] == 0);
}

/* target axis a is source axis order[a], mirrored where flips has bit a. */
static void turn(const volume *v, const int order[3], int flips, volume *out, int64_t places[])
{
    for (int a = 0; a < 3; a++) {
        out->dims[a] = v->dims[order[a]];
        out->spacing[a] = v->spacing[order[a]];
    }
    for (int64_t at = 0; at < count_voxels(out); at++) {
        int64_t p[3] = {at % out->dims[0], at / out->dims[0] % out->dims[1], at / out->dims[0] / out->dims[1]}, q[3];
        for (int a = 0; a < 3; a++) q[order[a]] = (flips >> a & 1) ? out->dims[a] - 1 - p[a] : p[a];
        places[at] = q[0] + v->dims[0] * (q[1] + v->dims[1] * q[2]);
        out->seeds[at] = v->seeds[places[at]];
    }
}

static void test_turned_volumes(void **state)
{
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    static int64_t places[MAX_VOXELS];
    static volume v, turned;
    uint32_t random = 5;

    for (int n = 0; n < 48; n++) {
        make_volume(&v, &random);
        v.seeds[0] = 1; /* so that no distance is infinite */
        transform(&v);
        turn(&v, orders[n / 8], n % 8, &turned, places);
        transform(&turned);
        for (int64_t at = 0; at < count_voxels(&v); at++) {
            check_near(turned.squared[at], v.squared[places[at]], 1e-13 * v.squared[places[at]]); /* the sum in another order */
        }
    }
}

static void test_scaled_spacing(void **state)
{
    static volume v, scaled;
    uint32_t random = 9;

    make_volume(&v, &random);
    v.seeds[0] = 1;
    scaled = v;
    for (int a = 0; a < 3; a++) scaled.spacing[a] *= 4;
    transform(&v);
    transform(&scaled);
    for (int64_t at = 0; at < count_voxels(&v); at++) assert_true(scaled.squared[at] == 16 * v.squared[at]); /* powers of two: exact */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_brute_force),
        cmocka_unit_test(test_no_seed_and_all_seeds),
        cmocka_unit_test(test_turned_volumes),
        cmocka_unit_test(test_scaled_spacing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
