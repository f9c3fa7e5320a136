/* Choices of what is trained, on small networks: chosen projections and blocks, the decoder only, other ranks of LoRA (Tables 2, 4 and 5 of
 * the paper). Whatever is left out, the rest must be computed as if it were not, to the last bit. */
#include "model/sam.h"
#include "tests/golden/pupil.h"

#include <stdio.h>

enum { ALL = MODEL_LORA_Q | MODEL_LORA_K | MODEL_LORA_V | MODEL_LORA_O };

/* What is chosen is trained and nothing else; LoRA that would be dropped is refused. */
static void test_choices(void **state)
{
    io_tensors *sam = make_weights("small", "sam", NULL), *adapter = make_weights("small", "samed", NULL);
    model_train_options options = model_train_options_default();
    model_device *device = NULL;
    model_trainer *trainer = NULL;
    int n_fresh = 0;
    size_t all, offset, n;

    options.image_size = 64;
    check_ok(model_device_open(MODEL_DEVICE_CPU, 0, MODEL_F32, 1, &device));
    check_ok(model_trainer_create(device, &options, sam, adapter, NULL, NULL, &trainer));
    all = model_trainer_count(trainer);
    model_trainer_free(&trainer);
    options.projections = MODEL_LORA_Q;
    options.skips[1] = true;
    check_fails(IO_ERR_UNSUPPORTED, model_trainer_create(device, &options, sam, adapter, NULL, NULL, &trainer));
    check_ok(model_trainer_create(device, &options, sam, NULL, fill_fresh, &n_fresh, &trainer));
    assert_string_equal(model_trainer_tensor(trainer, 0, &offset, &n), "w_a_000");
    assert_string_equal(model_trainer_tensor(trainer, 1, &offset, &n), "w_a_004");
    assert_int_equal(n, 4 * 32);
    model_trainer_free(&trainer);
    options.projections = 0;
    options.n_channels = 5;
    check_ok(model_trainer_create(device, &options, sam, NULL, fill_fresh, &n_fresh, &trainer));
    assert_int_equal(model_trainer_count(trainer), all - 12);
    model_trainer_free(&trainer);
    options.lora_rank = 0;
    check_fails(IO_ERR_ARGUMENT, model_trainer_create(device, &options, sam, NULL, fill_fresh, &n_fresh, &trainer));
    options.n_kept = 0;
    check_fails(IO_ERR_ARGUMENT, model_trainer_create(device, &options, sam, adapter, NULL, NULL, &trainer));
    model_device_free(&device);
    io_tensors_free(&sam);
    io_tensors_free(&adapter);
}

/* The loss of the batch with the block moved by h along a direction [n]. */
static double evaluate_along(pupil *it, const float *weights, const float *direction, size_t n, double h)
{
    double sums[3 * MOST_CHANNELS + 1] = {0}, own[3 * MOST_CHANNELS + 1];
    size_t n_block;
    float *block = model_trainer_weights(it->trainer, &n_block), *moved = malloc(n * sizeof *moved);

    assert_int_equal(n, n_block);
    for (size_t i = 0; i < n; i++) moved[i] = (float)(weights[i] + h * direction[i]);
    check_ok(it->device->ops->upload(it->device->backend, block, moved, n * sizeof *moved));
    check_ok(model_trainer_pack(it->trainer));
    for (size_t b = 0; b < B; b++) {
        forward(it, 0, b, own);
        for (int i = 0; i <= 3 * it->K; i++) sums[i] += own[i];
    }
    free(moved);
    return model_loss_join(sums, it->K, (double)(B * it->n_pixels), 0.8).total;
}

/* Along the gradient of the tensors whose names begin so, the loss must rise as its length says. The step is large enough for f32 losses
 * and small enough for the third derivative. */
