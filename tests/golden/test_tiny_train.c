/* Small networks trained beside PyTorch in double precision (make_golden.py wrote the vectors): gradients of the first step and ten steps
 * of AdamW on two images, for both adapter layouts, windows that pad, head sizes 16, 80 and 8. And what must not change a bit. */
#include "io/memory.h"
#include "tests/golden/pupil.h"

enum { STEPS = 10 };
static const float rate = 1e-3f;

/* f32 against f64: chains through a few layers err by 1e-6 of a tensor's norm; fifty times that still shows one wrong key or tap. Ten steps
 * of AdamW divide by the root of the second moment, so small gradients bring their relative error in full: a five hundredth of the ten
 * steps' way. */
static const double gradient_tolerance = 5e-5, loss_tolerance = 2e-5, weight_tolerance = 2e-5;
static const double zero_gradient = 1e-6; /* k_proj.bias: rounding (spec 4.6) */

/* NULL when the vectors do not have it. */
static float *read_vector(const io_tensors *vectors, const char *test, const char *what, const char *name, size_t *n)
{
    char text[160];
    const io_tensor *tensor;
    float *values;

    snprintf(text, sizeof text, "%s/%s%s", test, what, name);
    tensor = io_tensors_find(vectors, text);
    if (!tensor) return NULL;
    *n = tensor->n_elements;
    values = malloc(*n * sizeof *values);
    check_ok(io_tensor_read_f32(tensor, values));
    return values;
}

/* Up to 16 elements of a tensor, as make_golden.py picks them, against the vectors: the largest difference. */
static double compare_samples(const io_tensor *tensor, const float *expected, size_t n)
{
    float *values = malloc(tensor->n_elements * sizeof *values);
    double worst = 0;

    check_ok(io_tensor_read_f32(tensor, values));
    assert_int_equal(n, tensor->n_elements < 16 ? tensor->n_elements : 16);
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)values[i * tensor->n_elements / n] - expected[i]);
        if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
    }
    free(values);
    return worst;
}

static double measure(const io_tensor *tensor)
{
    float *values = malloc(tensor->n_elements * sizeof *values);
    double sum = 0;

    check_ok(io_tensor_read_f32(tensor, values));
    for (size_t i = 0; i < tensor->n_elements; i++) sum += (double)values[i] * values[i];
    free(values);
    return sqrt(sum);
}

static double check_gradient(const io_tensors *vectors, const char *test, const io_tensor *tensor)
{
    size_t n, n_norm;
    float *expected = read_vector(vectors, test, "grad/", tensor->name, &n),
          *norm = read_vector(vectors, test, "norm/", tensor->name, &n_norm);
    double error = 0;

    if (!norm) fail_msg("%s: %s has no gradient in PyTorch", test, tensor->name);
    if (strstr(tensor->name, "k_proj.bias")) {
        if (!(measure(tensor) <= zero_gradient)) fail_msg("%s: %s has a gradient of norm %g", test, tensor->name, measure(tensor));
    } else {
        error = fmax(fabs(measure(tensor) - norm[0]), compare_samples(tensor, expected, n)) / norm[0];
        if (!(error <= gradient_tolerance)) fail_msg("%s: %s is off by %g of its norm %g", test, tensor->name, error, norm[0]);
    }
    free(expected);
    free(norm);
    return error;
}

static size_t count_norms(const io_tensors *vectors, const char *test)
{
    char prefix[64];
    size_t n = 0;

    snprintf(prefix, sizeof prefix, "%s/norm/", test);
    for (size_t i = 0; i < io_tensors_count(vectors); i++) n += !strncmp(io_tensors_at(vectors, i)->name, prefix, strlen(prefix));
    return n;
}

static double check_gradients(const pupil *it, const io_tensors *vectors, const char *test)
{
    io_tensors *gradients = NULL;
    double worst = 0;

    check_ok(model_trainer_gradient_tensors(it->trainer, &gradients));
    assert_int_equal(io_tensors_count(gradients), count_norms(vectors, test));
    for (size_t i = 0; i < io_tensors_count(gradients); i++)
        worst = fmax(worst, check_gradient(vectors, test, io_tensors_at(gradients, i)));
    io_tensors_free(&gradients);
    return worst;
}

