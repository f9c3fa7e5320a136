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
/* Issues one pass: recorded operations where the device has them and nobody watches. */
io_status model_sam_pass(model_sam *sam);

#endif
