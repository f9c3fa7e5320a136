/* See preview_plane.h. Greys are the mean of four bilinear samples per pixel, so that shrinking by two does not turn noise into grain;
 * labels are taken from the nearest voxel. */
#include "pipeline/preview_plane.h"

#include <math.h>
#include <string.h>

#include "io/memory.h"

/* The plane's voxels, and the labels of the pixels it is drawn with. */
typedef struct plane_data {
    int rows, cols, width, height;
    float *values;       /* [rows][cols], 0..1 */
    void *gather;        /* scratch of pipe_view_read */
    uint16_t *labels;    /* [rows][cols] */
    uint16_t *pixels;    /* [height][width] */
    double per_x, per_y; /* voxels per pixel */
} plane_data;

void pipe_preview_colour(const io_labels *names, int value, uint8_t rgb[3])
{
    const io_label *label = names ? io_labels_find(names, value) : NULL;

    if (label)
        memcpy(rgb, label->rgb, 3);
    else
        for (int i = 0; i < 3; i++) rgb[i] = (uint8_t)(80 + (value * (37 + 22 * i) + 60 * i) % 176);
}

static int scale_extent(int n, double voxel_mm, double mm)
{
    const double pixels = floor(n * voxel_mm / mm + 0.5);

    return !(pixels >= 1) ? 1 : pixels > 8192 ? 8192 : (int)pixels;
}

void pipe_preview_size(const preview_plane *plane, double mm, int *width, int *height)
{
    *width = scale_extent(plane->view.cols, plane->col_mm, mm);
    *height = scale_extent(plane->view.rows, plane->row_mm, mm);
}

static int clamp_index(double v, int n)
{
    return v <= 0 ? 0 : v >= n - 1 ? n - 1 : (int)v;
}

static double sample_value(const plane_data *p, double x, double y)
{
    const int c = clamp_index(floor(x), p->cols), r = clamp_index(floor(y), p->rows);
    const int c1 = c + 1 < p->cols ? c + 1 : c, r1 = r + 1 < p->rows ? r + 1 : r;
    const double u = fmin(fmax(x - c, 0), 1), v = fmin(fmax(y - r, 0), 1);
    const float *upper = p->values + (size_t)r * (size_t)p->cols, *lower = p->values + (size_t)r1 * (size_t)p->cols;

    return (1 - v) * ((1 - u) * (double)upper[c] + u * (double)upper[c1]) + v * ((1 - u) * (double)lower[c] + u * (double)lower[c1]);
}

static void draw_greys(const plane_data *p, int x, int y, picture *out)
{
    for (int r = 0; r < p->height; r++) {
        for (int c = 0; c < p->width; c++) {
            double sum = 0;
            for (int s = 0; s < 4; s++)
                sum += sample_value(p, (c + 0.25 + 0.5 * (s & 1)) * p->per_x - 0.5, (r + 0.25 + 0.5 * (s >> 1)) * p->per_y - 0.5);
            const uint8_t grey = (uint8_t)(255 * fmin(fmax(sum / 4, 0), 1) + 0.5);
            pipe_picture_set(out, x + c, y + r, (const uint8_t[3]){grey, grey, grey});
        }
    }
}

/* A labelled pixel is on the contour where one of its eight neighbours is labelled otherwise or lies outside of the plane. */
static int is_contour(const plane_data *p, int c, int r)
{
    const uint16_t own = p->pixels[(size_t)r * (size_t)p->width + (size_t)c];

    for (int dr = -1; dr <= 1; dr++) {
        for (int dc = -1; dc <= 1; dc++) {
            const int nr = r + dr, nc = c + dc;
            if (nr < 0 || nc < 0 || nr >= p->height || nc >= p->width) return 1;
            if (p->pixels[(size_t)nr * (size_t)p->width + (size_t)nc] != own) return 1;
        }
    }
    return 0;
}

