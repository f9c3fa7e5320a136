/* `samed bench`: seconds per slice of the whole network on this machine, or per image of a training step, and where they go. One process,
 * no MPI; run it under the same affinity as the real thing. */
#include "jobs/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/json.h"
#include "io/log.h"
#include "io/memory.h"
#include "jobs/commands.h"
#include "jobs/devices.h"
#include "jobs/exits.h"
#include "jobs/options.h"
#include "jobs/progress.h"
#include "model/flow.h"
#include "model/sam.h"
#include "pipeline/seeded.h"

enum {
    KEY_SAM = 1000,
    KEY_ADAPTER,
    KEY_VIT,
    KEY_DEVICE,
    KEY_PRECISION,
    KEY_THREADS,
    KEY_BATCH,
    KEY_IMAGE_SIZE,
    KEY_REPEATS,
    KEY_JSON,
    KEY_TRAIN,
    KEY_PEER,
    KEY_RECOMPUTE
};
enum { MAX_REPEATS = 1000, N_PEAKS = 3 };

static const struct argp_option options_table[] = {
    {"sam", KEY_SAM, "FILE", 0, "weights (default: random ones)", 0},
    {"adapter", KEY_ADAPTER, "FILE", 0, "SAMed's weights for --sam", 0},
    {"vit", KEY_VIT, "SIZE", 0, "size of the random network: vit_b (default), vit_l, vit_h, small, tiny", 0},
    {"device", KEY_DEVICE, "auto|cpu|cuda", 0, "default auto", 0},
    {"precision", KEY_PRECISION, "f32|tf32|bf16", 0, "default f32; tf32 is of CUDA devices", 0},
    {"threads", KEY_THREADS, "N", 0, "default: the CPUs this process may use", 0},
    {"batch", KEY_BATCH, "N", 0, "slices per call or step (default: those of one pass of the device, 1 on the CPU)", 0},
    {"image-size", KEY_IMAGE_SIZE, "PIXELS", 0, "default 512", 0},
    {"train", KEY_TRAIN, 0, 0, "a training step (LoRA on q and v, the decoder in full) instead of segmentation", 0},
    {"peer", KEY_PEER, "COMMAND", 0,
     "with --train: another program that makes such steps, in turns; the ratio of both times is told (tests/bench/peers.py serve)", 0},
    {"recompute", KEY_RECOMPUTE, 0, 0, "with --train: keep the inputs of blocks only", 0},
    {"repeats", KEY_REPEATS, "N", 0, "measured calls (default 9)", 0},
    {"json", KEY_JSON, 0, 0, "one JSON object", 0},
    {0}};

