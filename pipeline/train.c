/* See train.h. */
#include "pipeline/train.h"

#include <assert.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "io/memory.h"
#include "model/exact.h"
#include "pipeline/random.h"

struct pipe_train {
    model_device *device;
    model_trainer *trainer;
    pipe_dataset *dataset;
    pipe_workers workers;
    pipe_train_options options;
    int K, S;
    size_t n_gradients;
    float *image;         /* [S][S] */
    uint16_t *wide;       /* [S/4][S/4] labels as the dataset gives them */
    uint8_t *labels;      /* [S/4][S/4] */
    double *sums;         /* [3K+1] */
    int64_t *pixels;      /* [3K+1] fixed point */
    float *gradients;     /* [n_gradients] host */
    int64_t *exact;       /* [n_gradients] fixed point, of host_create where the device adds */
    void *on_device;      /* the same in the device's memory, where the device adds; else NULL */
    pipe_sample *samples; /* [n_kept] whose slices lie in the trainer's slots */
    double wait_s, sum_s; /* of the step under way */
};

/* The slices of one step: places first ... first + n - 1 in the order of the epoch. */
typedef struct batch {
    uint32_t epoch, first;
    int n;
} batch;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void sum_nothing(void *context, int64_t *values, size_t n)
{
}

static bool agree_alone(void *context, io_status *status)
{
    return *status == IO_OK;
}

pipe_workers pipe_workers_alone(void)
{
    return (pipe_workers){.size = 1, .sum = sum_nothing, .sums_device_memory = true, .agree = agree_alone};
}

static size_t count_loss_sums(int n_channels)
{
    return 3 * (size_t)n_channels + 1; /* loss_forward of model/backend.h */
}

/* What is summed is what the trainer names as trained, to the last number. */
static bool is_trained_only(const model_trainer *trainer, size_t n_gradients)
{
    size_t total = 0, offset, n;

    for (size_t i = 0; i < model_trainer_count(trainer); i++)
        if (model_trainer_tensor(trainer, i, &offset, &n)) total += n;
    return total == n_gradients;
}

static io_status allocate_sums(pipe_train *t)
{
    const model_ops *ops = t->device->ops;
    size_t n_bytes;

    IO_TRY(io_size_mul(t->n_gradients, sizeof *t->exact, &n_bytes));
    if (!ops->exact_add) return io_alloc(t->n_gradients, sizeof *t->exact, (void **)&t->exact);
    IO_TRY(ops->host_create(t->device->backend, n_bytes, (void **)&t->exact));
    return ops->memory_create(t->device->backend, n_bytes, &t->on_device);
}

static void free_sums(pipe_train *t)
{
    const model_ops *ops = t->device->ops;

    if (ops->exact_add)
        ops->host_free(t->device->backend, (void **)&t->exact);
    else
        io_free(&t->exact);
    ops->memory_free(t->device->backend, &t->on_device);
}

static io_status allocate(pipe_train *t)
{
    const size_t area = (size_t)t->S * (size_t)t->S, n_sums = count_loss_sums(t->K);

    IO_TRY(io_alloc(area, sizeof *t->image, (void **)&t->image));
    IO_TRY(io_alloc(area / 16, sizeof *t->wide, (void **)&t->wide));
    IO_TRY(io_alloc(area / 16, sizeof *t->labels, (void **)&t->labels));
    IO_TRY(io_alloc((size_t)t->options.n_kept, sizeof *t->samples, (void **)&t->samples));
    IO_TRY(io_alloc(n_sums, sizeof *t->sums, (void **)&t->sums));
    IO_TRY(io_alloc(n_sums, sizeof *t->pixels, (void **)&t->pixels));
    IO_TRY(io_alloc(t->n_gradients, sizeof *t->gradients, (void **)&t->gradients));
    return allocate_sums(t);
}

