/* Reads the .npy files of the golden vectors: little-endian, C order, '<f4' or '|u1' (numpy.lib.format, version 1). */
#ifndef TESTS_GOLDEN_NPY_H
#define TESTS_GOLDEN_NPY_H

#include "tests/check.h"

typedef struct npy_array {
    size_t n;   /* elements */
    float *f;   /* [n] for '<f4', else NULL */
    uint8_t *u; /* [n] for '|u1', else NULL */
} npy_array;

/* The product of the shape in a header such as "{'descr': '<f4', 'fortran_order': False, 'shape': (9, 128, 128), }". */
static size_t count_elements(const char *header)
{
    const char *at = strchr(strstr(header, "'shape':"), '(');
    size_t n = 1;

    for (at++; *at && *at != ')'; at++) {
        char *end;
        const long size = strtol(at, &end, 10);
        if (end == at) continue;
        n *= (size_t)size;
        at = end - 1;
    }
    return n;
}

/* *out with npy_free; a missing or foreign file fails the test. */
static inline void npy_read(const char *path, npy_array *out)
{
    unsigned char start[10];
    char header[4096] = "";
    FILE *file = fopen(path, "rb");
    size_t length;

    *out = (npy_array){0};
    if (!file) fail_msg("%s: cannot be read", path);
    assert_int_equal(fread(start, 1, sizeof start, file), sizeof start);
    assert_memory_equal(start, "\x93NUMPY\x01", 7);
    length = start[8] + 256u * start[9];
    assert_true(length < sizeof header);
    assert_int_equal(fread(header, 1, length, file), length);
    out->n = count_elements(header);
    assert_null(strstr(header, "True")); /* Fortran order */
    if (strstr(header, "'<f4'")) {
        out->f = malloc(out->n * sizeof *out->f);
        assert_int_equal(fread(out->f, sizeof *out->f, out->n, file), out->n);
    } else {
        assert_non_null(strstr(header, "'|u1'"));
        out->u = malloc(out->n);
        assert_int_equal(fread(out->u, 1, out->n, file), out->n);
    }
    fclose(file);
}

static inline void npy_free(npy_array *array)
{
    free(array->f);
    free(array->u);
    *array = (npy_array){0};
}

#endif
