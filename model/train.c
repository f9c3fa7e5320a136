/* See train.h. */
#include "model/train.h"

#include <math.h>
#include <string.h>

#include "io/memory.h"
#include "model/flop.h"
#include "model/loss.h"
#include "model/train_state.h"

model_train_options model_train_options_default(void)
{
    return (model_train_options){.n_channels = 9,
                                 .lora_rank = 4,
                                 .layout = MODEL_LAYOUT_SAMED,
                                 .projections = MODEL_LORA_Q | MODEL_LORA_V,
                                 .n_kept = 1,
                                 .dice_weight = 0.8,
                                 .adamw = {0.9f, 0.999f, 1e-8f, 0.1f},
                                 .momentum = 0.9f,
                                 .sgd_decay = 1e-4f};
}

static io_status check_options(const model_device *device, const model_train_options *options, const io_tensors *adapter)
{
    if (options->n_kept < 1) return IO_FAIL(IO_ERR_ARGUMENT, "%d slices are to be kept at once; at least 1 is needed", options->n_kept);
    if (adapter) return IO_OK;
    if (options->layout == MODEL_LAYOUT_SAM) return IO_FAIL(IO_ERR_ARGUMENT, "SAM's own layout is not trained; choose SAMed or SAMed_s");
    if (options->lora_rank < 1) return IO_FAIL(IO_ERR_ARGUMENT, "LoRA of rank %d; at least 1 is needed", options->lora_rank);
    if (options->n_channels < 2 || options->n_channels > 256)
        return IO_FAIL(IO_ERR_ARGUMENT, "%d channels; 2 (background and one class) to 256 are possible", options->n_channels);
    return IO_OK;
}

static io_status infer_config(model_trainer *trainer, const io_tensors *sam, const io_tensors *adapter)
{
    IO_TRY(model_config_infer(sam, adapter, trainer->options.image_size, &trainer->config));
    if (adapter) return IO_OK;
    trainer->config.layout = trainer->options.layout;
    trainer->config.n_channels = trainer->options.n_channels;
    trainer->config.lora_rank = trainer->options.lora_rank;
    trainer->config.has_more_lora = trainer->options.projections & (MODEL_LORA_K | MODEL_LORA_O);
    return IO_OK;
}

/* What is frozen comes from the SAM file as it is there. */
static io_status load_frozen(model_trainer *trainer, const io_tensors *sam)
{
    const model_load_kind kind = trainer->config.layout == MODEL_LAYOUT_SAMED ? MODEL_LOAD_FROZEN_ENCODER : MODEL_LOAD_FROZEN;
    model_config config = trainer->config;

    config.layout = MODEL_LAYOUT_SAM;
    config.n_channels = config.sam_channels;
    config.lora_rank = 0;
    config.has_more_lora = false;
    return model_weights_load(trainer->device, &config, sam, NULL, 1, kind, &trainer->frozen);
}

static size_t count_moments(const model_trainer *trainer)
{
    return trainer->params.n_trained * (trainer->options.optimizer == MODEL_ADAMW ? 2 : 1);
}

static io_status start_weights(model_trainer *trainer, const io_tensors *sam, const io_tensors *adapter, model_fresh fresh, void *context)
{
    io_status status = IO_OK;
    const model_run *run = &trainer->run;
    const size_t n_bytes = trainer->params.n_trained * sizeof(float);
    float *host = NULL;

    IO_TRY_GOTO(status, done, io_alloc(n_bytes, 1, (void **)&host));
    IO_TRY_GOTO(status, done, model_train_params_start(&trainer->params, &trainer->config, sam, adapter, fresh, context, host));
    IO_TRY_GOTO(status, done, run->ops->memory_create(run->backend, n_bytes, (void **)&trainer->weights));
    IO_TRY_GOTO(status, done, run->ops->memory_create(run->backend, n_bytes, (void **)&trainer->gradients));
    IO_TRY_GOTO(status, done, run->ops->memory_create(run->backend, count_moments(trainer) * sizeof(float), (void **)&trainer->moments));
    IO_TRY_GOTO(status, done, run->ops->upload(run->backend, trainer->weights, host, n_bytes));
done:
    io_free(&host);
    return status;
}

