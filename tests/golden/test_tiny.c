/* Small networks of every kind against PyTorch's segment-anything (make_golden.py wrote the vectors, in double precision): both adapter
 * layouts and none, image sizes that need other tables, windows that pad, the head size of ViT-H, a patch that is no multiple of four. */
#include "io/memory.h"
#include "tests/golden/network.h"
#include "tests/golden/tiny.h"

/* About five times the error of PyTorch itself in f32, which make_golden.py prints: 1.1e-5 on activations (spread 4), 2.4e-6 on logits
 * (spread 0.5). A wrong tensor, tap or table shows as 1e-2 at least. */
static const double activation_tolerance = 5e-5, logit_tolerance = 1e-5;

typedef struct tiny_case {
    const char *name, *network, *layout;
    int image_size;
} tiny_case;

static const tiny_case cases[] = {
    {"samed", "small", "samed", 64},
    {"samed_larger", "small", "samed", 96},
    {"samed_smaller", "small", "samed", 40},
    {"samed_s", "small", "samed_s", 64},
    {"sam", "small", NULL, 64},
    {"head80", "head80", "samed", 64},
    {"head80_inside", "head80", "samed", 32},
    {"patch6", "patch6", "samed", 48},
};
enum { N_CASES = sizeof cases / sizeof cases[0] };

static void open_case(network *net, const tiny_case *test, model_type type, int n_threads)
{
    memset(net, 0, sizeof *net);
    net->sam_file = make_weights(test->network, "sam", NULL);
    if (test->layout) net->adapter_file = make_weights(test->network, test->layout, NULL);
    start_network(net, test->image_size, type, n_threads);
}

static float *make_image(const tiny_case *test)
{
    const size_t n = (size_t)test->image_size * (size_t)test->image_size;
    float *image = malloc(n * sizeof *image);
    char text[64];

    snprintf(text, sizeof text, "%s/image", test->name);
    for (size_t i = 0; i < n; i++) image[i] = (float)(value_at(hash_text(text), i) + 0.5);
    return image;
}

/* NULL when make_golden.py did not keep it for this case. */
static float *read_vector(const io_tensors *vectors, const char *test, const char *what, size_t *n)
{
    char name[96];
    const io_tensor *tensor;
    float *values;

    snprintf(name, sizeof name, "%s/%s", test, what);
    tensor = io_tensors_find(vectors, name);
    if (!tensor) return NULL;
    *n = tensor->n_elements;
    values = malloc(*n * sizeof *values);
    check_ok(io_tensor_read_f32(tensor, values));
    return values;
}

static void check_vector(const io_tensors *vectors, const char *test, const char *what, const float *found, size_t n_found,
                         double tolerance)
{
    size_t n;
    float *expected = read_vector(vectors, test, what, &n);
    double error;

    if (!expected) return;
    assert_int_equal(n, n_found);
    error = check_max_error(found, expected, n);
    print_message("  %-14s %-12s max abs error %.2e\n", test, what, error);
    assert_true(error <= tolerance);
    free(expected);
}

static void check_probe(network *net, const io_tensors *vectors, const char *test, const float *image, const char *what)
{
    size_t n;
    float *expected = read_vector(vectors, test, what, &n), *found, *logits;

    if (!expected) return;
    free(expected);
    found = malloc(n * sizeof *found);
    logits = malloc(net->n_logits * sizeof *logits);
    check_ok(model_sam_probe(net->sam, what, found, n));
    check_ok(model_sam_logits(net->sam, image, 1, logits, NULL));
    check_ok(model_sam_probe(net->sam, NULL, NULL, 0));
    check_vector(vectors, test, what, found, n, activation_tolerance);
    free(found);
    free(logits);
}

/* Few enough pixels that none is as near a tie as our error. */
static void check_labels(network *net, const io_tensors *vectors, const char *test, const float *image)
{
    size_t n, n_wrong = 0;
    float *expected = read_vector(vectors, test, "labels", &n);
    uint16_t *labels;

    if (!expected) return;
    assert_int_equal(n, net->area);
    labels = malloc(n * sizeof *labels);
    check_ok(model_sam_segment(net->sam, image, 1, labels));
    for (size_t i = 0; i < n; i++) n_wrong += labels[i] != (uint16_t)expected[i];
    print_message("  %-14s labels       %zu of %zu differ\n", test, n_wrong, n);
    assert_int_equal(n_wrong, 0);
    free(labels);
    free(expected);
}

static void check_case(const tiny_case *test, const io_tensors *vectors)
{
    network net;
    char block[24];
    float *image = make_image(test), *logits, iou[16];

    open_case(&net, test, MODEL_F32, 2);
    check_probe(&net, vectors, test->name, image, "patch_embed");
    for (int i = 0; i < net.config.depth; i++) {
        snprintf(block, sizeof block, "block.%d", i);
        check_probe(&net, vectors, test->name, image, block);
    }
    check_probe(&net, vectors, test->name, image, "embedding");
    logits = malloc(net.n_logits * sizeof *logits);
    check_ok(model_sam_logits(net.sam, image, 1, logits, iou));
    check_vector(vectors, test->name, "logits", logits, net.n_logits, logit_tolerance);
    check_vector(vectors, test->name, "iou", iou, (size_t)net.config.n_channels, logit_tolerance);
    check_labels(&net, vectors, test->name, image);
    free(logits);
    free(image);
    close_network(&net);
}

