/* The mask decoder (spec 4; segment-anything, modeling/mask_decoder.py and transformer.py), all in f32. */
#ifndef MODEL_DECODER_H
#define MODEL_DECODER_H

#include "model/run.h"

typedef struct model_attention {
    model_linear q, k, v, out; /* q, k, v [I,R] ([R,R] in self attention), out [R,I] */
} model_attention;

typedef struct model_decoder_layer {
    model_attention self, t2i, i2t; /* tokens to tokens, tokens to image, image to tokens */
    model_norm norm1, norm2, norm3, norm4;
    model_linear lin1, lin2; /* [J,R] [R,J] */
} model_decoder_layer;

typedef struct model_mlp {
    model_linear layers[3];
} model_mlp;

typedef struct model_decoder {
    model_decoder_layer layers[MODEL_DECODER_DEPTH];
    model_attention final;
    model_norm final_norm;
    model_linear up0, up3; /* transposed convolutions as products: [4*R/4,R] [4*R/8,R/4], taps outside channels */
    model_norm up1;        /* [R/4] */
    model_mlp *hyper;      /* [K], owned by the loader */
    model_mlp iou;
    /* Constants on the device; b is the number of slices in a pass. */
    const float *position; /* [N,R] dense positional encoding */
    const float *no_mask;  /* [R] */
    const float *tokens;   /* [b*T,R]: IoU token, then the mask tokens, once for each slice */
    /* Layer 0 before it has seen the image: its self attention has neither position nor residual, so it depends on the weights only. */
    float *first_tokens; /* [b*T,R] after norm1 */
    float *first_q;      /* [b*T,I] query of the first cross attention */
} model_decoder;

/* Fills first_tokens and first_q. Needs a workspace; once after loading. */
io_status model_decoder_prepare(model_run *run, const model_decoder *decoder);

/* MODEL_SLOT_EMBEDDING -> MODEL_SLOT_LOGITS [b,K,L,L]; and MODEL_SLOT_IOU [b,K] if asked. */
io_status model_decoder_forward(model_run *run, const model_decoder *decoder, bool with_iou);

#endif
