/* Label slices into a volume in the input's storage order; every slice exactly once (slices.h). */
#include "pipeline/slices.h"

#include "io/memory.h"
#include "pipeline/slices_view.h"

struct pipe_labelmap {
    slices_view view;
    int label_bytes;
    void *labels;      /* [nz][ny][nx] of label_bytes */
    uint8_t *has_come; /* [view.count] */
};

io_status pipe_labelmap_create(const pipe_slices *slices, int label_bytes, pipe_labelmap **out)
{
    io_status status = IO_OK;
    pipe_labelmap *map = NULL;
    size_t n_voxels;

    *out = NULL;
    if (label_bytes != 1 && label_bytes != 2) return IO_FAIL(IO_ERR_ARGUMENT, "labels of %d bytes; expected 1 or 2", label_bytes);
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *map, (void **)&map));
    map->view = *pipe_slices_view(slices);
    map->label_bytes = label_bytes;
    IO_TRY_GOTO(status, done, io_size_mul((size_t)map->view.rows * (size_t)map->view.cols, (size_t)map->view.count, &n_voxels));
    IO_TRY_GOTO(status, done, io_alloc(n_voxels, (size_t)label_bytes, &map->labels));
    IO_TRY_GOTO(status, done, io_alloc((size_t)map->view.count, 1, (void **)&map->has_come));
    *out = map;
    map = NULL;
done:
    pipe_labelmap_free(&map);
    return status;
}

void pipe_labelmap_free(pipe_labelmap **map)
{
    if (!map || !*map) return;
    io_free(&(*map)->labels);
    io_free(&(*map)->has_come);
    io_free(map);
}

static io_status check_slice(const pipe_labelmap *map, int64_t k)
{
    if (k < 0 || k >= map->view.count)
        return IO_FAIL(IO_ERR_MISMATCH, "labels for slice %lld arrived; the volume has slices 0 to %lld", (long long)k,
                       (long long)map->view.count - 1);
    if (map->has_come[k]) return IO_FAIL(IO_ERR_MISMATCH, "labels of slice %lld arrived a second time", (long long)k);
    return IO_OK;
}

io_status pipe_labelmap_put(pipe_labelmap *map, int64_t k, const void *labels)
{
    const slices_view *view = &map->view;
    const uint8_t *byte = labels;
    const uint16_t *word = labels;
    uint8_t *bytes = map->labels;
    uint16_t *words = map->labels;

    IO_TRY(check_slice(map, k));
    for (int r = 0; r < view->rows; r++) {
        int64_t voxel = view->first + k * view->slice_step + r * view->row_step;
        for (int c = 0; c < view->cols; c++, voxel += view->col_step) {
            if (map->label_bytes == 1)
                bytes[voxel] = *byte++;
            else
                words[voxel] = *word++;
        }
    }
    map->has_come[k] = 1;
    return IO_OK;
}

io_status pipe_labelmap_finish(pipe_labelmap *map, const void **out)
{
    int64_t n_missing = 0, first_missing = -1;

    *out = NULL;
    for (int64_t k = map->view.count - 1; k >= 0; k--) {
        if (map->has_come[k]) continue;
        first_missing = k;
        n_missing++;
    }
    if (n_missing > 0)
        return IO_FAIL(IO_ERR_MISMATCH, "labels of %lld of %lld slices never arrived, first of them slice %lld", (long long)n_missing,
                       (long long)map->view.count, (long long)first_missing);
    *out = map->labels;
    return IO_OK;
}
