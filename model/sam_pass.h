/* Inside of sam.c and flow.c: one pass of the network, from the images' slot to the labels' slot, on the device. */
#ifndef MODEL_SAM_PASS_H
#define MODEL_SAM_PASS_H

#include <stdint.h>

#include "model/sam.h"

/* Slices of every pass. */
int model_sam_pass_slices(const model_sam *sam);
/* [b,S,S] device memory, borrowed: read by a pass, which then uses the place for other things. */
float *model_sam_pass_images(const model_sam *sam);
/* [b,S,S] device memory, borrowed, until the next pass. */
const uint16_t *model_sam_pass_labels(const model_sam *sam);
/* What lies around a pass, for who watches it (model_sam_set_trace): as model_run_trace_start and model_run_trace. */
io_status model_sam_pass_trace_start(model_sam *sam);
io_status model_sam_pass_trace(model_sam *sam, const char *operation, double flop, double bytes);
/* Issues one pass: recorded operations where the device has them and nobody watches. */
io_status model_sam_pass(model_sam *sam);

#endif
