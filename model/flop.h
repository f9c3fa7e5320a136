/* Floating-point operations of one slice, pads skipped where the backends skip them; a multiply and an add are two. */
#ifndef MODEL_FLOP_H
#define MODEL_FLOP_H

#include <stdbool.h>

#include "model/config.h"

double model_flop_patch(const model_config *config);
double model_flop_attention(const model_config *config, bool is_global); /* of one block: logits, positions, values */
double model_flop_block(const model_config *config, bool is_global);     /* with its four products */
double model_flop_neck(const model_config *config);
double model_flop_decoder(const model_config *config);

#endif
