/* Position tables for another image size than the file's, as SAMed resizes them (spec 1.6). Host arrays, f32. */
#ifndef MODEL_RESIZE_H
#define MODEL_RESIZE_H

/* Linear along the rows, align_corners false: out [n_out,C] from in [n_in,C]. Equal sizes copy. */
void model_resize_rows(float *out, const float *in, int n_out, int n_in, int C);

/* Bilinear, align_corners false, no antialias, channels last: out [side_out,side_out,C] from in [side_in,side_in,C]. */
void model_resize_grid(float *out, const float *in, int side_out, int side_in, int C);

#endif
