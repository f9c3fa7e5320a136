/* See resize.h. The numerics are PyTorch's on the CPU: the ratio is rounded to f32, the position is computed in double and the weight
 * rounded to f32. All in f32, the tables would differ by 1.5e-5 of their steps. */
#include "model/resize.h"

#include <string.h>

typedef struct sample {
    int low, high;       /* neighbours */
    float low_w, high_w; /* their weights */
} sample;

static sample locate(int i, int n_out, int n_in)
{
    const float ratio = (float)n_in / (float)n_out;
    double position = ((double)i + 0.5) * (double)ratio - 0.5;
    sample at;

    if (position < 0) position = 0;
    at.low = (int)position;
    if (at.low > n_in - 1) at.low = n_in - 1;
    at.high = at.low + 1 < n_in ? at.low + 1 : n_in - 1;
    at.high_w = (float)(position - at.low);
    at.low_w = 1.0f - at.high_w;
    return at;
}

void model_resize_rows(float *out, const float *in, int n_out, int n_in, int C)
{
    for (int i = 0; i < n_out; i++) {
        const sample at = locate(i, n_out, n_in);
        const float *low = in + (long)at.low * C, *high = in + (long)at.high * C;
        for (int c = 0; c < C; c++) out[(long)i * C + c] = at.low_w * low[c] + at.high_w * high[c];
    }
}

void model_resize_grid(float *out, const float *in, int side_out, int side_in, int C)
{
    for (int y = 0; y < side_out; y++) {
        const sample v = locate(y, side_out, side_in);
        for (int x = 0; x < side_out; x++) {
            const sample h = locate(x, side_out, side_in);
            const float *a = in + ((long)v.low * side_in + h.low) * C, *b = in + ((long)v.low * side_in + h.high) * C;
            const float *c = in + ((long)v.high * side_in + h.low) * C, *d = in + ((long)v.high * side_in + h.high) * C;
            float *to = out + ((long)y * side_out + x) * C;
            for (int i = 0; i < C; i++)
                to[i] = v.low_w * (h.low_w * a[i] + h.high_w * b[i]) + v.high_w * (h.low_w * c[i] + h.high_w * d[i]);
        }
    }
}