static void check_direction(pupil *it, const char *prefix)
{
    size_t n, offset, n_elements;
    const float *gradients = model_trainer_gradients(it->trainer, &n), *block = model_trainer_weights(it->trainer, &n);
    float *direction = calloc(n, sizeof *direction), *weights = malloc(n * sizeof *weights);
    double length = 0, slope;
    const double h = 0.02;
    const char *name;

    memcpy(weights, block, n * sizeof *weights);
    for (size_t i = 0; (name = model_trainer_tensor(it->trainer, i, &offset, &n_elements)); i++)
        if (!strncmp(name, prefix, strlen(prefix))) memcpy(direction + offset, gradients + offset, n_elements * sizeof *direction);
    for (size_t i = 0; i < n; i++) length += (double)direction[i] * direction[i];
    length = sqrt(length);
    assert_true(length > 0);
    for (size_t i = 0; i < n; i++) direction[i] = (float)(direction[i] / length);
    slope = (evaluate_along(it, weights, direction, n, h) - evaluate_along(it, weights, direction, n, -h)) / (2 * h);
    print_message("  %s*: slope %.6f, length of the gradient %.6f\n", prefix, slope, length);
    check_near(slope, length, 0.01 * length);
    evaluate_along(it, weights, direction, n, 0); /* as it was */
    free(direction);
    free(weights);
}

/* A merged network must compute what the trainer does: LoRA on all four projections, then an adapter of it. */
static void check_merged(pupil *it)
{
    io_tensors *adapter = NULL;
    model_config config;
    model_sam *sam = NULL;
    const size_t n = (size_t)it->K * it->n_pixels;
    float *expected = malloc(n * sizeof *expected), *found = malloc(n * sizeof *found);
    double sums[3 * MOST_CHANNELS + 1];

    forward(it, 0, 0, sums);
    check_ok(model_trainer_logits(it->trainer, 0, expected));
    check_ok(model_trainer_adapter(it->trainer, &adapter));
    check_ok(model_config_infer(it->sam, adapter, model_trainer_config(it->trainer)->image_size, &config));
    check_ok(model_sam_create(it->device, &config, it->sam, adapter, &sam));
    check_ok(model_sam_logits(sam, it->images, 1, found, NULL));
    check_near(check_max_error(found, expected, n), 0, 2e-5); /* as logits in test_tiny.c, on both sides */
    model_sam_free(&sam);
    io_tensors_free(&adapter);
    free(expected);
    free(found);
}

/* Five channels from SAM, or from an adapter of such. */
static void open_choice(pupil *it, const model_train_options *options, const io_tensors *adapter)
{
    const training *test = &trainings[0];
    model_train_options own = *options;
    int n_fresh = 0;

    memset(it, 0, sizeof *it);
    own.image_size = test->image_size;
    own.n_channels = 5;
    it->sam = make_weights(test->network, "sam", NULL);
    check_ok(model_device_open(MODEL_DEVICE_CPU, 0, MODEL_F32, 2, &it->device));
    check_ok(model_trainer_create(it->device, &own, it->sam, adapter, fill_fresh, &n_fresh, &it->trainer));
    it->K = 5;
    it->area = (size_t)test->image_size * (size_t)test->image_size;
    it->n_pixels = it->area / 4;
    make_batch(it, test);
}

/* Table 5 of the paper: LoRA on q, k, v and the output projection, after a step that makes every half differ from zero. */
static void test_projections(void **state)
{
    pupil it;
    model_train_options options = model_train_options_default();

    options.projections = ALL;
    open_choice(&it, &options, NULL);
    run_batch(&it, 1);
    check_ok(model_trainer_update(it.trainer, 0.05f, 1));
    run_batch(&it, 1);
    check_direction(&it, "w_a_ko");
    check_direction(&it, "w_b_ko");
    check_direction(&it, "w_");
    check_direction(&it, "mask_decoder");
    check_merged(&it);
    close_pupil(&it);
}

/* Its blocks are three. */
typedef struct choice {
    const char *what;
    unsigned projections;
    bool skips[3];
} choice;

static const choice choices[] = {
    {"decoder only", 0, {false}},
    {"q", MODEL_LORA_Q, {false}},
    {"v", MODEL_LORA_V, {false}},
    {"k", MODEL_LORA_K, {false}},
    {"o", MODEL_LORA_O, {false}},
    {"q and v from block 1 on", MODEL_LORA_Q | MODEL_LORA_V, {true}},
    {"o from block 1 on", MODEL_LORA_O, {true}},
    {"q in block 2", MODEL_LORA_Q, {true, true}},
    {"o in block 2", MODEL_LORA_O, {true, true}},
    {"k and o in blocks 0 and 2", MODEL_LORA_K | MODEL_LORA_O, {false, true}},
};
enum { N_CHOICES = sizeof choices / sizeof choices[0] };

