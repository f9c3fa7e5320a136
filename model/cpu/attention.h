/* What the attention kernels share: one block's constants. */
#ifndef MODEL_CPU_ATTENTION_H
#define MODEL_CPU_ATTENTION_H

#include "model/backend.h"

struct model_relpos {
    int side, head_size, heads;
    model_type type;
    float *rel_h, *rel_w; /* [2*side-1, D], rounded to type */
    float *bias;          /* [3*H*D], rounded to type: q, k and v of a padded token */
};

#endif
