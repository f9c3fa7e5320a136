/* --dry-run: what a run would do, from headers alone. See segment.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "jobs/events.h"
#include "jobs/exits.h"
#include "jobs/segment.h"
#include "jobs/weights.h"

enum { MAX_WARNINGS = 8, WARNING_BYTES = 160 };

/* Parts of the measured register peak that the whole network reaches on CPUs; an estimate says so. */
static const double reached_part = 0.75;
/* Compressed bytes of a label map's voxel: they shrink at least fiftyfold. */
static const double label_part = 0.02;

/* What the plan is made for, and what is found on the way. */
struct segment_dry {
    const segment_run *run;
    model_config config;
    model_device_kind kind; /* CPU or CUDA */
    job_queue *queue;
    int n_ranks, n_nodes, ranks_per_node;
    int n_threads; /* of a rank */
    int64_t n_unreadable, n_suspicious;
    double output_bytes;
    double seconds_per_slice; /* 0: not known */
    char *device_text;        /* what that is taken from, or why it is not known */
};

/* ViT-B with SAMed's adapter at rank 4 and nine channels (spec 1.1): what is planned with when no weights are given. */
static void assume_vit_b(int image_size, model_config *out)
{
    *out = (model_config){.image_size = image_size,
                          .patch = 16,
                          .width = 768,
                          .depth = 12,
                          .heads = 12,
                          .head_size = 64,
                          .mlp_width = 3072,
                          .window = 14,
                          .decoder_width = 256,
                          .decoder_mlp_width = 2048,
                          .decoder_inner = 128,
                          .n_channels = 9,
                          .sam_channels = 4,
                          .file_grid = 64,
                          .layout = MODEL_LAYOUT_SAMED,
                          .lora_rank = 4};
    for (int i = 2; i < 12; i += 3) out->is_global[i] = true;
}

static void print_case(const io_case *c, const io_nifti_info *info, int64_t n_slices, char warnings[][WARNING_BYTES], int n_warnings)
{
    printf("  %s: %lld x %lld x %lld %s, %lld slice%s\n", c->id, (long long)info->grid.dims[0], (long long)info->grid.dims[1],
           (long long)info->grid.dims[2], io_datatype_name(info->datatype), (long long)n_slices, io_plural(n_slices));
    for (int i = 0; i < n_warnings; i++) printf("    suspicious: %s\n", warnings[i]);
}

static io_status put_list(io_json *event, const char *name, char texts[][WARNING_BYTES], int n)
{
    io_status status = IO_OK;
    io_json *array = NULL;

    IO_TRY(io_json_create_array(&array));
    for (int i = 0; i < n && status == IO_OK; i++) status = io_json_add_text(array, texts[i]);
    if (status == IO_OK) status = io_json_put(event, name, &array);
    io_json_free(&array);
    return status;
}

static void print_case_event(const io_case *c, const io_nifti_info *info, int64_t n_slices, char warnings[][WARNING_BYTES], int n_warnings)
{
    io_json *event = job_event_create(true, "case"), *dims = NULL;

    if (!event) return;
    (void)io_json_put_text(event, "case", c->id);
    (void)io_json_put_text(event, "status", info ? "readable" : "would fail");
    if (!info) (void)io_json_put_text(event, "text", io_last_error_text());
    if (info && io_json_create_array(&dims) == IO_OK) {
        for (int i = 0; i < 3; i++) (void)io_json_add_number(dims, (double)info->grid.dims[i]);
        (void)io_json_put(event, "dims", &dims);
        (void)io_json_put_text(event, "type", io_datatype_name(info->datatype));
        (void)io_json_put_number(event, "slices", (double)n_slices);
        (void)put_list(event, "suspicious", warnings, n_warnings);
    }
    io_json_free(&dims);
    job_event_print(&event);
}

