/* A contact sheet of one case: slices with label contours in the labels' colours, as PNG. */
#ifndef PIPELINE_PREVIEW_H
#define PIPELINE_PREVIEW_H

#include "io/labels.h"
#include "io/status.h"
#include "io/volume.h"
#include "pipeline/slices.h"

/* labels [nz][ny][nx] of label_bytes on the volume's grid. Slices are shown as a radiologist sees them (patient's right on the left,
 * anterior up) whatever the storage order; three planes and a row of axial slices; a legend with names. */
io_status pipe_preview_write(const char *path, const io_volume *volume, const void *labels, int label_bytes, const io_labels *names,
                             const pipe_options *options);

#endif
