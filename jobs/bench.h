/* The inside of `samed bench`, shared by its files. */
#ifndef JOBS_BENCH_H
#define JOBS_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#include "io/json.h"
#include "io/tensors.h"
#include "model/config.h"
#include "model/device.h"
#include "model/sam.h"

enum { BENCH_MAX_OPERATIONS = 64, BENCH_NAME_BYTES = 48 };

typedef struct bench_options {
    const char *sam, *adapter, *vit;
    const char *peer; /* a command, or NULL */
    model_device_kind device;
    model_type precision;
    int n_threads, image_size, n_repeats;
    int batch; /* slices of a call; 0: those of one pass of the device */
    bool json, is_training, recompute;
} bench_options;

/* One operation of the network, or one phase of a step, summed over the traced passes. */
typedef struct bench_operation {
    char name[BENCH_NAME_BYTES];
    int64_t calls;
    double seconds, flop, bytes;
} bench_operation;

typedef struct bench_result {
    bench_operation operations[BENCH_MAX_OPERATIONS];
    int n_operations;
    int64_t n_traced; /* slices under the trace */
    double *seconds;  /* [n_repeats] per slice, ascending; owned */
    int n_repeats;
    double load_s, peak_gflops, peak_mb, flop;
    double peak_gb_per_s, slices_per_s; /* of a device that makes images itself, end to end; else 0 */
    double *peer_seconds;               /* [n_repeats] per image, ascending; owned; NULL without a peer */
    double peak_f32_gflops;             /* of such a device in bf16 or tf32: of products that stay in f32; else 0 */
    double summed_bytes, kept_bytes;    /* training: what ranks sum in a step, activations kept for one slice */
    char network[32];
    char device[160];
} bench_result;

/* A model_trace whose context is the result. */
void job_bench_add(void *context, const char *name, double seconds, double flop, double bytes);
/* White noise within 0..1: the time of no operation depends on the values. */
void job_bench_fill(float *images, size_t n);
/* Makes room for n_repeats seconds; sorts them when they are all there. */
io_status job_bench_reserve(const bench_options *options, bench_result *result);
void job_bench_sort(bench_result *result);
/* The peak of resident memory starts again here: random weights are made in memory, those of a user lie in a file. */
void job_bench_forget_peak(void);
double job_bench_median(const double *seconds, int n);

/* bench_device.c: the best rate of a product of this network's largest kind, of the same in f32, and of an operation that memory bounds. */
io_status job_bench_ceilings(model_device *device, const model_config *config, bench_result *result);
/* Raw slices of the image's size in, labels out, batch after batch, where the device makes the images; then two batches under the trace. */
io_status job_bench_flow(const bench_options *options, model_device *device, model_sam *network, bench_result *result);

/* bench_peer.c: starts the command and waits until it is ready; a turn is one image. */
typedef struct bench_peer bench_peer;
io_status job_bench_peer_open(const char *command, bench_peer **out);
io_status job_bench_peer_turn(bench_peer *peer, double *seconds);
void job_bench_peer_free(bench_peer **peer);

/* bench_train.c: measures training steps of options->batch slices; frees sam and adapter as soon as they are loaded. */
io_status job_bench_train(const bench_options *options, model_device *device, io_tensors **sam, io_tensors **adapter, bench_result *result);
void job_bench_train_print(const bench_options *options, const bench_result *result);
/* seconds_per_image, phases and sizes. */
io_status job_bench_train_json(const bench_result *result, io_json *root);

#endif
