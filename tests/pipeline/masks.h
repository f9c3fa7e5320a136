/* Small masks and the lines of tests/golden/metrics.txt, for the tests of metrics and statistics. */
#ifndef TESTS_PIPELINE_MASKS_H
#define TESTS_PIPELINE_MASKS_H

#include "tests/check.h"
#include "tests/pipeline/arrays.h"

#include "pipeline/metrics.h"

enum { MASK_BALL = 8, ALL_CONVENTIONS = (1 << PIPE_N_CONVENTIONS) - 1 };

/* ball: cx cy cz wx wy wz r m as tests/golden/make_metrics.py says. mask [nz][ny][nx] gets 1 and 0. */
static inline void mask_draw(const int64_t dims[3], const double ball[MASK_BALL], uint8_t *mask)
{
    for (int64_t k = 0; k < dims[2]; k++) {
        for (int64_t j = 0; j < dims[1]; j++) {
            for (int64_t i = 0; i < dims[0]; i++) {
                const double x = (double)i - ball[0], y = (double)j - ball[1], z = (double)k - ball[2];
                const int is_in = ball[3] * x * x + ball[4] * y * y + ball[5] * z * z <= ball[6];
                const int64_t noise = 7919 * i + 104729 * j + 31 * i * j + 17 * j * k + 1299 * k;
                *mask++ = (uint8_t)(is_in ^ (ball[7] > 0 && noise % (int64_t)ball[7] == 0));
            }
        }
    }
}

/* All conventions of value 1 of two byte masks. */
static inline void mask_measure(const int64_t dims[3], const uint8_t *reference, const uint8_t *prediction,
                                const pipe_metrics_options *options, pipe_metrics *out)
{
    pipe_metrics_scratch *scratch = NULL;
    pipe_label_boxes *boxes = NULL;

    check_ok(pipe_metrics_scratch_create(&scratch));
    check_ok(pipe_label_boxes_create(dims, reference, 1, prediction, 1, 2, &boxes));
    check_ok(pipe_metrics_measure(boxes, 1, options, scratch, out));
    pipe_label_boxes_free(&boxes);
    pipe_metrics_scratch_free(&scratch);
}

/* |a - b| <= relative |b|, with a floor for values near 0; NaN fails. */
#define check_relative(a, b, relative) check_near(a, b, (relative)*fmax(fabs(b), 1e-3))

/* Calls visit with each line of metrics.txt, the first word apart, and returns how many lines began with word. */
static inline int metrics_lines(const char *word, void (*visit)(const char *rest, void *context), void *context)
{
    enum { LINE_BYTES = 1 << 16 };
    static char line[LINE_BYTES];
    FILE *file = fopen(source_path("tests/golden/metrics.txt"), "r");
    int n = 0;

    assert_non_null(file);
    while (fgets(line, LINE_BYTES, file)) {
        const size_t length = strlen(word);
        if (strncmp(line, word, length) != 0 || line[length] != ' ') continue;
        visit(line + length, context);
        n++;
    }
    fclose(file);
    return n;
}

/* Up to n_max numbers of a text; returns how many there were. */
static inline int read_numbers(const char *text, double *numbers, int n_max)
{
    int n = 0;
    char *end;

    for (; n < n_max; n++) {
        numbers[n] = strtod(text, &end);
        if (end == text) break;
        text = end;
    }
    return n;
}

#endif
