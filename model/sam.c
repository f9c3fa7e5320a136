/* See sam.h. Slices go through encoder, decoder and labels pass by pass; each pass computes its slices exactly as any other would, so
 * the result does not depend on how many slices a call brings. */
#include "model/sam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"
#include "model/flop.h"
#include "model/load.h"
#include "model/params.h"
#include "model/run.h"
#include "model/sam_pass.h"

struct model_sam {
    model_device *device; /* borrowed */
    model_config config;
    model_weights weights;
    model_workspace workspace;
    model_run run;
    model_graph *graph; /* of a whole pass, where the device records; made by the second one */
    bool has_passed;
};

static void start_run(model_sam *sam)
{
    sam->run = (model_run){.config = &sam->config,
                           .ops = sam->device->ops,
                           .backend = sam->device->backend,
                           .type = sam->device->type,
                           .workspace = &sam->workspace};
}

io_status model_sam_check_memory(const model_device *device, const model_config *config, size_t more_bytes)
{
    const size_t network = model_sam_estimate_bytes(config, device->type, device->kind), needed = network + more_bytes;
    char more[96] = "";
    size_t left;

    if (!device->ops->memory_left) return IO_OK;
    IO_TRY(device->ops->memory_left(device->backend, &left));
    if (needed <= left) return IO_OK;
    if (more_bytes > 0) snprintf(more, sizeof more, ", %.0f MB of them for the largest raw slices", (double)more_bytes / 1e6);
    return IO_FAIL(
        IO_ERR_MEMORY,
        "about %.0f MB are needed for the network and passes of %d slices%s; %s has %.0f MB left; end what else runs on it, put fewer "
        "ranks on it, or use --precision bf16 or a smaller --image-size",
        (double)needed / 1e6, device->ops->slices_per_pass, more, device->description, (double)left / 1e6);
}

io_status model_sam_create(model_device *device, const model_config *config, const io_tensors *sam, const io_tensors *adapter,
                           model_sam **out)
{
    io_status status = IO_OK;
    const int b = device->ops->slices_per_pass;
    model_sam *made = NULL;

    IO_TRY(model_sam_check_memory(device, config, 0));
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *made, (void **)&made));
    made->device = device;
    made->config = *config;
    start_run(made);
    IO_TRY_GOTO(status, done, model_weights_load(device, config, sam, adapter, b, MODEL_LOAD_INFERENCE, &made->weights));
    IO_TRY_GOTO(status, done, model_workspace_plan(config, device->type, device->ops->row_pad, b, &made->workspace));
    IO_TRY_GOTO(status, done, model_workspace_create(&made->workspace, device->ops, device->backend));
    made->run.b = b;
    IO_TRY_GOTO(status, done, model_decoder_prepare(&made->run, &made->weights.decoder));
    *out = made;
    made = NULL;
done:
    model_sam_free(&made);
    return status;
}

void model_sam_free(model_sam **sam)
{
    if (!sam || !*sam) return;
    if ((*sam)->graph) (*sam)->device->ops->graph_free((*sam)->device->backend, &(*sam)->graph);
    model_weights_free(&(*sam)->weights, (*sam)->config.n_channels, (*sam)->device->ops, (*sam)->device->backend);
    model_workspace_free(&(*sam)->workspace, (*sam)->device->ops, (*sam)->device->backend);
    io_free(sam);
}

int model_sam_pass_slices(const model_sam *sam)
{
    return sam->device->ops->slices_per_pass;
}

float *model_sam_pass_images(const model_sam *sam)
{
    return model_workspace_data(&sam->workspace, MODEL_SLOT_IMAGES);
}

const uint16_t *model_sam_pass_labels(const model_sam *sam)
{
    return model_workspace_data(&sam->workspace, MODEL_SLOT_LABELS);
}

