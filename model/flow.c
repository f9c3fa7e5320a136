/* See flow.h. One batch: upload to its lane -> images -> network -> labels -> labels on the grid -> download of its lane. */
#include "model/flow.h"

#include "io/memory.h"
#include "model/sam_pass.h"

/* What one batch owns from begin to finish. */
typedef struct flow_lane {
    void *raw;         /* device [b][rows][cols] */
    void *labels;      /* device, the same of label_bytes */
    void *host_labels; /* host */
} flow_lane;

struct model_flow {
    const model_ops *ops;
    model_backend *backend;
    model_sam *sam; /* borrowed */
    int b, label_bytes;
    model_slicer *slicer;                 /* set to the volume under way */
    size_t raw_bytes, labels_bytes;       /* of a batch of it */
    size_t raw_capacity, labels_capacity; /* of each lane, taken once */
    double images_flop, images_bytes;     /* of a batch, by formula */
    double labels_taken;                  /* of a batch: labels of the network that some voxel takes */
    flow_lane lanes[MODEL_LANES];
    int first, n; /* lanes under way: first, first + 1, ... */
};

bool model_flow_is_offered(const model_device *device)
{
    return device->ops->images_forward != NULL;
}

int model_flow_batch(const model_device *device)
{
    return device->ops->slices_per_pass;
}

size_t model_voxel_bytes(model_voxel voxel)
{
    static const size_t bytes[] = {1, 1, 2, 2, 4, 4, 4}; /* in the order of model_voxel */

    return bytes[voxel];
}

static void free_lanes(model_flow *flow)
{
    for (int i = 0; i < MODEL_LANES; i++) {
        flow_lane *lane = &flow->lanes[i];
        if (lane->raw) flow->ops->memory_free(flow->backend, &lane->raw);
        if (lane->labels) flow->ops->memory_free(flow->backend, &lane->labels);
        if (lane->host_labels) flow->ops->host_free(flow->backend, &lane->host_labels);
    }
}

void model_flow_free(model_flow **flow)
{
    if (!flow || !*flow) return;
    (void)(*flow)->ops->sync((*flow)->backend); /* a batch may be under way when a run is given up */
    if ((*flow)->slicer) (*flow)->ops->slicer_free((*flow)->backend, &(*flow)->slicer);
    free_lanes(*flow);
    io_free(flow);
}

static io_status create_lanes(model_flow *flow)
{
    for (int i = 0; i < MODEL_LANES; i++) {
        IO_TRY(flow->ops->memory_create(flow->backend, flow->raw_capacity, &flow->lanes[i].raw));
        IO_TRY(flow->ops->memory_create(flow->backend, flow->labels_capacity, &flow->lanes[i].labels));
        IO_TRY(flow->ops->host_create(flow->backend, flow->labels_capacity, &flow->lanes[i].host_labels));
    }
    return IO_OK;
}

io_status model_flow_create(model_device *device, model_sam *sam, int label_bytes, const model_slicing_room *room, model_flow **out)
{
    io_status status = IO_OK;
    model_flow *flow = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *flow, (void **)&flow));
    flow->ops = device->ops;
    flow->backend = device->backend;
    flow->sam = sam;
    flow->b = model_sam_pass_slices(sam);
    flow->label_bytes = label_bytes;
    IO_TRY_GOTO(status, done, io_size_mul(room->raw_bytes, (size_t)flow->b, &flow->raw_capacity));
    IO_TRY_GOTO(status, done, io_size_mul(room->n_pixels * (size_t)label_bytes, (size_t)flow->b, &flow->labels_capacity));
    IO_TRY_GOTO(status, done, create_lanes(flow));
    IO_TRY_GOTO(status, done, flow->ops->slicer_create(flow->backend, room, flow->b, &flow->slicer));
    *out = flow;
    flow = NULL;
done:
    model_flow_free(&flow);
    return status;
}

size_t model_flow_estimate_bytes(const model_slicing_room *room, int label_bytes, int b)
{
    enum { STRIPS = 2 * sizeof(double), TABLES = 4 * (sizeof(double) + sizeof(int32_t)) + sizeof(int32_t) /* backend.h */ };
    const size_t lane = room->raw_bytes + room->n_pixels * (size_t)label_bytes;

    return (size_t)b * (MODEL_LANES * lane + STRIPS * room->n_strip) + TABLES * room->n_outputs;
}

/* One axis of a zoom, all its lines: the spline's filter in place, then four taps for each output. */
static void count_axis(model_flow *flow, double n_in, double n_out, double n_lines, double out_bytes)
{
    flow->images_flop += n_lines * (6 * n_in + 7 * n_out);
    flow->images_bytes += n_lines * (3 * sizeof(double) * n_in + out_bytes * n_out);
}

