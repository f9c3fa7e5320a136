/* What the files in tests/golden/weights hold, as PyTorch and safetensors read them: expected.tsv, made by tests/golden/make_weight_files.py. */
#ifndef TESTS_IO_EXPECTED_WEIGHTS_H
#define TESTS_IO_EXPECTED_WEIGHTS_H

#include "tests/check.h"

#include "io/tensors.h"

enum { EXPECTED_LINE_BYTES = 4096, EXPECTED_VALUES_MAX = 256 };

/* "<source>/tests/golden/weights/<name>", valid until the next call. */
static inline const char *expected_path(const char *name)
{
    static char path[4096];
    const char *source = getenv("SAMED_SOURCE");

    snprintf(path, sizeof path, "%s/tests/golden/weights/%s", source ? source : ".", name);
    return path;
}

/* text: numbers with spaces between; equal bits after rounding to float, except that any NaN equals any NaN. Returns how many. */
static inline size_t expected_compare_values(const char *name, char *text, const float *values, size_t n)
{
    size_t count = 0;

    for (char *rest = NULL, *word = strtok_r(text, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest), count++) {
        const float expected = (float)strtod(word, NULL);
        if (count >= n) fail_msg("%s: more values expected than %zu", name, n);
        if (isnan(expected) ? !isnan(values[count]) : memcmp(&expected, &values[count], sizeof expected) != 0)
            fail_msg("%s: value %zu: expected %s, found %.9g", name, count, word, (double)values[count]);
    }
    return count;
}

/* One line of expected.tsv, cut at its tabs, against the list. */
static inline void expected_compare_tensor(const io_tensors *tensors, char *fields[6])
{
    const io_tensor *tensor = io_tensors_find(tensors, fields[1]);
    float values[EXPECTED_VALUES_MAX];
    char shape[128];

    if (!tensor) fail_msg("%s: tensor %s was not found", fields[0], fields[1]);
    io_tensor_shape_text(tensor->n_dims, tensor->shape, shape, sizeof shape);
    assert_string_equal(shape, fields[3]);
    assert_string_equal(io_tensor_type_name(tensor->type), fields[2]);
    assert_int_equal(tensor->is_parameter, strcmp(fields[4], "parameter") == 0);
    assert_true(tensor->n_elements <= EXPECTED_VALUES_MAX);
    memset(values, 0x55, sizeof values);
    check_ok(io_tensor_read_f32(tensor, values));
    assert_int_equal(expected_compare_values(fields[1], fields[5], values, tensor->n_elements), tensor->n_elements);
}

/* The list must hold exactly the tensors that expected.tsv names for file. */
static inline void expected_compare(const io_tensors *tensors, const char *file)
{
    char line[EXPECTED_LINE_BYTES];
    FILE *table = fopen(expected_path("expected.tsv"), "r");
    size_t n_found = 0;

    assert_non_null(table);
    while (fgets(line, sizeof line, table)) {
        char *rest = line, *fields[6];
        for (int i = 0; i < 6; i++) fields[i] = strsep(&rest, "\t");
        assert_non_null(fields[5]);
        if (strcmp(fields[0], file) != 0) continue;
        expected_compare_tensor(tensors, fields);
        n_found++;
    }
    fclose(table);
    assert_true(n_found > 0);
    assert_int_equal(io_tensors_count(tensors), n_found);
}

#endif
