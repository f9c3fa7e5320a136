/* A network opened for a test: files, device, model. */
#ifndef TESTS_GOLDEN_NETWORK_H
#define TESTS_GOLDEN_NETWORK_H

#include "io/tensors.h"
#include "model/config.h"
#include "model/device.h"
#include "model/sam.h"
#include "tests/check.h"

typedef struct network {
    io_tensors *sam_file, *adapter_file;
    model_config config;
    model_device *device;
    model_sam *sam;
    size_t area, n_logits; /* of a slice */
} network;

/* Infers, opens and loads; the files are there. */
static inline void start_network(network *net, int image_size, model_type type, int n_threads)
{
    check_ok(model_config_infer(net->sam_file, net->adapter_file, image_size, &net->config));
    check_ok(model_device_open(MODEL_DEVICE_CPU, 0, type, n_threads, &net->device));
    check_ok(model_sam_create(net->device, &net->config, net->sam_file, net->adapter_file, &net->sam));
    net->area = (size_t)net->config.image_size * (size_t)net->config.image_size;
    net->n_logits = (size_t)net->config.n_channels * 16 * net->area / ((size_t)net->config.patch * (size_t)net->config.patch);
}

/* adapter may be NULL. */
static inline void open_network(network *net, const char *sam, const char *adapter, int image_size, model_type type, int n_threads)
{
    memset(net, 0, sizeof *net);
    check_ok(io_tensors_open(sam, &net->sam_file));
    if (adapter) check_ok(io_tensors_open(adapter, &net->adapter_file));
    start_network(net, image_size, type, n_threads);
}

static inline void close_network(network *net)
{
    model_sam_free(&net->sam);
    model_device_free(&net->device);
    io_tensors_free(&net->adapter_file);
    io_tensors_free(&net->sam_file);
}

#endif