/* n of the pass's images come from the caller; what follows them is the first one again, so that every pass has the same shape. */
static io_status upload_images(model_sam *sam, const float *images, int n)
{
    const model_run *run = &sam->run;
    const size_t area = (size_t)sam->config.image_size * (size_t)sam->config.image_size;
    float *slot = model_sam_pass_images(sam);

    IO_TRY(run->ops->upload(run->backend, slot, images, (size_t)n * area * sizeof *images));
    for (int i = n; i < run->b; i++) IO_TRY(run->ops->upload(run->backend, slot + (size_t)i * area, images, area * sizeof *images));
    return IO_OK;
}

/* The images' slot -> the logits' slot. */
static io_status run_network(model_sam *sam, bool with_iou)
{
    IO_TRY(model_run_trace_start(&sam->run));
    IO_TRY(model_encoder_forward(&sam->run, &sam->weights.encoder));
    return model_decoder_forward(&sam->run, &sam->weights.decoder, with_iou);
}

static io_status issue_pass(model_sam *sam)
{
    model_run *run = &sam->run;
    const int S = sam->config.image_size, K = sam->config.n_channels, L = MODEL_UPSCALE * (S / sam->config.patch);
    const double n = (double)run->b * S * S;

    IO_TRY(run_network(sam, false));
    IO_TRY(run->ops->labels_forward(run->backend, model_workspace_data(run->workspace, MODEL_SLOT_LABELS),
                                    model_workspace_data(run->workspace, MODEL_SLOT_LOGITS), run->b, K, L, S));
    return model_run_trace(run, "labels", 4.0 * K * n, 4.0 * run->b * K * L * L + 2.0 * n);
}

/* The first pass is done as it is, since a device chooses its algorithms and takes its scratch on the way; the second is recorded. */
static io_status record_pass(model_sam *sam)
{
    const model_run *run = &sam->run;
    model_graph *partial = NULL;
    char why[1024];
    io_status status;

    IO_TRY(run->ops->graph_begin(run->backend));
    status = issue_pass(sam);
    if (status == IO_OK) return run->ops->graph_end(run->backend, &sam->graph);
    snprintf(why, sizeof why, "%s", io_last_error_text());
    (void)run->ops->graph_end(run->backend, &partial); /* the recording must end, but must not be kept; the first failure is what counts */
    if (partial) run->ops->graph_free(run->backend, &partial);
    return IO_FAIL(status, "while a pass was recorded: %s", why);
}

io_status model_sam_pass(model_sam *sam)
{
    const model_run *run = &sam->run;
    const bool is_watched = run->trace || run->probe_out;

    if (!run->ops->graph_begin || is_watched || !sam->has_passed) {
        sam->has_passed = true;
        return issue_pass(sam);
    }
    if (!sam->graph) IO_TRY(record_pass(sam));
    return run->ops->graph_launch(run->backend, sam->graph);
}

io_status model_sam_pass_trace_start(model_sam *sam)
{
    return model_run_trace_start(&sam->run);
}

io_status model_sam_pass_trace(model_sam *sam, const char *operation, double flop, double bytes)
{
    return model_run_trace(&sam->run, operation, flop, bytes);
}

io_status model_sam_segment(model_sam *sam, const float *images, int B, uint16_t *labels)
{
    const size_t area = (size_t)sam->config.image_size * (size_t)sam->config.image_size;
    const model_run *run = &sam->run;

    for (int first = 0; first < B; first += run->b) {
        const int n = B - first < run->b ? B - first : run->b;
        IO_TRY(upload_images(sam, images + (size_t)first * area, n));
        IO_TRY(model_sam_pass(sam));
        IO_TRY(
            run->ops->download(run->backend, labels + (size_t)first * area, model_sam_pass_labels(sam), (size_t)n * area * sizeof *labels));
    }
    return IO_OK;
}

static io_status download_slot(const model_run *run, model_slot slot, size_t n_floats, float *out)
{
    return run->ops->download(run->backend, out, model_workspace_data(run->workspace, slot), n_floats * sizeof *out);
}

