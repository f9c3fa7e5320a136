/* See preview.h. From the top: a line about the volume; three planes where most labels meet; six axial slices from head to foot; the
 * legend. */
#include "pipeline/preview.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "io/memory.h"
#include "io/png.h"
#include "pipeline/preview_plane.h"
#include "pipeline/stats.h"

enum {
    GAP = 14,           /* pixels between and around panels */
    PLANE_PIXELS = 384, /* the longest side of the three planes */
    SLICES = 6,         /* in the axial row */
    WIDTH = 3 * PLANE_PIXELS + 4 * GAP,
    SLICE_PIXELS = (WIDTH - (SLICES + 1) * GAP) / SLICES,
    LEGEND_COLS = 4,
    LEGEND_LINE = 22, /* pixels */
    LEGEND_MOST = 40, /* entries */
    TITLE_HEIGHT = 30,
    N_VALUES = 1 << 16, /* of a label */
    N_COUNTED = 256     /* told apart when planes are chosen: values that far apart share a count */
};

enum { AXIAL, CORONAL, SAGITTAL, N_PLANES };

static const uint8_t PAPER[3] = {18, 18, 22}, INK[3] = {225, 225, 225}, PALE[3] = {140, 140, 140};

/* Voxels per label, all and at each position along each voxel axis. */
typedef struct label_census {
    int64_t total[N_VALUES];
    uint32_t *along[3]; /* [dims[axis]][N_COUNTED] */
} label_census;

typedef struct sheet {
    preview_case shown;
    preview_plane planes[N_PLANES];
    int axis[3], flip[3];  /* voxel axes along R, A, S */
    int64_t cut[N_PLANES]; /* slice of each plane that is shown large */
    int64_t slices[SLICES];
    double plane_mm, slice_mm;               /* per pixel */
    int plane_height, slice_height, n_lines; /* pixels; lines of the legend */
    label_census census;
    picture picture;
} sheet;

/* Headers may hold zero, NaN or nonsense; a picture is drawn all the same. No scanner's voxel is outside of a nanometre to a kilometre. */
static double choose_spacing(double mm)
{
    return mm >= 1e-6 && mm <= 1e6 ? mm : 1;
}

/* world[3]: which of R, A, S the columns, rows and slices follow. All run against it, as radiologists look: the patient's right is on
 * the left, front and head are up, in the sagittal plane the front is on the left. */
static io_status plan_plane(sheet *s, int which, const int world[3], const char *letters)
{
    const io_grid *grid = &s->shown.volume->grid;
    preview_plane *plane = &s->planes[which];
    int axis[3], flip[3];

    for (int i = 0; i < 3; i++) {
        axis[i] = s->axis[world[i]];
        flip[i] = !s->flip[world[i]]; /* slices too: axial ones are counted from the head */
    }
    IO_TRY(pipe_view_plan(s->shown.volume, axis, flip, &plane->view));
    plane->col_mm = choose_spacing(grid->spacing_mm[axis[0]]);
    plane->row_mm = choose_spacing(grid->spacing_mm[axis[1]]);
    plane->left = letters[0];
    plane->right = letters[1];
    plane->top = letters[2];
    plane->bottom = letters[3];
    return IO_OK;
}

static io_status plan_planes(sheet *s)
{
    io_grid_orientation(&s->shown.volume->grid, s->axis, s->flip);
    IO_TRY(plan_plane(s, AXIAL, (const int[3]){0, 1, 2}, "RLAP"));
    IO_TRY(plan_plane(s, CORONAL, (const int[3]){0, 2, 1}, "RLSI"));
    return plan_plane(s, SAGITTAL, (const int[3]){1, 2, 0}, "APSI");
}

static io_status count_labels(sheet *s)
{
    const int64_t *dims = s->shown.volume->grid.dims;
    const uint8_t *bytes = s->shown.labels;
    const uint16_t *words = s->shown.labels;
    int64_t at = 0;

    for (int a = 0; a < 3; a++) IO_TRY(io_alloc((size_t)dims[a] * N_COUNTED, sizeof *s->census.along[a], (void **)&s->census.along[a]));
    for (int64_t k = 0; k < dims[2]; k++)
        for (int64_t j = 0; j < dims[1]; j++)
            for (int64_t i = 0; i < dims[0]; i++, at++) {
                const int value = s->shown.label_bytes == 1 ? bytes[at] : words[at], counted = value % N_COUNTED;
                if (value == 0) continue;
                s->census.total[value]++;
                s->census.along[0][i * N_COUNTED + counted]++;
                s->census.along[1][j * N_COUNTED + counted]++;
                s->census.along[2][k * N_COUNTED + counted]++;
            }
    return IO_OK;
}