/* Is it LoRA's second half where the choice has LoRA? Names: model/params.h. */
static bool is_chosen_up(const choice *of, const char *name)
{
    static const unsigned bits[2][2] = {{MODEL_LORA_Q, MODEL_LORA_V}, {MODEL_LORA_K, MODEL_LORA_O}};
    const bool is_more = !strncmp(name, "w_b_ko_", 7);
    const int index = !strncmp(name, "w_b_", 4) ? (int)strtol(name + (is_more ? 7 : 4), NULL, 10) : -1;

    return index >= 0 && !of->skips[index / 2] && (of->projections & bits[is_more][index % 2]);
}

/* As fresh, but with LoRA at work where it is chosen; elsewhere its second half stays zero, so that it adds nothing anywhere. */
static io_tensors *make_adapter(const io_tensors *fresh, const choice *of)
{
    io_tensors *made = NULL;

    check_ok(io_tensors_create(&made));
    for (size_t i = 0; i < io_tensors_count(fresh); i++) {
        const io_tensor *tensor = io_tensors_at(fresh, i);
        float *values;

        check_ok(io_tensors_reserve(made, tensor->name, tensor->n_dims, tensor->shape, tensor->is_parameter, &values));
        check_ok(io_tensor_read_f32(tensor, values));
        for (size_t k = 0; k < tensor->n_elements && is_chosen_up(of, tensor->name); k++)
            values[k] = (float)(0.1 * value_at(hash_text(tensor->name), k));
    }
    return made;
}

static float *take_logits(pupil *it)
{
    const size_t n = (size_t)it->K * it->n_pixels;
    float *logits = malloc(B * n * sizeof *logits);
    double sums[3 * MOST_CHANNELS + 1];

    for (size_t b = 0; b < B; b++) {
        forward(it, 0, b, sums);
        check_ok(model_trainer_logits(it->trainer, 0, logits + b * n));
    }
    return logits;
}

static bool is_zero(const io_tensor *tensor)
{
    float *values = malloc(tensor->n_elements * sizeof *values);
    double most = 0;

    check_ok(io_tensor_read_f32(tensor, values));
    for (size_t i = 0; i < tensor->n_elements; i++) most = fmax(most, fabs((double)values[i]));
    free(values);
    return most == 0;
}

/* Every gradient of part is one of whole, the same bytes; LoRA's second halves are not zero. Returns how many tensors part trains. */
static size_t compare_gradients(const pupil *part, const pupil *whole, bool with_lora)
{
    io_tensors *found = NULL, *expected = NULL;
    size_t n;

    check_ok(model_trainer_gradient_tensors(part->trainer, &found));
    check_ok(model_trainer_gradient_tensors(whole->trainer, &expected));
    n = io_tensors_count(found);
    for (size_t i = 0; i < n; i++) {
        const io_tensor *tensor = io_tensors_at(found, i), *theirs = io_tensors_find(expected, tensor->name);

        if (!with_lora && !strncmp(tensor->name, "w_", 2)) continue;
        assert_non_null(theirs);
        if (memcmp(tensor->data, theirs->data, tensor->n_elements * sizeof(float)) != 0) fail_msg("%s has another gradient", tensor->name);
        if (!strncmp(tensor->name, "w_b_", 4) && is_zero(tensor)) fail_msg("%s has no gradient", tensor->name);
    }
    io_tensors_free(&found);
    io_tensors_free(&expected);
    return n;
}

/* A batch of what was chosen beside the same batch with all LoRA: logits and common gradients. */
static void compare_choice(const choice *of, const io_tensors *adapter, bool recompute)
{
    model_train_options options = model_train_options_default();
    pupil part, whole;
    float *found, *expected;
    size_t n_trained = 0, n_lora = 0;

    options.projections = ALL;
    open_choice(&whole, &options, adapter);
    options.projections = of->projections;
    options.recompute = recompute;
    memcpy(options.skips, of->skips, sizeof of->skips);
    open_choice(&part, &options, adapter);
    expected = take_logits(&whole);
    found = take_logits(&part);
    assert_memory_equal(found, expected, B * (size_t)part.K * part.n_pixels * sizeof *found);
    run_batch(&whole, 1);
    run_batch(&part, 1);
    n_trained = compare_gradients(&part, &whole, true);
    for (int block = 0; block < 3; block++) n_lora += of->skips[block] ? 0 : 2 * (size_t)__builtin_popcount(of->projections);
    assert_int_equal(n_trained, model_trainer_count(whole.trainer) - 3 * 2 * 4 + n_lora);
    free(found);
    free(expected);
    close_pupil(&part);
    close_pupil(&whole);
}