static io_tensors *open_vectors(void)
{
    io_tensors *vectors = NULL;
    char path[4096];

    snprintf(path, sizeof path, "%s/tests/golden/tiny_vectors.safetensors", source_folder);
    check_ok(io_tensors_open(path, &vectors));
    return vectors;
}

/* With the best instructions of this machine, and with each lower level that it can be told to use. */
static void test_networks(void **state)
{
    static const char *const levels[] = {NULL, "avx512", "avx2", "generic"};
    io_tensors *vectors = open_vectors();

    for (size_t level = 0; level < sizeof levels / sizeof levels[0]; level++) {
        if (levels[level]) setenv("SAMED_CPU", levels[level], 1);
        print_message(" SAMED_CPU=%s\n", levels[level] ? levels[level] : "");
        for (int i = 0; i < N_CASES; i++) check_case(&cases[i], vectors);
    }
    unsetenv("SAMED_CPU");
    io_tensors_free(&vectors);
}

/* The adapter merged into SAM's weights gives the same network under SAM's names. */
static void check_merged(const tiny_case *test)
{
    network net, merged;
    float *image = make_image(test), *expected, *found;

    open_case(&net, test, MODEL_F32, 1);
    memset(&merged, 0, sizeof merged);
    check_ok(model_sam_merge(net.sam_file, net.adapter_file, &merged.sam_file));
    start_network(&merged, test->image_size, MODEL_F32, 1);
    assert_int_equal(merged.config.layout, MODEL_LAYOUT_SAM);
    assert_int_equal(merged.config.n_channels, net.config.n_channels);
    expected = malloc(net.n_logits * sizeof *expected);
    found = malloc(net.n_logits * sizeof *found);
    check_ok(model_sam_logits(net.sam, image, 1, expected, NULL));
    check_ok(model_sam_logits(merged.sam, image, 1, found, NULL));
    assert_memory_equal(found, expected, net.n_logits * sizeof *found);
    free(found);
    free(expected);
    free(image);
    close_network(&merged);
    close_network(&net);
}

static void test_merge(void **state)
{
    check_merged(&cases[0]);
    check_merged(&cases[3]);
}

/* Same bytes for 1 to 4 threads, in a batch and alone. */
static void test_invariance(void **state)
{
    const tiny_case *test = &cases[0];
    float *image = make_image(test), *batch = NULL, *logits[2] = {NULL, NULL};

    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        network net;
        float *out;
        open_case(&net, test, MODEL_F32, n_threads);
        if (!batch) {
            batch = malloc(3 * net.area * sizeof *batch);
            for (size_t i = 0; i < 3 * net.area; i++) batch[i] = image[(i * (i / net.area + 1)) % net.area];
            for (int i = 0; i < 2; i++) logits[i] = malloc(3 * net.n_logits * sizeof(float));
        }
        out = logits[n_threads > 1];
        check_ok(model_sam_logits(net.sam, batch, 3, out, NULL));
        assert_memory_equal(logits[0], out, 3 * net.n_logits * sizeof *out);
        for (size_t i = 0; i < 3; i++) check_ok(model_sam_logits(net.sam, batch + i * net.area, 1, logits[1] + i * net.n_logits, NULL));
        assert_memory_equal(logits[0], logits[1], 3 * net.n_logits * sizeof *out);
        close_network(&net);
    }
    free(batch);
    free(image);
    free(logits[0]);
    free(logits[1]);
}

/* Each wrong pair of files must be refused with a text that holds these words. */
static void check_refused(io_tensors *sam, io_tensors *adapter, int image_size, io_status status, const char *words)
{
    model_config config;

    check_fails(status, model_config_infer(sam, adapter, image_size, &config));
    print_message("  %s\n", io_last_error_text());
    if (!strstr(io_last_error_text(), words)) fail_msg("expected \"%s\" in: %s", words, io_last_error_text());
}