/* Of the neck's convolution, and of the way back of attention over a whole slice: what each query keeps of its relative positions. */
static size_t estimate_scratch(const model_trainer *trainer)
{
    const size_t N = (size_t)train_count_pixels(trainer), G = (size_t)(trainer->config.image_size / trainer->config.patch);
    const size_t conv = 9 * (size_t)trainer->config.decoder_width, attention = (size_t)trainer->config.heads * (2 * G + 1);

    return N * (conv > attention ? conv : attention) * sizeof(float);
}

/* One line before anything is loaded, rather than a failure half-way. Products are packed for both directions; the trained numbers lie
 * there with their gradients, moments and sums in fixed point. */
static io_status check_memory(const model_trainer *trainer)
{
    const model_device *device = trainer->device;
    const size_t weights =
        2 * model_weights_matrices_bytes(&trainer->config, device->type) + model_weights_constants_bytes(&trainer->config, 1);
    const size_t trained = trainer->params.n_trained * (2 * sizeof(float) + sizeof(int64_t)) + count_moments(trainer) * sizeof(float);
    size_t pass, kept, needed, left;

    if (!device->ops->memory_left) return IO_OK;
    model_train_plan_measure(trainer, &pass, &kept);
    pass += estimate_scratch(trainer);
    needed = weights + trained + pass + kept;
    IO_TRY(device->ops->memory_left(device->backend, &left));
    if (needed <= left) return IO_OK;
    return IO_FAIL(IO_ERR_MEMORY,
                   "training needs about %.0f MB: weights %.0f, trained numbers %.0f, one pass %.0f, %d kept slice%s %.0f; %s has %.0f MB "
                   "left; end what else runs on it, put fewer ranks on it, or use --recompute, a smaller --keep or --precision bf16",
                   (double)needed / 1e6, (double)weights / 1e6, (double)trained / 1e6, (double)pass / 1e6, trainer->options.n_kept,
                   trainer->options.n_kept == 1 ? "" : "s", (double)kept / 1e6, device->description, (double)left / 1e6);
}

io_status model_trainer_create(model_device *device, const model_train_options *options, const io_tensors *sam, const io_tensors *adapter,
                               model_fresh fresh, void *context, model_trainer **out)
{
    io_status status = IO_OK;
    model_trainer *made = NULL;

    IO_TRY(check_options(device, options, adapter));
    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    made->device = device;
    made->options = *options;
    IO_TRY_GOTO(status, done, infer_config(made, sam, adapter));
    made->run = (model_run){.config = &made->config, .ops = device->ops, .backend = device->backend, .type = MODEL_F32, .b = 1};
    IO_TRY_GOTO(status, done, model_train_params_create(&made->config, options, &made->params));
    model_train_find_first_block(made);
    IO_TRY_GOTO(status, done, check_memory(made));
    IO_TRY_GOTO(status, done, load_frozen(made, sam));
    IO_TRY_GOTO(status, done, start_weights(made, sam, adapter, fresh, context));
    IO_TRY_GOTO(status, done, model_train_bind(made));
    IO_TRY_GOTO(status, done, model_train_plan(made));
    *out = made;
    made = NULL;
done:
    model_trainer_free(&made);
    return status;
}

void model_trainer_free(model_trainer **trainer)
{
    model_trainer *it = trainer ? *trainer : NULL;

    if (!it) return;
    if (it->run.ops) {
        model_train_plan_free(it);
        model_train_unbind(it);
        if (it->weights) it->run.ops->memory_free(it->run.backend, (void **)&it->weights);
        if (it->gradients) it->run.ops->memory_free(it->run.backend, (void **)&it->gradients);
        if (it->moments) it->run.ops->memory_free(it->run.backend, (void **)&it->moments);
        model_weights_free(&it->frozen, it->config.sam_channels, it->run.ops, it->run.backend);
    }
    model_train_params_free(&it->params);
    io_free(trainer);
}

const model_config *model_trainer_config(const model_trainer *trainer)
{
    return &trainer->config;
}

static io_status check_slot(const model_trainer *trainer, int slot)
{
    if (slot >= 0 && slot < trainer->options.n_kept) return IO_OK;
    return IO_FAIL(IO_ERR_ARGUMENT, "slot %d: %d are kept", slot, trainer->options.n_kept);
}

/* Operations of the encoder's blocks from `first` on and of its neck; attention counts so many times. LoRA is left out: it is 0.3 %. */
static double count_encoder(const model_trainer *trainer, int first, double attention)
{
    const model_config *config = &trainer->config;
    double flop = model_flop_neck(config) + (first == 0 ? model_flop_patch(config) : 0);

    for (int i = first; i < config->depth; i++)
        flop += model_flop_block(config, config->is_global[i]) + (attention - 1) * model_flop_attention(config, config->is_global[i]);
    return flop;
}

