/* Inside of phantom.c: one patient, drawn from the dice. Patient space as in phantom_shapes.h, origin in the middle of the body at the
 * height of the first lumbar vertebra. Sizes and places follow textbook adult anatomy, densities a portal-venous CT. */
#ifndef PIPELINE_PHANTOM_ANATOMY_H
#define PIPELINE_PHANTOM_ANATOMY_H

#include "pipeline/phantom_noise.h"
#include "pipeline/phantom_shapes.h"

enum { ANATOMY_MAX_ORGANS = 96 };

typedef struct anatomy {
    double frame, stature;                /* factors on x and y, on z */
    oval cavity;                          /* inside of the abdominal wall */
    double muscle;                        /* thickness of the wall, mm */
    double fat_side, fat_front, fat_back; /* under the skin, mm */
    dome domes[SHAPE_N_DOMES];            /* of the diaphragm: right, left, middle */
    double rib_height, disc_height;       /* z of the twelfth rib's root and of one disc, mm */
    int n_organs;
    organ organs[ANATOMY_MAX_ORGANS]; /* painted in this order */
    int n_behind;                     /* the first organs, which lie behind the spine's painting */
} anatomy;

void pipe_anatomy_create(dice *d, anatomy *out);

/* Everything around the organs (phantom_body.c): air and table, fat, wall, lungs, ribs; and the spine, which goes over the muscles. */
void pipe_body_paint(const anatomy *a, canvas *c);
void pipe_spine_paint(const anatomy *a, canvas *c);
/* The cavity's oval at height z. */
oval pipe_body_cavity(const anatomy *a, double z);

#endif