io_status pipe_train_create(model_device *device, model_trainer *trainer, pipe_dataset *dataset, const pipe_workers *workers,
                            const pipe_train_options *options, pipe_train **out)
{
    io_status status = IO_OK;
    const model_config *config = model_trainer_config(trainer);
    pipe_train *made = NULL;

    if (options->global_batch < 1) return IO_FAIL(IO_ERR_ARGUMENT, "a batch of %d slices; expected 1 or more", options->global_batch);
    if (pipe_dataset_classes(dataset) >= config->n_channels)
        return IO_FAIL(IO_ERR_MISMATCH, "the store has labels up to %d, the network has channels for %d classes beside the background",
                       pipe_dataset_classes(dataset), config->n_channels - 1);
    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    made->device = device;
    made->trainer = trainer;
    made->dataset = dataset;
    made->workers = *workers;
    made->options = *options;
    made->K = config->n_channels;
    made->S = config->image_size;
    (void)model_trainer_gradients(trainer, &made->n_gradients);
    assert(is_trained_only(trainer, made->n_gradients));
    IO_TRY_GOTO(status, done, allocate(made));
    *out = made;
    made = NULL;
done:
    pipe_train_free(&made);
    return status;
}

void pipe_train_free(pipe_train **train)
{
    if (!train || !*train) return;
    io_free(&(*train)->image);
    io_free(&(*train)->wide);
    io_free(&(*train)->labels);
    io_free(&(*train)->samples);
    io_free(&(*train)->sums);
    io_free(&(*train)->pixels);
    io_free(&(*train)->gradients);
    free_sums(*train);
    io_free(train);
}

int64_t pipe_train_epoch_steps(uint32_t n_samples, int global_batch)
{
    return ((int64_t)n_samples + global_batch - 1) / global_batch;
}

size_t pipe_train_summed(const pipe_train *train)
{
    return train->n_gradients;
}

size_t pipe_train_summed_bytes(size_t n_gradients, int n_channels)
{
    return (n_gradients + count_loss_sums(n_channels)) * sizeof(int64_t);
}

/* Collective. All workers have come here and are well; the time until then is that of the slowest. */
static bool meet(pipe_train *t, io_status *status)
{
    const double start = now();
    const bool is_well = t->workers.agree(t->workers.context, status);

    t->wait_s += now() - start;
    return is_well;
}

static batch find_batch(const pipe_train *t, int64_t n)
{
    const uint32_t n_samples = pipe_dataset_count(t->dataset);
    const int64_t n_steps = pipe_train_epoch_steps(n_samples, t->options.global_batch);
    const uint32_t first = (uint32_t)(n % n_steps * t->options.global_batch), left = n_samples - first;

    return (batch){(uint32_t)(n / n_steps), first, left < (uint32_t)t->options.global_batch ? (int)left : t->options.global_batch};
}

/* Worker r has the slices r, r + size, ... of the batch. */
static int count_share(const pipe_train *t, const batch *b)
{
    return (b->n - t->workers.rank + t->workers.size - 1) / t->workers.size;
}

/* The first slices of a share stay in slots of their own, the others follow each other in the last slot. */
static int find_slot(const pipe_train *t, int i)
{
    return i < t->options.n_kept - 1 ? i : t->options.n_kept - 1;
}

/* Is slice i of n still in its slot when the share has been through forward? The last slot holds the last slice. */
static bool is_kept(const pipe_train *t, int i, int n)
{
    return i < t->options.n_kept - 1 || i == n - 1;
}

static io_status forward_slice(pipe_train *t, const batch *b, int i)
{
    const size_t n_labels = (size_t)t->S / 4 * ((size_t)t->S / 4);
    const uint32_t place = b->first + (uint32_t)(t->workers.rank + i * t->workers.size);

    t->samples[find_slot(t, i)] = (pipe_sample){0};
    IO_TRY(pipe_dataset_get(t->dataset, b->epoch, place, t->image, t->wide, &t->samples[find_slot(t, i)]));
    for (size_t k = 0; k < n_labels; k++) t->labels[k] = (uint8_t)t->wide[k]; /* below K: pipe_train_create */
    return model_trainer_forward(t->trainer, find_slot(t, i), t->image, t->labels, t->sums);
}

