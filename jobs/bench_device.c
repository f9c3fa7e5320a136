/* What a device that makes images itself reaches: its measured ceilings, and slices end to end, from raw voxels in host memory to labels
 * there, copies beside computing as `samed segment` does it. */
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "io/nifti.h"
#include "jobs/bench.h"
#include "jobs/progress.h"
#include "model/flow.h"
#include "pipeline/slices.h"

enum {
    PRODUCT_RUNS = 10, /* long enough for the clock to settle, short enough to wait for */
    COPY_RUNS = 20,
    BATCHES_PER_REPEAT = 4, /* end to end */
    TRACED_BATCHES = 2
};

/* What the ceilings are measured on: one product of the network's largest kind, and one sum that memory alone bounds. */
typedef struct ceiling_job {
    model_device *device;
    model_type type; /* of the product */
    int M, N;
    void *in, *out, *other;
    model_matrix *weight;
} ceiling_job;

static io_status create_job(const model_config *config, ceiling_job *job)
{
    const model_ops *ops = job->device->ops;
    const int G = config->image_size / config->patch;
    float *zeros = NULL;
    io_status status;

    job->M = ops->slices_per_pass * G * G;
    job->N = 4 * config->width;
    IO_TRY(io_alloc((size_t)job->N * (size_t)job->N, sizeof *zeros, (void **)&zeros));
    status = ops->matrix_create(job->device->backend, job->N, job->N, zeros, job->type, &job->weight);
    io_free(&zeros);
    IO_TRY(status);
    IO_TRY(ops->memory_create(job->device->backend, (size_t)job->M * (size_t)job->N * sizeof(float), &job->in));
    IO_TRY(ops->memory_create(job->device->backend, (size_t)job->M * (size_t)job->N * sizeof(float), &job->other));
    return ops->memory_create(job->device->backend, (size_t)job->M * (size_t)job->N * sizeof(float), &job->out);
}

static void free_job(ceiling_job *job)
{
    const model_ops *ops = job->device->ops;

    ops->memory_free(job->device->backend, &job->in);
    ops->memory_free(job->device->backend, &job->other);
    ops->memory_free(job->device->backend, &job->out);
    if (job->weight) ops->matrix_free(job->device->backend, &job->weight);
}

static io_status multiply(const ceiling_job *job)
{
    const model_rows in = {job->in, job->N, job->type}, out = {job->out, job->N, job->type};

    return job->device->ops->linear_forward(job->device->backend, out, in, job->weight, NULL, MODEL_STORE, job->M);
}

static io_status add(const ceiling_job *job)
{
    const model_rows a = {job->in, job->N, MODEL_F32}, b = {job->other, job->N, MODEL_F32}, out = {job->out, job->N, MODEL_F32};

    return job->device->ops->add_forward(job->device->backend, out, a, b, job->M, job->N, job->M);
}

/* Seconds of one run; the first is not counted. */
static io_status time_runs(const ceiling_job *job, io_status (*run)(const ceiling_job *), int n_runs, double *seconds)
{
    double start;

    IO_TRY(run(job));
    IO_TRY(job->device->ops->sync(job->device->backend));
    start = job_time_now();
    for (int i = 0; i < n_runs; i++) IO_TRY(run(job));
    IO_TRY(job->device->ops->sync(job->device->backend));
    *seconds = (job_time_now() - start) / n_runs;
    return IO_OK;
}

static io_status measure_ceilings(model_device *device, const model_config *config, model_type type, double *gflops, double *gb_per_s)
{
    io_status status = IO_OK;
    ceiling_job job = {.device = device, .type = type};
    double product_s, sum_s;

    IO_TRY_GOTO(status, done, create_job(config, &job));
    IO_TRY_GOTO(status, done, time_runs(&job, multiply, PRODUCT_RUNS, &product_s));
    IO_TRY_GOTO(status, done, time_runs(&job, add, COPY_RUNS, &sum_s));
    *gflops = 2e-9 * job.M * (double)job.N * job.N / product_s;
    *gb_per_s = 1e-9 * 3 * sizeof(float) * job.M * (double)job.N / sum_s;
done:
    free_job(&job);
    return status;
}

