/* What lies around the organs (phantom_anatomy.h): air and table, skin, fat, wall, lungs, ribs, spine. */
#include <math.h>

#include "pipeline/phantom_anatomy.h"

enum { AIR_HU = -1000, SKIN_HU = 0, FAT_HU = -102, INNER_FAT_HU = -96, MUSCLE_HU = 56, LUNG_HU = -860 };

static double square(double v)
{
    return v * v;
}

static double clamp01(double v)
{
    return v < 0 ? 0 : v > 1 ? 1 : v;
}

/* 0 at low, 1 at high, smooth between. */
static double step_smoothly(double low, double high, double v)
{
    const double t = clamp01((v - low) / (high - low));

    return t * t * (3 - 2 * t);
}

static float mix(double cover, double hu, double below)
{
    return (float)(below + cover * (hu - below));
}

/* A waist at -50 mm, hips below, a chest that narrows towards the shoulders. */
static double girth(double z)
{
    return 1 - 0.04 / (1 + square((z + 50) / 50)) + 0.05 * step_smoothly(-90, -190, z) - 0.05 * step_smoothly(120, 240, z);
}

oval pipe_body_cavity(const anatomy *a, double z)
{
    const double factor = girth(z / a->stature);
    oval cavity = a->cavity;

    cavity.side *= factor;
    cavity.front *= factor;
    return cavity;
}

static oval widen(const oval *o, double side, double front, double back)
{
    return (oval){o->side + side, o->front + front, o->back + back, o->squareness};
}

/* A slab of foam between two thin skins, a little hollow, below the patient's back. */
static double find_table_hu(double depth)
{
    if (depth < 0 || depth > 42) return AIR_HU;
    return depth < 3 || depth > 39 ? 20 : -920;
}

static void paint_table(const canvas *c, double back)
{
    for (int64_t r = 0; r < c->n_rows; r++) {
        const double y = c->y0 + (double)r * c->step_y;
        for (int64_t col = 0; col < c->n_cols; col++) {
            const double x = c->x0 + (double)col * c->step_x, surface = -back - 2 + square(x) / 1500;
            const bool is_table = fabs(x) < 190;
            c->hu[r * c->n_cols + col] = (float)(is_table ? find_table_hu(surface - y) : AIR_HU);
        }
    }
}

/* Ribs run forward and down in the wall; a slice cuts each where it passes. d_wall is the distance from the middle of the ribs' sheet. */
static double measure_rib(const anatomy *a, double d_wall, double x, double y, double z)
{
    const double spacing = 27 * a->stature, drop = 0.42 * (y + a->cavity.back);
    const double height = z - a->rib_height + drop; /* above the twelfth rib's root, as at the spine */
    const double number = floor(height / spacing + 0.5);
    const double off = height - number * spacing;

    if (number < 0 || fabs(x) < 20) return 100;
    if (y > a->cavity.front * (0.1 + 0.16 * number)) return 100; /* lower ribs end earlier: the costal margin */
    return 5 * (sqrt(square(d_wall / 4) + square(off / 6.5)) - 1);
}

static float shade_wall(const anatomy *a, const canvas *c, const oval *muscle, const oval *body, double x, double y, double d_cavity)
{
    const double d_muscle = pipe_shape_oval_distance(muscle, x, y), d_body = pipe_shape_oval_distance(body, x, y);
    const double d_rib = measure_rib(a, d_cavity - 6, x, y, c->z);
    float hu = c->hu[0];

    hu = mix(pipe_shape_cover(c, d_body, 2), FAT_HU, SKIN_HU);
    hu = mix(pipe_shape_cover(c, d_muscle, 0), MUSCLE_HU, (double)hu);
    hu = mix(pipe_shape_cover(c, d_cavity, 0), INNER_FAT_HU, (double)hu);
    hu = mix(pipe_shape_cover(c, d_rib, 0), 480, (double)hu);
    return mix(pipe_shape_cover(c, d_rib, 2.5), 220, (double)hu);
}

