/* How long the metrics of one pair of label maps take, one thread: the eight organs of a phantom against a copy that is moved and
 * thinned, as a prediction would be.
 *
 *   bench_metrics [nx ny nz [REPEATS [DUMP]]]
 *
 * Prints the best time of each stage over REPEATS runs. DUMP receives both maps (uint8, k slowest) for bench_metrics_peers.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "pipeline/metrics.h"
#include "pipeline/phantom.h"

enum { N_ORGANS = 8, SHIFT_I = 2, SHIFT_J = -1, SHIFT_K = 1 };

static double read_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int read_label(const uint8_t *labels, const int64_t dims[3], int64_t i, int64_t j, int64_t k)
{
    if (i < 0 || j < 0 || k < 0 || i >= dims[0] || j >= dims[1] || k >= dims[2]) return 0;
    return labels[i + dims[0] * (j + dims[1] * k)];
}

/* Moved by a few voxels; voxels that touch another label in the slice are lost. */
static void spoil_labels(const uint8_t *labels, const int64_t dims[3], uint8_t *out)
{
    for (int64_t k = 0; k < dims[2]; k++) {
        for (int64_t j = 0; j < dims[1]; j++) {
            for (int64_t i = 0; i < dims[0]; i++) {
                const int64_t x = i - SHIFT_I, y = j - SHIFT_J, z = k - SHIFT_K;
                const int value = read_label(labels, dims, x, y, z);
                const int is_inner = value == read_label(labels, dims, x - 1, y, z) && value == read_label(labels, dims, x + 1, y, z) &&
                                     value == read_label(labels, dims, x, y - 1, z) && value == read_label(labels, dims, x, y + 1, z);
                *out++ = (uint8_t)(is_inner ? value : 0);
            }
        }
    }
}

typedef struct times {
    double boxes, organs[PIPE_N_CONVENTIONS + 1]; /* seconds; each convention alone, then all */
} times;

static double measure_organs(const pipe_label_boxes *boxes, unsigned conventions, const pipe_phantom_options *phantom,
                             pipe_metrics_scratch *scratch, int is_told)
{
    pipe_metrics_options options = {.conventions = conventions, .percentile = 95, .tolerances_mm = {1, 2, 3}, .n_tolerances = 3};
    const double start = read_clock();

    memcpy(options.spacing_mm, phantom->spacing_mm, sizeof options.spacing_mm);
    for (int value = 1; value <= N_ORGANS; value++) {
        pipe_metrics m;
        if (pipe_metrics_measure(boxes, value, &options, scratch, &m) != IO_OK) return -1;
        if (!is_told) continue;
        printf("organ %d: %lld voxels, dice %.4f, hd95 %.3f (medpy) %.3f (monai) %.3f (deepmind)\n", value,
               (long long)m.overlap.n_reference, pipe_overlap_dice(&m.overlap), m.surface[PIPE_MEDPY].hd95, m.surface[PIPE_MONAI].hd95,
               m.surface[PIPE_DEEPMIND].hd95);
    }
    return read_clock() - start;
}

static void keep_least(double *best, double seconds)
{
    if (*best == 0 || seconds < *best) *best = seconds;
}

static io_status run_once(const pipe_phantom_options *phantom, const uint8_t *reference, const uint8_t *prediction, times *best,
                          int is_told)
{
    const unsigned all = (1U << PIPE_N_CONVENTIONS) - 1;
    pipe_metrics_scratch *scratch = NULL;
    pipe_label_boxes *boxes = NULL;
    io_status status = IO_OK;
    double start;

    IO_TRY_GOTO(status, done, pipe_metrics_scratch_create(&scratch));
    start = read_clock();
    IO_TRY_GOTO(status, done, pipe_label_boxes_create(phantom->dims, reference, 1, prediction, 1, N_ORGANS + 1, &boxes));
    keep_least(&best->boxes, read_clock() - start);
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++) keep_least(&best->organs[c], measure_organs(boxes, 1U << c, phantom, scratch, 0));
    keep_least(&best->organs[PIPE_N_CONVENTIONS], measure_organs(boxes, all, phantom, scratch, is_told));
done:
    pipe_label_boxes_free(&boxes);
    pipe_metrics_scratch_free(&scratch);
    return status;
}

static void print_times(const times *best)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    printf("boxes and counts %.1f ms\n", 1e3 * best->boxes);
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++) printf("%s %.1f ms\n", pipe_convention_name((pipe_convention)c), 1e3 * best->organs[c]);
    printf("all conventions %.1f ms, with boxes %.1f ms; peak %.0f MB with the phantom's image\n", 1e3 * best->organs[PIPE_N_CONVENTIONS],
           1e3 * (best->boxes + best->organs[PIPE_N_CONVENTIONS]), (double)usage.ru_maxrss / 1024);
}

static int write_maps(const char *path, const uint8_t *reference, const uint8_t *prediction, size_t n)
{
    FILE *file = fopen(path, "wb");
    int is_written;

    if (!file) return 0;
    is_written = fwrite(reference, 1, n, file) == n && fwrite(prediction, 1, n, file) == n;
    return fclose(file) == 0 && is_written;
}

int main(int argc, char **argv)
{
    pipe_phantom_options phantom = {.dims = {512, 512, 150}, .spacing_mm = {0.78, 0.78, 3}, .seed = 1, .noise_hu = 12};
    const int n_repeats = argc > 4 ? (int)strtol(argv[4], NULL, 10) : 5;
    uint8_t *reference, *prediction;
    int16_t *image;
    times best = {0};
    int rc = 1;
    size_t n;

    for (int a = 0; a < 3 && argc > 3; a++) phantom.dims[a] = strtol(argv[1 + a], NULL, 10);
    n = (size_t)(phantom.dims[0] * phantom.dims[1] * phantom.dims[2]);
    image = malloc(n * sizeof *image);
    reference = malloc(n);
    prediction = malloc(n);
    if (!image || !reference || !prediction || pipe_phantom_draw(&phantom, image, reference) != IO_OK) goto done;
    spoil_labels(reference, phantom.dims, prediction);
    if (argc > 5 && !write_maps(argv[5], reference, prediction, n)) goto done;
    for (int r = 0; r < n_repeats; r++) {
        if (run_once(&phantom, reference, prediction, &best, r == 0) != IO_OK) goto done;
    }
    print_times(&best);
    rc = 0;
done:
    if (rc) fprintf(stderr, "bench_metrics: %s\n", io_last_error());
    free(image);
    free(reference);
    free(prediction);
    return rc;
}