io_status job_bench_ceilings(model_device *device, const model_config *config, bench_result *result)
{
    IO_TRY(measure_ceilings(device, config, device->type, &result->peak_gflops, &result->peak_gb_per_s));
    if (device->type == MODEL_F32) return IO_OK;
    return measure_ceilings(device, config, MODEL_F32, &result->peak_f32_gflops, &result->peak_gb_per_s);
}

/* ---- end to end */

typedef struct flow_job {
    model_device *device;
    model_flow *flow;
    io_volume volume;
    pipe_slices *slices;
    void *raw[MODEL_LANES]; /* pinned [batch][rows][cols] */
} flow_job;

static io_status create_volume(int side, int n_slices, io_volume *volume)
{
    const int64_t dims[3] = {side, side, n_slices};
    const double spacing_mm[3] = {0.75, 0.75, 5}, origin_mm[3] = {0, 0, 0};

    *volume = (io_volume){.datatype = IO_INT16, .slope = 1, .n_voxels = (int64_t)side * side * n_slices};
    io_grid_create_plain(dims, spacing_mm, origin_mm, &volume->grid);
    return io_alloc((size_t)volume->n_voxels, sizeof(int16_t), &volume->voxels);
}

static io_status create_flow(model_sam *network, int side, flow_job *job)
{
    const int batch = model_flow_batch(job->device);
    model_slicing slicing;
    model_slicing_room room;
    pipe_options options;

    pipe_options_default(&options);
    options.image_size = side;
    IO_TRY(create_volume(side, batch, &job->volume));
    IO_TRY(pipe_slices_create(&job->volume, &options, &job->slices));
    pipe_slices_slicing(job->slices, &slicing);
    IO_TRY(pipe_slices_room(&options, pipe_slices_raw_bytes(job->slices), (size_t)side * (size_t)side, (size_t)side, &room));
    IO_TRY(model_flow_create(job->device, network, 1, &room, &job->flow));
    IO_TRY(model_flow_volume(job->flow, &slicing));
    for (int i = 0; i < MODEL_LANES; i++) {
        const size_t n_bytes = (size_t)batch * pipe_slices_raw_bytes(job->slices);
        IO_TRY(job->device->ops->host_create(job->device->backend, n_bytes, &job->raw[i]));
        memset(job->raw[i], i, n_bytes);
    }
    return IO_OK;
}

static void free_flow(flow_job *job)
{
    model_flow_free(&job->flow);
    for (int i = 0; i < MODEL_LANES; i++)
        if (job->raw[i]) job->device->ops->host_free(job->device->backend, &job->raw[i]);
    pipe_slices_free(&job->slices);
    io_free(&job->volume.voxels);
}

static io_status run_batches(flow_job *job, int n_batches)
{
    const void *labels;

    for (int i = 0; i < n_batches; i++) {
        if (model_flow_under_way(job->flow) == MODEL_LANES) IO_TRY(model_flow_finish(job->flow, &labels));
        IO_TRY(model_flow_begin(job->flow, job->raw[i % MODEL_LANES]));
    }
    while (model_flow_under_way(job->flow) > 0) IO_TRY(model_flow_finish(job->flow, &labels));
    return IO_OK;
}

/* The trace waits after every operation, so it comes apart from the measurement. */
static io_status trace_batches(flow_job *job, model_sam *network, bench_result *result)
{
    io_status status;

    model_sam_set_trace(network, job_bench_add, result);
    status = run_batches(job, TRACED_BATCHES);
    model_sam_set_trace(network, NULL, NULL);
    result->n_traced = (int64_t)TRACED_BATCHES * model_flow_batch(job->device);
    return status;
}

io_status job_bench_flow(const bench_options *options, model_device *device, model_sam *network, bench_result *result)
{
    const int n_batches = options->n_repeats * BATCHES_PER_REPEAT;
    io_status status = IO_OK;
    flow_job job = {.device = device};
    double start;

    IO_TRY_GOTO(status, done, create_flow(network, options->image_size, &job));
    IO_TRY_GOTO(status, done, run_batches(&job, MODEL_LANES)); /* warm-up, and the recording of the pass */
    start = job_time_now();
    IO_TRY_GOTO(status, done, run_batches(&job, n_batches));
    result->slices_per_s = (double)n_batches * model_flow_batch(device) / (job_time_now() - start);
    status = trace_batches(&job, network, result);
done:
    free_flow(&job);
    return status;
}