static io_status name_sample(io_status status, const pipe_sample *sample)
{
    if (status == IO_OK || !sample->case_id) return status;
    return io_fail_context(status, "case %s, slice %lld", sample->case_id, (long long)sample->slice);
}

static io_status forward_share(pipe_train *t, const batch *b)
{
    const int n = count_share(t, b);

    memset(t->pixels, 0, count_loss_sums(t->K) * sizeof *t->pixels);
    for (int i = 0; i < n; i++) {
        io_status status = forward_slice(t, b, i);
        if (status == IO_OK) status = model_exact_add_pixels(t->pixels, t->sums, count_loss_sums(t->K));
        if (status != IO_OK) return name_sample(status, &t->samples[find_slot(t, i)]);
    }
    return IO_OK;
}

/* Adds the gradients [n] of a slice, on the device, to the sums. */
static io_status add_gradients(pipe_train *t, const float *gradients, size_t n, int64_t n_terms)
{
    const model_ops *ops = t->device->ops;
    const double start = now();
    io_status status;

    if (t->on_device) return ops->exact_add(t->device->backend, t->on_device, gradients, n, n_terms);
    status = ops->download(t->device->backend, t->gradients, gradients, n * sizeof *gradients);
    if (status == IO_OK) status = model_exact_add(t->exact, t->gradients, n, n_terms);
    t->sum_s += now() - start;
    return status;
}

static io_status clear_sums(pipe_train *t)
{
    const size_t n_bytes = t->n_gradients * sizeof *t->exact;

    if (t->on_device) return t->device->ops->memory_zero(t->device->backend, t->on_device, n_bytes);
    memset(t->exact, 0, n_bytes);
    return IO_OK;
}

/* The device's sums to the host, straight into memory that it copies to at full speed. */
static io_status fetch_sums(pipe_train *t)
{
    const model_ops *ops = t->device->ops;
    const int lane = 0; /* nothing else is in the lanes while a training adds */

    IO_TRY(ops->download_begin(t->device->backend, lane, t->exact, t->on_device, t->n_gradients * sizeof *t->exact));
    return ops->lane_finish(t->device->backend, lane);
}

/* Collective, with the status of this worker's share. Sums from the device go to the other workers directly where those take them, else
 * through the host. */
static io_status sum_workers(pipe_train *t, io_status status)
{
    const bool is_direct = t->on_device && t->workers.sums_device_memory;
    double start;

    if (status == IO_OK && is_direct)
        status = t->device->ops->sync(t->device->backend);
    else if (status == IO_OK && t->on_device)
        status = fetch_sums(t);
    if (!meet(t, &status)) return status;
    start = now();
    t->workers.sum(t->workers.context, is_direct ? t->on_device : t->exact, t->n_gradients);
    if (is_direct) status = fetch_sums(t);
    t->sum_s += now() - start;
    return status;
}

/* A slice's gradients start from zero, so that they do not depend on which slices were before it. */
static io_status backward_slice(pipe_train *t, const batch *b, int i, const double *sums)
{
    const double n_pixels = (double)b->n * (t->S / 4) * (t->S / 4);
    size_t n;
    float *gradients = model_trainer_gradients(t->trainer, &n);

    if (!is_kept(t, i, count_share(t, b))) IO_TRY(forward_slice(t, b, i));
    IO_TRY(model_trainer_zero_gradients(t->trainer));
    IO_TRY(model_trainer_backward(t->trainer, find_slot(t, i), sums, n_pixels));
    return add_gradients(t, gradients, n, b->n);
}

/* Backwards from the last slice, which is in its slot: going forward again overwrites the last slot only. */
static io_status backward_share(pipe_train *t, const batch *b, const double *sums)
{
    IO_TRY(clear_sums(t));
    for (int i = count_share(t, b) - 1; i >= 0; i--) {
        const io_status status = backward_slice(t, b, i, sums);
        if (status != IO_OK) return name_sample(status, &t->samples[find_slot(t, i)]);
    }
    return IO_OK;
}