/* How much there is to see at a position: roots, so that small organs count beside the liver. */
static double score_position(const uint32_t *counts)
{
    double score = 0;

    for (int v = 0; v < N_COUNTED; v++) score += sqrt(counts[v]);
    return score;
}

/* Score of slice k of the plane whose slices run along a world direction. */
static double score_slice(const sheet *s, int world, int64_t k)
{
    const int axis = s->axis[world];
    const int64_t position = s->flip[world] ? k : s->shown.volume->grid.dims[axis] - 1 - k; /* slices count against the world */

    return score_position(s->census.along[axis] + position * N_COUNTED);
}

/* The slice with the best score, the middle one without labels. */
static int64_t choose_slice(const sheet *s, int which, int world)
{
    const int64_t n = s->planes[which].view.count;
    int64_t best = n / 2;
    double most = 0;

    for (int64_t k = 0; k < n; k++) {
        const double score = score_slice(s, world, k);
        if (score <= most) continue;
        most = score;
        best = k;
    }
    return best;
}

/* Axial slices at equal shares of all that there is to see, so that a long aorta does not fill the row; evenly without labels. */
static void choose_row(sheet *s)
{
    const int64_t n = s->planes[AXIAL].view.count;
    double total = 0, sum = 0;
    int chosen = 0;

    for (int64_t k = 0; k < n; k++) total += score_slice(s, 2, k);
    for (int i = 0; i < SLICES; i++) s->slices[i] = n * (2 * i + 1) / (2 * SLICES);
    for (int64_t k = 0; k < n && total > 0; k++) {
        sum += score_slice(s, 2, k);
        while (chosen < SLICES && sum >= total * (2 * chosen + 1) / (2 * SLICES)) s->slices[chosen++] = k;
    }
}

static void choose_slices(sheet *s)
{
    s->cut[AXIAL] = choose_slice(s, AXIAL, 2);
    s->cut[CORONAL] = choose_slice(s, CORONAL, 1);
    s->cut[SAGITTAL] = choose_slice(s, SAGITTAL, 0);
    choose_row(s);
}

static double fit_plane(const preview_plane *plane, int pixels)
{
    return fmax(plane->view.cols * plane->col_mm, plane->view.rows * plane->row_mm) / pixels;
}

/* Scales, heights of the rows and the number of legend lines. */
static void plan_layout(sheet *s)
{
    int n_labels = 0, width, height;

    s->plane_mm = 0;
    for (int i = 0; i < N_PLANES; i++) s->plane_mm = fmax(s->plane_mm, fit_plane(&s->planes[i], PLANE_PIXELS));
    s->slice_mm = fit_plane(&s->planes[AXIAL], SLICE_PIXELS);
    for (int i = 0; i < N_PLANES; i++) {
        pipe_preview_size(&s->planes[i], s->plane_mm, &width, &height);
        s->plane_height = height > s->plane_height ? height : s->plane_height;
    }
    pipe_preview_size(&s->planes[AXIAL], s->slice_mm, &width, &s->slice_height);
    for (int v = 1; v < N_VALUES; v++) n_labels += s->census.total[v] > 0;
    n_labels = n_labels > LEGEND_MOST ? LEGEND_MOST : n_labels < 1 ? 1 : n_labels;
    s->n_lines = (n_labels + LEGEND_COLS - 1) / LEGEND_COLS;
}

