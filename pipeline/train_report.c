/* See train_report.h. */
#include "pipeline/train_report.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "pipeline/overlay.h"
#include "pipeline/text_out.h"
#include "pipeline/train_picture.h"

enum { MAX_TABLE_BYTES = 1 << 28, MAX_POINTS = 1500, WIDTH = 860, HEIGHT = 220, LEFT = 88, BOTTOM = 24 };

/* A table of numbers; a column is found by its name in the header. */
typedef struct table {
    char *text;
    size_t n_lines; /* without the header */
} table;

/* One curve: a column over the steps. */
typedef struct curve {
    double *steps, *values; /* [n]; lines without a number are left out */
    size_t n;
    double low, high;
} curve;

static io_status read_table(const char *folder, const char *name, table *out)
{
    io_status status = IO_OK;
    char *path = NULL;

    IO_TRY_GOTO(status, done, io_path_join(folder, name, &path));
    if (!io_file_exists(path)) goto done;
    IO_TRY_GOTO(status, done, io_file_read_text(path, MAX_TABLE_BYTES, &out->text));
    for (const char *c = strchr(out->text, '\n'); c && c[1]; c = strchr(c + 1, '\n')) out->n_lines++;
done:
    io_free(&path);
    return status;
}

/* Fields before the named one have no commas of their own: organs come last. */
static int find_column(const char *header, const char *name)
{
    const size_t n = strlen(name);

    for (int column = 0;; column++) {
        const size_t length = strcspn(header, ",\n");
        if (length == n && !memcmp(header, name, n)) return column;
        if (header[length] != ',') return -1;
        header += length + 1;
    }
}

static bool read_field(const char *line, int column, double *out)
{
    char *end;

    for (; column > 0; column--) {
        line += strcspn(line, ",\n");
        if (*line++ != ',') return false;
    }
    *out = strtod(line, &end);
    return end != line && isfinite(*out) && strcspn(line, ",\n") > 0;
}

static void add_point(curve *c, double step, double value)
{
    c->low = c->n == 0 || value < c->low ? value : c->low;
    c->high = c->n == 0 || value > c->high ? value : c->high;
    c->steps[c->n] = step;
    c->values[c->n++] = value;
}

/* Long runs are thinned to every k-th step and the last one. */
static io_status read_curve(const table *t, const char *name, curve *out)
{
    const size_t every = t->n_lines / MAX_POINTS + 1;
    const int column = t->text ? find_column(t->text, name) : -1;
    const char *line = t->text ? strchr(t->text, '\n') : NULL;
    double step, value;

    IO_TRY(io_alloc(t->n_lines, sizeof *out->steps, (void **)&out->steps));
    IO_TRY(io_alloc(t->n_lines, sizeof *out->values, (void **)&out->values));
    for (size_t i = 0; i < t->n_lines && column >= 0; i++, line = strchr(line + 1, '\n'))
        if ((i % every == 0 || i + 1 == t->n_lines) && read_field(line + 1, 0, &step) && read_field(line + 1, column, &value))
            add_point(out, step, value);
    return IO_OK;
}

static void free_curve(curve *c)
{
    io_free(&c->steps);
    io_free(&c->values);
}

