/* Training against the public SAMed reference (PyTorch, f32, unmerged LoRA): seeded ViT-B at 512, two real CT slices with their organs,
 * SAMed over four steps and SAMed_s over two. What is expected comes from make_train.py. */
#include "io/memory.h"
#include "io/tensors.h"
#include "model/loss.h"
#include "model/train.h"
#include "tests/golden/npy.h"

#include <time.h>

enum { B = 2, K = 9, L = 128, S = 512 };

/* Both sides are f32, whose errors reach 1e-5 of a gradient after twelve blocks. */
static const double loss_tolerance = 1e-4, norm_tolerance = 1e-3, gradient_tolerance = 1e-3;
/* Shifting all logits of a softmax changes nothing, so k_proj.bias has a gradient of zero; what is computed is rounding (spec 4.6). */
static const double zero_gradient = 1e-6;
/* Bytes of activations that a slice keeps: what finetuning on small machines asks for; the reference keeps 883 MB (spec 8.3). */
static const size_t most_kept = 400000000, most_kept_recomputed = 60000000;

typedef struct lesson {
    const char *folder, *adapter;
    bool recompute;
    io_tensors *sam, *start, *expected;
    npy_array images, labels;
    float *losses; /* [n_steps,4] */
    int n_steps;
    model_device *device;
    model_trainer *trainer;
} lesson;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void read_shared(const char *folder, const char *name, npy_array *out)
{
    char text[256];
    const char *path;

    snprintf(text, sizeof text, "golden/%s/%s.npy", folder, name);
    path = check_shared(text);
    if (!path) fail_msg("%s is missing", text);
    npy_read(path, out);
}

static float *read_values(const io_tensors *tensors, const char *prefix, const char *name, size_t *n)
{
    char text[160];
    const io_tensor *tensor;
    float *values;

    snprintf(text, sizeof text, "%s%s", prefix, name);
    tensor = io_tensors_find(tensors, text);
    if (!tensor) return NULL;
    *n = tensor->n_elements;
    values = malloc(*n * sizeof *values);
    check_ok(io_tensor_read_f32(tensor, values));
    return values;
}

static void open_lesson(lesson *it)
{
    model_train_options options = model_train_options_default();
    char path[128];
    size_t n;

    check_ok(io_tensors_open("weights/sam_vit_b.pth", &it->sam));
    check_ok(io_tensors_open(it->adapter, &it->start));
    snprintf(path, sizeof path, "weights/%s.safetensors", it->folder);
    check_ok(io_tensors_open(path, &it->expected));
    read_shared(it->folder, "images_512", &it->images);
    read_shared(it->folder, "low_res_labels", &it->labels);
    it->losses = read_values(it->expected, "", "losses", &n);
    it->n_steps = (int)n / 4;
    options.image_size = S;
    options.n_kept = B;
    options.recompute = it->recompute;
    check_ok(model_device_open(MODEL_DEVICE_CPU, 0, MODEL_F32, 2, &it->device));
    check_ok(model_trainer_create(it->device, &options, it->sam, it->start, NULL, NULL, &it->trainer));
    print_message("%s: %.1f MB kept for each slice, %.0f MB on the device\n", it->folder,
                  (double)model_trainer_kept_bytes(it->trainer) / 1e6, (double)model_trainer_bytes(it->trainer) / 1e6);
    assert_in_range(model_trainer_kept_bytes(it->trainer), 1, it->recompute ? most_kept_recomputed : most_kept);
}

static void close_lesson(lesson *it)
{
    model_trainer_free(&it->trainer);
    model_device_free(&it->device);
    io_tensors_free(&it->sam);
    io_tensors_free(&it->start);
    io_tensors_free(&it->expected);
    npy_free(&it->images);
    npy_free(&it->labels);
    free(it->losses);
}

/* Both slices forward, the sums joined, both back. */
static model_loss run_batch(lesson *it)
{
    double sums[3 * K + 1] = {0}, own[3 * K + 1];
    const double start = now();
    double middle;

    check_ok(model_trainer_zero_gradients(it->trainer));
    for (int b = 0; b < B; b++) {
        check_ok(model_trainer_forward(it->trainer, b, it->images.f + (size_t)b * S * S, it->labels.u + (size_t)b * L * L, own));
        for (int i = 0; i <= 3 * K; i++) sums[i] += own[i];
    }
    middle = now();
    for (int b = 0; b < B; b++) check_ok(model_trainer_backward(it->trainer, b, sums, B * L * L));
    print_message("  forward %.2f s, backward %.2f s per slice\n", (middle - start) / B, (now() - middle) / B);
    return model_loss_join(sums, K, B * L * L, 0.8);
}

static double measure(const float *values, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) sum += (double)values[i] * values[i];
    return sqrt(sum);
}

static void check_logits(const lesson *it)
{
    npy_array expected;
    float *found = malloc(sizeof *found * K * L * L);
    double worst = 0;

    read_shared(it->folder, "step0_low_res_logits", &expected);
    for (size_t b = 0; b < B; b++) {
        check_ok(model_trainer_logits(it->trainer, (int)b, found));
        worst = fmax(worst, check_max_error(found, expected.f + b * K * L * L, (size_t)K * L * L));
    }
    print_message("  logits: max abs error %.2e\n", worst);
    assert_true(worst <= 1e-4); /* as in test_infer.c */
    npy_free(&expected);
    free(found);
}

