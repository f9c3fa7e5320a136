/* SAM with SAMed's adapter, ready to segment slices on one device. */
#ifndef MODEL_SAM_H
#define MODEL_SAM_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "io/tensors.h"
#include "model/config.h"
#include "model/device.h"

typedef struct model_sam model_sam;

/* Called between operations when set: the name of the operation just finished, the number of floating-point operations and bytes it
 * stands for. For `samed bench`. */
typedef void (*model_trace)(void *context, const char *operation, double seconds, double flop, double bytes);

/* Packs the weights onto the device (LoRA merged, tables resized to the config's image size) and lets the mapped pages of both files go
 * as it reads. adapter may be NULL. The device must outlive *out. */
io_status model_sam_create(model_device *device, const model_config *config, const io_tensors *sam, const io_tensors *adapter,
                           model_sam **out);
void model_sam_free(model_sam **sam);

/* images [B,S,S] host f32 (after both zooms) -> labels [B,S,S] host. Any B: the device takes them pass by pass, the last one filled up. */
io_status model_sam_segment(model_sam *sam, const float *images, int B, uint16_t *labels);

/* The same, stopping at the logits: logits [B,K,L,L] host; iou [B,K] host may be NULL. */
io_status model_sam_logits(model_sam *sam, const float *images, int B, float *logits, float *iou);

/* What a test may look at: "patch_embed" (before positions are added), "block.<i>" [N,C], "embedding" [R,G,G]. Asked for before a forward,
 * which then writes the n_elements of its first slice to out (host); one at a time, NULL ends it. */
io_status model_sam_probe(model_sam *sam, const char *what, float *out, size_t n_elements);

void model_sam_set_trace(model_sam *sam, model_trace trace, void *context);

/* Floating-point operations that one slice needs (pads skipped), and bytes held on the device. */
double model_sam_flop(const model_config *config);
size_t model_sam_bytes(const model_sam *sam);

/* Bytes of device memory that a network of this config needs (weights, constants, activations, scratch) for passes of such a device: for
 * plans before anything is loaded. */
size_t model_sam_estimate_bytes(const model_config *config, model_type type, model_device_kind kind);
/* IO_ERR_MEMORY, in one line before anything is loaded, where the device has too little left for the network and for more_bytes, what the
 * slices need on their way (model_flow_estimate_bytes). */
io_status model_sam_check_memory(const model_device *device, const model_config *config, size_t more_bytes);

/* w_a/w_b merged into q and v (and the decoder's LoRA for SAMed_s): a full state dict under SAM's names with K mask tokens, that
 * segment-anything loads. *out with io_tensors_free. */
io_status model_sam_merge(const io_tensors *sam, const io_tensors *adapter, io_tensors **out);

#endif
