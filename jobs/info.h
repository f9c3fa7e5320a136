/* The parts of `samed info`: each file becomes a JSON object, which is printed as it is or in words. */
#ifndef JOBS_INFO_H
#define JOBS_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/json.h"
#include "io/status.h"

/* What lies between which values; infinities count as values, NaNs do not. */
typedef struct info_range {
    double low, high;
    int64_t n, n_nan, n_infinite;
} info_range;

void job_info_range_add(info_range *range, const float *values, size_t n);
/* "min", "max", "nan", "infinite". */
io_status job_info_range_put(const info_range *range, io_json *root);

/* Describes a weight file into root; a failure is why it would be refused. */
io_status job_info_weights(const char *path, bool check, bool list_tensors, io_json *root);

/* In words, on standard output. */
void job_info_print(const io_json *root);

#endif
