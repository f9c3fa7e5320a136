/* The body of zoom_axis_function (zoom_lanes.h), included once per instruction set: the includer defines ZOOM_AXIS_NAME and
 * ZOOM_VECTOR_BYTES. Formulas: spec 5.3; M. Unser, "Splines: a perfect fit for signal and image processing", 1999, box 2. */
#include "pipeline/zoom_lanes.h"

typedef double lanes __attribute__((vector_size(ZOOM_VECTOR_BYTES)));

enum { VECTORS = ZOOM_LANES * 8 / ZOOM_VECTOR_BYTES };

static const double POLE = -0.26794919243112281; /* sqrt(3) - 2, as the C library rounds it */

/* First causal coefficient of a mirrored line, without the gain of 6. */
static void sum_mirror(const lanes (*strip)[VECTORS], int n, double power_n, lanes *first)
{
    const int n_terms = n - 2 < ZOOM_HORIZON ? n - 2 : ZOOM_HORIZON;
    double power = POLE;

    for (int v = 0; v < VECTORS; v++) first[v] = strip[0][v] + power_n * strip[n - 1][v];
    for (int i = 1; i <= n_terms; i++) {
        for (int v = 0; v < VECTORS; v++) first[v] += power * (strip[i][v] + power_n * strip[n - 1 - i][v]);
        power *= POLE;
    }
    for (int v = 0; v < VECTORS; v++) first[v] = first[v] * 6.0 / (1.0 - power_n * power_n);
}

static void filter_lines(lanes (*strip)[VECTORS], int n)
{
    lanes last[VECTORS];
    double power_n = 1.0;

    for (int i = 1; i < n && power_n != 0.0; i++) power_n *= POLE;
    sum_mirror((const lanes(*)[VECTORS])strip, n, power_n, last);
    for (int v = 0; v < VECTORS; v++) strip[0][v] = last[v];
    for (int i = 1; i < n; i++) {
        for (int v = 0; v < VECTORS; v++) {
            last[v] = 6.0 * strip[i][v] + POLE * last[v];
            strip[i][v] = last[v];
        }
    }
    for (int v = 0; v < VECTORS; v++) {
        last[v] = (POLE * strip[n - 2][v] + strip[n - 1][v]) * POLE / (POLE * POLE - 1.0);
        strip[n - 1][v] = last[v];
    }
    for (int i = n - 2; i >= 0; i--) {
        for (int v = 0; v < VECTORS; v++) {
            last[v] = POLE * (last[v] - strip[i][v]);
            strip[i][v] = last[v];
        }
    }
}

static void evaluate_line(const lanes (*strip)[VECTORS], const int32_t *index, const double *weight, lanes *out)
{
    const lanes *a = strip[index[0]], *b = strip[index[1]], *c = strip[index[2]], *d = strip[index[3]];

    for (int v = 0; v < VECTORS; v++) out[v] = weight[0] * a[v] + weight[1] * b[v] + weight[2] * c[v] + weight[3] * d[v];
}

void ZOOM_AXIS_NAME(const zoom_axis *axis, double *strip, double *out)
{
    lanes(*lines)[VECTORS] = (lanes(*)[VECTORS])strip;
    lanes(*results)[VECTORS] = (lanes(*)[VECTORS])out;

    if (axis->n_in > 1) filter_lines(lines, axis->n_in); /* SciPy leaves an axis of one alone */
    for (int k = 0; k < axis->n_out; k++) {
        const int32_t *index = axis->index + (size_t)k * ZOOM_TAPS;
        if (index[0] < 0)
            for (int v = 0; v < VECTORS; v++) results[k][v] = (lanes){0};
        else
            evaluate_line((const lanes(*)[VECTORS])lines, index, axis->weight + (size_t)k * ZOOM_TAPS, results[k]);
    }
}
