/* The zoom against SciPy's own output (tests/golden/zoom.bin, made by make_zoom.py) and against itself on every instruction set. */
#include "tests/check.h"
#include "tests/pipeline/arrays.h"

#include "io/memory.h"
#include "pipeline/zoom.h"
#include "pipeline/zoom_lanes.h"

enum { MAX_PIXELS = 1024 * 1024 };

/* The slack of issue and specification: the result differs from SciPy by the order of a sum in double, then one rounding to float. */
static const double TOLERANCE = 1e-6;

typedef struct zoom_case {
    int32_t in_rows, in_cols, out_rows, out_cols, step;
} zoom_case;

typedef struct buffers {
    float *in, *out;            /* [MAX_PIXELS] */
    uint16_t *labels, *nearest; /* [MAX_PIXELS] */
    void *scratch;
} buffers;

/* The formula of make_zoom.py. */
static void fill_input(const zoom_case *c, buffers *b)
{
    for (int64_t r = 0; r < c->in_rows; r++) {
        for (int64_t col = 0; col < c->in_cols; col++) {
            const int64_t value = (7919 * r + 104729 * col + 31 * r * col) % 1009;
            b->in[r * c->in_cols + col] = (float)value / 1008.0f;
            b->labels[r * c->in_cols + col] = (uint16_t)value;
        }
    }
}

/* Runs the case; the word behind each output must survive. */
static void run_case(const zoom_case *c, buffers *b, int isa)
{
    const size_t n_out = (size_t)c->out_rows * (size_t)c->out_cols;
    pipe_zoom *zoom = NULL;

    check_ok(pipe_zoom_create(c->in_rows, c->in_cols, c->out_rows, c->out_cols, &zoom));
    check_ok(io_alloc(pipe_zoom_scratch_bytes(zoom), 1, &b->scratch));
    if (isa < 0 || pipe_zoom_use_isa(zoom, (pipe_zoom_isa)isa)) {
        b->out[n_out] = 77;
        b->nearest[n_out] = 777;
        pipe_zoom_cubic(zoom, b->in, b->out, b->scratch);
        pipe_zoom_nearest(zoom, b->labels, b->nearest);
        assert_true(b->out[n_out] == 77 && b->nearest[n_out] == 777);
    }
    io_free(&b->scratch);
    pipe_zoom_free(&zoom);
}

static void compare_rows(FILE *file, const zoom_case *c, const buffers *b)
{
    float *cubic = calloc((size_t)c->out_cols, sizeof *cubic);
    uint16_t *nearest = calloc((size_t)c->out_cols, sizeof *nearest);

    for (int pass = 0; pass < 2; pass++) {
        for (int r = 0; r < c->out_rows; r++) {
            const size_t at = (size_t)r * (size_t)c->out_cols, n = (size_t)c->out_cols;
            if (r % c->step != 0 && r != c->out_rows - 1) continue;
            if (pass == 0) {
                assert_int_equal(fread(cubic, sizeof *cubic, n, file), n);
                check_near(check_max_error(b->out + at, cubic, n), 0, TOLERANCE);
            } else {
                assert_int_equal(fread(nearest, sizeof *nearest, n, file), n);
                assert_memory_equal(b->nearest + at, nearest, n * sizeof *nearest);
            }
        }
    }
    free(cubic);
    free(nearest);
}

static void allocate(buffers *b)
{
    memset(b, 0, sizeof *b);
    check_ok(io_alloc(MAX_PIXELS, sizeof *b->in, (void **)&b->in));
    check_ok(io_alloc(MAX_PIXELS, sizeof *b->out, (void **)&b->out));
    check_ok(io_alloc(MAX_PIXELS, sizeof *b->labels, (void **)&b->labels));
    check_ok(io_alloc(MAX_PIXELS, sizeof *b->nearest, (void **)&b->nearest));
}

static void release(buffers *b)
{
    io_free(&b->in);
    io_free(&b->out);
    io_free(&b->labels);
    io_free(&b->nearest);
}

static void test_equals_scipy(void **state)
{
    FILE *file = fopen(source_path("tests/golden/zoom.bin"), "rb");
    zoom_case c;
    buffers b;
    int n_cases = 0;

    assert_non_null(file);
    allocate(&b);
    while (fread(&c, sizeof c, 1, file) == 1) {
        fill_input(&c, &b);
        run_case(&c, &b, -1);
        compare_rows(file, &c, &b);
        n_cases++;
    }
    fclose(file);
    release(&b);
    assert_int_equal(n_cases, 16);
}

/* Spec 5.3: 223 * (511 / 223) is above 511 in double, so SciPy calls the last row and column outside; 224 -> 512 has no such row. */
static void test_last_row_quirk(void **state)
{
    const zoom_case down = {512, 512, 224, 224, 1}, up = {224, 224, 512, 512, 1};
    buffers b;

    allocate(&b);
    for (int i = 0; i < 512 * 512; i++) {
        b.in[i] = 1;
        b.labels[i] = 3;
    }
    run_case(&down, &b, -1);
    for (int i = 0; i < 224; i++) {
        assert_true(b.out[223 * 224 + i] == 0 && b.out[i * 224 + 223] == 0);
        assert_true(b.nearest[223 * 224 + i] == 0 && b.nearest[i * 224 + 223] == 0);
    }
    check_near(b.out[222 * 224 + 222], 1, 1e-6);
    assert_int_equal(b.nearest[222 * 224 + 222], 3);
    run_case(&up, &b, -1);
    check_near(b.out[511 * 512 + 511], 1, 1e-6);
    assert_int_equal(b.nearest[511 * 512 + 511], 3);
    release(&b);
}

static void test_every_instruction_set_gives_the_same_bits(void **state)
{
    const zoom_case cases[] = {{512, 512, 224, 224, 1}, {101, 77, 224, 224, 1}, {2, 3, 17, 5, 1}};
    buffers b;

    allocate(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n_bytes = (size_t)cases[i].out_rows * (size_t)cases[i].out_cols * sizeof(float);
        float *base = malloc(n_bytes);
        fill_input(&cases[i], &b);
        run_case(&cases[i], &b, PIPE_ZOOM_BASE);
        memcpy(base, b.out, n_bytes);
        for (int isa = PIPE_ZOOM_AVX2; isa <= PIPE_ZOOM_AVX512; isa++) {
            run_case(&cases[i], &b, isa);
            assert_memory_equal(b.out, base, n_bytes);
        }
        free(base);
    }
    release(&b);
}

static void test_refuses_impossible_sizes(void **state)
{
    pipe_zoom *zoom;

    check_fails(IO_ERR_ARGUMENT, pipe_zoom_create(0, 5, 3, 3, &zoom));
    assert_null(zoom);
    check_fails(IO_ERR_ARGUMENT, pipe_zoom_create(5, 5, 3, -1, &zoom));
    check_fails(IO_ERR_ARGUMENT, pipe_zoom_create(5, 5, 3, 1 << 21, &zoom));
    pipe_zoom_free(&zoom);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_scipy),
        cmocka_unit_test(test_last_row_quirk),
        cmocka_unit_test(test_every_instruction_set_gives_the_same_bits),
        cmocka_unit_test(test_refuses_impossible_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