io_status model_sam_logits(model_sam *sam, const float *images, int B, float *logits, float *iou)
{
    const size_t area = (size_t)sam->config.image_size * (size_t)sam->config.image_size, K = (size_t)sam->config.n_channels;
    const size_t L = (size_t)(MODEL_UPSCALE * (sam->config.image_size / sam->config.patch));
    const int step = sam->run.b;

    for (int first = 0; first < B; first += step) {
        const int b = B - first < step ? B - first : step;
        IO_TRY(upload_images(sam, images + (size_t)first * area, b));
        IO_TRY(run_network(sam, iou != NULL));
        IO_TRY(download_slot(&sam->run, MODEL_SLOT_LOGITS, (size_t)b * K * L * L, logits + (size_t)first * K * L * L));
        if (iou) IO_TRY(download_slot(&sam->run, MODEL_SLOT_IOU, (size_t)b * K, iou + (size_t)first * K));
    }
    return IO_OK;
}

/* Elements of what can be looked at; 0 for a name that means nothing. */
static size_t measure_probe(const model_config *config, const char *what)
{
    const size_t G = (size_t)(config->image_size / config->patch);
    char *end;

    if (!strcmp(what, "embedding")) return G * G * (size_t)config->decoder_width;
    if (!strcmp(what, "patch_embed")) return G * G * (size_t)config->width;
    if (strncmp(what, "block.", 6) != 0) return 0;
    const long i = strtol(what + 6, &end, 10);
    return *end || end == what + 6 || i < 0 || i >= config->depth ? 0 : G * G * (size_t)config->width;
}

io_status model_sam_probe(model_sam *sam, const char *what, float *out, size_t n_elements)
{
    const size_t expected = what ? measure_probe(&sam->config, what) : 0;

    sam->run.probe_out = NULL;
    if (!what) return IO_OK;
    if (expected == 0)
        return IO_FAIL(IO_ERR_ARGUMENT, "probe %s: unknown; expected patch_embed, block.0 to block.%d or embedding", what,
                       sam->config.depth - 1);
    if (expected != n_elements)
        return IO_FAIL(IO_ERR_ARGUMENT, "probe %s: has %zu elements, the caller has room for %zu", what, expected, n_elements);
    snprintf(sam->run.probe, sizeof sam->run.probe, "%s", what);
    sam->run.probe_out = out;
    return IO_OK;
}

void model_sam_set_trace(model_sam *sam, model_trace trace, void *context)
{
    sam->run.trace = trace;
    sam->run.trace_context = context;
}

double model_sam_flop(const model_config *config)
{
    double flop = model_flop_patch(config) + model_flop_neck(config) + model_flop_decoder(config);

    for (int i = 0; i < config->depth; i++) flop += model_flop_block(config, config->is_global[i]);
    return flop;
}

size_t model_sam_bytes(const model_sam *sam)
{
    return sam->weights.matrices_bytes + sam->weights.constants_bytes + sam->workspace.n_bytes;
}

/* Of the 3x3 convolution, the largest of all: nine neighbours of each position side by side. */
static size_t estimate_scratch(const model_config *config, model_type type, int b)
{
    const size_t G = (size_t)(config->image_size / config->patch);

    return (size_t)b * G * G * 9 * (size_t)config->decoder_width * (type == MODEL_BF16 ? 2 : 4);
}

size_t model_sam_estimate_bytes(const model_config *config, model_type type, model_device_kind kind)
{
    const int b = model_device_pass_slices(kind);
    const size_t scratch = kind == MODEL_DEVICE_CUDA ? estimate_scratch(config, type, b) : 0;
    model_workspace workspace = {0};

    if (model_workspace_plan(config, type, 16, b, &workspace) != IO_OK) return SIZE_MAX / 2;
    return model_weights_matrices_bytes(config, type) + model_weights_constants_bytes(config, b) + workspace.n_bytes + scratch;
}
