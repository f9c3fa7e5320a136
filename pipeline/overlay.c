/* See overlay.h. Planes are shown as radiologists look at them: the patient's right on the left, front and head up. */
#include "pipeline/overlay.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "io/png.h"
#include "pipeline/font.h"
#include "pipeline/label_map.h"
#include "pipeline/overlay_image.h"
#include "pipeline/picture.h"

enum { WIDTH = 960, HEIGHT = 640, GAP = 8, STRIP = 18 /* pixels; the strip holds a panel's title */, N_PLANES = 3 };

static const double margin_mm = 20;
static const uint8_t paper[3] = {12, 12, 16}, ink[3] = {210, 210, 210};

/* One plane: pixel (x, y) shows voxel first + column * col_step + row * row_step. */
typedef struct overlay_plane {
    int cols, rows; /* voxels */
    int64_t first, col_step, row_step;
    double col_mm, row_mm;
    pipe_overlay_panel panel;
    char title[40];
} overlay_plane;

typedef struct overlay {
    const pipe_label_volume *reference, *prediction;
    const io_labels *labels;
    pipe_overlay_image *image; /* NULL without */
    int axis[3], flip[3];      /* voxel axes along R, A, S */
    int64_t cut[3];            /* per voxel axis */
    int64_t from[3], to[3];    /* voxels shown per voxel axis: both label maps and a margin */
    overlay_plane planes[N_PLANES];
    picture picture;
    double pixels_per_mm;
    uint16_t *own[2]; /* organs of a plane's pixels, [HEIGHT][WIDTH]: reference, prediction */
} overlay;

static int organ_at(const pipe_label_volume *volume, int64_t at)
{
    return volume->organ_bytes == 1 ? ((const uint8_t *)volume->organs)[at] : ((const uint16_t *)volume->organs)[at];
}

/* The voxels of an axis that hold an organ, with a margin; all of them when none does. */
static void choose_range(overlay *o, int axis, const int64_t *along)
{
    const int64_t n = o->reference->grid.dims[axis];
    const int64_t margin = 1 + (int64_t)(margin_mm / o->reference->grid.spacing_mm[axis]);
    int64_t first = 0, last = n - 1;

    while (first < n && along[first] == 0) first++;
    while (last > first && along[last] == 0) last--;
    o->from[axis] = first == n || first < margin ? 0 : first - margin;
    o->to[axis] = first == n || last + margin >= n ? n - 1 : last + margin;
}

/* The position along each axis where most voxels differ; the middle of the organs where none do. counts [sum of dims]. */
static void choose_cuts(overlay *o, int64_t *counts)
{
    const int64_t *n = o->reference->grid.dims;
    int64_t *along[3] = {counts, counts + n[0], counts + n[0] + n[1]};
    int64_t at = 0;

    for (int64_t k = 0; k < n[2]; k++) {
        for (int64_t j = 0; j < n[1]; j++) {
            for (int64_t i = 0; i < n[0]; i++, at++) {
                const int a = organ_at(o->reference, at), b = organ_at(o->prediction, at);
                const int weight = a != b ? 1000 : a != 0;
                if (weight == 0) continue;
                along[0][i] += weight;
                along[1][j] += weight;
                along[2][k] += weight;
            }
        }
    }
    for (int a = 0; a < 3; a++) {
        o->cut[a] = n[a] / 2;
        for (int64_t i = 0; i < n[a]; i++)
            if (along[a][i] > along[a][o->cut[a]]) o->cut[a] = i;
        choose_range(o, a, along[a]);
    }
}

/* world[3]: which of R, A, S the columns, rows and slices follow; all run against it. */
static void plan_plane(overlay *o, int which, const int world[3], const char *name)
{
    const io_grid *grid = &o->reference->grid;
    const int64_t strides[3] = {1, grid->dims[0], grid->dims[0] * grid->dims[1]};
    overlay_plane *plane = &o->planes[which];
    int64_t steps[3];
    int axis[3];

    plane->first = 0;
    for (int w = 0; w < 3; w++) {
        axis[w] = o->axis[world[w]];
        steps[w] = o->flip[world[w]] ? strides[axis[w]] : -strides[axis[w]];
        if (w < 2) plane->first += (steps[w] < 0 ? o->to[axis[w]] : o->from[axis[w]]) * strides[axis[w]];
    }
    plane->first += o->cut[axis[2]] * strides[axis[2]];
    plane->cols = (int)(o->to[axis[0]] - o->from[axis[0]] + 1);
    plane->rows = (int)(o->to[axis[1]] - o->from[axis[1]] + 1);
    plane->col_step = steps[0];
    plane->row_step = steps[1];
    plane->col_mm = grid->spacing_mm[axis[0]];
    plane->row_mm = grid->spacing_mm[axis[1]];
    snprintf(plane->title, sizeof plane->title, "%s, slice %lld of %lld", name, (long long)o->cut[axis[2]] + 1,
             (long long)grid->dims[axis[2]]);
}