/* One tensor's gradient against its norm and, of the small ones, in full. Returns the relative error of the norm. */
static double check_gradient(const lesson *it, const char *name, const float *found, size_t n)
{
    size_t n_expected;
    float *norm = read_values(it->expected, "norm/", name, &n_expected), *full = read_values(it->expected, "grad/", name, &n_expected);
    const double length = measure(found, n);
    double error = 0;

    if (!norm) fail_msg("%s is trained, but has no gradient in the reference", name);
    if (strstr(name, "k_proj.bias")) {
        if (!(length <= zero_gradient)) fail_msg("%s: gradient of norm %g, expected zero within %g", name, length, zero_gradient);
    } else {
        error = fabs(length - norm[0]) / norm[0];
        if (norm[0] == 0) error = length; /* LoRA's first half where the second is zero */
        if (!(error <= norm_tolerance)) fail_msg("%s: gradient norm %.7g, expected %.7g", name, length, norm[0]);
        for (size_t i = 0; full && i < n; i++)
            if (!(fabs(found[i] - full[i]) <= gradient_tolerance * norm[0]))
                fail_msg("%s[%zu]: %.7g, expected %.7g of norm %.7g", name, i, found[i], full[i], norm[0]);
    }
    free(norm);
    free(full);
    return error;
}

static size_t count_prefixed(const io_tensors *tensors, const char *prefix)
{
    size_t n = 0;

    for (size_t i = 0; i < io_tensors_count(tensors); i++) n += !strncmp(io_tensors_at(tensors, i)->name, prefix, strlen(prefix));
    return n;
}

static void check_gradients(const lesson *it)
{
    io_tensors *gradients = NULL;
    double worst = 0;

    check_ok(model_trainer_gradient_tensors(it->trainer, &gradients));
    assert_int_equal(io_tensors_count(gradients), count_prefixed(it->expected, "norm/"));
    for (size_t i = 0; i < io_tensors_count(gradients); i++) {
        const io_tensor *tensor = io_tensors_at(gradients, i);
        float *values = malloc(tensor->n_elements * sizeof *values);

        check_ok(io_tensor_read_f32(tensor, values));
        worst = fmax(worst, check_gradient(it, tensor->name, values, tensor->n_elements));
        free(values);
    }
    print_message("  %zu gradients, worst relative error of a norm %.2e\n", io_tensors_count(gradients), worst);
    io_tensors_free(&gradients);
}

/* After the last step. The adapter has all of SAMed's tensors; those without a gradient are what they were. */
static void check_final(const lesson *it)
{
    io_tensors *adapter = NULL;
    double worst = 0;
    size_t n_checked = 0;

    check_ok(model_trainer_adapter(it->trainer, &adapter));
    assert_int_equal(io_tensors_count(adapter), io_tensors_count(it->start));
    for (size_t i = 0; i < io_tensors_count(adapter); i++) {
        const io_tensor *tensor = io_tensors_at(adapter, i);
        size_t n, n_norm;
        float *values = read_values(adapter, "", tensor->name, &n), *norm = read_values(it->expected, "final/", tensor->name, &n_norm);

        assert_non_null(io_tensors_find(it->start, tensor->name));
        /* in SAMed's order; the seeded SAMed_s file has its pairs side by side, which the reference's loader does not mind */
        if (!it->recompute) assert_string_equal(tensor->name, io_tensors_at(it->start, i)->name);
        assert_int_equal(tensor->is_parameter, io_tensors_find(it->start, tensor->name)->is_parameter);
        if (norm && !strstr(tensor->name, "k_proj.bias")) {
            const double error = fabs(measure(values, n) - norm[0]) / norm[0];
            if (!(error <= 1e-5)) fail_msg("%s: norm %.8g, expected %.8g", tensor->name, measure(values, n), norm[0]); /* steps move 1e-3 */
            worst = fmax(worst, error);
            n_checked++;
        }
        free(values);
        free(norm);
    }
    print_message("  %zu tensors after %d steps, worst relative error of a norm %.2e\n", n_checked, it->n_steps, worst);
    assert_true(n_checked > 0);
    io_tensors_free(&adapter);
}

static void check_lesson(lesson *it)
{
    open_lesson(it);
    for (int step = 0; step < it->n_steps; step++) {
        const model_loss loss = run_batch(it);
        const float *expected = it->losses + 4 * step;

        print_message("  step %d: loss %.7f (%.7f), cross entropy %.7f (%.7f), Dice %.7f (%.7f)\n", step, loss.total, expected[1], loss.ce,
                      expected[2], loss.dice, expected[3]);
        check_near(loss.total, expected[1], loss_tolerance * expected[1]);
        check_near(loss.ce, expected[2], loss_tolerance * expected[2]);
        check_near(loss.dice, expected[3], loss_tolerance * expected[3]);
        if (step == 0) check_logits(it);
        if (step == 0) check_gradients(it);
        check_ok(model_trainer_update(it->trainer, expected[0], step + 1));
    }
    check_final(it);
    close_lesson(it);
}

static void test_samed(void **state)
{
    lesson it = {.folder = "train", .adapter = "weights/samed_vit_b.pth"};

    check_lesson(&it);
}

/* With recomputation, which must not change a thing. */
static void test_samed_s(void **state)
{
    lesson it = {.folder = "train_s", .adapter = "weights/samed_s_vit_b.pth", .recompute = true};

    check_lesson(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_samed), cmocka_unit_test(test_samed_s)};

    if (!check_shared("golden/train/losses.json")) {
        print_message("skipped: the golden vectors are not there (SAMED_SHARED)\n");
        return CHECK_SKIP;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