void job_segment_dry_case(segment_dry *dry, const io_case *c, const io_nifti_info *info)
{
    const bool is_json = dry->run->options->json;
    char warnings[MAX_WARNINGS][WARNING_BYTES];
    int64_t n_slices;
    int n_warnings;

    if (!info) {
        dry->n_unreadable++;
        if (is_json)
            print_case_event(c, NULL, 0, NULL, 0);
        else
            printf("  %s: would fail: %s\n", c->id, io_last_error_text());
        return;
    }
    n_warnings = io_nifti_check(info, warnings, MAX_WARNINGS);
    n_slices = job_segment_count_slices(&info->grid, dry->run->options->pipe.orient);
    dry->n_suspicious += n_warnings > 0;
    dry->output_bytes += (double)info->grid.dims[0] * (double)info->grid.dims[1] * (double)info->grid.dims[2] * label_part;
    if (is_json)
        print_case_event(c, info, n_slices, warnings, n_warnings);
    else
        print_case(c, info, n_slices, warnings, n_warnings);
}

static io_status find_config(const job_segment_options *options, model_config *config)
{
    io_status status = IO_OK;
    io_tensors *sam = NULL, *adapter = NULL;

    assume_vit_b(options->pipe.image_size, config);
    if (!options->sam) return IO_OK;
    IO_TRY_GOTO(status, done, io_tensors_open(options->sam, &sam));
    if (options->adapter) IO_TRY_GOTO(status, done, io_tensors_open(options->adapter, &adapter));
    IO_TRY_GOTO(status, done, model_config_infer(sam, adapter, options->pipe.image_size, config));
    if (options->adapter) status = job_weights_check_unmerged(options->sam, config->sam_channels);
done:
    io_tensors_free(&adapter);
    io_tensors_free(&sam);
    return status;
}

static int count_label_bytes(const model_config *config)
{
    return config->n_channels > 256 ? 2 : 1;
}

/* Images on their way to CPUs. */
static double estimate_images(const segment_run *run, const model_config *config)
{
    const int batch = run->options->batch, n_images = job_segment_batches_ahead(batch) * batch;

    return (double)n_images * config->image_size * config->image_size * (double)sizeof(float);
}

/* Raw slices on their way to a GPU, and labels from it: pinned. */
static double estimate_pinned(const segment_run *run, const model_config *config)
{
    const int b = model_device_pass_slices(MODEL_DEVICE_CUDA);

    return (double)b * ((double)SEGMENT_RAW_BATCHES * (double)run->room.raw_bytes +
                        (double)MODEL_LANES * (double)run->room.n_pixels * count_label_bytes(config));
}

double job_segment_memory_estimate(const segment_run *run, const model_config *config, model_device_kind kind)
{
    const bool is_gpu = kind == MODEL_DEVICE_CUDA;
    const double network = is_gpu ? 0 : (double)model_sam_estimate_bytes(config, run->options->precision, kind);
    const int n_volumes = run->options->preview || run->options->stats ? SEGMENT_MAX_MAPS : SEGMENT_MAX_VOLUMES;
    const int map_bytes = SEGMENT_MAX_MAPS * count_label_bytes(config);
    double largest = 0;

    for (size_t i = 0; i < run->plan.manifest->n_cases; i++)
        largest = fmax(largest, n_volumes * (double)run->plan.image_bytes[i] + map_bytes * (double)run->plan.n_voxels[i]);
    return network + (is_gpu ? estimate_pinned(run, config) : estimate_images(run, config)) + largest;
}

double job_segment_device_estimate(const segment_run *run, const model_config *config, model_device_kind kind)
{
    const int b = model_device_pass_slices(kind);

    if (kind != MODEL_DEVICE_CUDA) return 0;
    return (double)model_sam_estimate_bytes(config, run->options->precision, kind) + (double)model_device_own_bytes(kind) +
           (double)model_flow_estimate_bytes(&run->room, count_label_bytes(config), b);
}

static void print_memory(const segment_dry *dry)
{
    const segment_run *run = dry->run;
    const double per_rank = job_segment_memory_estimate(run, &dry->config, dry->kind), per_node = per_rank * dry->ranks_per_node;
    const double on_gpu = job_segment_device_estimate(run, &dry->config, dry->kind);

    if (on_gpu > 0)
        printf("GPU memory: about %.0f MB per rank, beside what CUDA itself takes (network, passes of %d slices, raw slices)\n",
               on_gpu / 1e6, model_device_pass_slices(dry->kind));
    printf("threads: %d per rank\n", dry->n_threads);
    printf("memory: about %.0f MB per rank%s, %.0f MB per node with %d rank%s\n", per_rank / 1e6, on_gpu > 0 ? " beside CUDA's own" : "",
           per_node / 1e6, dry->ranks_per_node, io_plural(dry->ranks_per_node));
    if (run->share.memory_limit && per_node > (double)run->share.memory_limit)
        printf("  more than the %.0f MB that the cgroup allows here; use fewer ranks per node or ask for more memory\n",
               (double)run->share.memory_limit / 1e6);
}

