/* See loss.h. */
#include "model/loss.h"

static const double epsilon = 1e-5; /* DiceLoss of the reference, utils.py: smooth */

/* Of channel c: 2 I + e, and P + Y + e. */
static double get_overlap(const double *sums, int c)
{
    return 2 * sums[c] + epsilon;
}

static double get_size(const double *sums, int K, int c)
{
    return sums[K + c] + sums[2 * K + c] + epsilon;
}

model_loss model_loss_join(const double *sums, int K, double n_pixels, double dice_weight)
{
    model_loss loss = {.ce = sums[3 * K] / n_pixels};

    for (int c = 0; c < K; c++) loss.dice += (1 - get_overlap(sums, c) / get_size(sums, K, c)) / K;
    loss.total = (1 - dice_weight) * loss.ce + dice_weight * loss.dice;
    return loss;
}

/* d(1 - N/Q)/dp = -(2 [y = c] Q - 2 p N) / Q^2 */
void model_loss_factors(const double *sums, int K, double n_pixels, double dice_weight, float *a, float *factors)
{
    *a = (float)((1 - dice_weight) / n_pixels);
    for (int c = 0; c < K; c++) {
        const double size = get_size(sums, K, c);

        factors[c] = (float)(-dice_weight * 2 / (K * size));
        factors[K + c] = (float)(dice_weight * 2 * get_overlap(sums, c) / (K * size * size));
    }
}
