/* Two-dimensional arrays out of NumPy's .npz (a zip of .npy, stored or deflated): SAMed's prepared slices. A restricted reader: numbers only,
 * no objects, so nothing is ever executed. Source: numpy/lib/format.py, versions 1 to 3. */
#ifndef IO_NPZ_H
#define IO_NPZ_H

#include "io/status.h"

typedef struct io_npz_array {
    int rows, cols;
    float *values; /* [rows][cols]; 64-bit values are rounded */
} io_npz_array;

/* The array of this name; values with io_free. At most 8192 on each side. */
io_status io_npz_read(const char *path, const char *name, io_npz_array *out);

#endif
