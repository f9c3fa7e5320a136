/* A volume as the slices that the network sees, and its labels back on the volume's grid (spec 5.3, 6.1, 7). */
#ifndef PIPELINE_SLICES_H
#define PIPELINE_SLICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "io/volume.h"
#include "model/backend.h"

typedef enum pipe_preset {
    PIPE_PRESET_SAMED, /* through 224 x 224 to the image size, as the reference */
    PIPE_PRESET_DIRECT /* straight to the image size */
} pipe_preset;

typedef enum pipe_intensity_kind { PIPE_WINDOW, PIPE_PERCENTILE } pipe_intensity_kind;
typedef enum pipe_orient { PIPE_ORIENT_NATIVE, PIPE_ORIENT_RAS } pipe_orient;

typedef struct pipe_options {
    pipe_preset preset;
    pipe_intensity_kind intensity;
    double low, high;   /* window in the image's units (HU), or percentiles 0..100 of the finite voxels */
    pipe_orient orient; /* storage order, or resampled by permuting and flipping axes to RAS; undone on the labels */
    int image_size;     /* S, pixels */
} pipe_options;

/* -125..275 HU, samed preset, native order, 512. */
void pipe_options_default(pipe_options *out);
/* Canonical text of everything here that can change a label, for records; at least 160 bytes. */
void pipe_options_text(const pipe_options *options, char out[160]);

typedef struct pipe_slices pipe_slices;

/* Plans the slicing of a volume (borrowed until freed): intensity limits, orientation, zoom plans. Non-finite voxels are refused
 * (IO_ERR_RANGE, with their number) unless the window clips them away (infinities are clipped, NaN is refused). */
io_status pipe_slices_create(const io_volume *volume, const pipe_options *options, pipe_slices **out);
void pipe_slices_free(pipe_slices **slices);
int64_t pipe_slices_count(const pipe_slices *slices);
void pipe_slices_size(const pipe_slices *slices, int *rows, int *cols); /* of one slice before the zooms */

/* Slice k, ready for the network: image [S][S]. Thread-safe; scratch is pipe_slices_scratch_bytes, 64-byte aligned. */
size_t pipe_slices_scratch_bytes(const pipe_slices *slices);
void pipe_slices_image(const pipe_slices *slices, int64_t k, float *image, void *scratch);

/* For a device that makes the images itself: the way there, its tables borrowed until slices are freed, and slice k [rows][cols] of the
 * voxel type that it names. Thread-safe; scratch as above. */
void pipe_slices_slicing(const pipe_slices *slices, model_slicing *out);
size_t pipe_slices_raw_bytes(const pipe_slices *slices);
/* What the slicing of slices of n_pixels takes at most, neither side longer than side pixels, n_bytes of raw voxels: from headers alone. */
io_status pipe_slices_room(const pipe_options *options, size_t n_bytes, size_t n_pixels, size_t side, model_slicing_room *out);
void pipe_slices_raw(const pipe_slices *slices, int64_t k, void *raw, void *scratch);

/* Label slices collected into a volume; every slice exactly once. */
typedef struct pipe_labelmap pipe_labelmap;

/* label_bytes 1 or 2. Takes what it needs from slices (borrowed until freed). */
io_status pipe_labelmap_create(const pipe_slices *slices, int label_bytes, pipe_labelmap **out);
void pipe_labelmap_free(pipe_labelmap **map);
/* labels [S][S] of a slice -> out [rows][cols], order 0 (spec 6.1 step 5). */
void pipe_labels_zoom_back(const pipe_slices *slices, const uint16_t *labels, uint16_t *out);
/* Puts a slice [rows][cols] of label_bytes in place; a second arrival of k is IO_ERR_MISMATCH. */
io_status pipe_labelmap_put(pipe_labelmap *map, int64_t k, const void *labels);
/* All slices arrived? Else IO_ERR_MISMATCH naming the first missing one. *out [nz][ny][nx] in the input's storage order, borrowed. */
io_status pipe_labelmap_finish(pipe_labelmap *map, const void **out);

#endif
