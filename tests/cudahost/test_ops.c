/* The operator cases on the CUDA device that is there: a GPU, or the emulator where SAMED_CUDA_PLUGIN names it. Each case runs in f32,
 * tf32 and bf16, with rows at odd addresses and with rows as aligned as the program's own, which take other paths through the kernels.
 *
 * Usage: test_cudahost_ops [CASES [ROUNDS]]    only those whose names match the patterns, for example 'attention*' '*odd rows'. Skips
 * without a device, which TEST_REQUIRE_CUDA=1 makes a failure. The last line is a fingerprint of all results: it must not depend on the
 * order of threads. */
#include <fnmatch.h>

#include "tests/model/op_cases.h"

typedef struct case_round {
    const char *name;
    model_type type;
    bool is_aligned;
} case_round;

static const case_round rounds[] = {
    {"f32, odd rows", MODEL_F32, false},      {"f32, aligned rows", MODEL_F32, true}, {"tf32, odd rows", MODEL_TF32, false},
    {"tf32, aligned rows", MODEL_TF32, true}, {"bf16, odd rows", MODEL_BF16, false},  {"bf16, aligned rows", MODEL_BF16, true},
};
static model_device *device;

static void run_case(void **state)
{
    const op_case *self = *state;

    op_random_reset();
    self->run(device, self);
}

static int run_round(const case_round *how)
{
    struct CMUnitTest *tests = calloc((size_t)n_op_cases, sizeof *tests);
    int n_failed;

    assert_non_null(tests);
    check_ok(model_device_open(MODEL_DEVICE_CUDA, 0, how->type, 1, &device));
    op_rows_align(how->is_aligned);
    for (int i = 0; i < n_op_cases; i++)
        tests[i] = (struct CMUnitTest){op_cases[i].name, run_case, NULL, NULL, (void *)(uintptr_t)&op_cases[i]};
    n_failed = _cmocka_run_group_tests(how->name, tests, (size_t)n_op_cases, NULL, NULL);
    model_device_free(&device);
    free(tests);
    return n_failed;
}

/* 0, or the exit code of a machine where the test cannot run. */
static int look_for_device(void)
{
    const char *required = getenv("TEST_REQUIRE_CUDA");
    const io_status status = model_device_open(MODEL_DEVICE_CUDA, 0, MODEL_F32, 1, &device);

    if (status == IO_OK) {
        print_message("%s\n", device->description);
        model_device_free(&device);
        return 0;
    }
    print_message("no CUDA device: %s\n", io_last_error_text());
    return status != IO_ERR_NOT_FOUND || (required && !strcmp(required, "1")) ? 1 : CHECK_SKIP;
}

int main(int argc, char **argv)
{
    const char *wanted = argc > 2 ? argv[2] : "*";
    const int code = look_for_device();
    int n_rounds = 0, n_failed = 0;

    if (code) return code;
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        if (fnmatch(wanted, rounds[i].name, 0) != 0) continue;
        n_failed += run_round(&rounds[i]);
        n_rounds++;
    }
    print_message("fingerprint %016llx\n", (unsigned long long)op_fingerprint());
    return n_failed != 0 || n_rounds == 0;
}
