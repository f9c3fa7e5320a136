/* See phantom.h. Slice by slice: body, muscles, spine, organs over each other (phantom_anatomy.c), noise, rounding. */
#include "pipeline/phantom.h"

#include <math.h>

#include "io/memory.h"
#include "pipeline/phantom_anatomy.h"

enum { LOWEST_HU = -1024, HIGHEST_HU = 3071, MAX_SIDE = 1 << 15 }; /* twelve bits, as scanners store them */

static io_status check_options(const pipe_phantom_options *o)
{
    size_t n = 1;

    for (int i = 0; i < 3; i++) {
        if (o->dims[i] < 1 || o->dims[i] > MAX_SIDE)
            return IO_FAIL(IO_ERR_ARGUMENT, "phantom of %lld x %lld x %lld voxels; expected 1 to %d on each axis", (long long)o->dims[0],
                           (long long)o->dims[1], (long long)o->dims[2], MAX_SIDE);
        if (!(o->spacing_mm[i] >= 0.01 && o->spacing_mm[i] <= 1000))
            return IO_FAIL(IO_ERR_ARGUMENT, "phantom spacing %g x %g x %g mm; expected 0.01 to 1000", o->spacing_mm[0], o->spacing_mm[1],
                           o->spacing_mm[2]);
        IO_TRY(io_size_mul(n, (size_t)o->dims[i], &n));
    }
    if (!(o->noise_hu >= 0 && o->noise_hu <= 1000)) return IO_FAIL(IO_ERR_ARGUMENT, "phantom noise %g HU; expected 0 to 1000", o->noise_hu);
    return IO_OK;
}

static void paint_slice(const anatomy *a, canvas *c)
{
    const oval cavity = pipe_body_cavity(a, c->z);

    pipe_body_paint(a, c);
    for (int i = 0; i < a->n_behind; i++) pipe_shape_paint(&a->organs[i], &cavity, a->domes, c);
    pipe_spine_paint(a, c);
    for (int i = a->n_behind; i < a->n_organs; i++) pipe_shape_paint(&a->organs[i], &cavity, a->domes, c);
}

static void round_slice(const float *hu, int64_t n, int16_t *image)
{
    for (int64_t i = 0; i < n; i++) {
        const float v = hu[i] < LOWEST_HU ? LOWEST_HU : hu[i] > HIGHEST_HU ? HIGHEST_HU : hu[i];
        image[i] = (int16_t)((int32_t)(v + 2048.5f) - 2048);
    }
}

io_status pipe_phantom_draw(const pipe_phantom_options *options, int16_t *image, uint8_t *labels)
{
    const int64_t nx = options->dims[0], ny = options->dims[1], n_pixels = nx * ny;
    io_status status = IO_OK;
    anatomy *a = NULL;
    int32_t *rows = NULL;
    canvas c = {.n_cols = nx, .n_rows = ny, .step_x = options->spacing_mm[0], .step_y = options->spacing_mm[1]};
    dice d = {.seed = options->seed, .case_index = options->case_index};

    IO_TRY_GOTO(status, done, check_options(options));
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *a, (void **)&a));
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_pixels, sizeof *c.hu, (void **)&c.hu));
    IO_TRY_GOTO(status, done, io_alloc((size_t)pipe_noise_scratch(nx), sizeof *rows, (void **)&rows));
    pipe_anatomy_create(&d, a);
    c.x0 = -0.5 * (double)(nx - 1) * c.step_x;
    c.y0 = -0.5 * (double)(ny - 1) * c.step_y;
    c.softness = fmax(1.0, 0.5 * (c.step_x + c.step_y));
    for (int64_t k = 0; k < options->dims[2]; k++) {
        c.z = ((double)k - 0.5 * (double)(options->dims[2] - 1)) * options->spacing_mm[2];
        c.labels = labels + k * n_pixels;
        for (int64_t i = 0; i < n_pixels; i++) c.labels[i] = 0;
        paint_slice(a, &c);
        pipe_noise_add(&d, k, ny, nx, options->noise_hu, c.hu, rows);
        round_slice(c.hu, n_pixels, image + k * n_pixels);
    }
done:
    io_free(&rows);
    io_free(&c.hu);
    io_free(&a);
    return status;
}
