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

/* Where a plane is drawn, in pixels; its title stands above it, never on it. */
typedef struct pipe_overlay_panel {
    int left, top, width, height;
} pipe_overlay_panel;

/* Arranges axial, coronal and sagittal plane of these widths and heights in mm, all at one scale: side by side, or the last two one above
 * the other beside the axial one, whichever shows them larger (thick slabs of few slices: the second). Size of the picture in pixels; the
 * scale in pixels per mm is returned. */
double pipe_overlay_arrange(const double extents_mm[3][2], pipe_overlay_panel panels[3], int *width, int *height);

/* Both volumes lie on one grid. image_path (may be NULL) is a volume to show below, organs tinted in their colours; without one, or when
 * fault [n_fault] says why it cannot be shown ("" when all is well), the organs alone, dimmed. The reference's contour is solid, the
 * prediction's dashed. *png [*n_bytes] with io_free. */
io_status pipe_overlay_draw(const pipe_label_volume *reference, const pipe_label_volume *prediction, const io_labels *labels,
                            const char *image_path, char *fault, size_t n_fault, uint8_t **png, size_t *n_bytes);

#endif