void pipe_body_paint(const anatomy *a, canvas *c)
{
    const oval cavity = pipe_body_cavity(a, c->z), muscle = widen(&cavity, a->muscle, a->muscle, a->muscle + 14);
    const oval body = widen(&muscle, a->fat_side, a->fat_front, a->fat_back);

    paint_table(c, a->cavity.back + a->muscle + 14 + a->fat_back);
    for (int64_t r = 0; r < c->n_rows; r++) {
        const double y = c->y0 + (double)r * c->step_y;
        if (y > body.front + c->softness || y < -body.back - c->softness) continue;
        for (int64_t col = 0; col < c->n_cols; col++) {
            const double x = c->x0 + (double)col * c->step_x;
            if (fabs(x) > body.side + c->softness) continue;
            const double d_cavity = pipe_shape_oval_distance(&cavity, x, y);
            const double d_body = d_cavity > 0 ? pipe_shape_oval_distance(&body, x, y) : -100;
            float *hu = &c->hu[r * c->n_cols + col];
            if (d_body > c->softness) continue;
            const float inside = d_cavity < -6 - c->softness ? INNER_FAT_HU : shade_wall(a, c, &muscle, &body, x, y, d_cavity);
            *hu = mix(pipe_shape_cover(c, d_body, 0), (double)inside, (double)*hu);
            if (d_cavity > 0) continue;
            const double above = 0.8 * (pipe_shape_dome_height(a->domes, x, y) - c->z);
            *hu = mix(pipe_shape_cover(c, fmax(d_cavity + 2, above), 0), LUNG_HU, (double)*hu);
        }
    }
}

typedef struct vertebra {
    double center_y, disc; /* mm; 1 within a disc */
    double middle;         /* 1 at the height of the transverse processes */
} vertebra;

static float shade_vertebra(const canvas *c, const vertebra *v, double x, double y, double below)
{
    const oval body = {24, 17, 14, 0.2}, arch = {17, 13, 16, 0.2}, canal = {11, 8, 8, 0};
    const double d_body = pipe_shape_oval_distance(&body, x, y - v->center_y),
                 d_canal = pipe_shape_oval_distance(&canal, x, y - v->center_y + 24);
    const double d_arch = pipe_shape_oval_distance(&arch, x, y - v->center_y + 25);
    const double reach = fabs(x) - 12 - 24 * v->middle;
    const double d_across = fmax(reach, fabs(y - v->center_y + 21 + 0.18 * fabs(x)) - 4);
    const double d_spine = fmax(fabs(x) - 3.5, fabs(y - v->center_y + 43) - 9);
    double hu = below;

    hu = mix(pipe_shape_cover(c, d_arch, 0) * (1 - 0.7 * v->disc), 330, hu);
    hu = mix(pipe_shape_cover(c, d_across, 0) * v->middle, 330, hu);
    hu = mix(pipe_shape_cover(c, d_spine, 0) * (1 - v->disc), 330, hu);
    hu = mix(pipe_shape_cover(c, d_body, 0), v->disc * 90 + (1 - v->disc) * 420, hu);
    hu = mix(pipe_shape_cover(c, d_body, 2.5), v->disc * 85 + (1 - v->disc) * 190, hu);
    return mix(pipe_shape_cover(c, d_canal, 0), 32, hu);
}

void pipe_spine_paint(const anatomy *a, canvas *c)
{
    const double height = (c->z - a->disc_height) / (34 * a->stature), part = height - floor(height); /* a vertebra and its disc: 34 mm */
    const double z = c->z / a->stature;
    const vertebra v = {
        .center_y = (-64 - 14 * step_smoothly(30, 180, z) - 12 * step_smoothly(-70, -200, z)) * a->frame,
        .disc = 1 - step_smoothly(0.08, 0.14, fabs(part - 0.5)),
        .middle = 1 - step_smoothly(0.12, 0.2, fabs(part - (part < 0.5 ? 0.1 : 1.1))),
    };

    for (int64_t r = 0; r < c->n_rows; r++) {
        const double y = c->y0 + (double)r * c->step_y;
        if (y > v.center_y + 20 || y < v.center_y - 64) continue;
        for (int64_t col = 0; col < c->n_cols; col++) {
            const double x = c->x0 + (double)col * c->step_x;
            float *hu = &c->hu[r * c->n_cols + col];
            if (fabs(x) < 42) *hu = shade_vertebra(c, &v, x, y, (double)*hu);
        }
    }
}