static const char doc[] =
    "Measures the network on this machine, with random weights unless --sam is given."
    "\v"
    "Of --json: seconds_per_slice, with --train seconds_per_image, hold the best and the median of all repeats; gflops and share_of_peak "
    "are those of the best. With --peer, peer_seconds_per_image is the other program's best, and ratio is samed's best divided by it: "
    "below 1 samed is the faster.";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    bench_options *options = state->input;

    switch (key) {
    case KEY_SAM: options->sam = arg; return 0;
    case KEY_ADAPTER: options->adapter = arg; return 0;
    case KEY_VIT: options->vit = arg; return 0;
    case KEY_DEVICE: options->device = job_options_device(state, arg); return 0;
    case KEY_PRECISION: options->precision = job_options_precision(state, arg); return 0;
    case KEY_THREADS: options->n_threads = (int)job_options_integer(state, "--threads", arg, 1, 1024); return 0;
    case KEY_BATCH: options->batch = (int)job_options_integer(state, "--batch", arg, 1, 256); return 0;
    case KEY_IMAGE_SIZE:
        options->image_size = (int)job_options_integer(state, "--image-size", arg, 16, 4096);
        if (options->image_size % 16) job_options_fail(state, "--image-size: expected a multiple of 16, found '%s'", arg);
        return 0;
    case KEY_REPEATS: options->n_repeats = (int)job_options_integer(state, "--repeats", arg, 1, MAX_REPEATS); return 0;
    case KEY_JSON: options->json = true; return 0;
    case KEY_TRAIN: options->is_training = true; return 0;
    case KEY_PEER: options->peer = arg; return 0;
    case KEY_RECOMPUTE: options->recompute = true; return 0;
    case ARGP_KEY_ARG: job_options_fail(state, "'%s' is not expected here", arg); return 0;
    case ARGP_KEY_END:
        if (options->adapter && !options->sam) job_options_fail(state, "--adapter needs --sam");
        if (options->recompute && !options->is_training) job_options_fail(state, "--recompute needs --train");
        if (options->peer && !options->is_training) job_options_fail(state, "--peer needs --train");
        if (options->is_training && options->sam && !options->adapter) job_options_fail(state, "--train with --sam needs --adapter");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

void job_bench_add(void *context, const char *name, double seconds, double flop, double bytes)
{
    bench_result *result = context;
    int i = 0;

    while (i < result->n_operations && strcmp(result->operations[i].name, name) != 0) i++;
    if (i == BENCH_MAX_OPERATIONS) {
        snprintf(result->operations[--i].name, BENCH_NAME_BYTES, "others"); /* the sums stay whole */
    } else if (i == result->n_operations)
        snprintf(result->operations[result->n_operations++].name, BENCH_NAME_BYTES, "%s", name);
    result->operations[i].calls++;
    result->operations[i].seconds += seconds;
    result->operations[i].flop += flop;
    result->operations[i].bytes += bytes;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int compare_operations(const void *a, const void *b)
{
    const bench_operation *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

io_status job_bench_reserve(const bench_options *options, bench_result *result)
{
    if (options->peer) IO_TRY(io_alloc((size_t)options->n_repeats, sizeof *result->peer_seconds, (void **)&result->peer_seconds));
    return io_alloc((size_t)options->n_repeats, sizeof *result->seconds, (void **)&result->seconds);
}

void job_bench_sort(bench_result *result)
{
    qsort(result->seconds, (size_t)result->n_repeats, sizeof *result->seconds, compare_doubles);
    if (result->peer_seconds) qsort(result->peer_seconds, (size_t)result->n_repeats, sizeof *result->peer_seconds, compare_doubles);
}

void job_bench_fill(float *images, size_t n)
{
    uint32_t x = 1;

    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u; /* Numerical Recipes' generator; any will do */
        images[i] = (float)(x >> 8) / 16777216.0f;
    }
}

static io_status measure(const bench_options *options, model_sam *network, bool is_traced_elsewhere, bench_result *result)
{
    io_status status = IO_OK;
    float *images = NULL;
    uint16_t *labels = NULL;
    const size_t pixels = (size_t)options->image_size * (size_t)options->image_size;

    IO_TRY_GOTO(status, done, io_alloc((size_t)options->batch * pixels, sizeof *images, (void **)&images));
    IO_TRY_GOTO(status, done, io_alloc((size_t)options->batch * pixels, sizeof *labels, (void **)&labels));
    IO_TRY_GOTO(status, done, job_bench_reserve(options, result));
    job_bench_fill(images, (size_t)options->batch * pixels);
    IO_TRY_GOTO(status, done, model_sam_segment(network, images, options->batch, labels)); /* warm-up */
    for (int i = 0; i < options->n_repeats; i++) {
        const double start = job_time_now();
        IO_TRY_GOTO(status, done, model_sam_segment(network, images, options->batch, labels));
        result->seconds[result->n_repeats++] = (job_time_now() - start) / options->batch;
    }
    job_bench_sort(result);
    if (is_traced_elsewhere) goto done;
    model_sam_set_trace(network, job_bench_add, result); /* apart: tracing waits after every operation */
    IO_TRY_GOTO(status, done, model_sam_segment(network, images, options->batch, labels));
    IO_TRY_GOTO(status, done, model_sam_segment(network, images, options->batch, labels));
    result->n_traced = 2 * (int64_t)options->batch;
    model_sam_set_trace(network, NULL, NULL);
done:
    io_free(&labels);
    io_free(&images);
    return status;
}

static io_status open_weights(const bench_options *options, io_tensors **sam, io_tensors **adapter)
{
    enum { SEED = 1, RANK = 4, N_CLASSES = 8 };

    if (!options->sam) return pipe_seeded_create(options->vit, SEED, RANK, N_CLASSES, 0, sam, adapter);
    IO_TRY(io_tensors_open(options->sam, sam));
    return options->adapter ? io_tensors_open(options->adapter, adapter) : IO_OK;
}

/* MB of resident memory at its highest since forget_peak. */
static double read_peak_mb(void)
{
    char line[256];
    double kilobytes = 0;
    FILE *file = fopen("/proc/self/status", "r");

    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %lf", &kilobytes) == 1) break;
    if (file) fclose(file);
    return kilobytes / 1024;
}

void job_bench_forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w"); /* "5" resets VmHWM: proc(5) */

    if (!file) return;
    fputs("5", file);
    fclose(file);
}

static io_status bench_segment(const bench_options *options, model_device *device, const model_config *config, io_tensors **sam,
                               io_tensors **adapter, bench_result *result)
{
    io_status status = IO_OK;
    model_sam *network = NULL;
    const double start = job_time_now();

    result->flop = model_sam_flop(config);
    IO_TRY_GOTO(status, done, model_sam_create(device, config, *sam, *adapter, &network));
    result->load_s = job_time_now() - start;
    io_tensors_free(adapter);
    io_tensors_free(sam);
    job_bench_forget_peak();
    IO_TRY_GOTO(status, done, measure(options, network, model_flow_is_offered(device), result));
    if (model_flow_is_offered(device)) IO_TRY_GOTO(status, done, job_bench_flow(options, device, network, result));
    qsort(result->operations, (size_t)result->n_operations, sizeof *result->operations, compare_operations);
done:
    model_sam_free(&network);
    return status;
}

/* The best of a few: something else may be running. */
static io_status measure_peak(model_device *device, const model_config *config, bench_result *result)
{
    if (device->kind == MODEL_DEVICE_CUDA) return job_bench_ceilings(device, config, result);
    for (int i = 0; i < N_PEAKS; i++) {
        const double gflops = model_device_peak_gflops(device);
        if (gflops > result->peak_gflops) result->peak_gflops = gflops;
    }
    return IO_OK;
}

static io_status run_bench(bench_options *options, bench_result *result)
{
    io_status status = IO_OK;
    io_tensors *sam = NULL, *adapter = NULL;
    model_device *device = NULL;
    model_config config;

    IO_TRY_GOTO(status, done, model_device_open(options->device, 0, options->precision, job_threads_alone(options->n_threads), &device));
    snprintf(result->device, sizeof result->device, "%s", device->description);
    if (options->batch == 0) options->batch = options->is_training ? 1 : device->ops->slices_per_pass;
    IO_TRY_GOTO(status, done, open_weights(options, &sam, &adapter));
    IO_TRY_GOTO(status, done, model_config_infer(sam, adapter, options->image_size, &config));
    model_config_name(&config, result->network);
    if (options->is_training)
        IO_TRY_GOTO(status, done, job_bench_train(options, device, &sam, &adapter, result));
    else
        IO_TRY_GOTO(status, done, bench_segment(options, device, &config, &sam, &adapter, result));
    result->peak_mb = read_peak_mb();
    IO_TRY_GOTO(status, done, measure_peak(device, &config, result));
done:
    model_device_free(&device);
    io_tensors_free(&adapter);
    io_tensors_free(&sam);
    return status;
}

double job_bench_median(const double *seconds, int n)
{
    return n % 2 ? seconds[n / 2] : (seconds[n / 2 - 1] + seconds[n / 2]) / 2;
}

static double find_share(const bench_result *result)
{
    return result->peak_gflops > 0 ? result->flop / result->seconds[0] / 1e9 / result->peak_gflops : 0;
}

/* The decoder and the neck's first product stay in f32 in every precision. */
static double find_peak(const bench_result *result, const bench_operation *o)
{
    const bool is_f32 = !strncmp(o->name, "decoder", 7) || !strcmp(o->name, "neck_1x1");

    return is_f32 && result->peak_f32_gflops > 0 ? result->peak_f32_gflops : result->peak_gflops;
}

/* Of the ceiling that is nearer: of arithmetic, or of memory where that was measured. */
static double find_ceiling_share(const bench_result *result, const bench_operation *o)
{
    const double peak = find_peak(result, o), flop_share = peak > 0 ? o->flop / o->seconds / 1e9 / peak : 0;
    const double byte_share = result->peak_gb_per_s > 0 ? o->bytes / o->seconds / 1e9 / result->peak_gb_per_s : 0;

    if (!(o->seconds > 0)) return 0;
    return flop_share > byte_share ? flop_share : byte_share;
}

static void print_words(const bench_options *options, const bench_result *result)
{
    printf("%s, %d pixels, %s, batch %d on %s\n", result->network, options->image_size, job_precision_name(options->precision),
           options->batch, result->device);
    if (options->is_training) {
        job_bench_train_print(options, result);
        return;
    }
    printf("seconds per slice: best %.4f, median %.4f of %d\n", result->seconds[0], job_bench_median(result->seconds, result->n_repeats),
           result->n_repeats);
    printf("%.1f GFLOP per slice, %.0f GFLOP/s, %.0f %% of the measured peak of %.0f GFLOP/s\n", result->flop / 1e9,
           result->flop / result->seconds[0] / 1e9, 100 * find_share(result), result->peak_gflops);
    if (result->slices_per_s > 0)
        printf("%.1f slices per second end to end; measured ceiling of memory %.0f GB/s\n", result->slices_per_s, result->peak_gb_per_s);
    printf("weights packed in %.2f s, peak memory %.0f MB\n\n", result->load_s, result->peak_mb);
    printf("%-20s %6s %10s %9s %9s %10s %9s %11s\n", "operation", "calls", "ms / slice", "GFLOP", "MB", "GFLOP/s", "GB/s", "of ceiling");
    for (int i = 0; i < result->n_operations; i++) {
        const bench_operation *o = &result->operations[i];
        const double n = (double)result->n_traced, s = o->seconds > 0 ? o->seconds : INFINITY;
        printf("%-20s %6lld %10.3f %9.3f %9.2f %10.1f %9.1f %9.0f %%\n", o->name, (long long)(o->calls / 2), 1e3 * o->seconds / n,
               o->flop / n / 1e9, o->bytes / n / 1e6, o->flop / s / 1e9, o->bytes / s / 1e9, 100 * find_ceiling_share(result, o));
    }
}

static io_status add_operations(const bench_result *result, io_json *root)
{
    io_status status = IO_OK;
    io_json *list = NULL, *entry = NULL;

    IO_TRY_GOTO(status, done, io_json_create_array(&list));
    for (int i = 0; i < result->n_operations; i++) {
        const bench_operation *o = &result->operations[i];
        IO_TRY_GOTO(status, done, io_json_create_object(&entry));
        IO_TRY_GOTO(status, done, io_json_put_text(entry, "name", o->name));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "calls", (double)(o->calls / 2)));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "seconds_per_slice", o->seconds / (double)result->n_traced));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "gflop_per_slice", o->flop / (double)result->n_traced / 1e9));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "mb_per_slice", o->bytes / (double)result->n_traced / 1e6));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "gflops", o->seconds > 0 ? o->flop / o->seconds / 1e9 : 0));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "gb_per_s", o->seconds > 0 ? o->bytes / o->seconds / 1e9 : 0));
        IO_TRY_GOTO(status, done, io_json_put_number(entry, "share_of_ceiling", find_ceiling_share(result, o)));
        IO_TRY_GOTO(status, done, io_json_add(list, &entry));
    }
    status = io_json_put(root, "operations", &list);