static void test_refusals(void **state)
{
    io_tensors *sam = make_weights("small", "sam", NULL), *samed = make_weights("small", "samed", NULL);
    io_tensors *other_sam = make_weights("head80", "sam", NULL), *no_last = make_weights("small", "samed", "w_a_005");
    io_tensors *no_token = make_weights("small", "samed", "iou_token"), *no_block = make_weights("small", "sam", "blocks.1.attn.proj.bias");

    check_refused(samed, samed, 64, IO_ERR_MISMATCH, "expected a SAM checkpoint");
    check_refused(sam, sam, 64, IO_ERR_MISMATCH, "expected a SAMed adapter");
    check_refused(other_sam, samed, 64, IO_ERR_MISMATCH, "w_a_000 ... w_a_003 of width 160");
    check_refused(sam, no_last, 64, IO_ERR_MISMATCH, "w_a_005");
    check_refused(sam, no_token, 64, IO_ERR_NOT_FOUND, "mask_decoder.iou_token.weight");
    check_refused(no_block, samed, 64, IO_ERR_NOT_FOUND, "image_encoder.blocks.1.attn.proj.bias");
    check_refused(sam, samed, 60, IO_ERR_ARGUMENT, "image size 60");
    check_refused(sam, samed, 4, IO_ERR_ARGUMENT, "image size 4");
    check_refused(sam, samed, 8 * 4097, IO_ERR_ARGUMENT, "image size 32776");
    check_refused(sam, samed, -64, IO_ERR_ARGUMENT, "image size -64");
    io_tensors_free(&sam);
    io_tensors_free(&samed);
    io_tensors_free(&other_sam);
    io_tensors_free(&no_last);
    io_tensors_free(&no_token);
    io_tensors_free(&no_block);
}

/* What a watcher is told adds up to the network; norms are reported, but are not part of the count that speeds are stated with. */
static void add_flop(void *context, const char *operation, double seconds, double flop, double bytes)
{
    assert_true(seconds >= 0 && bytes > 0);
    if (!strstr(operation, "norm")) *(double *)context += flop;
}

static void test_trace(void **state)
{
    network net;
    float *image = make_image(&cases[0]);
    double total = 0;

    open_case(&net, &cases[0], MODEL_F32, 1);
    float *logits = malloc(net.n_logits * sizeof *logits);
    model_sam_set_trace(net.sam, add_flop, &total);
    check_ok(model_sam_logits(net.sam, image, 1, logits, NULL));
    check_near(total, model_sam_flop(&net.config), 1);
    free(logits);
    free(image);
    close_network(&net);
}

/* A device that records: the CPU's, whose recordings are empty, and whose labels fail once when told. */
static struct recorder {
    model_ops ops;
    io_status (*labels)(model_backend *, uint16_t *, const float *, int, int, int, int);
    bool is_failing;
    int n_begun, n_ended, n_freed, n_launched;
} recorder;

static io_status record_labels(model_backend *backend, uint16_t *labels, const float *logits, int B, int K, int L, int S)
{
    if (recorder.is_failing) return IO_FAIL(IO_ERR_DEVICE, "the kernel of labels");
    return recorder.labels(backend, labels, logits, B, K, L, S);
}

static io_status begin_recording(model_backend *backend)
{
    recorder.n_begun++;
    return IO_OK;
}

static io_status end_recording(model_backend *backend, model_graph **out)
{
    recorder.n_ended++;
    *out = (model_graph *)&recorder;
    return IO_OK;
}

static io_status launch_recording(model_backend *backend, const model_graph *graph)
{
    assert_ptr_equal(graph, &recorder);
    recorder.n_launched++;
    return IO_OK;
}

static void free_recording(model_backend *backend, model_graph **graph)
{
    recorder.n_freed++;
    *graph = NULL;
}

/* A recording that failed half-way is given back and never launched, and what is said is why it failed. */
static void test_failed_recording(void **state)
{
    network net;
    float *image = make_image(&cases[0]);
    uint16_t *labels;

    open_case(&net, &cases[0], MODEL_F32, 1);
    labels = malloc(net.area * sizeof *labels);
    recorder = (struct recorder){.ops = *net.device->ops, .labels = net.device->ops->labels_forward};
    recorder.ops.labels_forward = record_labels;
    recorder.ops.graph_begin = begin_recording;
    recorder.ops.graph_end = end_recording;
    recorder.ops.graph_launch = launch_recording;
    recorder.ops.graph_free = free_recording;
    model_sam_free(&net.sam);
    net.device->ops = &recorder.ops;
    check_ok(model_sam_create(net.device, &net.config, net.sam_file, net.adapter_file, &net.sam));
    check_ok(model_sam_segment(net.sam, image, 1, labels));
    recorder.is_failing = true;
    assert_int_equal(model_sam_segment(net.sam, image, 1, labels), IO_ERR_DEVICE);
    assert_non_null(strstr(io_last_error_text(), "the kernel of labels"));
    assert_int_equal(recorder.n_launched, 0);
    assert_int_equal(recorder.n_freed, recorder.n_ended);
    recorder.is_failing = false;
    check_ok(model_sam_segment(net.sam, image, 1, labels));
    assert_int_equal(recorder.n_begun, 2);
    assert_int_equal(recorder.n_launched, 1);
    close_network(&net);
    assert_int_equal(recorder.n_freed, 2);
    free(labels);
    free(image);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks), cmocka_unit_test(test_merge), cmocka_unit_test(test_invariance),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_trace), cmocka_unit_test(test_failed_recording),
    };

    snprintf(source_folder, sizeof source_folder, "%s", getenv("SAMED_SOURCE") ? getenv("SAMED_SOURCE") : ".");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
