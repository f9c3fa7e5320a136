/* Training augmentation as the reference's RandomGenerator (spec 5.2): half of the samples are turned by quarters and flipped, a quarter is
 * rotated by -20 to 19 degrees with order 0 for the image too, a quarter stays. Draws are independent per sample and epoch; the reference's
 * own random state repeats the sequence of kinds in every epoch, which is not imitated. */
#ifndef PIPELINE_AUGMENT_H
#define PIPELINE_AUGMENT_H

#include <stdint.h>

#include "pipeline/random.h"

typedef enum pipe_augment_kind { PIPE_AUGMENT_NONE, PIPE_AUGMENT_FLIP, PIPE_AUGMENT_ROTATE } pipe_augment_kind;

/* What happens to one sample. */
typedef struct pipe_augment {
    pipe_augment_kind kind;
    int quarter_turns; /* FLIP: counter-clockwise, 0..3 */
    int flip_axis;     /* FLIP: 0 turns rows round, 1 columns */
    int angle_deg;     /* ROTATE: counter-clockwise on the screen, -20..19 */
    float gain, shift; /* of the image, value * gain + shift; 1 and 0 without jitter */
} pipe_augment;

/* jitter 0 leaves intensities as they are (the reference); else gain is drawn from 1 -+ jitter and shift from -+ jitter. */
void pipe_augment_draw(pipe_random *random, double jitter, pipe_augment *out);
/* image, labels [size][size] -> image_out, labels_out [size][size], other memory. */
void pipe_augment_apply(const pipe_augment *augment, int size, const float *image, const uint16_t *labels, float *image_out,
                        uint16_t *labels_out);

#endif