done:
    io_json_free(&entry);
    io_json_free(&list);
    return status;
}

static io_status add_settings(const bench_options *options, const bench_result *result, io_json *root)
{
    IO_TRY(io_json_put_text(root, "version", SAMED_VERSION));
    IO_TRY(io_json_put_text(root, "network", result->network));
    IO_TRY(io_json_put_text(root, "device", result->device));
    IO_TRY(io_json_put_text(root, "precision", job_precision_name(options->precision)));
    IO_TRY(io_json_put_number(root, "threads", job_threads_alone(options->n_threads)));
    IO_TRY(io_json_put_number(root, "batch", options->batch));
    IO_TRY(io_json_put_number(root, "image_size", options->image_size));
    IO_TRY(io_json_put_number(root, options->is_training ? "gflop_per_image" : "gflop_per_slice", result->flop / 1e9));
    IO_TRY(io_json_put_number(root, "gflops", result->flop / result->seconds[0] / 1e9));
    IO_TRY(io_json_put_number(root, "peak_gflops", result->peak_gflops));
    IO_TRY(io_json_put_number(root, "share_of_peak", find_share(result)));
    if (result->peak_f32_gflops > 0) IO_TRY(io_json_put_number(root, "peak_f32_gflops", result->peak_f32_gflops));
    if (result->peak_gb_per_s > 0) IO_TRY(io_json_put_number(root, "peak_gb_per_s", result->peak_gb_per_s));
    if (result->slices_per_s > 0) IO_TRY(io_json_put_number(root, "slices_per_second", result->slices_per_s));
    IO_TRY(io_json_put_number(root, "load_seconds", result->load_s));
    return io_json_put_number(root, "peak_memory_mb", result->peak_mb);
}