static void add_label(pipe_text *text, double x, double y, const char *anchor, double number)
{
    pipe_text_add(text, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    pipe_text_add_rounded(text, number, 4);
    pipe_text_add(text, "</text>");
}

static void add_curve(pipe_text *text, const curve *c)
{
    const double height = c->high > c->low ? c->high - c->low : 1,
                 width = c->steps[c->n - 1] > c->steps[0] ? c->steps[c->n - 1] - c->steps[0] : 1;

    pipe_text_add(text, "<svg viewBox=\"0 0 %d %d\" role=\"img\"><path class=\"axis\" d=\"M%d 8V%dH%d\"/>", WIDTH, HEIGHT, LEFT,
                  HEIGHT - BOTTOM, WIDTH - 8);
    add_label(text, LEFT - 6, 16, "end", c->high);
    add_label(text, LEFT - 6, HEIGHT - BOTTOM, "end", c->low);
    add_label(text, LEFT, HEIGHT - 6, "start", c->steps[0]);
    add_label(text, WIDTH - 8, HEIGHT - 6, "end", c->steps[c->n - 1]);
    pipe_text_add(text, "<polyline points=\"");
    for (size_t i = 0; i < c->n; i++)
        pipe_text_add(text, "%.1f,%.1f ", LEFT + (c->steps[i] - c->steps[0]) / width * (WIDTH - 8 - LEFT),
                      8 + (c->high - c->values[i]) / height * (HEIGHT - BOTTOM - 8));
    pipe_text_add(text, "\"/></svg>\n");
}

static io_status add_section(pipe_text *text, const table *t, const char *column, const char *title)
{
    curve c = {0};
    const io_status status = read_curve(t, column, &c);

    if (status == IO_OK && c.n > 0) {
        pipe_text_add(text, "<h2>%s</h2>\n", title);
        add_curve(text, &c);
    }
    free_curve(&c);
    return status;
}

static io_status add_sections(pipe_text *text, const table *steps, const table *validations)
{
    IO_TRY(add_section(text, steps, "loss", "Loss"));
    IO_TRY(add_section(text, steps, "ce", "Cross entropy"));
    IO_TRY(add_section(text, steps, "dice", "Dice loss"));
    IO_TRY(add_section(text, validations, "mean", "Mean DSC of the held-out cases"));
    IO_TRY(add_section(text, steps, "lr", "Learning rate"));
    return add_section(text, steps, "gradient_norm", "Norm of the gradients"); /* before clipping */
}

static void add_colour(pipe_text *text, const uint8_t rgb[3], const char *name)
{
    pipe_text_add(text, "<b style=\"color:#%02x%02x%02x\">%s</b>\n", rgb[0], rgb[1], rgb[2], name);
}

/* The sheet of train_picture.h, if there is one. */
static io_status add_picture(pipe_text *text, const char *folder, int64_t best_step)
{
    static const uint8_t truth[3] = PIPE_OVERLAY_REFERENCE, found[3] = PIPE_OVERLAY_PREDICTION, both[3] = PIPE_OVERLAY_BOTH;
    io_status status = IO_OK;
    char *path = NULL;
    io_mapping *png = NULL;

    IO_TRY_GOTO(status, done, io_path_join(folder, PIPE_TRAIN_PICTURE, &path));
    if (best_step < 1 || !io_file_exists(path)) goto done;
    IO_TRY_GOTO(status, done, io_mapping_open(path, &png));
    pipe_text_add(text, "<h2>Held-out slices, with the best weights (step %lld)</h2>\n<p>Contours: ", (long long)best_step);
    add_colour(text, truth, "reference");
    add_colour(text, found, "network");
    add_colour(text, both, "both");
    pipe_text_add(
        text, "Slices are shown as they are stored, which is how the network sees them.</p>\n<img alt=\"Slices of held-out cases with the "
              "contours of reference and network\" src=\"data:image/png;base64,");
    pipe_text_add_base64(text, png->bytes, png->n_bytes);
    pipe_text_add(text, "\">\n");
done:
    io_mapping_free(&png);
    io_free(&path);
    return status;
}

static void add_head(pipe_text *text)
{
    pipe_text_add(
        text,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        "<title>samed train</title>\n<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:900px;"
        "margin:2em auto;padding:0 1em}h2{font-size:1.1em;margin:1.5em 0 .2em}svg{width:100%%}text{font-size:12px;fill:currentColor}"
        "polyline{fill:none;stroke:#2b7bba;stroke-width:1.5}.axis{fill:none;stroke:currentColor;opacity:.4}"
        "pre{overflow:auto}img{width:100%%;height:auto}b{padding:0 "
        ".4em;border-radius:.2em;background:#0c0c10}</style></head>\n<body><h1>Training run</h1>\n<p>Horizontal axes are steps.</p>\n");
}

io_status pipe_train_report_write(const char *folder, const char *settings, int64_t best_step)
{
    io_status status = IO_OK;
    pipe_text *text = NULL;
    table steps = {0}, validations = {0};

    IO_TRY_GOTO(status, done, read_table(folder, "log.csv", &steps));
    IO_TRY_GOTO(status, done, read_table(folder, "validation.csv", &validations));
    IO_TRY_GOTO(status, done, pipe_text_open(folder, "train.html", &text));
    add_head(text);
    IO_TRY_GOTO(status, done, add_sections(text, &steps, &validations));
    IO_TRY_GOTO(status, done, add_picture(text, folder, best_step));
    pipe_text_add(text, "<h2>Settings</h2>\n<pre>");
    pipe_text_add_html(text, settings);
    pipe_text_add(text, "</pre>\n</body></html>\n");
    status = pipe_text_commit(&text);
done:
    pipe_text_free(&text);
    io_free(&steps.text);
    io_free(&validations.text);
    return status;
}
