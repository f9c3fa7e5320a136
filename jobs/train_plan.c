/* What a training run is about to do: in words, as an event, and whole for --dry-run. See train.h. */
#include <inttypes.h>
#include <stdio.h>

#include "io/file.h"
#include "io/log.h"
#include "io/plural.h"
#include "jobs/events.h"
#include "jobs/options.h"
#include "jobs/progress.h"
#include "jobs/stop.h"
#include "jobs/train.h"

static const double PROGRAM_BYTES = 90e6; /* the program and Open MPI 4.1, seen before anything is loaded */

static size_t count_cases(const train_run *run, pipe_part part)
{
    size_t n = 0;

    for (size_t i = 0; i < run->store->n_cases; i++) n += run->store->cases[i].part == part;
    return n;
}

static size_t count_bytes(const train_run *run)
{
    return pipe_train_summed_bytes(pipe_train_summed(run->train), model_trainer_config(run->trainer)->n_channels);
}

static void print_start(const train_run *run)
{
    io_json *event = job_event_create(run->options->json, "start");

    if (!event) return;
    (void)io_json_put_text(event, "version", SAMED_VERSION);
    (void)io_json_put_number(event, "cases", (double)count_cases(run, PIPE_PART_TRAIN));
    (void)io_json_put_number(event, "held_out", (double)count_cases(run, PIPE_PART_VAL));
    (void)io_json_put_number(event, "slices", pipe_dataset_count(run->dataset));
    (void)io_json_put_number(event, "steps", (double)run->n_steps);
    (void)io_json_put_number(event, "already_done", (double)run->state.step);
    (void)io_json_put_number(event, "trained_numbers", (double)pipe_train_summed(run->train));
    (void)io_json_put_number(event, "bytes_per_step", (double)count_bytes(run));
    (void)io_json_put_number(event, "ranks", run->world.size);
    (void)io_json_put_text(event, "precision", job_precision_name(run->options->precision));
    (void)io_json_put_text(event, "output", run->options->output);
    job_event_print(&event);
}

void job_train_plan_tell(const train_run *run)
{
    const size_t n = pipe_train_summed(run->train);

    print_start(run);
    io_log(IO_LOG_INFO, "%u slice%s in %" PRId64 " step%s of an epoch, %" PRId64 " step%s in all; validation %s",
           (unsigned)pipe_dataset_count(run->dataset), io_plural(pipe_dataset_count(run->dataset)), run->epoch_steps,
           io_plural(run->epoch_steps), run->n_steps, io_plural(run->n_steps), run->validator ? "on the held-out cases" : "is off");
    io_log(IO_LOG_INFO, "%zu numbers are trained; each step sums them and the loss, %zu bytes, over %d rank%s", n, count_bytes(run),
           run->world.size, io_plural(run->world.size));
}

static void print_trained(const train_run *run)
{
    const model_config *config = model_trainer_config(run->trainer);
    const size_t n = pipe_train_summed(run->train);
    char projections[5], blocks[TRAIN_BLOCKS_BYTES];

    job_train_projections(run, projections);
    job_train_blocks(run, blocks);
    printf("trained: the decoder %s", config->layout == MODEL_LAYOUT_SAMED_S ? "by LoRA" : "in full");
    if (*projections) printf(", the encoder by LoRA of rank %d on %s in blocks %s", config->lora_rank, projections, blocks);
    printf(": %zu numbers; each step sums them and the loss, %zu bytes, over %d rank%s\n", n, count_bytes(run), run->world.size,
           io_plural(run->world.size));
}

/* A checkpoint has the weights and two moments (one with SGD), the adapters are files of the weights. */
static void print_disk(const train_run *run)
{
    const train_options *o = run->options;
    const char *folder = io_folder_exists(o->output) ? o->output : ".";
    const double weights = 4.0 * (double)pipe_train_summed(run->train);
    const double checkpoint = weights * (o->model.optimizer == MODEL_ADAMW ? 3 : 2),
                 all = checkpoint * (o->n_checkpoints + 2) + 4 * weights;
    uint64_t free_bytes = 0, total_bytes = 0;

    if (io_disk_free(folder, &free_bytes, &total_bytes) != IO_OK) return;
    printf("disk: about %.0f MB, a checkpoint %.0f MB; %.0f MB free\n", all / 1e6, checkpoint / 1e6, (double)free_bytes / 1e6);
    if (all > (double)free_bytes) printf("  too little room in %s\n", o->output);
}

