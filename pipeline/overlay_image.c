/* See overlay_image.h. */
#include "pipeline/overlay_image.h"

#include <math.h>
#include <string.h>

#include "io/memory.h"
#include "io/nifti.h"
#include "pipeline/label_volume.h"

enum { MAX_SAMPLES = 1 << 22 /* voxels: 16 MB, and percentiles to a thousandth */ };

/* An image on its way through. */
typedef struct image_reader {
    pipe_overlay_image *image;
    float *samples; /* [n_samples] finite values of every step-th voxel */
    int64_t n_samples, step, n_seen;
} image_reader;

static void take_slice(void *context, int64_t k, const float *slice)
{
    image_reader *r = context;
    const int64_t nx = r->image->dims[0], ny = r->image->dims[1], *cut = r->image->cut;

    for (int64_t j = 0; j < ny; j++) r->image->planes[0][k * ny + j] = slice[j * nx + cut[0]];
    memcpy(r->image->planes[1] + k * nx, slice + cut[1] * nx, (size_t)nx * sizeof *slice);
    if (k == cut[2]) memcpy(r->image->planes[2], slice, (size_t)(nx * ny) * sizeof *slice);
    for (int64_t i = 0; i < nx * ny; i++)
        if (r->n_seen++ % r->step == 0 && isfinite(slice[i])) r->samples[r->n_samples++] = slice[i];
}

/* samples as a volume of one row. */
static io_status plan_intensity(const image_reader *r, pipe_intensity *out)
{
    const io_volume row = {
        .grid = {.dims = {r->n_samples, 1, 1}}, .datatype = IO_FLOAT32, .slope = 1, .voxels = r->samples, .n_voxels = r->n_samples};

    if (r->n_samples == 0) return IO_FAIL(IO_ERR_RANGE, "none of the image's voxels is a finite number");
    IO_TRY(pipe_intensity_plan(&row, PIPE_PERCENTILE, 1, 99, out));
    return out->low < -500 ? pipe_intensity_plan(&row, PIPE_WINDOW, -160, 240, out) : IO_OK;
}

static io_status allocate(const io_grid *grid, const int64_t cut[3], image_reader *r)
{
    const int64_t *n = grid->dims;
    const int64_t sizes[3] = {n[1] * n[2], n[0] * n[2], n[0] * n[1]}, n_voxels = n[0] * n[1] * n[2]; /* checked with the label maps */

    IO_TRY(io_alloc(1, sizeof *r->image, (void **)&r->image));
    memcpy(r->image->dims, n, sizeof r->image->dims);
    memcpy(r->image->cut, cut, sizeof r->image->cut);
    for (int a = 0; a < 3; a++) IO_TRY(io_alloc((size_t)sizes[a], sizeof(float), (void **)&r->image->planes[a]));
    r->step = (n_voxels + MAX_SAMPLES - 1) / MAX_SAMPLES;
    return io_alloc((size_t)((n_voxels + r->step - 1) / r->step), sizeof *r->samples, (void **)&r->samples);
}

io_status pipe_overlay_image_read(const char *path, const io_grid *grid, const int64_t cut[3], pipe_overlay_image **out)
{
    io_status status = IO_OK;
    image_reader r = {.image = NULL};
    io_nifti_info info;

    IO_TRY_GOTO(status, done, io_nifti_read_info(path, &info));
    if (memcmp(info.grid.dims, grid->dims, sizeof grid->dims) != 0 || !(pipe_grid_distance(grid, &info.grid) <= 1)) {
        status = IO_FAIL(IO_ERR_MISMATCH, "%s: the image lies on another grid than the reference", path);
        goto done;
    }
    IO_TRY_GOTO(status, done, allocate(grid, cut, &r));
    IO_TRY_GOTO(status, done, io_nifti_visit_slices(path, take_slice, &r));
    status = plan_intensity(&r, &r.image->intensity);
    if (status != IO_OK) {
        status = io_fail_context(status, "%s", path);
        goto done;
    }
    *out = r.image;
    r.image = NULL; /* now the caller's */
done:
    io_free(&r.samples);
    pipe_overlay_image_free(&r.image);
    return status;
}

void pipe_overlay_image_free(pipe_overlay_image **image)
{
    if (!image || !*image) return;
    for (int a = 0; a < 3; a++) io_free(&(*image)->planes[a]);
    io_free(image);
}

float pipe_overlay_image_grey(const pipe_overlay_image *image, int64_t at)
{
    const int64_t nx = image->dims[0], ny = image->dims[1];
    const int64_t i = at % nx, j = at / nx % ny, k = at / nx / ny;
    float grey = k == image->cut[2]   ? image->planes[2][j * nx + i]
                 : j == image->cut[1] ? image->planes[1][k * nx + i]
                                      : image->planes[0][k * ny + j];

    pipe_intensity_scale(&image->intensity, &grey, 1);
    return grey > 0 ? (grey < 1 ? grey : 1) : 0;
}
