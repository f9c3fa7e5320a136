/* See validate.h. */
#include "pipeline/validate.h"

#include <math.h>
#include <string.h>

#include "io/memory.h"
#include "io/slices.h"
#include "pipeline/metrics.h"
#include "pipeline/zoom.h"

enum { SLICES_BETWEEN = 8 /* of each worker between two agreements: each costs the wait for the slowest */ };

struct pipe_validator {
    const pipe_store *store;
    model_device *device;
    model_trainer *trainer;
    int K, S, size;
    size_t *cases; /* [n_cases] places in the store */
    size_t n_cases;
    pipe_zoom *grow, *shrink; /* stored size -> S and back; NULL where they are equal */
    float *stored, *image;    /* [size][size], [S][S] */
    uint16_t *truth, *found;  /* [size][size] */
    uint16_t *large;          /* [S][S] */
    uint8_t *no_labels;       /* [S/4][S/4] zeros: forward asks for labels, whose loss nobody reads */
    uint8_t *scratch;
    double *sums;  /* [3K+1] */
    float *logits; /* [K][S/4][S/4] host */
    void *device_logits, *device_labels;
    int64_t *counts; /* [n_cases][n_classes][3]: voxels in the truth, in the prediction, in both */
    pipe_validation result;
};

static io_status pick_cases(pipe_validator *v)
{
    IO_TRY(io_alloc(v->store->n_cases, sizeof *v->cases, (void **)&v->cases));
    for (size_t i = 0; i < v->store->n_cases; i++)
        if (v->store->cases[i].part == PIPE_PART_VAL) v->cases[v->n_cases++] = i;
    if (v->n_cases == 0)
        return IO_FAIL(IO_ERR_NOT_FOUND, "%s: no case is held out to validate on; run samed prepare with --folds or --val",
                       v->store->folder);
    return IO_OK;
}

static io_status plan_zooms(pipe_validator *v)
{
    if (v->size == v->S) return IO_OK;
    IO_TRY(pipe_zoom_create(v->size, v->size, v->S, v->S, &v->grow));
    return pipe_zoom_create(v->S, v->S, v->size, v->size, &v->shrink);
}

static io_status allocate(pipe_validator *v)
{
    const size_t n = (size_t)v->size * (size_t)v->size, n_large = (size_t)v->S * (size_t)v->S, K = (size_t)v->K;
    const size_t n_organs = (size_t)v->store->n_classes;
    const model_ops *ops = v->device->ops;

    IO_TRY(io_alloc(n, sizeof *v->stored, (void **)&v->stored));
    IO_TRY(io_alloc(n_large, sizeof *v->image, (void **)&v->image));
    IO_TRY(io_alloc(n, sizeof *v->truth, (void **)&v->truth));
    IO_TRY(io_alloc(n, sizeof *v->found, (void **)&v->found));
    IO_TRY(io_alloc(n_large, sizeof *v->large, (void **)&v->large));
    IO_TRY(io_alloc(n_large / 16, sizeof *v->no_labels, (void **)&v->no_labels));
    IO_TRY(io_alloc(v->grow ? pipe_zoom_scratch_bytes(v->grow) : 0, 1, (void **)&v->scratch));
    IO_TRY(io_alloc(3 * K + 1, sizeof *v->sums, (void **)&v->sums));
    IO_TRY(io_alloc(K * n_large / 16, sizeof *v->logits, (void **)&v->logits));
    IO_TRY(io_alloc(v->n_cases * n_organs * 3, sizeof *v->counts, (void **)&v->counts));
    IO_TRY(io_alloc(n_organs, sizeof *v->result.dice, (void **)&v->result.dice));
    IO_TRY(ops->memory_create(v->device->backend, K * n_large / 16 * sizeof(float), &v->device_logits));
    return ops->memory_create(v->device->backend, n_large * sizeof(uint16_t), &v->device_labels);
}

io_status pipe_validator_create(const pipe_store *store, model_device *device, model_trainer *trainer, pipe_validator **out)
{
    io_status status = IO_OK;
    const model_config *config = model_trainer_config(trainer);
    pipe_validator *made = NULL;

    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    made->store = store;
    made->device = device;
    made->trainer = trainer;
    made->K = config->n_channels;
    made->S = config->image_size;
    made->size = store->size;
    IO_TRY_GOTO(status, done, pick_cases(made));
    IO_TRY_GOTO(status, done, plan_zooms(made));
    IO_TRY_GOTO(status, done, allocate(made));
    made->result.n_classes = store->n_classes;
    made->result.n_cases = made->n_cases;
    *out = made;
    made = NULL;
done:
    pipe_validator_free(&made);
    return status;
}

