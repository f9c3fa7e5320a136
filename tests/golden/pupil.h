/* Small networks that are trained in tests, and their batch of two images: weights and pictures from a hash (tiny.h). */
#ifndef TESTS_GOLDEN_PUPIL_H
#define TESTS_GOLDEN_PUPIL_H

#include "model/loss.h"
#include "model/train.h"
#include "tests/golden/tiny.h"

enum { B = 2, MOST_CHANNELS = 8 };

typedef struct training {
    const char *name, *network, *layout;
    int image_size;
} training;

static const training trainings[] = {
    {"train_samed", "small", "samed", 64},
    {"train_samed_s", "small", "samed_s", 64},
    {"train_head80", "head80", "samed", 64},
    {"train_patch6", "patch6", "samed", 48},
};
enum { N_TRAININGS = sizeof trainings / sizeof trainings[0] };

typedef struct pupil {
    io_tensors *sam, *adapter;
    model_device *device;
    model_trainer *trainer;
    int K;
    size_t area, n_pixels; /* of an image and of its labels */
    float *images;         /* [B,area] */
    uint8_t *labels;       /* [B,n_pixels] */
} pupil;

static inline void make_batch(pupil *it, const training *test)
{
    char text[64];

    it->images = malloc(B * it->area * sizeof *it->images);
    it->labels = malloc(B * it->n_pixels);
    for (size_t b = 0; b < B; b++) {
        snprintf(text, sizeof text, "%s/image%zu", test->name, b);
        for (size_t i = 0; i < it->area; i++) it->images[b * it->area + i] = (float)(value_at(hash_text(text), i) + 0.5);
        snprintf(text, sizeof text, "%s/labels%zu", test->name, b);
        for (size_t i = 0; i < it->n_pixels; i++)
            it->labels[b * it->n_pixels + i] = (uint8_t)((value_at(hash_text(text), i) + 0.5) * it->K);
    }
    memset(it->labels + it->n_pixels, 0, it->n_pixels / 2); /* as make_golden.py: half of the second image is background */
}

static inline void open_pupil(pupil *it, const training *test, const model_train_options *options, int n_threads)
{
    model_train_options own = *options;

    memset(it, 0, sizeof *it);
    it->sam = make_weights(test->network, "sam", NULL);
    it->adapter = make_weights(test->network, test->layout, NULL);
    own.image_size = test->image_size;
    check_ok(model_device_open(MODEL_DEVICE_CPU, 0, MODEL_F32, n_threads, &it->device));
    check_ok(model_trainer_create(it->device, &own, it->sam, it->adapter, NULL, NULL, &it->trainer));
    it->K = model_trainer_config(it->trainer)->n_channels;
    it->area = (size_t)test->image_size * (size_t)test->image_size;
    it->n_pixels = 16 * it->area / ((size_t)model_trainer_config(it->trainer)->patch * (size_t)model_trainer_config(it->trainer)->patch);
    make_batch(it, test);
}

static inline void close_pupil(pupil *it)
{
    model_trainer_free(&it->trainer);
    model_device_free(&it->device);
    io_tensors_free(&it->sam);
    io_tensors_free(&it->adapter);
    free(it->images);
    free(it->labels);
}

static inline void forward(pupil *it, int slot, size_t b, double *sums)
{
    check_ok(model_trainer_forward(it->trainer, slot, it->images + b * it->area, it->labels + b * it->n_pixels, sums));
}

/* The gradients of the batch as the block has them; slots: how many images are kept at once. */
static inline model_loss run_batch(pupil *it, int slots)
{
    double sums[3 * MOST_CHANNELS + 1] = {0}, own[3 * MOST_CHANNELS + 1];
    const double n_pixels = (double)(B * it->n_pixels);

    check_ok(model_trainer_zero_gradients(it->trainer));
    for (size_t b = 0; b < B; b++) {
        forward(it, slots == B ? (int)b : 0, b, own);
        for (int i = 0; i <= 3 * it->K; i++) sums[i] += own[i];
    }
    for (size_t b = 0; b < B; b++) {
        if (slots < B) forward(it, 0, b, own);
        check_ok(model_trainer_backward(it->trainer, slots == B ? (int)b : 0, sums, n_pixels));
    }
    return model_loss_join(sums, it->K, n_pixels, 0.8);
}

static inline void fill_fresh(void *context, const char *name, bool is_normal, size_t n, float *out)
{
    const double spread = is_normal ? 2 * sqrt(3) : 2; /* enough for a test: uniform, of the same spread */

    for (size_t i = 0; i < n; i++) out[i] = (float)(spread * value_at(hash_text(name), i));
    ++*(int *)context;
}

#endif