static double check_weights(const pupil *it, const io_tensors *vectors, const char *test)
{
    io_tensors *adapter = NULL;
    double worst = 0;

    check_ok(model_trainer_adapter(it->trainer, &adapter));
    for (size_t i = 0; i < io_tensors_count(adapter); i++) {
        size_t n;
        const io_tensor *tensor = io_tensors_at(adapter, i);
        float *expected = read_vector(vectors, test, "final/", tensor->name, &n);

        if (expected && !strstr(tensor->name, "k_proj.bias")) {
            const double error = compare_samples(tensor, expected, n);
            if (!(error <= weight_tolerance)) fail_msg("%s: %s is off by %g after %d steps", test, tensor->name, error, STEPS);
            worst = fmax(worst, error);
        }
        free(expected);
    }
    io_tensors_free(&adapter);
    return worst;
}

static void check_training(const training *test, const io_tensors *vectors)
{
    pupil it;
    size_t n;
    model_train_options options = model_train_options_default();
    float *losses = read_vector(vectors, test->name, "losses", "", &n);
    double of_loss = 0, of_gradient = 0;

    options.n_kept = B;
    assert_int_equal(n, STEPS);
    open_pupil(&it, test, &options, 2);
    for (int step = 0; step < STEPS; step++) {
        const model_loss loss = run_batch(&it, B);

        check_near(loss.total, losses[step], loss_tolerance);
        of_loss = fmax(of_loss, fabs(loss.total - losses[step]));
        if (step == 0) of_gradient = check_gradients(&it, vectors, test->name);
        check_ok(model_trainer_update(it.trainer, rate, step + 1));
    }
    print_message("  %-14s largest errors: loss %.1e, gradient %.1e of its norm, weights after %d steps %.1e\n", test->name, of_loss,
                  of_gradient, STEPS, check_weights(&it, vectors, test->name));
    free(losses);
    close_pupil(&it);
}

static void test_trainings(void **state)
{
    static const char *const levels[] = {"best", "avx2", "generic"};
    io_tensors *vectors = NULL;
    char path[4096];

    snprintf(path, sizeof path, "%s/tests/golden/tiny_training.safetensors", source_folder);
    check_ok(io_tensors_open(path, &vectors));
    for (size_t level = 0; level < sizeof levels / sizeof levels[0]; level++) {
        setenv("SAMED_CPU", levels[level], 1);
        print_message(" SAMED_CPU=%s\n", levels[level]);
        for (int i = 0; i < N_TRAININGS; i++) check_training(&trainings[i], vectors);
    }
    unsetenv("SAMED_CPU");
    io_tensors_free(&vectors);
}

/* Same bytes of gradients for 1 to 4 threads, with everything kept, one slice kept, and recomputed. */
static void check_invariance(const training *test)
{
    float *expected = NULL;

    for (int way = 0; way < 6; way++) {
        pupil it;
        size_t n;
        const float *gradients;
        model_train_options options = model_train_options_default();

        options.n_kept = way == 4 ? 1 : B;
        options.recompute = way == 5;
        open_pupil(&it, test, &options, way < 4 ? way + 1 : 2);
        run_batch(&it, options.n_kept);
        gradients = model_trainer_gradients(it.trainer, &n);
        if (!expected) {
            expected = malloc(n * sizeof *expected);
            memcpy(expected, gradients, n * sizeof *expected);
        }
        assert_memory_equal(gradients, expected, n * sizeof *expected);
        close_pupil(&it);
    }
    free(expected);
}

static void test_invariance(void **state)
{
    for (int i = 0; i < N_TRAININGS; i++) check_invariance(&trainings[i]);
}

static void check_start(const io_tensors *sam, const io_tensors *adapter, const char *name, bool is_sams)
{
    const io_tensor *theirs = io_tensors_find(sam, name), *ours = io_tensors_find(adapter, name);

    assert_non_null(ours);
    if (is_sams)
        assert_memory_equal(ours->data, theirs->data, ours->n_elements * sizeof(float));
    else if (theirs && theirs->n_elements == ours->n_elements)
        assert_memory_not_equal(ours->data, theirs->data, ours->n_elements * sizeof(float));
}

