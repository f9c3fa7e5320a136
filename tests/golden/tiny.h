/* The weights of the small networks: listed by name and scale in tiny_weights.txt, their values from a hash (make_golden.py). */
#ifndef TESTS_GOLDEN_TINY_H
#define TESTS_GOLDEN_TINY_H

#include "io/tensors.h"
#include "tests/check.h"

static char source_folder[3072]; /* set by main */

static inline uint64_t hash_text(const char *text)
{
    uint64_t h = 0xCBF29CE484222325u;

    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001B3u;
    return h;
}

/* value_of in make_golden.py */
static inline double value_at(uint64_t start, size_t i)
{
    uint64_t z = start + (uint64_t)(i + 1) * 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (double)(z >> 40) / 16777216.0 - 0.5;
}

static inline void add_listed(io_tensors *tensors, const char *kind, const char *name, const char *shape_text, double scale, double offset)
{
    int64_t shape[IO_TENSOR_MAX_DIMS];
    int n_dims = 0;
    size_t n = 1;
    char text[256];
    uint64_t start;
    float *values;

    for (const char *at = shape_text; *at; n_dims++) {
        char *end;
        shape[n_dims] = strtol(at, &end, 10);
        n *= (size_t)shape[n_dims];
        at = *end == ',' ? end + 1 : end;
    }
    snprintf(text, sizeof text, "%s/%s", kind, name);
    start = hash_text(text);
    values = malloc(n * sizeof *values);
    for (size_t i = 0; i < n; i++) values[i] = (float)(offset + scale * value_at(start, i));
    check_ok(io_tensors_add(tensors, name, n_dims, shape, values, false));
    free(values);
}

/* The weights listed under <network>.<layout>; those whose name contains `without` are left out. */
static inline io_tensors *make_weights(const char *name_of_network, const char *layout, const char *without)
{
    char path[4096], wanted[96], kind[64], name[128], shape[64];
    double scale, offset;
    FILE *file;
    io_tensors *tensors = NULL;

    snprintf(path, sizeof path, "%s/tests/golden/tiny_weights.txt", source_folder);
    snprintf(wanted, sizeof wanted, "%s.%s", name_of_network, layout);
    file = fopen(path, "r");
    if (!file) fail_msg("%s is missing", path);
    check_ok(io_tensors_create(&tensors));
    while (fscanf(file, "%63s %127s %63s %lf %lf", kind, name, shape, &scale, &offset) == 5)
        if (!strcmp(kind, wanted) && !(without && strstr(name, without))) add_listed(tensors, kind, name, shape, scale, offset);
    fclose(file);
    assert_true(io_tensors_count(tensors) > 0);
    return tensors;
}

#endif