/* What is not trained is what it was. */
static void check_untouched(const pupil *it, const io_tensors *before)
{
    io_tensors *after = NULL, *trained = NULL;
    size_t n_untouched = 0;

    check_ok(model_trainer_adapter(it->trainer, &after));
    check_ok(model_trainer_gradient_tensors(it->trainer, &trained));
    for (size_t i = 0; i < io_tensors_count(after); i++) {
        const io_tensor *tensor = io_tensors_at(after, i);
        const bool is_same = !memcmp(tensor->data, io_tensors_find(before, tensor->name)->data, tensor->n_elements * sizeof(float));

        if (is_same == (io_tensors_find(trained, tensor->name) != NULL)) fail_msg("%s %s", tensor->name, is_same ? "stayed" : "changed");
        n_untouched += is_same;
    }
    assert_int_equal(n_untouched + model_trainer_count(it->trainer), io_tensors_count(after));
    io_tensors_free(&after);
    io_tensors_free(&trained);
}

/* A step changes what is trained and nothing else, and the gradient after it is the loss's slope. */
static void check_step(const choice *of, const io_tensors *adapter)
{
    model_train_options options = model_train_options_default();
    pupil it;

    options.projections = of->projections;
    memcpy(options.skips, of->skips, sizeof of->skips);
    open_choice(&it, &options, adapter);
    run_batch(&it, 1);
    check_ok(model_trainer_update(it.trainer, 0.05f, 1));
    check_untouched(&it, adapter);
    run_batch(&it, 1);
    if (of->projections) check_direction(&it, "w_");
    check_direction(&it, "mask_decoder");
    check_merged(&it);
    close_pupil(&it);
}

static io_tensors *make_fresh_adapter(void)
{
    model_train_options options = model_train_options_default();
    io_tensors *fresh = NULL;
    pupil it;

    options.projections = ALL;
    open_choice(&it, &options, NULL);
    check_ok(model_trainer_adapter(it.trainer, &fresh));
    close_pupil(&it);
    return fresh;
}

/* Tables 2 and 5, chosen blocks. From SAM the second half of all LoRA is zero; an adapter lets the chosen ones work. */
static void test_subsets(void **state)
{
    io_tensors *fresh = make_fresh_adapter();

    for (int i = 0; i < N_CHOICES; i++) {
        io_tensors *adapter = make_adapter(fresh, &choices[i]);

        print_message(" %s\n", choices[i].what);
        compare_choice(&choices[i], NULL, false);
        compare_choice(&choices[i], adapter, false);
        compare_choice(&choices[i], adapter, true);
        check_step(&choices[i], adapter);
        io_tensors_free(&adapter);
    }
    io_tensors_free(&fresh);
}

/* Table 4: fresh LoRA of any rank adds nothing, so all start from the same logits and decoder gradients; then one step each. */
static void test_ranks(void **state)
{
    static const int ranks[] = {4, 1, 16};
    model_train_options options = model_train_options_default();
    pupil first;
    float *expected;

    open_choice(&first, &options, NULL);
    expected = take_logits(&first);
    run_batch(&first, 1);
    for (int i = 1; i < 3; i++) {
        pupil it;
        float *found;

        options.lora_rank = ranks[i];
        print_message(" rank %d\n", ranks[i]);
        open_choice(&it, &options, NULL);
        found = take_logits(&it);
        assert_memory_equal(found, expected, B * (size_t)it.K * it.n_pixels * sizeof *found);
        run_batch(&it, 1);
        assert_int_equal(compare_gradients(&it, &first, false), model_trainer_count(first.trainer));
        check_ok(model_trainer_update(it.trainer, 0.05f, 1));
        run_batch(&it, 1);
        check_direction(&it, "w_a");
        check_direction(&it, "w_b");
        check_merged(&it);
        free(found);
        close_pupil(&it);
    }
    free(expected);
    close_pupil(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_choices), cmocka_unit_test(test_projections), cmocka_unit_test(test_subsets),
                                       cmocka_unit_test(test_ranks)};

    snprintf(source_folder, sizeof source_folder, "%s", getenv("SAMED_SOURCE") ? getenv("SAMED_SOURCE") : ".");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
