/* A weight as the CPU's products like it. */
#ifndef MODEL_CPU_LINEAR_H
#define MODEL_CPU_LINEAR_H

#include "model/backend.h"

struct model_matrix {
    int n_out, n_in;
    model_type type;
    float *plain; /* [n_out,n_in], rounded to type */
};

#endif
