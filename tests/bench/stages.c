/* Times two stages alone, to be set beside SciPy and nibabel by bench.py.
 *
 * bench_stages zoom IN OUT N     best seconds of N order-3 zooms of one IN x IN slice to OUT x OUT, one thread
 * bench_stages read FILE N       best seconds of N whole reads of a NIfTI file, from open to voxels in memory */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io/memory.h"
#include "io/nifti.h"
#include "pipeline/zoom.h"

static double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* in [n_in][n_in], out [n_out][n_out] */
static double time_zooms(const pipe_zoom *zoom, const float *in, float *out, void *scratch, int n_runs)
{
    double best = 1e30;
    for (int i = 0; i < n_runs; i++) {
        const double start = clock_seconds();
        pipe_zoom_cubic(zoom, in, out, scratch);
        const double seconds = clock_seconds() - start;
        if (seconds < best) best = seconds;
    }
    return best;
}

static io_status measure_zoom(int n_in, int n_out, int n_runs, double *best)
{
    io_status status = IO_OK;
    pipe_zoom *zoom = NULL;
    float *in = NULL, *out = NULL;
    void *scratch = NULL;

    IO_TRY_GOTO(status, done, pipe_zoom_create(n_in, n_in, n_out, n_out, &zoom));
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_in * (size_t)n_in, sizeof *in, (void **)&in));
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_out * (size_t)n_out, sizeof *out, (void **)&out));
    IO_TRY_GOTO(status, done, io_alloc(1, pipe_zoom_scratch_bytes(zoom), &scratch));
    for (int i = 0; i < n_in * n_in; i++) in[i] = (float)(i * 7 % 101) / 100.0f;
    *best = time_zooms(zoom, in, out, scratch, n_runs);
done:
    io_free(&scratch);
    io_free(&out);
    io_free(&in);
    pipe_zoom_free(&zoom);
    return status;
}

static io_status measure_read(const char *path, int n_runs, double *best)
{
    *best = 1e30;
    for (int i = 0; i < n_runs; i++) {
        io_volume *volume = NULL;
        const double start = clock_seconds();
        IO_TRY(io_nifti_read(path, &volume));
        const double seconds = clock_seconds() - start;
        io_volume_free(&volume);
        if (seconds < *best) *best = seconds;
    }
    return IO_OK;
}

int main(int n_arguments, char **arguments)
{
    io_status status = IO_ERR_ARGUMENT;
    double best = 0;

    if (n_arguments == 5 && strcmp(arguments[1], "zoom") == 0)
        status = measure_zoom((int)strtol(arguments[2], NULL, 10), (int)strtol(arguments[3], NULL, 10),
                              (int)strtol(arguments[4], NULL, 10), &best);
    else if (n_arguments == 4 && strcmp(arguments[1], "read") == 0)
        status = measure_read(arguments[2], (int)strtol(arguments[3], NULL, 10), &best);
    else
        fprintf(stderr, "usage: bench_stages zoom IN OUT N | read FILE N\n");
    if (status == IO_OK) printf("%.6f\n", best);
    if (status != IO_OK && status != IO_ERR_ARGUMENT) fprintf(stderr, "bench_stages: %s\n", io_last_error());
    return status == IO_OK ? 0 : 1;
}