void pipe_validator_free(pipe_validator **validator)
{
    pipe_validator *v = validator ? *validator : NULL;

    if (!v) return;
    if (v->device_logits) v->device->ops->memory_free(v->device->backend, &v->device_logits);
    if (v->device_labels) v->device->ops->memory_free(v->device->backend, &v->device_labels);
    pipe_zoom_free(&v->grow);
    pipe_zoom_free(&v->shrink);
    io_free(&v->cases);
    io_free(&v->stored);
    io_free(&v->image);
    io_free(&v->truth);
    io_free(&v->found);
    io_free(&v->large);
    io_free(&v->no_labels);
    io_free(&v->scratch);
    io_free(&v->sums);
    io_free(&v->logits);
    io_free(&v->counts);
    io_free(&v->result.dice);
    io_free(validator);
}

/* stored -> found */
static io_status segment_slice(pipe_validator *v)
{
    const model_ops *ops = v->device->ops;
    const int L = v->S / 4;
    const size_t n_large = (size_t)v->S * (size_t)v->S;

    if (v->grow)
        pipe_zoom_cubic(v->grow, v->stored, v->image, v->scratch);
    else
        memcpy(v->image, v->stored, n_large * sizeof *v->image);
    IO_TRY(model_trainer_forward(v->trainer, 0, v->image, v->no_labels, v->sums));
    IO_TRY(model_trainer_logits(v->trainer, 0, v->logits));
    IO_TRY(ops->upload(v->device->backend, v->device_logits, v->logits, (size_t)v->K * n_large / 16 * sizeof *v->logits));
    IO_TRY(ops->labels_forward(v->device->backend, v->device_labels, v->device_logits, 1, v->K, L, v->S));
    IO_TRY(ops->download(v->device->backend, v->large, v->device_labels, n_large * sizeof *v->large));
    if (v->shrink)
        pipe_zoom_nearest(v->shrink, v->large, v->found);
    else
        memcpy(v->found, v->large, n_large * sizeof *v->found);
    return IO_OK;
}

/* Labels of the store are at most n_classes (io/slices.h); the network may know more. */
static void count_slice(const pipe_validator *v, int64_t *counts)
{
    const size_t n = (size_t)v->size * (size_t)v->size;

    for (size_t i = 0; i < n; i++) {
        const int truth = v->truth[i], found = v->found[i];
        if (truth > 0) counts[3 * (truth - 1)]++;
        if (found > 0 && found <= v->store->n_classes) counts[3 * (found - 1) + 1]++;
        if (truth > 0 && truth == found) counts[3 * (truth - 1) + 2]++;
    }
}

/* Logits that are no numbers would become background without a word. */
static io_status check_finite(const pipe_validator *v, const pipe_store_case *about, int64_t slice)
{
    for (int i = 0; i < 3 * v->K + 1; i++)
        if (!isfinite(v->sums[i]))
            return IO_FAIL(IO_ERR_DIVERGED, "case %s, slice %lld: the network gives %g; the training has diverged, lower the learning rate",
                           about->id, (long long)slice, v->sums[i]);
    return IO_OK;
}

static bool is_stopped(const pipe_workers *workers)
{
    return workers->is_stopped && workers->is_stopped(workers->context);
}

/* This worker's slices of one case among the numbers begin ... end - 1 of all slices; the case's first slice has the number first. */
static io_status segment_case(pipe_validator *v, size_t index, int64_t first, int64_t begin, int64_t end, const pipe_workers *workers)
{
    io_status status = IO_OK;
    const pipe_store_case *about = &v->store->cases[v->cases[index]];
    io_slices *file = NULL;

    IO_TRY(pipe_store_open_case(v->store, about, &file));
    for (int64_t k = begin > first ? begin - first : 0; k < about->n_slices && first + k < end; k++) {
        if ((first + k) % workers->size != workers->rank) continue;
        if (is_stopped(workers)) {
            status = IO_FAIL(IO_ERR_STOPPED, "stopped in the validation, in case %s", about->id);
            goto done;
        }
        IO_TRY_GOTO(status, done, pipe_store_read(v->store, about, file, k, v->stored, v->truth));
        IO_TRY_GOTO(status, done, segment_slice(v));
        IO_TRY_GOTO(status, done, check_finite(v, about, k));
        count_slice(v, v->counts + 3 * index * (size_t)v->store->n_classes);
    }
done:
    io_slices_free(&file);
    return status;
}

