/* Every operator case on every instruction set that this machine has, in f32 and bf16. */
#include "tests/model/op_cases.h"

typedef struct level {
    const char *name;     /* as SAMED_CPU takes it */
    const char *products; /* as SAMED_PRODUCTS takes it */
    model_type type;
} level;

/* Opens the device capped at a level, or NULL where this CPU cannot. */
static model_device *open_level(const level *at, int n_threads)
{
    model_device *device = NULL;

    setenv("SAMED_CPU", at->name, 1);
    setenv("SAMED_PRODUCTS", at->products, 1);
    if (model_device_open(MODEL_DEVICE_CPU, 0, at->type, n_threads, &device) == IO_OK) return device;
    print_message("not here: %s\n", io_last_error_text());
    return NULL;
}

static void run_cases(void **state)
{
    model_device *device = open_level(*state, 2);

    if (!device) skip();
    for (int i = 0; i < n_op_cases; i++) {
        op_random_reset();
        op_cases[i].run(device, &op_cases[i]);
    }
    model_device_free(&device);
}

static level levels[] = {
    {"generic", "own", MODEL_F32}, {"avx2", "own", MODEL_F32},    {"avx512", "own", MODEL_F32},   {"best", "own", MODEL_F32},
    {"best", "own", MODEL_BF16},   {"best", "onednn", MODEL_F32}, {"best", "onednn", MODEL_BF16},
};

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"plain C", run_cases, NULL, NULL, &levels[0]},      {"AVX2", run_cases, NULL, NULL, &levels[1]},
        {"AVX-512", run_cases, NULL, NULL, &levels[2]},      {"best, f32", run_cases, NULL, NULL, &levels[3]},
        {"best, bf16", run_cases, NULL, NULL, &levels[4]},   {"oneDNN, f32", run_cases, NULL, NULL, &levels[5]},
        {"oneDNN, bf16", run_cases, NULL, NULL, &levels[6]},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
