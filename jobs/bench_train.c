/* `samed bench --train`: seconds per image of a step as `samed train` makes it on one rank, random pictures, and the share of its phases.
 * LoRA on q and v of every block, the decoder in full: the reference's setting. Of a batch all slices but the last go forward twice, as in
 * training, because the loss needs the sums over all of them before anything goes back. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "io/plural.h"
#include "jobs/bench.h"
#include "jobs/progress.h"
#include "model/exact.h"
#include "model/train.h"
#include "pipeline/train.h"

enum { MOST_SUMS = 3 * 256 + 1, N_TRACED = 2 };

typedef struct training {
    const bench_options *options;
    model_device *device;
    model_trainer *trainer;
    bench_peer *peer;     /* NULL without */
    bench_result *result; /* NULL while nothing is traced */
    int K, S;
    size_t n; /* gradients */
    float *images, *host;
    uint8_t *labels; /* [S/4][S/4] stripes of all classes */
    int64_t *exact;
    int64_t step;
    double clock;
} training;

/* Ends a phase that is not the network's. */
static void end_phase(training *t, const char *name)
{
    const double now = job_time_now();

    if (t->result && name) job_bench_add(t->result, name, now - t->clock, 0, 0);
    t->clock = now;
}

static io_status forward_slice(training *t, int i, double *sums)
{
    return model_trainer_forward(t->trainer, 0, t->images + (size_t)i * (size_t)t->S * (size_t)t->S, t->labels, sums);
}

static io_status forward_batch(training *t, double *sums)
{
    int64_t pixels[MOST_SUMS] = {0};
    const size_t n_sums = 3 * (size_t)t->K + 1;

    for (int i = 0; i < t->options->batch; i++) {
        IO_TRY(forward_slice(t, i, sums));
        IO_TRY(model_exact_add_pixels(pixels, sums, n_sums));
    }
    model_exact_read_pixels(sums, pixels, n_sums);
    return IO_OK;
}

static io_status backward_batch(training *t, const double *sums)
{
    const int batch = t->options->batch;
    double again[MOST_SUMS];
    size_t n;
    const float *gradients = model_trainer_gradients(t->trainer, &n);

    end_phase(t, NULL);
    memset(t->exact, 0, n * sizeof *t->exact);
    end_phase(t, "exact sums");
    for (int i = batch - 1; i >= 0; i--) {
        if (i < batch - 1) IO_TRY(forward_slice(t, i, again));
        end_phase(t, NULL);
        IO_TRY(model_trainer_zero_gradients(t->trainer));
        end_phase(t, "exact sums");
        IO_TRY(model_trainer_backward(t->trainer, 0, sums, (double)batch * (t->S / 4) * (t->S / 4)));
        end_phase(t, NULL);
        IO_TRY(t->device->ops->download(t->device->backend, t->host, gradients, n * sizeof *gradients));
        IO_TRY(model_exact_add(t->exact, t->host, n, batch));
        end_phase(t, "exact sums");
    }
    return IO_OK;
}

static io_status run_step(training *t)
{
    double sums[MOST_SUMS];
    size_t n;
    float *gradients = model_trainer_gradients(t->trainer, &n);

    IO_TRY(forward_batch(t, sums));
    IO_TRY(backward_batch(t, sums));
    end_phase(t, NULL);
    model_exact_read(t->host, t->exact, n);
    IO_TRY(t->device->ops->upload(t->device->backend, gradients, t->host, n * sizeof *gradients));
    end_phase(t, "exact sums");
    IO_TRY(model_trainer_update(t->trainer, 1e-6f, ++t->step));
    end_phase(t, "update");
    return IO_OK;
}

static io_status allocate(training *t)
{
    const size_t area = (size_t)t->S * (size_t)t->S;

    (void)model_trainer_gradients(t->trainer, &t->n);
    IO_TRY(io_alloc((size_t)t->options->batch * area, sizeof *t->images, (void **)&t->images));
    IO_TRY(io_alloc(area / 16, 1, (void **)&t->labels));
    IO_TRY(io_alloc(t->n, sizeof *t->host, (void **)&t->host));
    IO_TRY(io_alloc(t->n, sizeof *t->exact, (void **)&t->exact));
    job_bench_fill(t->images, (size_t)t->options->batch * area);
    for (size_t i = 0; i < area / 16; i++) t->labels[i] = (uint8_t)(i / ((size_t)t->S / 4) % (size_t)t->K);
    return IO_OK;
}

static io_status measure(training *t, bench_result *result)
{
    IO_TRY(job_bench_reserve(t->options, result));
    IO_TRY(run_step(t)); /* warm-up */
    for (int i = 0; i < t->options->n_repeats; i++) {
        const double start = job_time_now();
        IO_TRY(run_step(t));
        result->seconds[result->n_repeats] = (job_time_now() - start) / t->options->batch;
        if (t->peer) IO_TRY(job_bench_peer_turn(t->peer, &result->peer_seconds[result->n_repeats]));
        result->n_repeats++;
    }
    job_bench_sort(result);
    model_trainer_set_trace(t->trainer, job_bench_add, result); /* apart: tracing waits after every phase */
    t->result = result;
    for (int i = 0; i < N_TRACED; i++) IO_TRY(run_step(t));
    result->n_traced = (int64_t)N_TRACED * t->options->batch;
    for (int i = 0; i < result->n_operations; i++) result->flop += result->operations[i].flop / (double)result->n_traced;
    result->summed_bytes = (double)pipe_train_summed_bytes(t->n, t->K);
    result->kept_bytes = (double)model_trainer_kept_bytes(t->trainer);
    return IO_OK;
}