static io_status draw_planes(sheet *s)
{
    int width, height;

    for (int i = 0; i < N_PLANES; i++) {
        pipe_preview_size(&s->planes[i], s->plane_mm, &width, &height);
        IO_TRY(pipe_preview_draw(&s->shown, &s->planes[i], s->cut[i], s->plane_mm,
                                 GAP + i * (PLANE_PIXELS + GAP) + (PLANE_PIXELS - width) / 2, TITLE_HEIGHT + (s->plane_height - height) / 2,
                                 &s->picture));
    }
    pipe_preview_size(&s->planes[AXIAL], s->slice_mm, &width, &height);
    for (int i = 0; i < SLICES; i++)
        IO_TRY(pipe_preview_draw(&s->shown, &s->planes[AXIAL], s->slices[i], s->slice_mm,
                                 GAP + i * (SLICE_PIXELS + GAP) + (SLICE_PIXELS - width) / 2, TITLE_HEIGHT + s->plane_height + GAP,
                                 &s->picture));
    return IO_OK;
}

static void draw_title(sheet *s)
{
    const io_grid *grid = &s->shown.volume->grid;
    char axcodes[4], text[200];

    io_grid_axcodes(grid, axcodes);
    snprintf(text, sizeof text, "%lld x %lld x %lld voxels, %.3g x %.3g x %.3g mm, stored %s; grey from %.4g to %.4g",
             (long long)grid->dims[0], (long long)grid->dims[1], (long long)grid->dims[2], grid->spacing_mm[0], grid->spacing_mm[1],
             grid->spacing_mm[2], axcodes, (double)s->shown.intensity.low, (double)s->shown.intensity.high);
    pipe_picture_text(&s->picture, GAP, 8, 2, WIDTH - 2 * GAP, PALE, text);
}

static void draw_entry(sheet *s, int place, int value, double voxel_ml)
{
    const int column_width = (WIDTH - GAP) / LEGEND_COLS, x = GAP + place % LEGEND_COLS * column_width;
    const int y = s->picture.height - (s->n_lines - place / LEGEND_COLS) * LEGEND_LINE;
    const io_label *label = s->shown.names ? io_labels_find(s->shown.names, value) : NULL;
    const double ml = voxel_ml * (double)s->census.total[value];
    char name[128], text[200];
    uint8_t rgb[3];

    snprintf(name, sizeof name, "label %d", value);
    snprintf(text, sizeof text, "%s, %.*f ml", label ? label->name : name, ml < 10 ? 1 : 0, ml);
    pipe_preview_colour(s->shown.names, value, rgb);
    pipe_picture_fill(&s->picture, x, y, 14, 14, rgb);
    pipe_picture_text(&s->picture, x + 20, y, 2, column_width - 24, INK, text);
}

static void draw_legend(sheet *s)
{
    const double voxel_ml = pipe_stats_voxel_ml(&s->shown.volume->grid);
    int place = 0;

    for (int v = 1; v < N_VALUES && place < LEGEND_MOST; v++)
        if (s->census.total[v] > 0) draw_entry(s, place++, v, voxel_ml);
    if (place == 0) pipe_picture_text(&s->picture, GAP, s->picture.height - LEGEND_LINE, 2, WIDTH, PALE, "no labels in this volume");
}

io_status pipe_preview_write(const char *path, const io_volume *volume, const void *labels, int label_bytes, const io_labels *names,
                             const pipe_options *options)
{
    io_status status = IO_OK;
    sheet *s = NULL;

    if (label_bytes != 1 && label_bytes != 2) return IO_FAIL(IO_ERR_ARGUMENT, "labels of %d bytes; expected 1 or 2", label_bytes);
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *s, (void **)&s));
    s->shown = (preview_case){.volume = volume, .labels = labels, .label_bytes = label_bytes, .names = names};
    IO_TRY_GOTO(status, done, pipe_intensity_plan(volume, options->intensity, options->low, options->high, &s->shown.intensity));
    IO_TRY_GOTO(status, done, plan_planes(s));
    IO_TRY_GOTO(status, done, count_labels(s));
    choose_slices(s);
    plan_layout(s);
    IO_TRY_GOTO(status, done,
                pipe_picture_create(WIDTH, TITLE_HEIGHT + s->plane_height + s->slice_height + 2 * GAP + s->n_lines * LEGEND_LINE, PAPER,
                                    &s->picture));
    draw_title(s);
    IO_TRY_GOTO(status, done, draw_planes(s));
    draw_legend(s);
    status = io_png_write(path, s->picture.rgb, s->picture.width, s->picture.height);
done:
    for (int a = 0; s && a < 3; a++) io_free(&s->census.along[a]);
    if (s) io_free(&s->picture.rgb);
    io_free(&s);
    return status;
}
