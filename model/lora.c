/* See lora.h. */
#include "model/lora.h"

enum { STRIP = 256 };

/* One row of the weight, in strips so that the double sums stay in the first-level cache. */
static void merge_row(float *weight, const float *b, const float *a, int n_in, int r)
{
    for (int start = 0; start < n_in; start += STRIP) {
        const int n = n_in - start < STRIP ? n_in - start : STRIP;
        double sum[STRIP];
        for (int j = 0; j < n; j++) sum[j] = weight[start + j];
        for (int k = 0; k < r; k++) {
            const double factor = b[k];
            const float *row = a + (long)k * n_in + start;
            for (int j = 0; j < n; j++) sum[j] += factor * row[j];
        }
        for (int j = 0; j < n; j++) weight[start + j] = (float)sum[j];
    }
}

void model_lora_merge(float *weight, const float *b, const float *a, int n_out, int n_in, int r)
{
    for (int i = 0; i < n_out; i++) merge_row(weight + (long)i * n_in, b + (long)i * r, a, n_in, r);
}