/* Spec 1.6 and 2.1: five channels from a SAM of four. */
static void test_start(void **state)
{
    io_tensors *sam = make_weights("small", "sam", NULL), *adapter = NULL;
    model_train_options options = model_train_options_default();
    model_device *device = NULL;
    model_trainer *trainer = NULL;
    int n_fresh = 0;
    size_t n;
    float *values;

    options.n_channels = 5;
    options.image_size = 64;
    check_ok(model_device_open(MODEL_DEVICE_CPU, 0, MODEL_F32, 1, &device));
    check_ok(model_trainer_create(device, &options, sam, NULL, fill_fresh, &n_fresh, &trainer));
    check_ok(model_trainer_adapter(trainer, &adapter));
    check_start(sam, adapter, "mask_decoder.output_hypernetworks_mlps.3.layers.2.weight", true);
    check_start(sam, adapter, "mask_decoder.iou_prediction_head.layers.1.bias", true);
    check_start(sam, adapter, "mask_decoder.transformer.layers.1.mlp.lin1.weight", true);
    check_start(sam, adapter, "mask_decoder.output_upscaling.0.weight", true);
    check_start(sam, adapter, "prompt_encoder.point_embeddings.2.weight", true);
    check_start(sam, adapter, "mask_decoder.mask_tokens.weight", false);
    /* w_a of three blocks twice, mask tokens, one hypernetwork of three layers, the IoU head's last layer */
    assert_int_equal(n_fresh, 6 + 1 + 6 + 2);
    values = malloc(32 * 4 * sizeof *values);
    check_ok(io_tensor_read_f32(io_tensors_find(adapter, "w_b_003"), values));
    for (size_t i = 0; i < 32 * 4; i++) check_near(values[i], 0, 0);
    check_ok(io_tensor_read_f32(io_tensors_find(adapter, "w_a_003"), values));
    for (size_t i = 0; i < 32 * 4; i++) check_near(values[i], 0, 1 / sqrt(32));
    model_trainer_weights(trainer, &n);
    assert_true(n > 0);
    free(values);
    io_tensors_free(&adapter);
    model_trainer_free(&trainer);
    model_device_free(&device);
    io_tensors_free(&sam);
}

/* The block of gradients of one batch in a precision; free. NULL where this CPU has no bf16. */
static float *derive_in(const training *test, model_type type, double *loss, size_t *n)
{
    pupil it = {0};
    model_train_options options = model_train_options_default();
    float *out;

    it.sam = make_weights(test->network, "sam", NULL);
    it.adapter = make_weights(test->network, test->layout, NULL);
    options.image_size = test->image_size;
    if (model_device_open(MODEL_DEVICE_CPU, 0, type, 2, &it.device) != IO_OK) {
        close_pupil(&it);
        return NULL;
    }
    check_ok(model_trainer_create(it.device, &options, it.sam, it.adapter, NULL, NULL, &it.trainer));
    it.K = model_trainer_config(it.trainer)->n_channels;
    it.area = (size_t)test->image_size * (size_t)test->image_size;
    it.n_pixels = 16 * it.area / ((size_t)model_trainer_config(it.trainer)->patch * (size_t)model_trainer_config(it.trainer)->patch);
    make_batch(&it, test);
    *loss = run_batch(&it, 1).total;
    out = malloc((model_trainer_gradients(it.trainer, n), *n) * sizeof *out);
    memcpy(out, model_trainer_gradients(it.trainer, n), *n * sizeof *out);
    close_pupil(&it);
    return out;
}

/* bf16 keeps 8 bits of what enters a product: each rounds by 2^-9, and the errors of a few layers add up to percents, not more. */
static void test_bf16(void **state)
{
    for (int i = 0; i < N_TRAININGS; i++) {
        size_t n;
        double loss, rounded_loss, error = 0, power = 0;
        float *exact = derive_in(&trainings[i], MODEL_F32, &loss, &n), *rounded = derive_in(&trainings[i], MODEL_BF16, &rounded_loss, &n);

        for (size_t j = 0; rounded && j < n; j++) {
            error += ((double)rounded[j] - exact[j]) * ((double)rounded[j] - exact[j]);
            power += (double)exact[j] * exact[j];
        }
        free(exact);
        if (!rounded) skip();
        free(rounded);
        print_message("  %-14s loss %.5f, in bf16 %.5f; gradient off by %.4f of its length\n", trainings[i].name, loss, rounded_loss,
                      sqrt(error / power));
        check_near(rounded_loss, loss, 0.01 * loss);
        assert_true(error > 0 && sqrt(error / power) <= 0.1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_trainings), cmocka_unit_test(test_invariance), cmocka_unit_test(test_start),
                                       cmocka_unit_test(test_bf16)};

    snprintf(source_folder, sizeof source_folder, "%s", getenv("SAMED_SOURCE") ? getenv("SAMED_SOURCE") : ".");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