static io_status segment_slices(pipe_validator *v, int64_t begin, int64_t end, const pipe_workers *workers)
{
    int64_t first = 0;

    for (size_t i = 0; i < v->n_cases && first < end; i++) {
        const int64_t next = first + v->store->cases[v->cases[i]].n_slices;
        if (next > begin) IO_TRY(segment_case(v, i, first, begin, end, workers));
        first = next;
    }
    return IO_OK;
}

/* Collective. After a few slices of each worker all agree, so that one who was asked to stop, or failed, is not waited for to the end. */
static io_status segment_all(pipe_validator *v, const pipe_workers *workers)
{
    const int64_t step = (int64_t)SLICES_BETWEEN * workers->size;
    int64_t n_slices = 0;

    for (size_t i = 0; i < v->n_cases; i++) n_slices += v->store->cases[v->cases[i]].n_slices;
    for (int64_t begin = 0; begin < n_slices; begin += step) {
        io_status status = segment_slices(v, begin, begin + step, workers);
        if (!workers->agree(workers->context, &status)) return status;
    }
    return IO_OK;
}

static double average_organ(const pipe_validator *v, int organ)
{
    double sum = 0;
    int n = 0;

    for (size_t i = 0; i < v->n_cases; i++) {
        const int64_t *c = v->counts + 3 * (i * (size_t)v->store->n_classes + (size_t)organ);
        const double dice = pipe_overlap_dice(&(pipe_overlap){c[0], c[1], c[2]});
        if (isnan(dice)) continue;
        sum += dice;
        n++;
    }
    return n > 0 ? sum / n : NAN;
}

static void average(pipe_validator *v)
{
    double sum = 0;
    int n = 0;

    for (int organ = 0; organ < v->store->n_classes; organ++) {
        v->result.dice[organ] = average_organ(v, organ);
        if (isnan(v->result.dice[organ])) continue;
        sum += v->result.dice[organ];
        n++;
    }
    v->result.mean = n > 0 ? sum / n : NAN;
}

io_status pipe_validator_run(pipe_validator *v, const pipe_workers *workers, const pipe_validation **out)
{
    const size_t n_counts = v->n_cases * (size_t)v->store->n_classes * 3;

    memset(v->counts, 0, n_counts * sizeof *v->counts);
    IO_TRY(segment_all(v, workers));
    workers->sum(workers->context, v->counts, n_counts);
    average(v);
    *out = &v->result;
    return IO_OK;
}

const pipe_store_case *pipe_validator_case(const pipe_validator *v, size_t index)
{
    return &v->store->cases[v->cases[index]];
}

int pipe_validator_size(const pipe_validator *v)
{
    return v->size;
}

/* How much a slice has to show: organs first, then pixels. */
static int64_t weigh_slice(const pipe_validator *v)
{
    const size_t n = (size_t)v->size * (size_t)v->size;
    bool is_there[UINT16_MAX + 1] = {false};
    int64_t n_organs = 0, n_pixels = 0;

    for (size_t i = 0; i < n; i++) {
        if (v->truth[i] == 0) continue;
        n_pixels++;
        n_organs += !is_there[v->truth[i]];
        is_there[v->truth[i]] = true;
    }
    return n_organs * (int64_t)n + n_pixels;
}

io_status pipe_validator_pick(pipe_validator *v, size_t index, int64_t first, int64_t end, int64_t *slice)
{
    io_status status = IO_OK;
    io_slices *file = NULL;
    int64_t most = -1;

    IO_TRY(pipe_store_open_case(v->store, pipe_validator_case(v, index), &file));
    for (int64_t k = first; k < end; k++) {
        int64_t weight;
        IO_TRY_GOTO(status, done, io_slices_read(file, k, v->stored, v->truth));
        weight = weigh_slice(v);
        if (weight <= most) continue;
        most = weight;
        *slice = k;
    }
done:
    io_slices_free(&file);
    return status;
}

io_status pipe_validator_show(pipe_validator *v, size_t index, int64_t slice, pipe_shown *out)
{
    io_slices *file = NULL;
    io_status status = pipe_store_open_case(v->store, pipe_validator_case(v, index), &file);

    if (status == IO_OK) status = pipe_store_read(v->store, pipe_validator_case(v, index), file, slice, v->stored, v->truth);
    if (status == IO_OK) status = segment_slice(v);
    io_slices_free(&file);
    *out = (pipe_shown){v->size, v->stored, v->truth, v->found};
    return status;
}
