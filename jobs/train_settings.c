/* What decides the weights of a run, one "name=value" per line. See train.h. Left out is what the weights do not depend on: ranks, threads,
 * memory, where the run stops, how often it saves. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/memory.h"
#include "jobs/options.h"
#include "jobs/train.h"

enum { SETTINGS_BYTES = 2048 };

typedef struct text {
    char bytes[SETTINGS_BYTES];
    int n;
} text;

static void add_line(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* All lines together take less than half of the room. */
static void add_line(text *t, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    t->n += vsnprintf(t->bytes + t->n, sizeof t->bytes - (size_t)t->n, format, arguments);
    va_end(arguments);
}

void job_train_projections(const train_run *run, char out[5])
{
    const unsigned projections = run->options->model.projections;

    snprintf(out, 5, "%s%s%s%s", projections & MODEL_LORA_Q ? "q" : "", projections & MODEL_LORA_V ? "v" : "",
             projections & MODEL_LORA_K ? "k" : "", projections & MODEL_LORA_O ? "o" : "");
}

void job_train_blocks(const train_run *run, char out[TRAIN_BLOCKS_BYTES])
{
    const bool *skips = run->options->model.skips;
    const int depth = model_trainer_config(run->trainer)->depth;
    int n = 0;

    out[0] = '\0';
    for (int first = 0, end; first < depth && run->options->model.projections; first = end + 1) {
        for (end = first; end < depth && !skips[end]; end++) continue;
        if (end == first) continue;
        n += snprintf(out + n, TRAIN_BLOCKS_BYTES - (size_t)n, end - first > 1 ? "%s%d-%d" : "%s%d", n ? "," : "", first, end - 1);
    }
}

static io_status add_file(text *t, const char *name, const char *path)
{
    char sha256[65];

    IO_TRY(io_hash_file(path, sha256));
    add_line(t, "%s=%s\n", name, sha256);
    return IO_OK;
}

static io_status add_files(text *t, const train_options *o)
{
    io_status status;
    char *path = NULL;

    IO_TRY(io_path_join(o->store, "index.json", &path));
    status = add_file(t, "store", path);
    io_free(&path);
    if (status != IO_OK) return status;
    IO_TRY(add_file(t, "sam", o->sam));
    return o->adapter ? add_file(t, "adapter-init", o->adapter) : IO_OK;
}

static void add_options(text *t, const train_run *run)
{
    const train_options *o = run->options;
    const model_config *config = model_trainer_config(run->trainer);
    char projections[5], blocks[TRAIN_BLOCKS_BYTES];

    add_line(t, "precision=%s\n", job_precision_name(o->precision));
    if (run->device->kind == MODEL_DEVICE_CUDA) add_line(t, "device=cuda\n");
    add_line(t, "image-size=%d\nclasses=%d\n", config->image_size, config->n_channels - 1);
    add_line(t, "layout=%s\nrank=%d\n", config->layout == MODEL_LAYOUT_SAMED ? "samed" : "samed_s", config->lora_rank);
    job_train_projections(run, projections);
    job_train_blocks(run, blocks);
    add_line(t, "lora=%s\nblocks=%s\n", projections, blocks);
    add_line(t, "epochs=%" PRId64 "\nglobal-batch=%d\nseed=%" PRIu64 "\n", o->n_epochs, o->global_batch, o->seed);
    add_line(t, "optimizer=%s\nlr=%.17g\n", o->model.optimizer == MODEL_ADAMW ? "adamw" : "sgd", o->schedule.base);
    add_line(t, "warmup=%" PRId64 "\nschedule=%s\n", o->schedule.warmup_steps,
             o->schedule.kind == MODEL_SCHEDULE_PAPER ? "paper" : "samed");
    add_line(t, "lr-power=%.17g\ndice=%.17g\nclip=%.17g\n", o->schedule.power, o->model.dice_weight, o->clip);
    add_line(t, "augment=%d\njitter=%.17g\n", o->augment, o->jitter);
}

io_status job_train_settings(const train_run *run, char **out)
{
    io_status status = IO_OK;
    text t = {.n = 0};

    if (run->world.rank == 0) {
        status = add_files(&t, run->options);
        add_options(&t, run);
        if (status == IO_OK) status = io_string_copy(t.bytes, out);
    }
    if (!job_all_ok(&run->world, &status, NULL)) return status;
    return job_comm_bcast_text(&run->world, out, 0);
}