static int scale_extent(double mm, double pixels_per_mm)
{
    const double pixels = floor(mm * pixels_per_mm + 0.5);

    return pixels < 1 ? 1 : (int)pixels;
}

double pipe_overlay_arrange(const double extents_mm[3][2], pipe_overlay_panel panels[3], int *width, int *height)
{
    const double(*mm)[2] = extents_mm;
    const double row =
        fmin((WIDTH - 2 * GAP) / (mm[0][0] + mm[1][0] + mm[2][0]), (HEIGHT - STRIP) / fmax(mm[0][1], fmax(mm[1][1], mm[2][1])));
    const double two = fmin((WIDTH - GAP) / (mm[0][0] + fmax(mm[1][0], mm[2][0])),
                            fmin((HEIGHT - STRIP) / mm[0][1], (HEIGHT - GAP - 2 * STRIP) / (mm[1][1] + mm[2][1])));
    const bool is_row = row >= two;

    *width = *height = 0;
    for (int p = 0; p < N_PLANES; p++) {
        pipe_overlay_panel *own = &panels[p];
        const bool is_below = p == 2 && !is_row;
        own->width = scale_extent(mm[p][0], fmax(row, two));
        own->height = scale_extent(mm[p][1], fmax(row, two));
        own->left = p == 0 ? 0 : is_below ? panels[1].left : panels[p - 1].left + panels[p - 1].width + GAP;
        own->top = STRIP + (is_below ? panels[1].top + panels[1].height + GAP : 0);
        if (own->left + own->width > *width) *width = own->left + own->width;
        if (own->top + own->height > *height) *height = own->top + own->height;
    }
    return fmax(row, two);
}

static void plan_planes(overlay *o)
{
    double extents_mm[N_PLANES][2];
    pipe_overlay_panel panels[N_PLANES];

    io_grid_orientation(&o->reference->grid, o->axis, o->flip);
    plan_plane(o, 0, (const int[3]){0, 1, 2}, "axial");
    plan_plane(o, 1, (const int[3]){0, 2, 1}, "coronal");
    plan_plane(o, 2, (const int[3]){1, 2, 0}, "sagittal");
    for (int p = 0; p < N_PLANES; p++) {
        extents_mm[p][0] = o->planes[p].cols * o->planes[p].col_mm;
        extents_mm[p][1] = o->planes[p].rows * o->planes[p].row_mm;
    }
    o->pixels_per_mm = pipe_overlay_arrange((const double(*)[2])extents_mm, panels, &o->picture.width, &o->picture.height);
    for (int p = 0; p < N_PLANES; p++) o->planes[p].panel = panels[p];
}

static int64_t voxel_of(const overlay_plane *plane, int x, int y)
{
    const int64_t col = (int64_t)((x + 0.5) * plane->cols / plane->panel.width);
    const int64_t row = (int64_t)((y + 0.5) * plane->rows / plane->panel.height);

    return plane->first + col * plane->col_step + row * plane->row_step;
}

/* organ: that of the reference, or else of the prediction. */
static void pick_background(const overlay *o, int64_t at, int organ, uint8_t rgb[3])
{
    const io_label *label = organ ? pipe_organ_label(o->labels, organ) : NULL;
    float grey;

    if (!o->image) {
        for (int i = 0; i < 3; i++) rgb[i] = label ? (uint8_t)(28 + label->rgb[i] * 34 / 100) : 24;
        return;
    }
    grey = pipe_overlay_image_grey(o->image, at);
    for (int i = 0; i < 3; i++) {
        const float plain = 215 * grey + 0.5f;
        rgb[i] = (uint8_t)(label ? 0.78f * plain + 0.22f * (float)label->rgb[i] : plain);
    }
}

/* A pixel of an organ is on its contour, two pixels wide, where a neighbour to the side, above or below is none of it. */
static int is_contour(const uint16_t *organs, const pipe_overlay_panel *panel, int x, int y)
{
    static const int steps[8][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}, {2, 0}, {-2, 0}, {0, 2}, {0, -2}};
    const uint16_t own = organs[y * WIDTH + x];

    for (int i = 0; own && i < 8; i++) {
        const int nx = x + steps[i][0], ny = y + steps[i][1];
        if (nx < 0 || ny < 0 || nx >= panel->width || ny >= panel->height || organs[ny * WIDTH + nx] != own) return 1;
    }
    return 0;
}

