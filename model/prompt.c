/* See prompt.h; segment-anything, modeling/prompt_encoder.py, PositionEmbeddingRandom. */
#include "model/prompt.h"

#include <math.h>

static const double two_pi = 6.283185307179586;

void model_prompt_encode_grid(float *out, const float *gaussian, int G, int R)
{
    const int half = R / 2;

    for (int i = 0; i < G * G; i++) {
        const double u = 2 * (i % G + 0.5) / G - 1, v = 2 * (i / G + 0.5) / G - 1; /* cell centres in [-1, 1] */
        float *row = out + (long)i * R;
        for (int c = 0; c < half; c++) {
            const double phase = two_pi * (u * gaussian[c] + v * gaussian[half + c]);
            row[c] = (float)sin(phase);
            row[half + c] = (float)cos(phase);
        }
    }
}