static io_status print_json(const bench_options *options, const bench_result *result)
{
    io_status status = IO_OK;
    io_json *root = NULL, *seconds = NULL;
    char *text = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_create_object(&seconds));
    IO_TRY_GOTO(status, done, io_json_put_number(seconds, "best", result->seconds[0]));
    IO_TRY_GOTO(status, done, io_json_put_number(seconds, "median", job_bench_median(result->seconds, result->n_repeats)));
    IO_TRY_GOTO(status, done, io_json_put_number(seconds, "repeats", result->n_repeats));
    IO_TRY_GOTO(status, done, io_json_put(root, options->is_training ? "seconds_per_image" : "seconds_per_slice", &seconds));
    IO_TRY_GOTO(status, done, add_settings(options, result, root));
    IO_TRY_GOTO(status, done, options->is_training ? job_bench_train_json(result, root) : add_operations(result, root));
    IO_TRY_GOTO(status, done, io_json_print(root, true, &text));
    printf("%s\n", text);
done:
    io_free(&text);
    io_json_free(&seconds);
    io_json_free(&root);
    return status;
}

int job_bench_main(int argc, char **argv)
{
    const struct argp argp = {options_table, parse, "", doc, 0, 0, 0};
    bench_options options = {.vit = "vit_b", .device = MODEL_DEVICE_AUTO, .precision = MODEL_F32, .image_size = 512, .n_repeats = 9};
    bench_result result = {0};
    const int code = job_options_parse(&argp, argc, argv, &options);
    io_status status;

    if (code >= 0) return code;
    status = run_bench(&options, &result);
    if (status == IO_OK && options.json) status = print_json(&options, &result);
    if (status == IO_OK && !options.json) print_words(&options, &result);
    if (status != IO_OK) io_log(IO_LOG_ERROR, "%s", io_last_error_text());
    io_free(&result.seconds);
    io_free(&result.peer_seconds);
    if (status == IO_OK) return JOB_EXIT_DONE;
    return status == IO_ERR_MEMORY || status == IO_ERR_DEVICE ? JOB_EXIT_RUN : JOB_EXIT_USAGE;
}
