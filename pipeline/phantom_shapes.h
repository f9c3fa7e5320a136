/* Inside of phantom.c: solids in patient space (mm; x to the patient's right, y to the front, z to the head), organs built from them,
 * and painting an organ into one axial slice. Only +, -, *, / and sqrt are used, so that the same seed gives the same bytes everywhere. */
#ifndef PIPELINE_PHANTOM_SHAPES_H
#define PIPELINE_PHANTOM_SHAPES_H

#include <stdbool.h>
#include <stdint.h>

enum { SHAPE_MAX_POINTS = 8, SHAPE_MAX_PARTS = 4, SHAPE_MAX_LAYERS = 4, SHAPE_N_DOMES = 3, SHAPE_KEEP = -1, SHAPE_ANYWHERE = -1 };

typedef enum solid_kind { SOLID_BLOB, SOLID_TUBE } solid_kind;
typedef enum solid_role { SOLID_JOIN, SOLID_CARVE } solid_role;

/* An ellipsoid, turned; or a tube along points with a radius at each. mm. */
typedef struct solid {
    solid_kind kind;
    solid_role role;
    double center[3], radii[3];
    double turn[3][3]; /* patient axes to the blob's own */
    int n_points;
    double points[SHAPE_MAX_POINTS][3], radius[SHAPE_MAX_POINTS];
} solid;

/* What lies deeper than depth below the organ's surface (negative: a halo around it). */
typedef struct layer {
    double depth; /* mm */
    double hu;
    int label;   /* SHAPE_KEEP leaves what is there */
    bool is_gas; /* only above the organ's fluid level */
} layer;

typedef struct organ {
    int n_parts, n_layers;
    solid parts[SHAPE_MAX_PARTS];
    layer layers[SHAPE_MAX_LAYERS];
    double blend;           /* mm over which parts melt into each other */
    double warp, wave;      /* mm: how far and over which length the surface is bent */
    double phase[3];        /* turns */
    double level;           /* y of the fluid level, mm */
    bool is_in_cavity;      /* clipped to the abdominal cavity, under the diaphragm */
    int only_on;            /* label to paint on, SHAPE_ANYWHERE */
    double low[3], high[3]; /* box around everything painted, mm */
} organ;

/* An oval with different depths to the front and to the back; squareness 0 is elliptic. mm. */
typedef struct oval {
    double side, front, back, squareness;
} oval;

/* The diaphragm: a dome on either side and the tendon under the heart; the highest counts. Of each, height z = top - drop * (distance from
 * the axis in units of reach)^2. mm. */
typedef struct dome {
    double x, y, top, drop, reach_x, reach_y;
} dome;

/* One slice being painted. */
typedef struct canvas {
    int64_t n_cols, n_rows;
    double x0, y0, step_x, step_y, z; /* mm: centre of pixel (0, 0), spacing, height */
    double softness;                  /* mm over which a border is blurred */
    float *hu;                        /* [n_rows][n_cols] */
    uint8_t *labels;                  /* [n_rows][n_cols] */
} canvas;

/* Smooth, odd, of period 1 and height 1. */
double pipe_shape_wave(double turns);
/* Signed distance, mm, negative inside; exact to first order at the border. */
double pipe_shape_oval_distance(const oval *o, double x, double y);
double pipe_shape_dome_height(const dome domes[SHAPE_N_DOMES], double x, double y);
/* Share of a pixel that lies below depth, for a signed distance. */
double pipe_shape_cover(const canvas *c, double distance, double depth);
/* Sets low and high of an organ from its parts. */
void pipe_shape_bound(organ *o);
/* Paints the organ's layers where they cross this slice. cavity belongs to the slice. */
void pipe_shape_paint(const organ *o, const oval *cavity, const dome domes[SHAPE_N_DOMES], canvas *c);

#endif
