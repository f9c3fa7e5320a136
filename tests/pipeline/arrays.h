/* Two-dimensional NumPy files of ../shared, and paths into the source tree, for the tests of this room. */
#ifndef TESTS_PIPELINE_ARRAYS_H
#define TESTS_PIPELINE_ARRAYS_H

#include <stdbool.h>

#include "tests/check.h"

typedef struct array {
    int rows, cols;
    float *values; /* [rows][cols] */
} array;

/* "<source>/<name>" in a static buffer; SAMED_SOURCE is set by ctest. */
static inline const char *source_path(const char *name)
{
    static char path[4096];
    const char *folder = getenv("SAMED_SOURCE");

    snprintf(path, sizeof path, "%s/%s", folder ? folder : ".", name);
    return path;
}

/* A little-endian float32 .npy of two axes; false where ../shared is not there. pattern holds one %s. */
static inline bool array_read_shared(const char *pattern, const char *name, array *out)
{
    char relative[256], header[128];
    const char *path, *shape;
    size_t n;
    FILE *file;

    snprintf(relative, sizeof relative, pattern, name);
    path = check_shared(relative);
    if (!path) return false;
    file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(header, 1, sizeof header, file), sizeof header); /* version 1 headers of this size: golden/README.md */
    header[sizeof header - 1] = 0;
    assert_non_null(strstr(header + 10, "'<f4'"));
    shape = strstr(header + 10, "'shape': (");
    assert_non_null(shape);
    assert_int_equal(sscanf(shape, "'shape': (%d, %d)", &out->rows, &out->cols), 2);
    n = (size_t)out->rows * (size_t)out->cols;
    out->values = malloc(n * sizeof *out->values);
    assert_int_equal(fread(out->values, sizeof *out->values, n, file), n);
    fclose(file);
    return true;
}

static inline void array_free(array *a)
{
    free(a->values);
    a->values = NULL;
}

#endif
