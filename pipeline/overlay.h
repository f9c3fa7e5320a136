/* A picture of one case: the contours of reference and prediction on three planes, where they differ most. */
#ifndef PIPELINE_OVERLAY_H
#define PIPELINE_OVERLAY_H

#include <stddef.h>
#include <stdint.h>

#include "io/labels.h"
#include "io/status.h"
#include "pipeline/label_volume.h"

/* Colours of the contours; where both run, OVERLAY_BOTH. */
#define PIPE_OVERLAY_REFERENCE                                                                                                             \
    {                                                                                                                                      \
        64, 224, 128                                                                                                                       \
    }
#define PIPE_OVERLAY_PREDICTION                                                                                                            \
    {                                                                                                                                      \
        255, 80, 208                                                                                                                       \
    }
#define PIPE_OVERLAY_BOTH                                                                                                                  \
    {                                                                                                                                      \
        255, 255, 255                                                                                                                      \
    }

/* Both volumes lie on one grid. image_path (may be NULL) is a volume to show below; without one, or when it does not lie on the same grid,
 * the reference's organs are shown in their colours, dimmed. *png [*n_bytes] with io_free. */
io_status pipe_overlay_draw(const pipe_label_volume *reference, const pipe_label_volume *prediction, const io_labels *labels,
                            const char *image_path, uint8_t **png, size_t *n_bytes);

#endif
