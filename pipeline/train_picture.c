/* See train_picture.h. Slices are shown as they are stored, which is how the network sees them: a store knows no left and right. */
#include "pipeline/train_picture.h"

#include <stdio.h>

#include "io/file.h"
#include "io/memory.h"
#include "io/png.h"
#include "pipeline/overlay.h"
#include "pipeline/picture.h"

enum { PANELS = 6, COLUMNS = 2, GAP = 8, LEAST_SIDE = 400 /* pixels; smaller slices are enlarged */ };

static const uint8_t paper[3] = {12, 12, 16}, ink[3] = {210, 210, 210};

/* A panel shows each pixel of the slice as scale x scale pixels. */
typedef struct panel {
    pipe_shown shown;
    int scale, left, top;
} panel;

static int label_at(const panel *p, const uint16_t *labels, int x, int y)
{
    return labels[(size_t)(y / p->scale) * (size_t)p->shown.size + (size_t)(x / p->scale)];
}

/* A pixel of an organ is on its contour where a neighbour to the side, above or below is none of it. */
static int is_contour(const panel *p, const uint16_t *labels, int x, int y)
{
    static const int steps[4][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}};
    const int own = label_at(p, labels, x, y), side = p->shown.size * p->scale;

    for (int i = 0; own && i < 4; i++) {
        const int nx = x + steps[i][0], ny = y + steps[i][1];
        if (nx < 0 || ny < 0 || nx >= side || ny >= side || label_at(p, labels, nx, ny) != own) return 1;
    }
    return 0;
}

static void draw_panel(const panel *p, const char *title, picture *out)
{
    static const uint8_t colours[4][3] = {{0, 0, 0}, PIPE_OVERLAY_REFERENCE, PIPE_OVERLAY_PREDICTION, PIPE_OVERLAY_BOTH};
    const int side = p->shown.size * p->scale;

    for (int y = 0; y < side; y++) {
        for (int x = 0; x < side; x++) {
            const float value = p->shown.image[(size_t)(y / p->scale) * (size_t)p->shown.size + (size_t)(x / p->scale)];
            /* darker than the contours, so that white ones show on bone */
            const uint8_t grey = (uint8_t)(150 * (value > 0 ? (value < 1 ? value : 1) : 0) + 0.5f);
            const int lines = is_contour(p, p->shown.truth, x, y) | is_contour(p, p->shown.found, x, y) << 1;
            pipe_picture_set(out, p->left + x, p->top + y, lines ? colours[lines] : (const uint8_t[3]){grey, grey, grey});
        }
    }
    pipe_picture_text(out, p->left + 6, p->top + 6, 2, side - 12, ink, title);
}

/* Panel i of n shows case i % n_cases; a case with several panels gives each an equal stretch of its slices. */
static io_status show_panel(pipe_validator *v, size_t n_cases, size_t i, size_t n, panel *p, picture *out)
{
    const size_t index = i % n_cases, n_parts = (n - index + n_cases - 1) / n_cases, part = i / n_cases;
    const pipe_store_case *about = pipe_validator_case(v, index);
    const int64_t first = about->n_slices * (int64_t)part / (int64_t)n_parts,
                  end = about->n_slices * (int64_t)(part + 1) / (int64_t)n_parts;
    char title[96];
    int64_t slice = 0;

    if (first == end) return IO_OK;
    IO_TRY(pipe_validator_pick(v, index, first, end, &slice));
    IO_TRY(pipe_validator_show(v, index, slice, &p->shown));
    snprintf(title, sizeof title, "%.60s, slice %lld", about->id, (long long)slice + 1);
    draw_panel(p, title, out);
    return IO_OK;
}

static io_status draw_sheet(pipe_validator *v, size_t n_cases, int size, picture *out)
{
    const int scale = (LEAST_SIDE + size - 1) / size, side = scale * size;

    IO_TRY(pipe_picture_create(COLUMNS * (side + GAP) - GAP, PANELS / COLUMNS * (side + GAP) - GAP, paper, out));
    for (int i = 0; i < PANELS; i++) {
        panel p = {.scale = scale, .left = i % COLUMNS * (side + GAP), .top = i / COLUMNS * (side + GAP)};
        IO_TRY(show_panel(v, n_cases, (size_t)i, PANELS, &p, out));
    }
    return IO_OK;
}

io_status pipe_train_picture_write(pipe_validator *validator, size_t n_cases, const char *folder)
{
    io_status status = IO_OK;
    picture sheet = {0};
    char *path = NULL;

    IO_TRY_GOTO(status, done, io_path_join(folder, PIPE_TRAIN_PICTURE, &path));
    IO_TRY_GOTO(status, done, draw_sheet(validator, n_cases, pipe_validator_size(validator), &sheet));
    status = io_png_write(path, sheet.rgb, sheet.width, sheet.height);
done:
    io_free(&sheet.rgb);
    io_free(&path);
    return status;
}
