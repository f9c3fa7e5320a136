/* Finetuning SAM as SAMed does, on one device: LoRA in the encoder, the decoder in full (SAMed) or by LoRA (SAMed_s). One slice at a time:
 * a batch is a loop around forward and backward, its gradients are added exactly (model/exact.h), so the result does not depend on how
 * slices are spread. A device of bf16 rounds what enters the encoder's frozen products and those of its attention; what is trained, norms,
 * softmax, loss and sums are f32. */
#ifndef MODEL_TRAIN_H
#define MODEL_TRAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/tensors.h"
#include "model/backend.h"
#include "model/config.h"
#include "model/device.h"
#include "model/sam.h"

typedef struct model_trainer model_trainer;

/* Which projections of the encoder's attention get LoRA; SAMed: q and v. With k or the output projection the adapter has tensors that
 * SAMed's own loader ignores (w_a_ko_000). */
enum { MODEL_LORA_Q = 1, MODEL_LORA_V = 2, MODEL_LORA_K = 4, MODEL_LORA_O = 8 };

typedef enum model_optimizer { MODEL_ADAMW, MODEL_SGD } model_optimizer;

/* Values of a fresh tensor: out [n] of the uniform distribution on [-1, 1), or of the standard normal one. Keyed by the name, so that they
 * do not depend on the order of the calls. */
typedef void (*model_fresh)(void *context, const char *name, bool is_normal, size_t n, float *out);

typedef struct model_train_options {
    int image_size;              /* S, pixels; 0: the SAM file's own */
    int n_channels;              /* K, with the background; from the adapter where there is one */
    int lora_rank;               /* r; from the adapter where there is one */
    model_layout layout;         /* MODEL_LAYOUT_SAMED or MODEL_LAYOUT_SAMED_S; from the adapter where there is one */
    unsigned projections;        /* MODEL_LORA_Q | ... | MODEL_LORA_O; 0: no LoRA in the encoder is trained (decoder only) */
    bool skips[MODEL_MAX_DEPTH]; /* blocks whose LoRA is not trained: it stays as it starts */
    bool recompute;              /* keep only the input of each block, compute the rest again on the way back */
    int n_kept;                  /* slices whose activations are kept at the same time; 1 at least */
    double dice_weight;          /* spec 5.5: 0.8 */
    model_optimizer optimizer;
    model_adamw adamw;         /* spec 5.7: 0.9, 0.999, 1e-8, 0.1 */
    float momentum, sgd_decay; /* spec 5.7: 0.9, 1e-4 */
} model_train_options;

/* The reference's settings (spec 5.7): SAMed, rank 4, nine channels. */
model_train_options model_train_options_default(void);

/* Loads the frozen network from sam; what is trained starts from the adapter or, without one (NULL), as the reference starts it from SAM
 * (spec 1.6): tensors that SAM has in this shape from SAM, the others fresh. The device must outlive *out. */
io_status model_trainer_create(model_device *device, const model_train_options *options, const io_tensors *sam, const io_tensors *adapter,
                               model_fresh fresh, void *context, model_trainer **out);
void model_trainer_free(model_trainer **trainer);

const model_config *model_trainer_config(const model_trainer *trainer); /* borrowed */

/* Runs slice `slot` (0 ... n_kept-1) forward and keeps what its way back needs. image [S,S] host; labels [L,L] host, below K;
 * sums [3*K+1]: what the loss needs (model/loss.h), of this slice. */
io_status model_trainer_forward(model_trainer *trainer, int slot, const float *image, const uint8_t *labels, double *sums);
/* logits [K,L,L] host of the slice that lies in the slot. */
io_status model_trainer_logits(const model_trainer *trainer, int slot, float *logits);
/* Adds the slot's gradients, given the sums of the whole global batch and its pixels (slices * L * L). The slot is then used up. */
io_status model_trainer_backward(model_trainer *trainer, int slot, const double *sums, double n_pixels);

/* The block of gradients, of weights and of moments (m, then v with AdamW), device memory; borrowed. n: numbers in one block. */
float *model_trainer_gradients(model_trainer *trainer, size_t *n);
float *model_trainer_weights(model_trainer *trainer, size_t *n);
float *model_trainer_moments(model_trainer *trainer, size_t *n_moments);
io_status model_trainer_zero_gradients(model_trainer *trainer);
/* L2 norm of all gradients, summed in double in a fixed order. */
double model_trainer_gradient_norm(const model_trainer *trainer);

/* One step of the optimizer with the gradients as they are; step counts from 1. Weights are then packed again. */
io_status model_trainer_update(model_trainer *trainer, float rate, int64_t step);
/* After weights were written from outside (a checkpoint). */
io_status model_trainer_pack(model_trainer *trainer);

/* What is trained, in the order of the block: name as in the adapter, where it starts, its shape there and number of elements. The block
 * keeps transposed convolutions with the taps outside the channels. */
size_t model_trainer_count(const model_trainer *trainer);
const char *model_trainer_tensor(const model_trainer *trainer, size_t i, size_t *offset, size_t *n_elements); /* borrowed */

/* The adapter in SAMed's layout and order. *out with io_tensors_free. */
io_status model_trainer_adapter(const model_trainer *trainer, io_tensors **out);
/* The gradients under the same names and shapes; only what is trained. */
io_status model_trainer_gradient_tensors(const model_trainer *trainer, io_tensors **out);

/* Calls trace after each phase of forward and backward: "encoder forward", "decoder forward", "loss", "decoder backward",
 * "encoder backward", with what these compute on this device. NULL ends that. */
void model_trainer_set_trace(model_trainer *trainer, model_trace trace, void *context);

/* Bytes of activations kept for one slice, and of everything on the device. */
size_t model_trainer_kept_bytes(const model_trainer *trainer);
size_t model_trainer_bytes(const model_trainer *trainer);

#endif
