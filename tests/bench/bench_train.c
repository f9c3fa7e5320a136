/* Seconds of one training step of a slice: bench_train SAM ADAPTER [threads [repeats [recompute]]], in bf16 with
 * BENCH_BF16 set. Prints wall and processor seconds of
 * forward, backward, the exact sum and the update, best of the repeats; random picture, labels by stripes. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "io/memory.h"
#include "model/exact.h"
#include "model/train.h"

enum { N_PHASES = 4, WALL = 0, PROCESSOR = 1 };
static const char *const phases[N_PHASES] = {"forward", "backward", "exact sum", "update"};

static void must(io_status status)
{
    if (status == IO_OK) return;
    fprintf(stderr, "%s\n", io_last_error());
    exit(1);
}

static void read_clocks(double out[2])
{
    struct timespec now;
    struct rusage usage;

    clock_gettime(CLOCK_MONOTONIC, &now);
    getrusage(RUSAGE_SELF, &usage);
    out[WALL] = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    out[PROCESSOR] =
        (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void keep_best(double best[N_PHASES][2], int phase, double start[2])
{
    double end[2];

    read_clocks(end);
    for (int i = 0; i < 2; i++)
        if (best[phase][i] == 0 || end[i] - start[i] < best[phase][i]) best[phase][i] = end[i] - start[i];
    read_clocks(start);
}

static void run_steps(model_trainer *trainer, int repeats, const float *image, const uint8_t *labels, double best[N_PHASES][2])
{
    const model_config *config = model_trainer_config(trainer);
    const int L = 4 * config->image_size / config->patch;
    size_t n;
    float *gradients = model_trainer_gradients(trainer, &n);
    int64_t *exact = NULL;
    double sums[3 * 256 + 1], start[2];

    must(io_alloc(n, sizeof *exact, (void **)&exact));
    for (int step = 1; step <= repeats; step++) {
        must(model_trainer_zero_gradients(trainer));
        read_clocks(start);
        must(model_trainer_forward(trainer, 0, image, labels, sums));
        keep_best(best, 0, start);
        must(model_trainer_backward(trainer, 0, sums, L * L));
        keep_best(best, 1, start);
        must(model_exact_add(exact, gradients, n, repeats));
        keep_best(best, 2, start);
        must(model_trainer_update(trainer, 1e-6f, step));
        keep_best(best, 3, start);
    }
    io_free(&exact);
}

int main(int argc, char **argv)
{
    model_train_options options = model_train_options_default();
    io_tensors *sam = NULL, *adapter = NULL;
    model_device *device = NULL;
    model_trainer *trainer = NULL;
    struct rusage usage;
    double best[N_PHASES][2] = {{0}}, total[2] = {0};

    if (argc < 3) return 2;
    options.image_size = 512;
    options.recompute = argc > 5;
    must(io_tensors_open(argv[1], &sam));
    must(io_tensors_open(argv[2], &adapter));
    must(model_device_open(MODEL_DEVICE_CPU, 0, getenv("BENCH_BF16") ? MODEL_BF16 : MODEL_F32, argc > 3 ? atoi(argv[3]) : 2, &device));
    must(model_trainer_create(device, &options, sam, adapter, NULL, NULL, &trainer));
    float *image = malloc(512 * 512 * sizeof *image);
    uint8_t *labels = malloc(128 * 128);
    for (int i = 0; i < 512 * 512; i++) image[i] = (float)(i * 7919 % 1000) / 1000;
    for (int i = 0; i < 128 * 128; i++) labels[i] = (uint8_t)(i / 128 * 9 / 128);
    run_steps(trainer, argc > 4 ? atoi(argv[4]) : 3, image, labels, best);
    for (int i = 0; i < N_PHASES; i++) {
        printf("%-10s %.3f s, %.3f processor s\n", phases[i], best[i][WALL], best[i][PROCESSOR]);
        for (int j = 0; j < 2; j++) total[j] += best[i][j];
    }
    getrusage(RUSAGE_SELF, &usage);
    printf("%-10s %.3f s, %.3f processor s; peak resident %.0f MB\n", "step", total[WALL], total[PROCESSOR],
           (double)usage.ru_maxrss / 1024);
    free(image);
    free(labels);
    model_trainer_free(&trainer);
    model_device_free(&device);
    io_tensors_free(&sam);
    io_tensors_free(&adapter);
    return 0;
}