static void print_gpus(const segment_dry *dry)
{
    const int n_gpus = dry->run->options->gpus_per_node, n_ranks = dry->ranks_per_node;

    if (n_gpus == 0) return;
    if (n_ranks > n_gpus)
        printf("GPUs: %d ranks of a node would share its %d%s; start one rank per GPU (--ranks %d)\n", n_ranks, n_gpus,
               dry->run->options->share_gpu ? " (--share-gpu)" : ", which is refused without --share-gpu", n_gpus * dry->n_nodes);
    else if (n_ranks < n_gpus)
        printf("GPUs: %d of %d on a node would be idle; start one rank per GPU (--ranks %d)\n", n_gpus - n_ranks, n_gpus,
               n_gpus * dry->n_nodes);
    else
        printf("GPUs: one rank on each of the %d of a node\n", n_gpus);
}

/* The output folder, or the one it would be made in. */
static void find_disk(const char *folder, uint64_t *free_bytes)
{
    char place[4096];
    uint64_t total_bytes;

    snprintf(place, sizeof place, "%s", folder);
    while (!io_folder_exists(place) && strchr(place, '/')) {
        char *slash = strrchr(place, '/');
        slash[slash == place] = '\0';
    }
    *free_bytes = 0;
    (void)io_disk_free(io_folder_exists(place) ? place : ".", free_bytes, &total_bytes);
}

static void print_disk(const segment_dry *dry)
{
    uint64_t free_bytes;

    find_disk(dry->run->options->output, &free_bytes);
    printf("disk: about %.1f MB for label maps, %.0f MB free\n", dry->output_bytes / 1e6, (double)free_bytes / 1e6);
    if (dry->output_bytes > (double)free_bytes) printf("  too little room in %s\n", dry->run->options->output);
}

/* How the run would cut cases, if a slice takes slice_s. */
static job_cutting find_cutting(const segment_dry *dry, double slice_s)
{
    const job_segment_options *options = dry->run->options;
    const bool is_gpu = dry->kind == MODEL_DEVICE_CUDA;

    return job_segment_cutting(options, dry->n_ranks, is_gpu ? model_device_pass_slices(dry->kind) : options->batch, slice_s);
}

/* Seconds of the whole, 0 when not known: each part goes to the rank that is free first. */
static double find_seconds(const segment_dry *dry)
{
    const job_cutting cutting = find_cutting(dry, dry->seconds_per_slice);
    double slices = 0;

    if (dry->seconds_per_slice == 0 || job_queue_simulate(dry->queue, &cutting, &slices) != IO_OK) return 0;
    return slices * dry->seconds_per_slice;
}

static void print_time(const segment_dry *dry)
{
    char text[32];

    if (dry->seconds_per_slice == 0) {
        printf("time: not known (%s); give --seconds-per-slice\n", dry->device_text);
        return;
    }
    job_duration_text(find_seconds(dry), text);
    printf("time: about %s, if a rank takes %.3g s for a slice (%s)\n", text, dry->seconds_per_slice, dry->device_text);
}

/* What the guess of a slice's time is taken from. */
static io_status describe_peak(segment_dry *dry, const model_device *device)
{
    const job_device_share *share = &dry->run->share;
    char shared[64] = "", text[256];

    if (dry->n_threads != share->n_threads)
        snprintf(shared, sizeof shared, " (%d CPU%s for %d rank%s of a node)", share->node_cpus, io_plural(share->node_cpus),
                 dry->ranks_per_node, io_plural(dry->ranks_per_node));
    snprintf(text, sizeof text, "%.0f %% of this machine's measured peak, %s%s; samed bench measures it", 100 * reached_part,
             device->description, shared);
    return io_string_copy(text, &dry->device_text);
}

