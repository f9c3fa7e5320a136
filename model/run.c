/* See run.h. */
#include "model/run.h"

#include <string.h>
#include <time.h>

#include "io/memory.h"

static double read_clock(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

io_status model_run_linear(model_run *run, model_rows out, model_rows in, const model_linear *linear, model_epilogue epilogue, int M)
{
    return run->ops->linear_forward(run->backend, out, in, linear->weight, linear->bias, epilogue, M);
}

io_status model_run_trace_start(model_run *run)
{
    if (!run->trace) return IO_OK;
    IO_TRY(run->ops->sync(run->backend));
    run->trace_start = read_clock();
    return IO_OK;
}

io_status model_run_trace(model_run *run, const char *operation, double flop, double bytes)
{
    double end;

    if (!run->trace) return IO_OK;
    IO_TRY(run->ops->sync(run->backend));
    end = read_clock();
    run->trace(run->trace_context, operation, end - run->trace_start, flop, bytes);
    run->trace_start = read_clock(); /* what the watcher does is not measured */
    return IO_OK;
}

io_status model_run_trace_linear(model_run *run, const char *operation, const model_linear *linear, int M)
{
    const double element = run->type == MODEL_BF16 ? 2 : 4, m = M, n_out = linear->n_out, n_in = linear->n_in;

    return model_run_trace(run, operation, 2 * m * n_out * n_in, element * (n_out * n_in + m * (n_in + n_out)));
}

io_status model_run_probe(model_run *run, const char *what, model_rows rows, int M, int C, bool transposed)
{
    io_status status = IO_OK;
    float *row = NULL;

    if (!run->probe_out || strcmp(what, run->probe) != 0) return IO_OK;
    IO_TRY(io_alloc((size_t)C, sizeof *row, (void **)&row));
    for (int m = 0; m < M; m++) {
        const float *from = (const float *)rows.data + (int64_t)m * rows.stride;
        IO_TRY_GOTO(status, done, run->ops->download(run->backend, row, from, (size_t)C * sizeof *row));
        for (int c = 0; c < C; c++) run->probe_out[transposed ? (int64_t)c * M + m : (int64_t)m * C + c] = row[c];
    }
done:
    io_free(&row);
    return status;
}
