/* See dataset.h. */
#include "pipeline/dataset.h"

#include <pthread.h>
#include <string.h>

#include "io/memory.h"
#include "io/slices.h"
#include "pipeline/augment.h"
#include "pipeline/random.h"
#include "pipeline/zoom.h"

enum { LOW_RES = 4, MAX_SIDE = 8192 }; /* the decoder's masks have a quarter of the image's side (spec 4.2) */

struct pipe_dataset {
    pipe_dataset_options options;
    pipe_store *store;
    const pipe_store_case **cases; /* [n_cases] of this part */
    size_t n_cases;
    int64_t *starts;      /* [n_cases + 1] number of the first sample of each case */
    pipe_zoom *grow;      /* stored size -> S; NULL where they are equal */
    pipe_zoom *shrink;    /* S -> S / 4, labels */
    pthread_mutex_t lock; /* over what follows */
    io_slices **files;    /* [n_cases], NULL until needed */
    uint32_t *order;      /* [count] of order_epoch */
    int64_t order_epoch;  /* -1 before the first */
};

/* Buffers of one call. */
typedef struct workspace {
    float *image, *moved;            /* [size][size] as stored, augmented */
    uint16_t *labels, *moved_labels; /* [size][size] */
    uint16_t *large;                 /* [S][S] */
    uint8_t *scratch;
} workspace;

static io_status pick_cases(pipe_dataset *d)
{
    const pipe_store *store = d->store;

    IO_TRY(io_alloc(store->n_cases, sizeof *d->cases, (void **)&d->cases));
    IO_TRY(io_alloc(store->n_cases + 1, sizeof *d->starts, (void **)&d->starts));
    IO_TRY(io_alloc(store->n_cases, sizeof *d->files, (void **)&d->files));
    for (size_t i = 0; i < store->n_cases; i++) {
        if (store->cases[i].part != d->options.part) continue;
        d->cases[d->n_cases++] = &store->cases[i];
        d->starts[d->n_cases] = d->starts[d->n_cases - 1] + store->cases[i].n_slices;
    }
    if (d->n_cases == 0)
        return IO_FAIL(IO_ERR_NOT_FOUND, "%s: no case is there to %s; run samed prepare with another split", store->folder,
                       d->options.part == PIPE_PART_VAL ? "validate on" : "train on");
    if (d->starts[d->n_cases] > UINT32_MAX)
        return IO_FAIL(IO_ERR_RANGE, "%s: %lld slices are more than an epoch can have", store->folder, (long long)d->starts[d->n_cases]);
    return io_alloc((size_t)d->starts[d->n_cases], sizeof *d->order, (void **)&d->order);
}

static io_status plan_zooms(pipe_dataset *d)
{
    const int stored = d->store->size, size = d->options.image_size;

    if (stored != size) IO_TRY(pipe_zoom_create(stored, stored, size, size, &d->grow));
    return pipe_zoom_create(size, size, size / LOW_RES, size / LOW_RES, &d->shrink);
}

io_status pipe_dataset_open(const pipe_dataset_options *options, pipe_dataset **out)
{
    io_status status = IO_OK;
    pipe_dataset *d = NULL;
    const int size = options->image_size;

    *out = NULL;
    if (size < LOW_RES || size > MAX_SIDE || size % LOW_RES != 0)
        return IO_FAIL(IO_ERR_ARGUMENT, "image size %d; expected a multiple of %d from %d to %d", size, LOW_RES, LOW_RES, MAX_SIDE);
    IO_TRY(io_alloc(1, sizeof *d, (void **)&d));
    d->options = *options;
    d->order_epoch = -1;
    pthread_mutex_init(&d->lock, NULL);
    IO_TRY_GOTO(status, done, pipe_store_open(options->folder, &d->store));
    IO_TRY_GOTO(status, done, pick_cases(d));
    IO_TRY_GOTO(status, done, plan_zooms(d));
    d->options.folder = d->store->folder;
    *out = d;
    d = NULL; /* now the caller's */
done:
    pipe_dataset_free(&d);
    return status;
}

void pipe_dataset_free(pipe_dataset **dataset)
{
    pipe_dataset *d = dataset ? *dataset : NULL;

    if (!d) return;
    for (size_t i = 0; i < d->n_cases; i++) io_slices_free(&d->files[i]);
    io_free(&d->files);
    io_free(&d->cases);
    io_free(&d->starts);
    io_free(&d->order);
    pipe_zoom_free(&d->grow);
    pipe_zoom_free(&d->shrink);
    pipe_store_free(&d->store);
    pthread_mutex_destroy(&d->lock);
    io_free(dataset);
}

uint32_t pipe_dataset_count(const pipe_dataset *dataset)
{
    return (uint32_t)dataset->starts[dataset->n_cases];
}