static void count_zoom(model_flow *flow, const model_zoom *zoom, bool is_last)
{
    if (!zoom) return;
    count_axis(flow, zoom->rows.n_in, zoom->rows.n_out, zoom->cols.n_in, sizeof(double));
    count_axis(flow, zoom->cols.n_in, zoom->cols.n_out, zoom->rows.n_out, is_last ? sizeof(float) : sizeof(double));
}

/* What making a batch's images and bringing its labels back computes and moves, for who watches. */
static void count_work(model_flow *flow, const model_slicing *slicing)
{
    const double n_pixels = (double)slicing->rows * slicing->cols, S = slicing->image_size;
    const bool is_zoomed = slicing->first || slicing->second;

    flow->images_flop = 5 * n_pixels;
    flow->images_bytes = n_pixels * ((double)model_voxel_bytes(slicing->voxel) + (is_zoomed ? sizeof(double) : sizeof(float)));
    count_zoom(flow, slicing->first, !slicing->second);
    count_zoom(flow, slicing->second, true);
    flow->images_flop *= flow->b;
    flow->images_bytes *= flow->b;
    flow->labels_taken = flow->b * (slicing->rows < S ? slicing->rows : S) * (slicing->cols < S ? slicing->cols : S);
}

io_status model_flow_volume(model_flow *flow, const model_slicing *slicing)
{
    size_t n_pixels;

    if (flow->n > 0) return IO_FAIL(IO_ERR_ARGUMENT, "%d batches of the last volume are still under way; finish them first", flow->n);
    IO_TRY(io_size_mul((size_t)slicing->rows, (size_t)slicing->cols, &n_pixels));
    IO_TRY(io_size_mul(n_pixels, (size_t)flow->b, &n_pixels));
    IO_TRY(io_size_mul(n_pixels, model_voxel_bytes(slicing->voxel), &flow->raw_bytes));
    IO_TRY(io_size_mul(n_pixels, (size_t)flow->label_bytes, &flow->labels_bytes));
    if (flow->raw_bytes > flow->raw_capacity || flow->labels_bytes > flow->labels_capacity)
        return IO_FAIL(IO_ERR_MISMATCH,
                       "slices of %d x %d pixels, %zu bytes for a batch and %zu for its labels; at the start of the run room was taken for "
                       "%zu and %zu: was the file replaced?",
                       slicing->cols, slicing->rows, flow->raw_bytes, flow->labels_bytes, flow->raw_capacity, flow->labels_capacity);
    count_work(flow, slicing);
    return flow->ops->slicer_set(flow->backend, flow->slicer, slicing);
}

static io_status make_images(const model_flow *flow, const flow_lane *lane)
{
    IO_TRY(model_sam_pass_trace_start(flow->sam));
    IO_TRY(flow->ops->images_forward(flow->backend, model_sam_pass_images(flow->sam), lane->raw, flow->slicer, flow->b));
    return model_sam_pass_trace(flow->sam, "raw_to_image", flow->images_flop, flow->images_bytes);
}

/* Of the network's labels those are read that some voxel takes. */
static io_status bring_labels_back(const model_flow *flow, const flow_lane *lane)
{
    IO_TRY(flow->ops->labels_back(flow->backend, lane->labels, model_sam_pass_labels(flow->sam), flow->slicer, flow->label_bytes, flow->b));
    return model_sam_pass_trace(flow->sam, "labels_back", 0, (double)flow->labels_bytes + 2 * flow->labels_taken);
}

io_status model_flow_begin(model_flow *flow, const void *raw)
{
    const int lane = (flow->first + flow->n) % MODEL_LANES;
    const flow_lane *at = &flow->lanes[lane];

    if (flow->n == MODEL_LANES) return IO_FAIL(IO_ERR_ARGUMENT, "%d batches are under way; finish one first", flow->n);
    IO_TRY(flow->ops->upload_begin(flow->backend, lane, at->raw, raw, flow->raw_bytes));
    IO_TRY(make_images(flow, at));
    IO_TRY(model_sam_pass(flow->sam));
    IO_TRY(bring_labels_back(flow, at));
    IO_TRY(flow->ops->download_begin(flow->backend, lane, at->host_labels, at->labels, flow->labels_bytes));
    flow->n++;
    return IO_OK;
}

int model_flow_under_way(const model_flow *flow)
{
    return flow->n;
}

io_status model_flow_finish(model_flow *flow, const void **labels)
{
    const int lane = flow->first;

    if (flow->n == 0) return IO_FAIL(IO_ERR_ARGUMENT, "no batch is under way");
    IO_TRY(flow->ops->lane_finish(flow->backend, lane));
    *labels = flow->lanes[lane].host_labels;
    flow->first = (lane + 1) % MODEL_LANES;
    flow->n--;
    return IO_OK;
}
