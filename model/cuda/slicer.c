/* Tables of a volume's zooms on the device (pipeline/zoom.h plans them). Made once per volume. */
#include "model/cuda/slicer.h"

#include <string.h>

#include "io/memory.h"

enum { TAPS = 4, ALIGN_BYTES = 16 };

/* Where the next array goes in the block: first measured, then filled. */
typedef struct table_writer {
    char *host;   /* NULL while measuring */
    char *device; /* the same place on the device */
    size_t used;
} table_writer;

static const void *put(table_writer *to, const void *from, size_t n_bytes)
{
    const size_t at = to->used;

    to->used += (n_bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    if (!to->host) return NULL;
    memcpy(to->host + at, from, n_bytes);
    return to->device + at;
}

static cuda_axis put_axis(table_writer *to, const model_zoom_axis *axis)
{
    const size_t n = (size_t)axis->n_out;
    cuda_axis out = {.n_in = axis->n_in, .n_out = axis->n_out};

    out.weight = put(to, axis->weight, n * TAPS * sizeof *axis->weight);
    out.index = put(to, axis->index, n * TAPS * sizeof *axis->index);
    out.nearest = put(to, axis->nearest, n * sizeof *axis->nearest);
    return out;
}

static cuda_zoom put_zoom(table_writer *to, const model_zoom *zoom)
{
    cuda_zoom out = {.is_there = zoom != NULL};

    if (!zoom) return out;
    out.rows = put_axis(to, &zoom->rows);
    out.cols = put_axis(to, &zoom->cols);
    return out;
}

static void put_zooms(table_writer *to, const model_slicing *slicing, model_slicer *slicer)
{
    slicer->first = put_zoom(to, slicing->first);
    slicer->second = put_zoom(to, slicing->second);
    slicer->back = put_zoom(to, slicing->back);
}

/* The larger of a zoom's input and of what lies between its axes. */
static size_t count_doubles(const cuda_zoom *zoom)
{
    const size_t in = (size_t)zoom->rows.n_in * (size_t)zoom->cols.n_in, middle = (size_t)zoom->rows.n_out * (size_t)zoom->cols.n_in;

    if (!zoom->is_there) return 0;
    return in > middle ? in : middle;
}

static io_status upload_tables(model_backend *backend, const model_slicing *slicing, model_slicer *slicer)
{
    io_status status = IO_OK;
    table_writer size = {0}, to = {0};

    put_zooms(&size, slicing, slicer);
    if (size.used == 0) return IO_OK;
    IO_TRY(cuda_memory_create(backend, size.used, &slicer->tables));
    IO_TRY(io_alloc(size.used, 1, (void **)&to.host));
    to.device = slicer->tables;
    put_zooms(&to, slicing, slicer);
    status = cuda_memory_upload(backend, slicer->tables, to.host, size.used);
    io_free(&to.host);
    return status;
}

io_status slicer_create_cuda(model_backend *backend, const model_slicing *slicing, int B, model_slicer **out)
{
    io_status status = IO_OK;
    model_slicer *slicer = NULL;
    size_t first, second, n_bytes;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *slicer, (void **)&slicer));
    slicer->rows = slicing->rows;
    slicer->cols = slicing->cols;
    slicer->image_size = slicing->image_size;
    slicer->voxel = slicing->voxel;
    slicer->slope = slicing->slope;
    slicer->inter = slicing->inter;
    slicer->low = slicing->low;
    slicer->high = slicing->high;
    slicer->range = slicing->range;
    IO_TRY_GOTO(status, done, upload_tables(backend, slicing, slicer));
    first = count_doubles(&slicer->first);
    second = count_doubles(&slicer->second);
    IO_TRY_GOTO(status, done, io_size_mul(first > second ? first : second, (size_t)B, &slicer->n_strip));
    IO_TRY_GOTO(status, done, io_size_mul(slicer->n_strip, 2 * sizeof(double), &n_bytes));
    if (n_bytes > 0) IO_TRY_GOTO(status, done, cuda_memory_create(backend, n_bytes, &slicer->strips));
    *out = slicer;
    slicer = NULL;
done:
    slicer_free_cuda(backend, &slicer);
    return status;
}

void slicer_free_cuda(model_backend *backend, model_slicer **slicer)
{
    if (!slicer || !*slicer) return;
    cuda_memory_free(backend, &(*slicer)->tables);
    cuda_memory_free(backend, &(*slicer)->strips);
    io_free(slicer);
}
