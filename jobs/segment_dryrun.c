/* --dry-run: what a run would do, from headers alone. See segment.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "jobs/exits.h"
#include "jobs/segment.h"

enum { MAX_WARNINGS = 8, WARNING_BYTES = 160 };

/* Parts of the measured register peak that the whole network reaches on CPUs; an estimate says so. */
static const double reached_part = 0.75;

typedef struct dry_totals {
    int64_t n_unreadable, n_suspicious;
    double output_bytes;
} dry_totals;

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

static void show_case(const io_case *c, pipe_orient orient, dry_totals *totals)
{
    io_nifti_info info;
    char warnings[MAX_WARNINGS][WARNING_BYTES];
    int n_warnings;
    double n_voxels;

    if (io_nifti_read_info(c->path, &info) != IO_OK) {
        totals->n_unreadable++;
        printf("  %s: would fail: %s\n", c->id, io_last_error_text());
        return;
    }
    n_warnings = io_nifti_check(&info, warnings, MAX_WARNINGS);
    n_voxels = (double)info.grid.dims[0] * (double)info.grid.dims[1] * (double)info.grid.dims[2];
    totals->output_bytes += n_voxels * 0.02; /* label maps shrink at least fiftyfold */
    printf("  %s: %lld x %lld x %lld %s, %lld slices\n", c->id, (long long)info.grid.dims[0], (long long)info.grid.dims[1],
           (long long)info.grid.dims[2], io_datatype_name(info.datatype), (long long)job_segment_count_slices(&info.grid, orient));
    totals->n_suspicious += n_warnings > 0;
    for (int i = 0; i < n_warnings; i++) printf("    suspicious: %s\n", warnings[i]);
}

static io_status find_config(const job_segment_options *options, model_config *config)
{
    io_status status = IO_OK;
    io_tensors *sam = NULL, *adapter = NULL;

    assume_vit_b(options->pipe.image_size, config);
    if (!options->sam) return IO_OK;
    IO_TRY_GOTO(status, done, io_tensors_open(options->sam, &sam));
    if (options->adapter) IO_TRY_GOTO(status, done, io_tensors_open(options->adapter, &adapter));
    status = model_config_infer(sam, adapter, options->pipe.image_size, config);
done:
    io_tensors_free(&adapter);
    io_tensors_free(&sam);
    return status;
}

double job_segment_memory_estimate(const segment_run *run, const model_config *config)
{
    const double network = (double)model_sam_estimate_bytes(config, run->options->precision, 1);
    const int batch = run->options->batch, n_images = job_segment_batches_ahead(batch) * batch;
    const double images = (double)n_images * config->image_size * config->image_size * (double)sizeof(float);
    const int label_bytes = config->n_channels > 256 ? 2 : 1;
    double largest = 0;

    for (size_t i = 0; i < run->plan.manifest->n_cases; i++)
        largest = fmax(largest, (double)run->plan.image_bytes[i] + (double)run->plan.n_voxels[i] * label_bytes);
    return network + images + SEGMENT_MAX_HELD * largest;
}

static void print_memory(const segment_run *run, const model_config *config)
{
    const double per_rank = job_segment_memory_estimate(run, config), per_node = per_rank * run->share.local_size;

    printf("memory: about %.0f MB per rank, %.0f MB on this node\n", per_rank / 1e6, per_node / 1e6);
    if (run->share.memory_limit && per_node > (double)run->share.memory_limit)
        printf("  too much: the cgroup allows %.0f MB; use fewer ranks per node or ask for more memory\n",
               (double)run->share.memory_limit / 1e6);
}

static void print_disk(const segment_run *run, const dry_totals *totals)
{
    uint64_t free_bytes = 0, total_bytes = 0;
    const char *folder = io_folder_exists(run->options->output) ? run->options->output : ".";

    if (io_disk_free(folder, &free_bytes, &total_bytes) != IO_OK) return;
    printf("disk: about %.1f MB for label maps, %.0f MB free\n", totals->output_bytes / 1e6, (double)free_bytes / 1e6);
    if (totals->output_bytes > (double)free_bytes) printf("  too little room in %s\n", run->options->output);
}

static void print_time(const segment_run *run, const model_config *config)
{
    model_device *device = NULL;
    double seconds_per_slice, total;
    char text[32];

    if (model_device_open(run->options->device, run->share.local_rank, run->options->precision, run->share.n_threads, &device) != IO_OK) {
        printf("time: not known: %s\n", io_last_error_text());
        return;
    }
    seconds_per_slice = model_sam_flop(config) / (model_device_peak_gflops(device) * 1e9 * reached_part);
    total = seconds_per_slice * (double)run->plan.slices_left / run->world.size;
    job_duration_text(total, text);
    printf("time: about %s, if a slice takes %.2f s (%.0f %% of this machine's measured peak; samed bench measures it)\n", text,
           seconds_per_slice, 100 * reached_part);
    printf("device: %s\n", device->description);
    model_device_free(&device);
}

static void print_done(const segment_run *run)
{
    const pipe_outputs outputs = {.folder = run->options->output};
    int64_t n_records = 0;

    for (size_t i = 0; i < run->plan.manifest->n_cases; i++) n_records += pipe_case_has_record(&outputs, run->plan.manifest->cases[i].id);
    if (n_records > 0)
        printf("finished before: %lld have a record in %s; each is verified and skipped if nothing changed\n", (long long)n_records,
               run->options->output);
}

/* Label names that the run would refuse. */
static io_status check_labels(const char *path)
{
    io_labels *labels = NULL;
    const io_status status = path ? io_labels_read(path, &labels) : IO_OK;

    io_labels_free(&labels);
    return status;
}

io_status job_segment_dry_run(const segment_run *run, int *exit_code)
{
    const segment_plan *plan = &run->plan;
    dry_totals totals = {0};
    model_config config;
    char name[32];
    int team_size;

    IO_TRY(find_config(run->options, &config));
    IO_TRY(check_labels(run->options->labels));
    model_config_name(&config, name);
    printf("cases:\n");
    for (size_t i = 0; i < plan->manifest->n_cases; i++) show_case(&plan->manifest->cases[i], run->options->pipe.orient, &totals);
    team_size = job_segment_team_size(run->options, plan, run->world.size);
    printf("plan: %zu cases (%lld unreadable, %lld suspicious), %lld slices, %d rank%s, teams of %d, %d thread%s per rank\n",
           plan->manifest->n_cases, (long long)totals.n_unreadable, (long long)totals.n_suspicious, (long long)plan->slices_left,
           run->world.size, run->world.size == 1 ? "" : "s", team_size, run->share.n_threads, run->share.n_threads == 1 ? "" : "s");
    printf("network: %s%s, %d classes, %d pixels, %s\n", name, run->options->sam ? "" : " (assumed: no --sam given)", config.n_channels,
           config.image_size, job_precision_name(run->options->precision));
    print_done(run);
    print_memory(run, &config);
    print_disk(run, &totals);
    print_time(run, &config);
    *exit_code = totals.n_unreadable == (int64_t)plan->manifest->n_cases ? JOB_EXIT_NOTHING : JOB_EXIT_DONE;
    return IO_OK;
}
