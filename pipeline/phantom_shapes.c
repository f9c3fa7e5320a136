/* See phantom_shapes.h. Distances to turned ellipsoids follow the first-order form k (k - 1) / |gradient|; joined and carved parts are
 * melted with a polynomial minimum. */
#include "pipeline/phantom_shapes.h"

#include <math.h>

enum { FAR_MM = 25 }; /* beyond all halos, blends and blurs: distances need not be exact there */

static double clamp(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

double pipe_shape_wave(double turns)
{
    const double rest = turns - (double)(int64_t)turns, t = rest < 0 ? rest + 1 : rest; /* 0..1 */
    const double half = t < 0.5 ? t : t - 0.5;
    const double bump = 16.0 * half * (0.5 - half);      /* a parabola, 0..1 */
    const double smooth = bump * (0.775 + 0.225 * bump); /* within 0.001 of a sine */

    return t < 0.5 ? smooth : -smooth;
}

double pipe_shape_oval_distance(const oval *o, double x, double y)
{
    const double depth = y > 0 ? o->front : o->back;
    const double u = x / o->side, v = y / depth;
    const double q = u * u + v * v - o->squareness * u * u * v * v;
    if (q < 0.5) return -0.25 * depth; /* deep inside, where nobody asks how deep */
    const double r = sqrt(q);
    const double slope_u = u * (1 - o->squareness * v * v) / o->side, slope_v = v * (1 - o->squareness * u * u) / depth;
    const double slope = sqrt(slope_u * slope_u + slope_v * slope_v) / r;

    return (r - 1) / (slope > 1e-4 ? slope : 1e-4);
}

double pipe_shape_dome_height(const dome domes[SHAPE_N_DOMES], double x, double y)
{
    double highest = -1e9;

    for (int i = 0; i < SHAPE_N_DOMES; i++) {
        const double u = (x - domes[i].x) / domes[i].reach_x, v = (y - domes[i].y) / domes[i].reach_y;
        highest = fmax(highest, domes[i].top - domes[i].drop * (u * u + v * v));
    }
    return highest;
}

double pipe_shape_cover(const canvas *c, double distance, double depth)
{
    return clamp(0.5 - (distance + depth) / c->softness, 0, 1);
}

static double measure_blob(const solid *s, const double p[3])
{
    const double d[3] = {p[0] - s->center[0], p[1] - s->center[1], p[2] - s->center[2]};
    double k = 0, slope = 0;

    for (int i = 0; i < 3; i++) {
        const double along = (s->turn[i][0] * d[0] + s->turn[i][1] * d[1] + s->turn[i][2] * d[2]) / s->radii[i];
        k += along * along;
        slope += along * along / (s->radii[i] * s->radii[i]);
    }
    k = sqrt(k);
    slope = sqrt(slope);
    return slope > 1e-9 ? k * (k - 1) / slope : -s->radii[0];
}

/* Distance to one piece of a tube whose radius changes linearly from a to b. */
static double measure_piece(const double p[3], const double a[3], const double b[3], double radius_a, double radius_b)
{
    const double above = fmin(a[2] - radius_a, b[2] - radius_b) - p[2], below = p[2] - fmax(a[2] + radius_a, b[2] + radius_b);
    double along = 0, length = 0, distance = 0;

    if (above > FAR_MM || below > FAR_MM) return fmax(above, below);
    for (int i = 0; i < 3; i++) {
        along += (p[i] - a[i]) * (b[i] - a[i]);
        length += (b[i] - a[i]) * (b[i] - a[i]);
    }
    along = length > 0 ? clamp(along / length, 0, 1) : 0;
    for (int i = 0; i < 3; i++) {
        const double off = p[i] - a[i] - along * (b[i] - a[i]);
        distance += off * off;
    }
    return sqrt(distance) - (radius_a + along * (radius_b - radius_a));
}

static double melt(double a, double b, double blend)
{
    const double h = blend > 0 ? clamp(0.5 + 0.5 * (b - a) / blend, 0, 1) : a < b;

    return b + (a - b) * h - blend * h * (1 - h);
}

static double measure_solid(const solid *s, const double p[3], double blend)
{
    double d;

    if (s->kind == SOLID_BLOB) return measure_blob(s, p);
    d = measure_piece(p, s->points[0], s->points[1], s->radius[0], s->radius[1]);
    for (int i = 1; i + 1 < s->n_points; i++)
        d = melt(d, measure_piece(p, s->points[i], s->points[i + 1], s->radius[i], s->radius[i + 1]), blend);
    return d;
}

static double measure_organ(const organ *o, const oval *cavity, const dome domes[SHAPE_N_DOMES], double x, double y, double z)
{
    const double bent[3] = {
        x + o->warp * pipe_shape_wave(y / o->wave + o->phase[0]),
        y + o->warp * pipe_shape_wave(z / o->wave + o->phase[1]),
        z + o->warp * pipe_shape_wave(x / o->wave + o->phase[2]),
    };
    double d = measure_solid(&o->parts[0], bent, o->blend);

    for (int i = 1; i < o->n_parts; i++) {
        const double e = measure_solid(&o->parts[i], bent, o->blend);
        d = o->parts[i].role == SOLID_JOIN ? melt(d, e, o->blend) : -melt(-d, e, o->blend);
    }
    if (!o->is_in_cavity || d > FAR_MM) return d;
    d = fmax(d, pipe_shape_oval_distance(cavity, x, y) + 2.5);           /* the peritoneum and a little fat */
    return fmax(d, 0.8 * (z - pipe_shape_dome_height(domes, x, y) + 5)); /* the diaphragm, and the slope of its domes */
}

static void paint_pixel(const organ *o, double distance, double y, canvas *c, int64_t at)
{
    for (int i = 0; i < o->n_layers; i++) {
        const layer *l = &o->layers[i];
        double cover = pipe_shape_cover(c, distance, l->depth);
        if (l->is_gas) cover *= pipe_shape_cover(c, o->level - y, 0);
        c->hu[at] += (float)(cover * (l->hu - (double)c->hu[at]));
        if (cover >= 0.5 && l->label != SHAPE_KEEP) c->labels[at] = (uint8_t)l->label;
    }
}

/* The pixels whose centres lie from low to high, as [first, last). */
static void range_pixels(double low, double high, double origin, double step, int64_t n, int64_t *first, int64_t *last)
{
    *first = (int64_t)clamp(ceil((low - origin) / step), 0, (double)n);
    *last = (int64_t)clamp(floor((high - origin) / step) + 1, 0, (double)n);
}

void pipe_shape_paint(const organ *o, const oval *cavity, const dome domes[SHAPE_N_DOMES], canvas *c)
{
    const double margin = c->softness;
    int64_t first_row, last_row, first_col, last_col;

    if (c->z < o->low[2] - margin || c->z > o->high[2] + margin) return;
    range_pixels(o->low[0] - margin, o->high[0] + margin, c->x0, c->step_x, c->n_cols, &first_col, &last_col);
    range_pixels(o->low[1] - margin, o->high[1] + margin, c->y0, c->step_y, c->n_rows, &first_row, &last_row);
    for (int64_t r = first_row; r < last_row; r++) {
        const double y = c->y0 + (double)r * c->step_y;
        for (int64_t col = first_col; col < last_col; col++) {
            const int64_t at = r * c->n_cols + col;
            if (o->only_on != SHAPE_ANYWHERE && c->labels[at] != o->only_on) continue;
            paint_pixel(o, measure_organ(o, cavity, domes, c->x0 + (double)col * c->step_x, y, c->z), y, c, at);
        }
    }
}

static void widen(organ *o, const double center[3], const double reach[3])
{
    for (int i = 0; i < 3; i++) {
        o->low[i] = fmin(o->low[i], center[i] - reach[i]);
        o->high[i] = fmax(o->high[i], center[i] + reach[i]);
    }
}

static void bound_solid(organ *o, const solid *s, double extra)
{
    for (int i = 0; s->kind == SOLID_TUBE && i < s->n_points; i++) {
        const double reach = s->radius[i] + extra;
        widen(o, s->points[i], (const double[3]){reach, reach, reach});
    }
    if (s->kind == SOLID_BLOB) {
        double reach[3];
        for (int i = 0; i < 3; i++) {
            double square = 0; /* half width of a turned ellipsoid along patient axis i */
            for (int a = 0; a < 3; a++) square += s->turn[a][i] * s->turn[a][i] * s->radii[a] * s->radii[a];
            reach[i] = sqrt(square) + extra;
        }
        widen(o, s->center, reach);
    }
}

void pipe_shape_bound(organ *o)
{
    double extra = o->warp + o->blend / 4;

    for (int i = 0; i < o->n_layers; i++) extra = fmax(extra, o->warp + o->blend / 4 - o->layers[i].depth);
    for (int i = 0; i < 3; i++) {
        o->low[i] = 1e9;
        o->high[i] = -1e9;
    }
    for (int i = 0; i < o->n_parts; i++)
        if (o->parts[i].role == SOLID_JOIN) bound_solid(o, &o->parts[i], extra);
}
