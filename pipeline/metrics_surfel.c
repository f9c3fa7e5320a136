/* See metrics_surfel.h.
 *
 * Marching cubes (Lorensen and Cline 1987) cuts the edges of a cell at their middle. Up to the 48 symmetries of a cube and the exchange of
 * inside and outside there are 14 cells, one of them empty. A triangle's normal, as long as its
 * area, has components that are multiples of 1/8 of a voxel face; the eight shapes that occur are listed below by the size of those
 * components. Where a cell's polygon is not plane, the area depends on how it is cut into triangles; the choice follows the values that
 * google-deepmind/surface-distance uses, and tests/pipeline/test_surfels.c compares all 256 codes with that library. */
#include "pipeline/metrics_surfel.h"

#include <math.h>
#include <string.h>

enum { MAX_TRIANGLES = 4, N_SYMMETRIES = 48, AXES = 3 };

typedef struct cell {
    uint8_t code;                           /* one code of the class */
    uint8_t triangles[MAX_TRIANGLES][AXES]; /* |normal| in eighths; all zero ends the list */
} cell;

static const cell cells[] = {
    {0x01, {{1, 1, 1}}},                                  /* one corner */
    {0x03, {{2, 2, 0}, {2, 2, 0}}},                       /* an edge */
    {0x06, {{1, 1, 1}, {1, 1, 1}}},                       /* two corners across a face */
    {0x18, {{1, 1, 1}, {1, 1, 1}}},                       /* two corners across the cell */
    {0x07, {{1, 1, 1}, {2, 2, 2}, {4, 0, 0}}},            /* three corners of a face */
    {0x16, {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}}},            /* three corners, no two along an edge */
    {0x19, {{0, 2, 2}, {0, 2, 2}, {1, 1, 1}}},            /* an edge and a corner */
    {0x0f, {{4, 0, 0}, {4, 0, 0}}},                       /* a face */
    {0x17, {{1, 1, 1}, {1, 1, 1}, {2, 2, 2}, {2, 2, 2}}}, /* a corner with its three neighbours: a hexagon */
    {0x1b, {{0, 2, 2}, {1, 1, 1}, {2, 0, 2}, {3, 3, 3}}}, /* a path of three edges through the cell */
    {0x1e, {{1, 1, 1}, {1, 1, 1}, {2, 2, 2}, {4, 0, 0}}}, /* three corners of a face and one apart */
    {0x3c, {{2, 2, 0}, {2, 2, 0}, {2, 2, 0}, {2, 2, 0}}}, /* two edges across the cell */
    {0x69, {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}}}, /* four corners, no two along an edge */
};

static const uint8_t permutations[6][AXES] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* The code seen from another side: axis a of the image is axis order[a] of the code, mirrored where flips has bit a. Corner
 * (i, j, k) is bit 7 - (4 i + 2 j + k). */
static uint8_t turn_code(uint8_t code, const uint8_t order[AXES], int flips)
{
    uint8_t turned = 0;

    for (int corner = 0; corner < 8; corner++) {
        int image = 0;
        for (int a = 0; a < AXES; a++) image |= (((corner >> (2 - order[a])) & 1) ^ ((flips >> a) & 1)) << (2 - a);
        turned |= (uint8_t)(((code >> (7 - corner)) & 1) << (7 - image));
    }
    return turned;
}

static double sum_triangles(const cell *c, const uint8_t order[AXES], const double faces[AXES])
{
    double area = 0;

    for (int t = 0; t < MAX_TRIANGLES; t++) {
        double squared = 0;
        for (int a = 0; a < AXES; a++) {
            const double component = c->triangles[t][order[a]] / 8.0 * faces[a];
            squared += component * component;
        }
        area += sqrt(squared);
    }
    return area;
}

static void measure_areas(const double spacing[AXES], double areas[PIPE_SURFEL_CODES])
{
    const double faces[AXES] = {spacing[1] * spacing[2], spacing[0] * spacing[2], spacing[0] * spacing[1]};

    memset(areas, 0, PIPE_SURFEL_CODES * sizeof *areas);
    for (size_t n = 0; n < sizeof cells / sizeof *cells; n++) {
        for (int turn = 0; turn < N_SYMMETRIES; turn++) {
            const uint8_t code = turn_code(cells[n].code, permutations[turn / 8], turn % 8);
            areas[code] = areas[0xff ^ code] = sum_triangles(&cells[n], permutations[turn / 8], faces);
        }
    }
}

/* Contour lengths of 2x2 neighbourhoods; the code of a slice doubled along k has each 2-D bit twice. */
static void measure_lengths(const double spacing[AXES], double areas[PIPE_SURFEL_CODES])
{
    const double diagonal = 0.5 * sqrt(spacing[0] * spacing[0] + spacing[1] * spacing[1]);

    memset(areas, 0, PIPE_SURFEL_CODES * sizeof *areas);
    for (int flat = 1; flat < 15; flat++) { /* bits 8 4 2 1: (i-1, j-1) (i-1, j) (i, j-1) (i, j) */
        const int code = (flat & 8) * 24 | (flat & 4) * 12 | (flat & 2) * 6 | (flat & 1) * 3;
        const bool is_straight_i = flat == 5 || flat == 10, is_straight_j = flat == 3 || flat == 12;
        const bool is_crossed = flat == 6 || flat == 9;
        areas[code] = is_straight_i ? spacing[0] : is_straight_j ? spacing[1] : is_crossed ? 2 * diagonal : diagonal;
    }
}

/* Place of area among the n ascending ones, where it is put if it is new. */
static int place_area(double *areas, int *n, double area)
{
    int at = 0;

    while (at < *n && areas[at] < area) at++;
    if (at < *n && areas[at] == area) return at;
    memmove(areas + at + 1, areas + at, (size_t)(*n - at) * sizeof *areas);
    areas[at] = area;
    ++*n;
    return at;
}

void pipe_surfels_build(const double spacing[3], bool is_planar, pipe_surfels *out)
{
    double areas[PIPE_SURFEL_CODES];
    int unused = 0;

    if (is_planar) {
        measure_lengths(spacing, areas);
    } else {
        measure_areas(spacing, areas);
    }
    out->n_classes = 0;
    for (int code = 0; code < PIPE_SURFEL_CODES; code++) (void)place_area(out->areas, &out->n_classes, areas[code]);
    unused = out->n_classes;
    for (int code = 0; code < PIPE_SURFEL_CODES; code++) out->classes[code] = (uint8_t)place_area(out->areas, &unused, areas[code]);
}