/* The way back has as many products as the way there, but five in attention for two; the first block with LoRA asks for nothing below qkv,
 * and for nothing below the output projection if LoRA is there alone. */
static double count_encoder_back(const model_trainer *trainer)
{
    const model_config *config = &trainer->config;
    const double C = config->width, N = train_count_pixels(trainer);
    const int first = trainer->first_block;
    double unasked;

    if (first == config->depth) return 0;
    unasked = 6 * N * C * C;
    if (!train_has_inner_lora(trainer, first)) unasked += 2 * N * C * C + 2.5 * model_flop_attention(config, config->is_global[first]);
    return count_encoder(trainer, first, trainer->options.recompute ? 3.5 : 2.5) - unasked - (first == 0 ? model_flop_patch(config) : 0) +
           (trainer->options.recompute ? (config->depth - first) * 2 * N * C * (4 * C + config->mlp_width) : 0);
}

io_status model_trainer_forward(model_trainer *trainer, int slot, const float *image, const uint8_t *labels, double *sums)
{
    const model_run *run = &trainer->run;
    const size_t area = (size_t)trainer->config.image_size * (size_t)trainer->config.image_size;
    const int n = 16 * train_count_pixels(trainer);
    train_saved *saved;

    IO_TRY(check_slot(trainer, slot));
    saved = &trainer->saved[slot];
    IO_TRY(run->ops->upload(run->backend, trainer->temporary.image, image, area * sizeof *image));
    IO_TRY(run->ops->upload(run->backend, saved->labels, labels, (size_t)n));
    IO_TRY(model_run_trace_start(&trainer->run));
    IO_TRY(model_train_encoder_forward(trainer, saved));
    IO_TRY(model_run_trace(&trainer->run, "encoder forward", count_encoder(trainer, 0, 1), 0));
    IO_TRY(model_train_decoder_forward(trainer, saved));
    IO_TRY(model_run_trace(&trainer->run, "decoder forward", model_flop_decoder(&trainer->config), 0));
    IO_TRY(run->ops->loss_forward(run->backend, sums, saved->logits, saved->labels, trainer->config.n_channels, n));
    return model_run_trace(&trainer->run, "loss", 0, 0);
}

io_status model_trainer_logits(const model_trainer *trainer, int slot, float *logits)
{
    const size_t n = (size_t)trainer->config.n_channels * 16 * (size_t)train_count_pixels(trainer);

    IO_TRY(check_slot(trainer, slot));
    return trainer->run.ops->download(trainer->run.backend, logits, trainer->saved[slot].logits, n * sizeof *logits);
}

io_status model_trainer_backward(model_trainer *trainer, int slot, const double *sums, double n_pixels)
{
    const model_run *run = &trainer->run;
    const int K = trainer->config.n_channels;
    float a, factors[2 * 256]; /* channels: check_options */
    train_saved *saved;

    IO_TRY(check_slot(trainer, slot));
    if (K > 256) return IO_FAIL(IO_ERR_UNSUPPORTED, "training with %d channels; at most 256 are handled", K);
    saved = &trainer->saved[slot];
    model_loss_factors(sums, K, n_pixels, trainer->options.dice_weight, &a, factors);
    IO_TRY(model_run_trace_start(&trainer->run));
    IO_TRY(run->ops->loss_backward(run->backend, trainer->temporary.dlogits, saved->logits, saved->labels, a, factors, K,
                                   16 * train_count_pixels(trainer)));
    IO_TRY(model_run_trace(&trainer->run, "loss", 0, 0));
    IO_TRY(model_train_decoder_backward(trainer, saved));
    IO_TRY(model_run_trace(&trainer->run, "decoder backward", 2 * model_flop_decoder(&trainer->config), 0));
    IO_TRY(model_train_encoder_backward(trainer, saved));
    return model_run_trace(&trainer->run, "encoder backward", count_encoder_back(trainer), 0);
}

float *model_trainer_gradients(model_trainer *trainer, size_t *n)
{
    *n = trainer->params.n_trained;
    return trainer->gradients;
}

float *model_trainer_weights(model_trainer *trainer, size_t *n)
{
    *n = trainer->params.n_trained;
    return trainer->weights;
}