/* As torch.nn.utils.clip_grad_norm_ does: its 1e-6 keeps a norm of zero from dividing. */
static void clip_gradients(pipe_train *t, double norm)
{
    const float factor = (float)(t->options.clip / (norm + 1e-6));

    if (!(t->options.clip > 0) || factor >= 1) return;
    for (size_t i = 0; i < t->n_gradients; i++) t->gradients[i] *= factor;
}

static double measure_norm(const float *gradients, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++) sum += (double)gradients[i] * gradients[i];
    return sqrt(sum);
}

/* The gradients of the whole batch, rounded once. */
static io_status read_gradients(pipe_train *t, pipe_step *about)
{
    const double start = now();

    model_exact_read(t->gradients, t->exact, t->n_gradients);
    t->sum_s += now() - start;
    about->norm = measure_norm(t->gradients, t->n_gradients);
    if (isfinite(about->norm)) return IO_OK;
    return IO_FAIL(IO_ERR_DIVERGED, "step %lld: the norm of the gradients is %g; lower the learning rate", (long long)about->number,
                   about->norm);
}

/* Collective. sums [3K+1] of the loss over all of the batch. */
static io_status forward_all(pipe_train *t, const batch *b, double *sums)
{
    const size_t n_sums = count_loss_sums(t->K);
    io_status status = forward_share(t, b);

    if (!meet(t, &status)) return status;
    t->workers.sum(t->workers.context, t->pixels, n_sums);
    model_exact_read_pixels(sums, t->pixels, n_sums);
    return IO_OK;
}

io_status pipe_train_derive(pipe_train *t, int64_t n, pipe_step *about)
{
    const batch b = find_batch(t, n);
    double sums[3 * 256 + 1]; /* channels: model_trainer_create */
    io_status status;

    t->wait_s = t->sum_s = 0;
    IO_TRY(forward_all(t, &b, sums));
    *about = (pipe_step){.number = n + 1, .epoch = b.epoch, .n_slices = b.n, .rate = model_schedule_rate(&t->options.schedule, n)};
    about->loss = model_loss_join(sums, t->K, (double)b.n * (t->S / 4) * (t->S / 4), t->options.dice_weight);
    status = sum_workers(t, backward_share(t, &b, sums));
    if (status == IO_OK) status = read_gradients(t, about);
    (void)t->workers.agree(t->workers.context, &status);
    return status;
}

io_status pipe_train_update(pipe_train *t, pipe_step *about)
{
    size_t n;
    float *gradients = model_trainer_gradients(t->trainer, &n);
    io_status status;

    clip_gradients(t, about->norm);
    status = t->device->ops->upload(t->device->backend, gradients, t->gradients, n * sizeof *gradients);
    if (status == IO_OK) status = model_trainer_update(t->trainer, (float)about->rate, about->number);
    (void)meet(t, &status);
    about->wait_s = t->wait_s;
    about->sum_s = t->sum_s;
    return status;
}

io_status pipe_train_try(pipe_train *t, int64_t n)
{
    const batch b = find_batch(t, n);
    double sums[3 * 256 + 1];

    return forward_all(t, &b, sums);
}

/* FNV-1a: a tensor's stream is that of its name. */
static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;

    for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

/* Box and Muller; 1 - u is never 0. */
static float draw_normal(pipe_random *random)
{
    const double u = pipe_random_uniform(random), v = pipe_random_uniform(random);
    return (float)(sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v));
}

void pipe_train_fresh(void *context, const char *name, bool is_normal, size_t n, float *out)
{
    const uint64_t *seed = context;
    pipe_random random;

    pipe_random_start(&random, *seed, PIPE_RANDOM_WEIGHTS, 0, hash_name(name));
    for (size_t i = 0; i < n; i++) out[i] = is_normal ? draw_normal(&random) : (float)(2 * pipe_random_uniform(&random) - 1);
}