static void draw_contours(const plane_data *p, const io_labels *names, int x, int y, picture *out)
{
    for (int r = 0; r < p->height; r++) {
        for (int c = 0; c < p->width; c++) {
            const uint16_t value = p->pixels[(size_t)r * (size_t)p->width + (size_t)c];
            uint8_t rgb[3];
            if (value == 0 || !is_contour(p, c, r)) continue;
            pipe_preview_colour(names, value, rgb);
            pipe_picture_set(out, x + c, y + r, rgb);
        }
    }
}

static void read_labels(const preview_case *c, const slices_view *view, int64_t k, plane_data *p)
{
    const uint8_t *bytes = c->labels;
    const uint16_t *words = c->labels;

    for (int r = 0; r < p->rows; r++) {
        int64_t voxel = view->first + k * view->slice_step + r * view->row_step;
        for (int col = 0; col < p->cols; col++, voxel += view->col_step)
            p->labels[(size_t)r * (size_t)p->cols + (size_t)col] = c->label_bytes == 1 ? bytes[voxel] : words[voxel];
    }
    for (int r = 0; r < p->height; r++) {
        const int row = clamp_index(floor((r + 0.5) * p->per_y), p->rows);
        for (int col = 0; col < p->width; col++)
            p->pixels[(size_t)r * (size_t)p->width + (size_t)col] =
                p->labels[(size_t)row * (size_t)p->cols + (size_t)clamp_index(floor((col + 0.5) * p->per_x), p->cols)];
    }
}

static io_status allocate_data(const preview_case *c, const preview_plane *plane, double mm, plane_data *p)
{
    size_t n_voxels, n_pixels;

    *p = (plane_data){.rows = plane->view.rows, .cols = plane->view.cols};
    pipe_preview_size(plane, mm, &p->width, &p->height);
    p->per_x = (double)p->cols / p->width;
    p->per_y = (double)p->rows / p->height;
    IO_TRY(io_size_mul((size_t)p->rows, (size_t)p->cols, &n_voxels));
    IO_TRY(io_size_mul((size_t)p->height, (size_t)p->width, &n_pixels));
    IO_TRY(io_alloc(n_voxels, sizeof *p->values, (void **)&p->values));
    IO_TRY(io_alloc(n_voxels, sizeof *p->labels, (void **)&p->labels));
    IO_TRY(io_alloc(n_pixels, sizeof *p->pixels, (void **)&p->pixels));
    return io_alloc(pipe_view_scratch_bytes(c->volume, &plane->view), 1, &p->gather);
}

static void free_data(plane_data *p)
{
    io_free(&p->values);
    io_free(&p->labels);
    io_free(&p->pixels);
    io_free(&p->gather);
}

static void draw_letters(const preview_plane *plane, int x, int y, int width, int height, picture *out)
{
    static const uint8_t rgb[3] = {235, 225, 150};
    const char texts[4][2] = {{plane->left}, {plane->right}, {plane->top}, {plane->bottom}};
    const int places[4][2] = {
        {x + 3, y + height / 2 - 3}, {x + width - 8, y + height / 2 - 3}, {x + width / 2 - 2, y + 3}, {x + width / 2 - 2, y + height - 10}};

    for (int i = 0; i < 4; i++) pipe_picture_text(out, places[i][0], places[i][1], 1, 6, rgb, texts[i]);
}

io_status pipe_preview_draw(const preview_case *c, const preview_plane *plane, int64_t k, double mm, int x, int y, picture *out)
{
    io_status status = IO_OK;
    plane_data p;

    IO_TRY_GOTO(status, done, allocate_data(c, plane, mm, &p));
    pipe_view_read(c->volume, &plane->view, k, p.values, p.gather);
    pipe_intensity_scale(&c->intensity, p.values, (int64_t)p.rows * p.cols);
    read_labels(c, &plane->view, k, &p);
    draw_greys(&p, x, y, out);
    draw_contours(&p, c->names, x, y, out);
    draw_letters(plane, x, y, p.width, p.height, out);
done:
    free_data(&p);
    return status;
}