float *model_trainer_moments(model_trainer *trainer, size_t *n_moments)
{
    *n_moments = count_moments(trainer);
    return trainer->moments;
}

static io_status download_block(const model_trainer *trainer, const float *block, float **host)
{
    const size_t n_bytes = trainer->params.n_trained * sizeof(float);

    IO_TRY(io_alloc(n_bytes, 1, (void **)host));
    return trainer->run.ops->download(trainer->run.backend, *host, block, n_bytes);
}

io_status model_trainer_zero_gradients(model_trainer *trainer)
{
    return trainer->run.ops->memory_zero(trainer->run.backend, trainer->gradients, trainer->params.n_trained * sizeof(float));
}

double model_trainer_gradient_norm(const model_trainer *trainer)
{
    float *host = NULL;
    double sum = 0;

    if (download_block(trainer, trainer->gradients, &host) != IO_OK) sum = NAN;
    for (size_t i = 0; host && i < trainer->params.n_trained; i++) sum += (double)host[i] * host[i];
    io_free(&host);
    return sqrt(sum);
}

io_status model_trainer_update(model_trainer *trainer, float rate, int64_t step)
{
    const model_run *run = &trainer->run;
    const model_train_options *options = &trainer->options;
    const size_t n = trainer->params.n_trained;

    if (step < 1) return IO_FAIL(IO_ERR_ARGUMENT, "step %lld: steps count from 1", (long long)step);
    if (options->optimizer == MODEL_ADAMW)
        IO_TRY(run->ops->adamw_update(run->backend, trainer->weights, trainer->moments, trainer->moments + n, trainer->gradients, n,
                                      &options->adamw, rate, step));
    else
        IO_TRY(run->ops->sgd_update(run->backend, trainer->weights, trainer->moments, trainer->gradients, n, rate, options->momentum,
                                    options->sgd_decay));
    return model_train_pack(trainer);
}

io_status model_trainer_pack(model_trainer *trainer)
{
    return model_train_pack(trainer);
}

static const model_param *find_trained(const model_trainer *trainer, size_t wanted, size_t *entry)
{
    for (size_t i = 0; i < model_params_count(trainer->params.params); i++)
        if (trainer->params.entries[i].is_trained && wanted-- == 0) {
            *entry = i;
            return model_params_at(trainer->params.params, i);
        }
    return NULL;
}

size_t model_trainer_count(const model_trainer *trainer)
{
    size_t n = 0;

    for (size_t i = 0; i < model_params_count(trainer->params.params); i++) n += trainer->params.entries[i].is_trained;
    return n;
}

const char *model_trainer_tensor(const model_trainer *trainer, size_t i, size_t *offset, size_t *n_elements)
{
    size_t entry;
    const model_param *param = find_trained(trainer, i, &entry);

    if (!param) return NULL;
    *offset = trainer->params.entries[entry].offset;
    *n_elements = param->n_elements;
    return param->name;
}

static io_status write_block(const model_trainer *trainer, const float *block, bool with_kept, io_tensors **out)
{
    io_status status = IO_OK;
    float *host = NULL;

    IO_TRY_GOTO(status, done, download_block(trainer, block, &host));
    IO_TRY_GOTO(status, done, model_train_params_write(&trainer->params, trainer->config.layout, host, with_kept, out));
done:
    io_free(&host);
    return status;
}

io_status model_trainer_adapter(const model_trainer *trainer, io_tensors **out)
{
    return write_block(trainer, trainer->weights, true, out);
}

io_status model_trainer_gradient_tensors(const model_trainer *trainer, io_tensors **out)
{
    return write_block(trainer, trainer->gradients, false, out);
}

void model_trainer_set_trace(model_trainer *trainer, model_trace trace, void *context)
{
    trainer->run.trace = trace;
    trainer->run.trace_context = context;
}

size_t model_trainer_kept_bytes(const model_trainer *trainer)
{
    return trainer->saved[0].n_bytes;
}

size_t model_trainer_bytes(const model_trainer *trainer)
{
    const size_t n = trainer->params.n_trained;

    return trainer->frozen.matrices_bytes + trainer->frozen.constants_bytes + trainer->temporary.n_bytes +
           (size_t)trainer->options.n_kept * trainer->saved[0].n_bytes + (4 * n + count_moments(trainer)) * sizeof(float);
}