int pipe_dataset_classes(const pipe_dataset *dataset)
{
    return dataset->store->n_classes;
}

/* The sample that stands at place n of the epoch. An order is kept until another epoch is asked for. */
static uint32_t find_sample(pipe_dataset *d, uint32_t epoch, uint32_t n)
{
    uint32_t sample;
    pipe_random random;

    if (!d->options.shuffle) return n;
    pthread_mutex_lock(&d->lock);
    if (d->order_epoch != epoch) {
        pipe_random_start(&random, d->options.seed, PIPE_RANDOM_ORDER, epoch, 0);
        pipe_random_shuffle(&random, d->order, pipe_dataset_count(d));
        d->order_epoch = epoch;
    }
    sample = d->order[n];
    pthread_mutex_unlock(&d->lock);
    return sample;
}

static size_t find_case(const pipe_dataset *d, uint32_t sample)
{
    size_t low = 0, high = d->n_cases;

    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (d->starts[middle] <= sample)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static io_status get_file(pipe_dataset *d, size_t index, const io_slices **out)
{
    io_status status = IO_OK;

    pthread_mutex_lock(&d->lock);
    if (!d->files[index]) status = pipe_store_open_case(d->store, d->cases[index], &d->files[index]);
    *out = d->files[index];
    pthread_mutex_unlock(&d->lock);
    return status;
}

static io_status allocate(const pipe_dataset *d, workspace *w)
{
    const size_t n_stored = (size_t)d->store->size * (size_t)d->store->size;
    const size_t n_large = (size_t)d->options.image_size * (size_t)d->options.image_size;

    IO_TRY(io_alloc(n_stored, sizeof *w->image, (void **)&w->image));
    IO_TRY(io_alloc(n_stored, sizeof *w->moved, (void **)&w->moved));
    IO_TRY(io_alloc(n_stored, sizeof *w->labels, (void **)&w->labels));
    IO_TRY(io_alloc(n_stored, sizeof *w->moved_labels, (void **)&w->moved_labels));
    IO_TRY(io_alloc(n_large, sizeof *w->large, (void **)&w->large));
    return io_alloc(d->grow ? pipe_zoom_scratch_bytes(d->grow) : 0, 1, (void **)&w->scratch);
}

static void free_workspace(workspace *w)
{
    io_free(&w->image);
    io_free(&w->moved);
    io_free(&w->labels);
    io_free(&w->moved_labels);
    io_free(&w->large);
    io_free(&w->scratch);
}

static void augment_sample(const pipe_dataset *d, uint32_t epoch, uint32_t sample, workspace *w)
{
    pipe_augment augment = {.gain = 1};
    pipe_random random;

    pipe_random_start(&random, d->options.seed, PIPE_RANDOM_AUGMENT, epoch, sample);
    if (d->options.augment) pipe_augment_draw(&random, d->options.jitter, &augment);
    pipe_augment_apply(&augment, d->store->size, w->image, w->labels, w->moved, w->moved_labels);
}

static void zoom_sample(const pipe_dataset *d, const workspace *w, float *image, uint16_t *labels)
{
    if (!d->grow) {
        memcpy(image, w->moved, (size_t)d->store->size * (size_t)d->store->size * sizeof *image);
        pipe_zoom_nearest(d->shrink, w->moved_labels, labels);
        return;
    }
    pipe_zoom_cubic(d->grow, w->moved, image, w->scratch);
    pipe_zoom_nearest(d->grow, w->moved_labels, w->large);
    pipe_zoom_nearest(d->shrink, w->large, labels);
}

io_status pipe_dataset_get(pipe_dataset *dataset, uint32_t epoch, uint32_t n, float *image, uint16_t *labels, pipe_sample *about)
{
    io_status status = IO_OK;
    workspace w = {0};
    const io_slices *file = NULL;
    uint32_t sample;
    size_t index;
    int64_t slice;

    if (n >= pipe_dataset_count(dataset))
        return IO_FAIL(IO_ERR_ARGUMENT, "sample %u of an epoch of %u", (unsigned)n, (unsigned)pipe_dataset_count(dataset));
    sample = find_sample(dataset, epoch, n);
    index = find_case(dataset, sample);
    slice = (int64_t)sample - dataset->starts[index];
    if (about) *about = (pipe_sample){dataset->cases[index]->id, slice};
    IO_TRY_GOTO(status, done, allocate(dataset, &w));
    IO_TRY_GOTO(status, done, get_file(dataset, index, &file));
    IO_TRY_GOTO(status, done, pipe_store_read(dataset->store, dataset->cases[index], file, slice, w.image, w.labels));
    augment_sample(dataset, epoch, sample, &w);
    zoom_sample(dataset, &w, image, labels);
done:
    free_workspace(&w);
    return status;
}
