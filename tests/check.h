/* What every test includes: cmocka in the order it wants, a scratch folder, and comparisons in which NaN never passes. */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/status.h"

enum { CHECK_SKIP = 77 }; /* main returns it when a test cannot run here; ctest shows it as skipped */

#define check_ok(call)                                                                       \
    do {                                                                                     \
        if ((call) != IO_OK) fail_msg("%s: %s", #call, io_last_error());                     \
    } while (0)

#define check_fails(expected, call)                                                          \
    do {                                                                                     \
        const io_status check_status = (call);                                               \
        if (check_status != (expected))                                                      \
            fail_msg("%s: expected %s, got %s (%s)", #call, io_status_name(expected),        \
                     io_status_name(check_status), io_last_error());                         \
    } while (0)

/* |a - b| <= tolerance; NaN fails. */
#define check_near(a, b, tolerance)                                                          \
    do {                                                                                     \
        const double check_a = (a), check_b = (b);                                           \
        if (!(fabs(check_a - check_b) <= (tolerance)))                                       \
            fail_msg("%s = %.9g, expected %.9g within %g", #a, check_a, check_b, (double)(tolerance)); \
    } while (0)

/* The largest |a[i] - b[i]|; NaN anywhere gives infinity. */
static inline double check_max_error(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs((double)a[i] - (double)b[i]);
        if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
    }
    return worst;
}

/* "<shared>/<name>" into a static buffer, or NULL when ../shared is not there (the test then skips with CHECK_SKIP). */
static inline const char *check_shared(const char *name)
{
    static char path[4096];
    const char *folder = getenv("SAMED_SHARED");
    FILE *file;

    if (!folder) return NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (!file) return NULL;
    fclose(file);
    return path;
}

#endif
