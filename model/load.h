/* From weight files to packed constants on the device: LoRA merged, tables resized, channels and taps put in order. */
#ifndef MODEL_LOAD_H
#define MODEL_LOAD_H

#include "io/tensors.h"
#include "model/decoder.h"
#include "model/device.h"
#include "model/encoder.h"

typedef struct model_weights {
    model_encoder encoder;
    model_decoder decoder;
    float *constants; /* device: every small vector and table in one block */
    size_t constants_bytes;
    size_t matrices_bytes; /* of the packed products, padding not counted */
} model_weights;

typedef enum model_load_kind {
    MODEL_LOAD_INFERENCE,     /* everything, forward */
    MODEL_LOAD_FROZEN,        /* everything, packed for both directions */
    MODEL_LOAD_FROZEN_ENCODER /* the encoder, packed for both directions */
} model_load_kind;

/* Reads tensor by tensor, lets the mapped pages go behind it. b is the number of slices in a pass. The decoder's first_tokens and
 * first_q have their place, but wait for model_decoder_prepare. *out with model_weights_free, also after a failure. */
io_status model_weights_load(model_device *device, const model_config *config, const io_tensors *sam, const io_tensors *adapter, int b,
                             model_load_kind kind, model_weights *out);
void model_weights_free(model_weights *weights, int K, const model_ops *ops, model_backend *backend);

/* About the bytes of the packed products of a network for inference. */
size_t model_weights_matrices_bytes(const model_config *config, model_type type);
/* Bytes that the constants block of this config needs. */
size_t model_weights_constants_bytes(const model_config *config, int b);

#endif
