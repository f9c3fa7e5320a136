/* The image encoder (spec 1; segment-anything, modeling/image_encoder.py), written once on the table of operations. */
#ifndef MODEL_ENCODER_H
#define MODEL_ENCODER_H

#include "model/run.h"

typedef struct model_block {
    model_norm norm1, norm2;            /* [C] */
    model_linear qkv, proj, lin1, lin2; /* [3C,C] [C,C] [F,C] [C,F] */
    model_relpos *relpos;
} model_block;

typedef struct model_encoder {
    model_linear patch;     /* [C,P*P]: the three channels of a grey slice are equal, so their weights are summed */
    const float *pos_embed; /* [N,C] device */
    model_block blocks[MODEL_MAX_DEPTH];
    model_linear neck0;             /* [R,C], f32: reads the residual stream */
    model_norm neck1, neck3;        /* [R] */
    model_matrix *neck2;            /* [R,9R], taps outside channels */
    model_matrix *neck2_transposed; /* for the way back: channels exchanged, taps reversed; NULL unless loaded for training */
} model_encoder;

/* MODEL_SLOT_IMAGES [b,S,S] -> MODEL_SLOT_EMBEDDING [b*N,R] channels last. */
io_status model_encoder_forward(model_run *run, const model_encoder *encoder);

#endif
