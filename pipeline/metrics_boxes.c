/* One pass over a pair of label maps; see metrics.h. Rows are walked in runs of one value: labels change rarely, so most of a row is
 * passed eight bytes at a time. */
#include "pipeline/metrics_boxes.h"

#include <string.h>

#include "io/memory.h"

enum { MAX_DIM = 1 << 24, MAX_VALUES = 1 << 16, NO_BOX = INT32_MAX };

/* Where the run of labels equal to labels[at] ends, at < n. */
static int64_t end_run_8(const uint8_t *labels, int64_t at, int64_t n)
{
    const uint64_t pattern = labels[at] * 0x0101010101010101U;
    uint64_t part;

    for (; at + 8 <= n; at += 8) {
        memcpy(&part, labels + at, sizeof part);
        if (part != pattern) break;
    }
    while (at < n && labels[at] == (uint8_t)pattern) at++;
    return at;
}

static int64_t end_run_16(const uint16_t *labels, int64_t at, int64_t n)
{
    const uint64_t pattern = labels[at] * 0x0001000100010001U;
    uint64_t part;

    for (; at + 4 <= n; at += 4) {
        memcpy(&part, labels + at, sizeof part);
        if (part != pattern) break;
    }
    while (at < n && labels[at] == (uint16_t)pattern) at++;
    return at;
}

/* The run of one map's row that a walk stands in. */
typedef struct run {
    const void *row;
    int label_bytes, value;
    int64_t end;
} run;

static void advance_run(run *r, int64_t at, int64_t n)
{
    if (at < r->end) return;
    if (r->label_bytes == 1) {
        r->value = ((const uint8_t *)r->row)[at];
        r->end = end_run_8(r->row, at, n);
    } else {
        r->value = ((const uint16_t *)r->row)[at];
        r->end = end_run_16(r->row, at, n);
    }
}

static void widen_box(pipe_label_box *box, int64_t first, int64_t last, int64_t j, int64_t k)
{
    const int32_t low[3] = {(int32_t)first, (int32_t)j, (int32_t)k}, high[3] = {(int32_t)last, (int32_t)j, (int32_t)k};

    for (int a = 0; a < 3; a++) {
        if (low[a] < box->low[a]) box->low[a] = low[a];
        if (high[a] > box->high[a]) box->high[a] = high[a];
    }
}

/* Voxels first..end - 1 of row (j, k), all reference and prediction alike. */
static void note_run(pipe_label_boxes *boxes, int reference, int prediction, int64_t first, int64_t end, int64_t j, int64_t k)
{
    if (reference > 0 && reference < boxes->n_values) {
        pipe_label_box *box = &boxes->boxes[reference];
        box->overlap.n_reference += end - first;
        if (reference == prediction) box->overlap.n_both += end - first;
        widen_box(box, first, end - 1, j, k);
    }
    if (prediction > 0 && prediction < boxes->n_values) {
        boxes->boxes[prediction].overlap.n_prediction += end - first;
        if (reference != prediction) widen_box(&boxes->boxes[prediction], first, end - 1, j, k);
    }
}

static void walk_row(pipe_label_boxes *boxes, int64_t j, int64_t k)
{
    const int64_t n = boxes->dims[0];
    run runs[2];

    for (int m = 0; m < 2; m++) {
        const char *row = (const char *)boxes->labels[m] + (k * boxes->dims[1] + j) * n * boxes->label_bytes[m];
        runs[m] = (run){.row = row, .label_bytes = boxes->label_bytes[m]};
    }
    for (int64_t at = 0, end; at < n; at = end) {
        advance_run(&runs[0], at, n);
        advance_run(&runs[1], at, n);
        end = runs[0].end < runs[1].end ? runs[0].end : runs[1].end;
        if (runs[0].value || runs[1].value) note_run(boxes, runs[0].value, runs[1].value, at, end, j, k);
    }
}

static io_status check_arguments(const int64_t dims[3], int reference_bytes, int prediction_bytes, int n_values)
{
    for (int a = 0; a < 3; a++) {
        if (dims[a] < 1 || dims[a] > MAX_DIM) {
            return IO_FAIL(IO_ERR_RANGE, "a label map has %lld voxels along axis %d, expected 1 to %d", (long long)dims[a], a, MAX_DIM);
        }
    }
    if ((reference_bytes != 1 && reference_bytes != 2) || (prediction_bytes != 1 && prediction_bytes != 2)) {
        return IO_FAIL(IO_ERR_ARGUMENT, "labels of %d and %d bytes, expected 1 or 2", reference_bytes, prediction_bytes);
    }
    if (n_values < 1 || n_values > MAX_VALUES) {
        return IO_FAIL(IO_ERR_RANGE, "%d label values were asked for, expected 1 to %d", n_values, MAX_VALUES);
    }
    return IO_OK;
}

io_status pipe_label_boxes_create(const int64_t dims[3], const void *reference, int reference_bytes, const void *prediction,
                                  int prediction_bytes, int n_values, pipe_label_boxes **out)
{
    pipe_label_boxes *boxes = NULL;
    io_status status = IO_OK;

    IO_TRY(check_arguments(dims, reference_bytes, prediction_bytes, n_values));
    IO_TRY(io_alloc(1, sizeof *boxes, (void **)&boxes));
    *boxes = (pipe_label_boxes){.dims = {dims[0], dims[1], dims[2]},
                                .labels = {reference, prediction},
                                .label_bytes = {reference_bytes, prediction_bytes},
                                .n_values = n_values};
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_values, sizeof *boxes->boxes, (void **)&boxes->boxes));
    for (int v = 0; v < n_values; v++) boxes->boxes[v] = (pipe_label_box){{NO_BOX, NO_BOX, NO_BOX}, {-1, -1, -1}, {0, 0, 0}};
    for (int64_t k = 0; k < dims[2]; k++) {
        for (int64_t j = 0; j < dims[1]; j++) walk_row(boxes, j, k);
    }
    *out = boxes;
    boxes = NULL;
done:
    pipe_label_boxes_free(&boxes);
    return status;
}

void pipe_label_boxes_free(pipe_label_boxes **boxes)
{
    if (*boxes) io_free(&(*boxes)->boxes);
    io_free(boxes);
}

pipe_overlap pipe_label_boxes_overlap(const pipe_label_boxes *boxes, int value)
{
    return value > 0 && value < boxes->n_values ? boxes->boxes[value].overlap : (pipe_overlap){0, 0, 0};
}