static bool is_used(const train_run *run, pipe_part part)
{
    return part == PIPE_PART_TRAIN || (part == PIPE_PART_VAL && run->validator);
}

/* Each rank reads its share of the store's files; every bad one is a line. *status is that of the first. */
static int64_t check_share(const train_run *run, io_status *status)
{
    int64_t n_bad = 0;

    for (size_t i = (size_t)run->world.rank; i < run->store->n_cases && !job_stop_asked(); i += (size_t)run->world.size) {
        const pipe_store_case *c = &run->store->cases[i];
        const io_status found = is_used(run, c->part) ? pipe_store_check_case(run->store, c) : IO_OK;
        if (found == IO_OK) continue;
        io_log(IO_LOG_ERROR, "case %s: %s", c->id, io_last_error_text());
        if (n_bad++ == 0) *status = found;
    }
    return n_bad;
}

io_status job_train_plan_check(const train_run *run)
{
    io_status status = IO_OK;
    const double start = job_time_now();
    int64_t n_bad = check_share(run, &status);

    job_comm_sum(&run->world, &n_bad, 1);
    if (status != IO_OK)
        status = IO_FAIL(status, "%s: %" PRId64 " of its files %s not as prepared; run samed prepare again", run->store->folder, n_bad,
                         n_bad == 1 ? "is" : "are");
    else if (job_stop_asked())
        status = IO_FAIL(IO_ERR_STOPPED, "stopped by %s before all files of %s were read", job_stop_name(), run->store->folder);
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    if (run->world.rank == 0) printf("store: its files are those that were prepared, which took %.1f s to read\n", job_time_now() - start);
    return IO_OK;
}

/* Beside what the trainer has: gradients on the host, and weights and moments once more while they are saved. */
static void print_memory(const train_run *run)
{
    const double numbers = (double)pipe_train_summed(run->train), trainer = (double)model_trainer_bytes(run->trainer);
    const double host = PROGRAM_BYTES + numbers * sizeof(float) * (run->options->model.optimizer == MODEL_ADAMW ? 4 : 3);

    if (run->device->kind == MODEL_DEVICE_CUDA)
        printf("memory: %.0f MB of the GPU and %.0f MB of the host per rank, on %s\n", trainer / 1e6,
               (host + numbers * sizeof(int64_t)) / 1e6, run->device->description);
    else
        printf("memory: %.0f MB per rank (network and activations %.0f MB), on %s\n", (trainer + host) / 1e6, trainer / 1e6,
               run->device->description);
}

void job_train_plan_print(const train_run *run)
{
    const train_options *o = run->options;
    const model_config *config = model_trainer_config(run->trainer);
    char name[32];

    model_config_name(config, name);
    printf("data: %s: %zu case%s with %u slice%s to train on, %zu held out; %d class%s, slices of %d pixels\n", o->store,
           count_cases(run, PIPE_PART_TRAIN), io_plural(count_cases(run, PIPE_PART_TRAIN)), (unsigned)pipe_dataset_count(run->dataset),
           io_plural(pipe_dataset_count(run->dataset)), count_cases(run, PIPE_PART_VAL), run->store->n_classes,
           run->store->n_classes == 1 ? "" : "es", run->store->size);
    printf("network: %s, %d channels, %d pixels, %s\n", name, config->n_channels, config->image_size, job_precision_name(o->precision));
    print_trained(run);
    printf("plan: %" PRId64 " step%s of %d slice%s, %" PRId64 " in an epoch; %" PRId64 " done before; validation %s\n", run->n_steps,
           io_plural(run->n_steps), o->global_batch, io_plural(o->global_batch), run->epoch_steps, run->state.step,
           run->validator ? "on the held-out cases" : "is off");
    print_memory(run);
    print_disk(run);
}