/* From the user, or from this machine's peak; and what will compute: --gpus-per-node says it where there is no GPU at hand. */
static io_status find_speed(segment_dry *dry)
{
    const job_segment_options *options = dry->run->options;
    const job_device_share *share = &dry->run->share;
    model_device *device = NULL;
    io_status status;

    dry->kind = options->device == MODEL_DEVICE_CUDA || (options->device == MODEL_DEVICE_AUTO && options->gpus_per_node > 0)
                    ? MODEL_DEVICE_CUDA
                    : MODEL_DEVICE_CPU;
    if (options->seconds_per_slice > 0) {
        dry->seconds_per_slice = options->seconds_per_slice;
        return io_string_copy("--seconds-per-slice", &dry->device_text);
    }
    if (model_device_open(options->device, share->local_rank, options->precision, dry->n_threads, &device) != IO_OK)
        return io_string_copy(io_last_error_text(), &dry->device_text);
    if (device->kind == MODEL_DEVICE_CUDA) dry->kind = device->kind;
    if (dry->kind == MODEL_DEVICE_CUDA) {
        model_device_free(&device);
        return io_string_copy("samed bench measures what a GPU takes for a slice", &dry->device_text);
    }
    dry->seconds_per_slice = model_sam_flop(&dry->config) / (model_device_peak_gflops(device) * 1e9 * reached_part);
    status = describe_peak(dry, device);
    model_device_free(&device);
    return status;
}

static int64_t count_records(const segment_dry *dry)
{
    const segment_plan *plan = &dry->run->plan;
    const pipe_outputs outputs = {.folder = dry->run->options->output};
    int64_t n_records = 0;

    for (size_t i = 0; i < plan->manifest->n_cases; i++)
        n_records += !plan->is_left_out[i] && pipe_case_has_record(&outputs, plan->manifest->cases[i].id);
    return n_records;
}

/* Label names that the run would refuse. */
static io_status check_labels(const char *path)
{
    io_labels *labels = NULL;
    const io_status status = path ? io_labels_read(path, &labels) : IO_OK;

    io_labels_free(&labels);
    return status;
}

static void print_plan(const segment_dry *dry)
{
    const segment_run *run = dry->run;
    const int64_t n_records = count_records(dry);
    const long long most_parts = (long long)job_queue_most_parts(dry->queue);
    char name[32];

    model_config_name(&dry->config, name);
    printf("plan: %lld case%s (%lld unreadable, %lld suspicious), %lld slice%s, %d rank%s on %d node%s, up to %lld for a case\n",
           (long long)run->plan.n_left, io_plural(run->plan.n_left), (long long)dry->n_unreadable, (long long)dry->n_suspicious,
           (long long)run->plan.slices_left, io_plural(run->plan.slices_left), dry->n_ranks, io_plural(dry->n_ranks), dry->n_nodes,
           io_plural(dry->n_nodes), most_parts);
    printf("network: %s%s, %d classes, %d pixels, %s\n", name, run->options->sam ? "" : " (assumed: no --sam given)",
           dry->config.n_channels, dry->config.image_size, job_precision_name(run->options->precision));
    if (n_records > 0)
        printf("finished before: %lld have a record in %s; each is verified and skipped if nothing changed\n", (long long)n_records,
               run->options->output);
    print_memory(dry);
    print_gpus(dry);
    print_disk(dry);
    print_time(dry);
}

static void print_plan_event(const segment_dry *dry)
{
    const segment_run *run = dry->run;
    const double per_rank = job_segment_memory_estimate(run, &dry->config, dry->kind), seconds = find_seconds(dry);
    const double on_gpu = job_segment_device_estimate(run, &dry->config, dry->kind);
    io_json *event = job_event_create(true, "plan");
    uint64_t free_bytes;

    if (!event) return;
    find_disk(run->options->output, &free_bytes);
    (void)io_json_put_number(event, "cases", (double)run->plan.n_left);
    (void)io_json_put_number(event, "unreadable", (double)dry->n_unreadable);
    (void)io_json_put_number(event, "suspicious", (double)dry->n_suspicious);
    (void)io_json_put_number(event, "slices", (double)run->plan.slices_left);
    (void)io_json_put_number(event, "with_record", (double)count_records(dry));
    (void)io_json_put_number(event, "ranks", dry->n_ranks);
    (void)io_json_put_number(event, "nodes", dry->n_nodes);
    (void)io_json_put_number(event, "ranks_per_node", dry->ranks_per_node);
    (void)io_json_put_number(event, "threads_per_rank", dry->n_threads);
    (void)io_json_put_number(event, "gpus_per_node", run->options->gpus_per_node);
    (void)io_json_put_number(event, "parts", (double)job_queue_size(dry->queue));
    (void)io_json_put_number(event, "most_parts", (double)job_queue_most_parts(dry->queue));
    (void)io_json_put_number(event, "memory_bytes_per_rank", floor(per_rank));
    (void)io_json_put_number(event, "memory_bytes_per_node", floor(per_rank * dry->ranks_per_node));
    if (on_gpu > 0) (void)io_json_put_number(event, "gpu_memory_bytes_per_rank", floor(on_gpu));
    (void)io_json_put_number(event, "output_bytes", floor(dry->output_bytes));
    (void)io_json_put_number(event, "free_bytes", (double)free_bytes);
    (void)io_json_put_number(event, "seconds_per_slice", dry->seconds_per_slice > 0 ? dry->seconds_per_slice : NAN);
    (void)io_json_put_number(event, "seconds", seconds > 0 ? seconds : NAN);
    job_event_print(&event);
}

