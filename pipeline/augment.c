/* See augment.h. Rotation is scipy.ndimage.rotate(order=0, reshape=False): the same double arithmetic in the same order
 * (ni_interpolation.c, NI_GeometricTransform), so that ties fall to the same side. */
#include "pipeline/augment.h"

#include <math.h>
#include <string.h>

enum { MIN_ANGLE = -20, END_ANGLE = 20 }; /* degrees */

/* Output pixel (i, j) -> input (y, x) = m (i, j) + offset. */
typedef struct rotation {
    double m[2][2], offset[2];
} rotation;

void pipe_augment_draw(pipe_random *random, double jitter, pipe_augment *out)
{
    *out = (pipe_augment){.gain = 1};
    if (pipe_random_uniform(random) > 0.5) {
        out->kind = PIPE_AUGMENT_FLIP;
        out->quarter_turns = (int)pipe_random_integer(random, 0, 4);
        out->flip_axis = (int)pipe_random_integer(random, 0, 2);
    } else if (pipe_random_uniform(random) > 0.5) {
        out->kind = PIPE_AUGMENT_ROTATE;
        out->angle_deg = (int)pipe_random_integer(random, MIN_ANGLE, END_ANGLE);
    }
    if (!(jitter > 0)) return;
    out->gain = (float)(1 + jitter * (2 * pipe_random_uniform(random) - 1));
    out->shift = (float)(jitter * (2 * pipe_random_uniform(random) - 1));
}

static void plan_rotation(int angle_deg, int size, rotation *out)
{
    const double radians = angle_deg * (M_PI / 180.0), c = cos(radians), s = sin(radians), centre = (size - 1) / 2.0;

    *out = (rotation){.m = {{c, s}, {-s, c}}};
    for (int axis = 0; axis < 2; axis++) out->offset[axis] = centre - (out->m[axis][0] * centre + out->m[axis][1] * centre);
}

/* The input pixel of an output pixel, -1 outside. */
static int64_t find_rotated(const rotation *r, int size, int i, int j)
{
    int64_t at[2];

    for (int axis = 0; axis < 2; axis++) {
        const double v = r->m[axis][0] * i + r->m[axis][1] * j + r->offset[axis];
        if (v < 0 || v > size - 1) return -1;
        at[axis] = (int64_t)floor(v + 0.5);
    }
    return at[0] * size + at[1];
}

/* numpy.rot90, then numpy.flip. */
static int64_t find_flipped(const pipe_augment *augment, int size, int i, int j)
{
    const int last = size - 1;
    const int row = augment->flip_axis == 0 ? last - i : i, col = augment->flip_axis == 0 ? j : last - j;

    switch (augment->quarter_turns) {
    case 1: return (int64_t)col * size + last - row;
    case 2: return (int64_t)(last - row) * size + last - col;
    case 3: return (int64_t)(last - col) * size + row;
    default: return (int64_t)row * size + col;
    }
}

static void move_pixels(const pipe_augment *augment, int size, const float *image, const uint16_t *labels, float *image_out,
                        uint16_t *labels_out)
{
    rotation r;
    int64_t to = 0;

    plan_rotation(augment->angle_deg, size, &r);
    for (int i = 0; i < size; i++) {
        for (int j = 0; j < size; j++, to++) {
            const int64_t from = augment->kind == PIPE_AUGMENT_FLIP ? find_flipped(augment, size, i, j) : find_rotated(&r, size, i, j);
            image_out[to] = from < 0 ? 0 : image[from];
            labels_out[to] = from < 0 ? 0 : labels[from];
        }
    }
}

void pipe_augment_apply(const pipe_augment *augment, int size, const float *image, const uint16_t *labels, float *image_out,
                        uint16_t *labels_out)
{
    const size_t n = (size_t)size * (size_t)size;

    if (augment->kind == PIPE_AUGMENT_NONE) {
        memcpy(image_out, image, n * sizeof *image);
        memcpy(labels_out, labels, n * sizeof *labels);
    } else {
        move_pixels(augment, size, image, labels, image_out, labels_out);
    }
    if (augment->gain == 1 && augment->shift == 0) return;
    for (size_t i = 0; i < n; i++) image_out[i] = image_out[i] * augment->gain + augment->shift;
}