io_status job_bench_train(const bench_options *options, model_device *device, io_tensors **sam, io_tensors **adapter, bench_result *result)
{
    io_status status = IO_OK;
    training t = {.options = options, .device = device};
    model_train_options train = model_train_options_default();
    const double start = job_time_now();

    train.image_size = options->image_size;
    train.recompute = options->recompute;
    IO_TRY_GOTO(status, done, model_trainer_create(device, &train, *sam, *adapter, NULL, NULL, &t.trainer));
    result->load_s = job_time_now() - start;
    io_tensors_free(adapter);
    io_tensors_free(sam);
    job_bench_forget_peak();
    t.K = model_trainer_config(t.trainer)->n_channels;
    t.S = options->image_size;
    IO_TRY_GOTO(status, done, allocate(&t));
    if (options->peer) IO_TRY_GOTO(status, done, job_bench_peer_open(options->peer, &t.peer));
    IO_TRY_GOTO(status, done, measure(&t, result));
done:
    job_bench_peer_free(&t.peer);
    io_free(&t.images);
    io_free(&t.host);
    io_free(&t.labels);
    io_free(&t.exact);
    model_trainer_free(&t.trainer);
    return status;
}

static double sum_phases(const bench_result *result)
{
    double sum = 0;

    for (int i = 0; i < result->n_operations; i++) sum += result->operations[i].seconds;
    return sum;
}

static double find_gflops(const bench_operation *phase)
{
    return phase->seconds > 0 ? phase->flop / phase->seconds / 1e9 : 0;
}

void job_bench_train_print(const bench_options *options, const bench_result *result)
{
    const double total = sum_phases(result), gflops = result->flop / result->seconds[0] / 1e9;

    printf("seconds per image: best %.4f, median %.4f of %d step%s of %d\n", result->seconds[0],
           job_bench_median(result->seconds, result->n_repeats), result->n_repeats, io_plural(result->n_repeats), options->batch);
    if (result->peer_seconds)
        printf("the peer, in turns: best %.4f, median %.4f; samed takes %.2f of it\n", result->peer_seconds[0],
               job_bench_median(result->peer_seconds, result->n_repeats), result->seconds[0] / result->peer_seconds[0]);
    printf("%.1f GFLOP per image, %.0f GFLOP/s, %.0f %% of the measured peak of %.0f GFLOP/s\n", result->flop / 1e9, gflops,
           result->peak_gflops > 0 ? 100 * gflops / result->peak_gflops : 0, result->peak_gflops);
    printf("summed over ranks in a step: %.1f MB; activations kept for a slice: %.1f MB; peak memory %.0f MB\n\n",
           result->summed_bytes / 1e6, result->kept_bytes / 1e6, result->peak_mb);
    printf("%-24s %12s %8s %10s %8s\n", "phase", "ms / image", "share", "GFLOP/s", "of peak");
    for (int i = 0; i < result->n_operations; i++) {
        const bench_operation *phase = &result->operations[i];

        printf("%-24s %12.2f %6.1f %%", phase->name, 1e3 * phase->seconds / (double)result->n_traced, 100 * phase->seconds / total);
        if (phase->flop > 0 && result->peak_gflops > 0)
            printf(" %10.1f %6.0f %%", find_gflops(phase), 100 * find_gflops(phase) / result->peak_gflops);
        printf("\n");
    }
}

static io_status add_phase(const bench_result *result, const bench_operation *phase, io_json *list)
{
    io_status status = IO_OK;
    io_json *entry = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&entry));
    IO_TRY_GOTO(status, done, io_json_put_text(entry, "name", phase->name));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "seconds_per_image", phase->seconds / (double)result->n_traced));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "share", phase->seconds / sum_phases(result)));
    IO_TRY_GOTO(status, done, io_json_put_number(entry, "gflops", find_gflops(phase)));
    IO_TRY_GOTO(status, done,
                io_json_put_number(entry, "share_of_peak", result->peak_gflops > 0 ? find_gflops(phase) / result->peak_gflops : 0));
    status = io_json_add(list, &entry);
done:
    io_json_free(&entry);
    return status;
}

io_status job_bench_train_json(const bench_result *result, io_json *root)
{
    io_status status = IO_OK;
    io_json *list = NULL;

    if (result->peer_seconds) {
        IO_TRY_GOTO(status, done, io_json_put_number(root, "peer_seconds_per_image", result->peer_seconds[0]));
        IO_TRY_GOTO(status, done, io_json_put_number(root, "ratio", result->seconds[0] / result->peer_seconds[0])); /* best of both */
    }
    IO_TRY_GOTO(status, done, io_json_put_number(root, "summed_bytes_per_step", result->summed_bytes));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "kept_bytes_per_slice", result->kept_bytes));
    IO_TRY_GOTO(status, done, io_json_create_array(&list));
    for (int i = 0; i < result->n_operations; i++) IO_TRY_GOTO(status, done, add_phase(result, &result->operations[i], list));
    status = io_json_put(root, "phases", &list);
done:
    io_json_free(&list);
    return status;
}