/* Of a rank: what is asked for or, of ranks that are not here, its part of the CPUs of a node like this one. */
static int count_threads(const segment_dry *dry)
{
    const job_segment_options *options = dry->run->options;
    const job_device_share *share = &dry->run->share;
    const bool has_quota = share->quota_cpus > 0 && share->quota_cpus < share->node_cpus;
    const int n = (int)((has_quota ? share->quota_cpus : share->node_cpus) / dry->ranks_per_node);

    if (options->n_threads > 0 || (!options->n_ranks && !options->n_nodes)) return share->n_threads;
    return n > 1 ? n : 1;
}

/* Ranks and nodes of the plan: what is asked for, else what is here. */
static void set_size(segment_dry *dry)
{
    const job_segment_options *options = dry->run->options;

    dry->n_ranks = options->n_ranks ? options->n_ranks : dry->run->world.size;
    dry->n_nodes = options->n_nodes ? options->n_nodes : 1;
    if (dry->n_nodes > dry->n_ranks) dry->n_nodes = dry->n_ranks;
    dry->ranks_per_node = (dry->n_ranks + dry->n_nodes - 1) / dry->n_nodes;
    if (!options->n_ranks && !options->n_nodes && dry->run->share.local_size < dry->n_ranks) { /* started on several nodes */
        dry->ranks_per_node = dry->run->share.local_size;
        dry->n_nodes = (dry->n_ranks + dry->ranks_per_node - 1) / dry->ranks_per_node;
    }
    dry->n_threads = count_threads(dry);
}

io_status job_segment_dry_begin(const segment_run *run, segment_dry **out)
{
    io_status status = IO_OK;
    segment_dry *dry = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *dry, (void **)&dry));
    dry->run = run;
    set_size(dry);
    IO_TRY_GOTO(status, done, find_config(run->options, &dry->config));
    IO_TRY_GOTO(status, done, check_labels(run->options->labels));
    IO_TRY_GOTO(status, done, find_speed(dry));
    if (!run->options->json) printf("cases:\n");
    *out = dry;
    dry = NULL;
done:
    job_segment_dry_free(&dry);
    return status;
}

io_status job_segment_dry_end(segment_dry *dry, int *exit_code)
{
    const segment_run *run = dry->run;
    const double guess_s = job_segment_guess_slice_s(&dry->config, dry->kind, run->options->precision, dry->n_threads);
    const job_cutting cutting = find_cutting(dry, run->options->seconds_per_slice > 0 ? run->options->seconds_per_slice : guess_s);

    IO_TRY(job_queue_create_cut(run->plan.to_do, run->plan.manifest->n_cases, &cutting, &dry->queue));
    if (run->options->json)
        print_plan_event(dry);
    else
        print_plan(dry);
    *exit_code = dry->n_unreadable == 0 ? JOB_EXIT_DONE : dry->n_unreadable < run->plan.n_left ? JOB_EXIT_CASES : JOB_EXIT_NOTHING;
    return IO_OK;
}

void job_segment_dry_free(segment_dry **dry)
{
    if (!dry || !*dry) return;
    job_queue_free(&(*dry)->queue);
    io_free(&(*dry)->device_text);
    io_free(dry);
}
