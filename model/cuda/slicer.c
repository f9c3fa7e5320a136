/* Tables of a volume's zooms on the device (pipeline/zoom.h plans them), in memory that is taken once and filled for each volume. */
#include "model/cuda/slicer.h"

#include <string.h>

#include "io/memory.h"

enum {
    TAPS = 4,
    ALIGN_BYTES = 16,
    N_TABLES = 3 * 2 * 3, /* of three zooms: two axes, each with weights, indices and nearest inputs */
    OUTPUT_BYTES = TAPS * sizeof(double) + TAPS * sizeof(int32_t) + sizeof(int32_t)
};

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

static io_status check_room(const model_slicer *slicer, size_t n_bytes)
{
    const size_t first = count_doubles(&slicer->first), second = count_doubles(&slicer->second), most = first > second ? first : second;

    if (n_bytes <= slicer->tables_bytes && most <= slicer->n_strip / (size_t)slicer->B) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH,
                   "slices of %d x %d pixels, for which tables of %zu bytes and %zu numbers a slice are needed; at the start of the run "
                   "room was taken for %zu and %zu: was the file replaced?",
                   slicer->cols, slicer->rows, n_bytes, most, slicer->tables_bytes, slicer->n_strip / (size_t)slicer->B);
}

/* The stream orders the tables behind the work that reads the last ones. */
static io_status set_tables(model_backend *backend, const model_slicing *slicing, model_slicer *slicer)
{
    table_writer size = {0}, to = {.host = slicer->host_tables, .device = slicer->tables};

    put_zooms(&size, slicing, slicer);
    IO_TRY(check_room(slicer, size.used));
    put_zooms(&to, slicing, slicer);
    return cuda_memory_upload(backend, slicer->tables, slicer->host_tables, size.used);
}

io_status slicer_set_cuda(model_backend *backend, model_slicer *slicer, const model_slicing *slicing)
{
    slicer->rows = slicing->rows;
    slicer->cols = slicing->cols;
    slicer->image_size = slicing->image_size;
    slicer->voxel = slicing->voxel;
    slicer->slope = slicing->slope;
    slicer->inter = slicing->inter;
    slicer->low = slicing->low;
    slicer->high = slicing->high;
    slicer->range = slicing->range;
    return set_tables(backend, slicing, slicer);
}

io_status slicer_create_cuda(model_backend *backend, const model_slicing_room *room, int B, model_slicer **out)
{
    io_status status = IO_OK;
    model_slicer *slicer = NULL;
    size_t n_bytes;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *slicer, (void **)&slicer));
    slicer->B = B;
    IO_TRY_GOTO(status, done, io_size_mul(room->n_outputs, OUTPUT_BYTES, &n_bytes));
    IO_TRY_GOTO(status, done, io_size_add(n_bytes, N_TABLES * ALIGN_BYTES, &slicer->tables_bytes));
    IO_TRY_GOTO(status, done, io_alloc(slicer->tables_bytes, 1, (void **)&slicer->host_tables));
    IO_TRY_GOTO(status, done, cuda_memory_create(backend, slicer->tables_bytes, &slicer->tables));
    IO_TRY_GOTO(status, done, io_size_mul(room->n_strip, (size_t)B, &slicer->n_strip));
    IO_TRY_GOTO(status, done, io_size_mul(slicer->n_strip, 2 * sizeof(double), &n_bytes));
    IO_TRY_GOTO(status, done, cuda_memory_create(backend, n_bytes, &slicer->strips));
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
    io_free(&(*slicer)->host_tables);
    io_free(slicer);
}