/* Dashes tell the prediction's line where colours cannot, on paper or to some eyes; its gaps are a third. */
static bool is_gap(int x, int y)
{
    return (x + 3 * y) % 15 >= 10;
}

static void draw_contours(overlay *o, const pipe_overlay_panel *panel)
{
    static const uint8_t colours[4][3] = {{0, 0, 0}, PIPE_OVERLAY_REFERENCE, PIPE_OVERLAY_PREDICTION, PIPE_OVERLAY_BOTH};

    for (int y = 0; y < panel->height; y++) {
        for (int x = 0; x < panel->width; x++) {
            const int lines = is_contour(o->own[0], panel, x, y) | is_contour(o->own[1], panel, x, y) << 1;
            if (lines && !(lines == 2 && is_gap(x, y))) pipe_picture_set(&o->picture, panel->left + x, panel->top + y, colours[lines]);
        }
    }
}

static void draw_plane(overlay *o, const overlay_plane *plane)
{
    const pipe_overlay_panel *panel = &plane->panel;

    for (int y = 0; y < panel->height; y++) {
        for (int x = 0; x < panel->width; x++) {
            const int64_t at = voxel_of(plane, x, y);
            const int reference = organ_at(o->reference, at), prediction = organ_at(o->prediction, at);
            uint8_t rgb[3];
            o->own[0][y * WIDTH + x] = (uint16_t)reference;
            o->own[1][y * WIDTH + x] = (uint16_t)prediction;
            pick_background(o, at, reference ? reference : prediction, rgb);
            pipe_picture_set(&o->picture, panel->left + x, panel->top + y, rgb);
        }
    }
    draw_contours(o, panel);
    pipe_picture_text(&o->picture, panel->left + 2, panel->top - STRIP + 2, 2, panel->width - 2, ink, plane->title);
}

/* A bar of a round length over the axial plane's right end, where its title leaves room. */
static void draw_bar(overlay *o)
{
    static const int lengths_mm[] = {200, 100, 50, 20, 10, 5, 2, 1};
    const pipe_overlay_panel *panel = &o->planes[0].panel;
    const int room = panel->width - 2 * FONT_ADVANCE * (int)strlen(o->planes[0].title) - 24;
    char words[24];

    for (size_t i = 0; i < sizeof lengths_mm / sizeof *lengths_mm; i++) {
        const int bar = (int)(lengths_mm[i] * o->pixels_per_mm + 0.5);
        const int text = snprintf(words, sizeof words, "%d mm", lengths_mm[i]) * 2 * FONT_ADVANCE;
        if (bar + text + 6 > room || bar > panel->width / 4) continue;
        pipe_picture_fill(&o->picture, panel->left + panel->width - bar, panel->top - STRIP + 7, bar, 3, ink);
        pipe_picture_text(&o->picture, panel->left + panel->width - bar - text - 4, panel->top - STRIP + 2, 2, text, ink, words);
        return;
    }
}

static io_status draw_all(overlay *o, uint8_t **png, size_t *n_bytes)
{
    IO_TRY(pipe_picture_create(o->picture.width, o->picture.height, paper, &o->picture));
    for (int p = 0; p < N_PLANES; p++) draw_plane(o, &o->planes[p]);
    draw_bar(o);
    return io_png_encode("overlay", o->picture.rgb, o->picture.width, o->picture.height, png, n_bytes);
}

io_status pipe_overlay_draw(const pipe_label_volume *reference, const pipe_label_volume *prediction, const io_labels *labels,
                            const char *image_path, char *fault, size_t n_fault, uint8_t **png, size_t *n_bytes)
{
    io_status status = IO_OK;
    overlay o = {.reference = reference, .prediction = prediction, .labels = labels};
    int64_t *counts = NULL;
    const int64_t *dims = reference->grid.dims;

    IO_TRY_GOTO(status, done, io_alloc((size_t)(dims[0] + dims[1] + dims[2]), sizeof *counts, (void **)&counts));
    for (int i = 0; i < 2; i++) IO_TRY_GOTO(status, done, io_alloc((size_t)WIDTH * HEIGHT, sizeof *o.own[i], (void **)&o.own[i]));
    choose_cuts(&o, counts);
    plan_planes(&o);
    fault[0] = '\0';
    if (image_path && pipe_overlay_image_read(image_path, &reference->grid, o.cut, &o.image) != IO_OK)
        snprintf(fault, n_fault, "%s", io_last_error_text());
    status = draw_all(&o, png, n_bytes);
done:
    pipe_overlay_image_free(&o.image);
    io_free(&o.picture.rgb);
    io_free(&o.own[0]);
    io_free(&o.own[1]);
    io_free(&counts);
    return status;
}
