/* The loss of spec 5.5 from sums over pixels, (1 - w) cross entropy + w Dice, Dice over the whole global batch: the sums of all slices on
 * all ranks are added before the ratio is formed. */
#ifndef MODEL_LOSS_H
#define MODEL_LOSS_H

#include "io/status.h"

typedef struct model_loss {
    double total, ce, dice;
} model_loss;

/* sums [3*K+1] as loss_forward of model/backend.h gives them, added over all slices; n_pixels of all slices together. */
model_loss model_loss_join(const double *sums, int K, double n_pixels, double dice_weight);

/* What loss_backward of model/backend.h takes: *a, and factors [2*K]. */
void model_loss_factors(const double *sums, int K, double n_pixels, double dice_weight, float *a, float *factors);

#endif
