/* From a header's stored orientation to the affine that everything else uses. Inside io/ only. */
#ifndef IO_GRID_H
#define IO_GRID_H

#include "io/volume.h"

/* Fills affine and spacing_mm from the stored fields, as nibabel does. n_dims is the header's dim[0]: below 3 the base affine has no
 * third spacing. */
void io_grid_derive(io_grid *grid, int n_dims);

/* The affine of the qform alone, whatever its code. */
void io_grid_qform(const io_grid *grid, double affine[3][4]);

/* b*b + c*c + d*d of the stored quaternion; above 1 it is no rotation. */
double io_grid_quaternion_norm(const io_grid *grid);

#endif
