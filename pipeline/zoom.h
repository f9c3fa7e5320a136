/* scipy.ndimage.zoom in two dimensions, mode constant, cval 0, grid_mode off (spec 5.3): align-corners grid, orders 0 and 3, double
 * arithmetic, last-row quirk included. A plan is made once per pair of sizes and shared by threads; it holds no scratch. */
#ifndef PIPELINE_ZOOM_H
#define PIPELINE_ZOOM_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "model/backend.h"

typedef struct pipe_zoom pipe_zoom;

/* From [in_rows][in_cols] to [out_rows][out_cols]; sizes >= 1 (an axis of 1 follows SciPy). */
io_status pipe_zoom_create(int in_rows, int in_cols, int out_rows, int out_cols, pipe_zoom **out);
void pipe_zoom_free(pipe_zoom **zoom);
/* The plan's tables, for devices that zoom themselves. Borrowed, until the plan is freed. */
const model_zoom *pipe_zoom_tables(const pipe_zoom *zoom);
/* Bytes of scratch that pipe_zoom_cubic needs, 64-byte aligned. */
size_t pipe_zoom_scratch_bytes(const pipe_zoom *zoom);
/* Order 3 with prefilter; equal to SciPy on float32 input to 1e-6. */
void pipe_zoom_cubic(const pipe_zoom *zoom, const float *in, float *out, void *scratch);
/* Order 0, for labels. */
void pipe_zoom_nearest(const pipe_zoom *zoom, const uint16_t *in, uint16_t *out);

#endif
