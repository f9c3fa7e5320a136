/* Figures of report.html as inline SVG; see report_html.h. Dots are one path with round caps: a study of thousands of cases stays small. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/report_html.h"

enum { WIDTH = 560, LEFT = 122, RIGHT = 46, ROW = 27, TOP = 8, BOTTOM = 30, SIDE = 220, MARGIN = 30, MAX_OUTLIERS = 60 };

/* Quartiles of fewer values say nothing about what lies outside: of three, two are nearly always beyond a fence. */
enum { MIN_FOR_FENCES = 8 };

/* Where numbers lie on an axis. */
typedef struct scale {
    double low, high, step;
    double from, to; /* pixels */
} scale;

static double place(const scale *s, double value)
{
    return s->from + (value - s->low) / (s->high - s->low) * (s->to - s->from);
}

/* Round numbers around the values: 1, 2 or 5 times a power of ten apart, about n of them. */
static void choose_ticks(scale *s, double low, double high, int n)
{
    double power, step;

    if (!(high > low)) high = low + 1;
    power = pow(10, floor(log10((high - low) / n)));
    step = (high - low) / n / power;
    s->step = power * (step <= 1 ? 1 : step <= 2 ? 2 : step <= 5 ? 5 : 10);
    s->low = floor(low / s->step + 1e-9) * s->step;
    s->high = ceil(high / s->step - 1e-9) * s->step;
}

/* Finite values of a row, ascending: sorted [n_cases]. */
static size_t sort_row(const pipe_study *study, size_t row, size_t column, double *sorted)
{
    size_t n = 0;

    pipe_study_row_values(study, row, column, sorted);
    for (size_t i = 0; i < study->n_cases; i++)
        if (isfinite(sorted[i])) sorted[n++] = sorted[i];
    qsort(sorted, n, sizeof *sorted, pipe_compare_doubles);
    return n;
}

/* Tukey's fences. */
static void find_fences(const pipe_summary *s, double *low, double *high)
{
    *low = s->quartile1 - 1.5 * (s->quartile3 - s->quartile1);
    *high = s->quartile3 + 1.5 * (s->quartile3 - s->quartile1);
}

/* All values when there are few, else those beyond the fences; spread over the row by their rank, the same way every time. */
static void add_dots(pipe_text *text, const scale *x, double y, const double *sorted, size_t n, double low, double high)
{
    const bool is_all = n <= 150;
    bool has_any = false;

    for (size_t i = 0; i < n; i++) {
        if (!is_all && sorted[i] >= low && sorted[i] <= high) continue;
        pipe_text_add(text, "%s%.1f %.1fh0", has_any ? "M" : "<path class=\"dots\" d=\"M", place(x, sorted[i]),
                      y + ((double)(i * 7 % 11) - 5) * 0.9);
        has_any = true;
    }
    if (has_any) pipe_text_add(text, "\"/>\n");
}

static void add_box(pipe_text *text, const scale *x, double y, const pipe_summary *s, const double *sorted, size_t n, const uint8_t rgb[3])
{
    const double q1 = place(x, s->quartile1), q3 = place(x, s->quartile3), median = place(x, s->median), mean = place(x, s->mean);
    double low, high;
    size_t first = 0, last = n - 1;

    find_fences(s, &low, &high);
    while (first < last && sorted[first] < low) first++;
    while (last > first && sorted[last] > high) last--;
    pipe_text_add(text, "<path class=\"whisker\" d=\"M%.1f %.1fH%.1fM%.1f %.1fH%.1fM%.1f %.1fv8M%.1f %.1fv8\"/>", place(x, sorted[first]),
                  y, q1, q3, y, place(x, sorted[last]), place(x, sorted[first]), y - 4, place(x, sorted[last]), y - 4);
    pipe_text_add(text, "<rect class=\"box\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"16\" rx=\"2\" fill=\"#%02x%02x%02x\"/>\n", q1,
                  y - 8, fmax(q3 - q1, 0.5), rgb[0], rgb[1], rgb[2]);
    add_dots(text, x, y, sorted, n, low, high);
    pipe_text_add(text, "<path class=\"median\" d=\"M%.1f %.1fv16\"/><path class=\"mean\" d=\"M%.1f %.1fl4 4-4 4-4-4z\"/>\n", median, y - 8,
                  mean, y - 4);
}

static void add_x_axis(pipe_text *text, const scale *x, double top, double bottom)
{
    for (int i = 0; x->low + i * x->step <= x->high + 1e-9 * x->step; i++) {
        const double value = x->low + i * x->step;
        pipe_text_add(text,
                      "<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/><text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" y=\"%.1f\">",
                      place(x, value), top, bottom, place(x, value), bottom + 16);
        pipe_text_add(text, "%g</text>\n", fabs(value) < 1e-12 ? 0.0 : value);
    }
}

/* Shares run from 0 to 1, distances from 0 to the largest one. */
static void scale_column(const pipe_report *report, size_t column, scale *x)
{
    double highest = 0;

    for (size_t row = 0; row < report->study->n_organs; row++) {
        const pipe_summary *s = &pipe_html_summary(report, row, column)->stats;
        if (s->n > 0 && s->maximum > highest) highest = s->maximum;
    }
    x->from = LEFT;
    x->to = WIDTH - RIGHT;
    choose_ticks(x, 0, pipe_column_is_better_high(&report->study->columns[column]) ? 1 : highest, 5);
}

static void add_svg_name(pipe_text *text, double y, const pipe_study *study, size_t organ, size_t n)
{
    char name[20];
    const char *whole = pipe_study_organ(study, organ)->name;
    size_t n_bytes = strnlen(whole, sizeof name - 1);

    while (((unsigned char)whole[n_bytes] & 0xc0) == 0x80) n_bytes--; /* not in the middle of a UTF-8 character */
    memset(name, 0, sizeof name);
    memcpy(name, whole, n_bytes);
    pipe_text_add(text, "<text text-anchor=\"end\" x=\"%d\" y=\"%.1f\">", LEFT - 10, y + 4);
    pipe_text_add_html(text, name);
    pipe_text_add(text, "</text><text class=\"soft\" x=\"%d\" y=\"%.1f\">%zu</text>\n", WIDTH - RIGHT + 12, y + 4, n);
}

io_status pipe_html_boxplot(pipe_text *text, const pipe_report *report, size_t column)
{
    const pipe_study *study = report->study;
    const pipe_column *about = &study->columns[column];
    const double bottom = TOP + ROW * (double)study->n_organs;
    double *sorted = NULL;
    scale x;

    IO_TRY(io_alloc(study->n_cases, sizeof *sorted, (void **)&sorted));
    scale_column(report, column, &x);
    pipe_text_add(text, "<figure><svg viewBox=\"0 0 %d %.0f\" role=\"img\" aria-label=\"Box plots of %s per organ, convention %s\">\n",
                  WIDTH, bottom + BOTTOM, about->title, pipe_column_convention(about));
    add_x_axis(text, &x, TOP, bottom);
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        const double y = TOP + ROW * ((double)organ + 0.5);
        const size_t n = sort_row(study, organ, column, sorted);
        add_svg_name(text, y, study, organ, n);
        if (n > 0) add_box(text, &x, y, &pipe_html_summary(report, organ, column)->stats, sorted, n, pipe_study_organ(study, organ)->rgb);
    }
    pipe_text_add(text,
                  "</svg><figcaption><b>%s</b>, convention %s: median, quartiles, whiskers to the last value within 1.5 interquartile "
                  "ranges, mean (diamond); n on the right.</figcaption></figure>\n",
                  about->title, pipe_column_convention(about));
    io_free(&sorted);
    return IO_OK;
}

/* The columns of the volumes and the fences beyond which one is an outlier. */
typedef struct volume_fences {
    size_t reference, prediction, difference; /* columns */
    double volume[2], change[2];              /* ml; share */
    bool has_any;                             /* enough cases have the organ */
} volume_fences;

/* low, high; nothing lies outside of few values. Of a column's values in the cases where the reference has the organ, and the prediction
 * too unless may_be_missed: 0 ml of cases without it, or -100 % of missed ones, would spread the quartiles until nothing is outside. Of
 * values of which half are equal every other one would be outside: nothing is. sorted [n_cases] is scratch. Returns how many cases count.
 */
static size_t find_outlier_fences(const pipe_study *study, size_t organ, size_t column, bool may_be_missed, double *sorted,
                                  double fences[2])
{
    pipe_summary s;
    size_t n = 0;

    for (size_t i = 0; i < study->n_cases; i++) {
        const pipe_presence presence = pipe_study_presence(study, i, organ);
        if (presence == PIPE_BOTH_PRESENT || (may_be_missed && presence == PIPE_MISSED))
            sorted[n++] = pipe_study_value(study, i, organ, column);
    }
    fences[0] = -INFINITY;
    fences[1] = INFINITY;
    if (n < MIN_FOR_FENCES) return n;
    qsort(sorted, n, sizeof *sorted, pipe_compare_doubles);
    s = (pipe_summary){.quartile1 = pipe_quantile(sorted, n, 25), .quartile3 = pipe_quantile(sorted, n, 75)};
    if (s.quartile3 > s.quartile1) find_fences(&s, &fences[0], &fences[1]);
    return n;
}

/* *out [n_organs], with io_free. */
static io_status find_volume_fences(const pipe_study *study, volume_fences **out)
{
    double *sorted = NULL;

    IO_TRY(io_alloc(study->n_organs, sizeof **out, (void **)out));
    IO_TRY(io_alloc(study->n_cases, sizeof *sorted, (void **)&sorted));
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        volume_fences *f = &(*out)[organ];
        f->reference = pipe_study_find(study, PIPE_VOLUME_REFERENCE, -1, false);
        f->prediction = pipe_study_find(study, PIPE_VOLUME_PREDICTION, -1, false);
        f->difference = pipe_study_find(study, PIPE_VOLUME_DIFFERENCE, -1, false);
        f->has_any = find_outlier_fences(study, organ, f->reference, true, sorted, f->volume) >= MIN_FOR_FENCES;
        (void)find_outlier_fences(study, organ, f->difference, false, sorted, f->change);
    }
    io_free(&sorted);
    return IO_OK;
}

/* Why a case's volume of an organ stands out; NULL when it does not. */
static const char *judge_volume(const pipe_study *study, size_t index, size_t organ, const volume_fences *f)
{
    const pipe_presence presence = pipe_study_presence(study, index, organ);
    const double reference = pipe_study_value(study, index, organ, f->reference);
    const double prediction = pipe_study_value(study, index, organ, f->prediction);
    const double change = pipe_study_value(study, index, organ, f->difference);

    if (presence == PIPE_NOT_MEASURED || presence == PIPE_BOTH_EMPTY) return NULL;
    if (presence == PIPE_MISSED) return "missed";
    if (presence == PIPE_FALSE_POSITIVE) return "false positive";
    if (change < f->change[0] || change > f->change[1]) return "difference unlike the other cases";
    if (prediction < f->volume[0] || prediction > f->volume[1]) return "predicted volume unlike the references";
    if (reference < f->volume[0] || reference > f->volume[1]) return "reference unlike the other references";
    return NULL;
}

static void add_volume_dots(pipe_text *text, const pipe_study *study, size_t organ, const volume_fences *f, const scale *x, const scale *y,
                            bool is_outlier)
{
    bool has_any = false;

    for (size_t i = 0; i < study->n_cases; i++) {
        const pipe_presence presence = pipe_study_presence(study, i, organ);
        if (presence == PIPE_NOT_MEASURED || presence == PIPE_BOTH_EMPTY) continue;
        if ((judge_volume(study, i, organ, f) != NULL) != is_outlier) continue;
        pipe_text_add(text, "%s%.1f %.1fh0",
                      has_any      ? "M"
                      : is_outlier ? "<path class=\"out\" d=\"M"
                                   : "<path class=\"dots\" d=\"M",
                      place(x, pipe_study_value(study, i, organ, f->reference)),
                      place(y, pipe_study_value(study, i, organ, f->prediction)));
        has_any = true;
    }
    if (has_any) pipe_text_add(text, "\"/>");
}

static void add_panel_axes(pipe_text *text, const scale *x, const scale *y)
{
    for (int i = 0; x->low + i * x->step <= x->high + 1e-9 * x->step; i++) {
        const double value = x->low + i * x->step;
        pipe_text_add(text,
                      "<path class=\"grid\" d=\"M%.1f %.1fV%.1fM%.1f %.1fH%.1f\"/><text class=\"soft\" text-anchor=\"middle\" x=\"%.1f\" "
                      "y=\"%d\">%g</text><text class=\"soft\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">%g</text>\n",
                      place(x, value), y->from, y->to, x->from, place(y, value), x->to, place(x, value), SIDE - 12, value, MARGIN + 4,
                      place(y, value) + 4, value);
    }
    pipe_text_add(text, "<path class=\"axis\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", x->from, y->from, x->to, y->to);
}

static void add_panel(pipe_text *text, const pipe_report *report, size_t organ, const volume_fences *f)
{
    const pipe_study *study = report->study;
    scale x = {.from = MARGIN + 10, .to = SIDE - 20}, y = {.from = SIDE - MARGIN, .to = 12};
    const double highest =
        fmax(pipe_html_summary(report, organ, f->reference)->stats.maximum, pipe_html_summary(report, organ, f->prediction)->stats.maximum);

    choose_ticks(&x, 0, isfinite(highest) ? highest : 1, 3);
    y.low = x.low;
    y.high = x.high;
    y.step = x.step;
    pipe_text_add(text, "<figure><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Predicted against reference volume\">\n", SIDE, SIDE);
    add_panel_axes(text, &x, &y);
    add_volume_dots(text, study, organ, f, &x, &y, false);
    add_volume_dots(text, study, organ, f, &x, &y, true);
    pipe_text_add(text, "</svg><figcaption>");
    pipe_html_organ(text, study, organ);
    pipe_text_add(text, "</figcaption></figure>\n");
}

static void add_outlier(pipe_text *text, const pipe_study *study, size_t index, size_t organ, const volume_fences *f, const char *why)
{
    pipe_text_add(text, "<tr><th scope=\"row\">");
    pipe_text_add_html(text, study->cases[index].id);
    pipe_text_add(text, "</th><td class=\"text\">");
    pipe_html_organ(text, study, organ);
    pipe_text_add(text, "</td>");
    pipe_html_cell(text, &study->columns[f->reference], pipe_study_value(study, index, organ, f->reference));
    pipe_html_cell(text, &study->columns[f->prediction], pipe_study_value(study, index, organ, f->prediction));
    const double change = pipe_study_value(study, index, organ, f->difference);
    if (isfinite(change))
        pipe_text_add(text, "<td data-v=\"%.9g\">%+.1f %%</td>", change, 100 * change);
    else
        pipe_text_add(text, "<td data-v=\"\">–</td>");
    pipe_text_add(text, "<td class=\"text\">%s</td></tr>\n", why);
}

static void add_outliers(pipe_text *text, const pipe_report *report, const volume_fences *fences)
{
    const pipe_study *study = report->study;
    size_t n = 0;

    pipe_text_add(
        text,
        "<div class=\"scroll\"><table class=\"sortable\"><caption>Outliers: beyond 1.5 interquartile ranges of the organ's reference "
        "volumes, or of its relative differences where both have it.</caption><thead><tr><th class=\"text\" scope=\"col\">Case</th><th "
        "class=\"text\" scope=\"col\">Organ</th><th scope=\"col\">Reference (ml)</th><th scope=\"col\">Prediction (ml)</th><th "
        "scope=\"col\">Difference</th><th class=\"text\" scope=\"col\">Why</th></tr></thead><tbody>\n");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        for (size_t i = 0; i < study->n_cases; i++) {
            const char *why = judge_volume(study, i, organ, &fences[organ]);
            if (why && n++ < MAX_OUTLIERS) add_outlier(text, study, i, organ, &fences[organ], why);
        }
    }
    pipe_text_add(text, "</tbody></table></div>\n");
    if (n > MAX_OUTLIERS) pipe_text_add(text, "<p class=\"soft\">%d of %zu outliers are shown.</p>\n", (int)MAX_OUTLIERS, n);
}

static bool has_fences(const pipe_study *study, const volume_fences *fences)
{
    for (size_t organ = 0; organ < study->n_organs; organ++)
        if (fences[organ].has_any) return true;
    return false;
}

/* Mean, SD and interval of one of an organ's columns. */
static void add_volume_mean(pipe_text *text, const pipe_report *report, size_t organ, size_t column)
{
    const pipe_column *about = &report->study->columns[column];
    const pipe_cell_summary *cell = pipe_html_summary(report, organ, column);

    pipe_text_add(text, "<td data-v=\"%zu\">%zu</td>", cell->n_values, cell->n_values);
    pipe_html_cell(text, about, cell->stats.mean);
    pipe_html_cell(text, about, cell->stats.sd);
    pipe_text_add(text, "<td data-v=\"\">");
    pipe_html_value(text, about, cell->stats.ci_low);
    pipe_text_add(text, " to ");
    pipe_html_value(text, about, cell->stats.ci_high);
    pipe_text_add(text, "%s</td>", pipe_html_few(cell->stats.n));
}

static void add_volume_table(pipe_text *text, const pipe_report *report, const volume_fences *fences)
{
    const pipe_study *study = report->study;

    pipe_text_add(text, "<div class=\"scroll\"><table class=\"dense\" id=\"volume-means\"><caption>Mean volumes over the cases whose "
                        "reference, or prediction, has the organ, and the mean of (prediction − reference) / reference where the reference "
                        "has it; a missed organ counts −1.</caption><thead><tr><th class=\"text\" scope=\"col\">Organ</th>");
    for (int i = 0; i < 3; i++)
        pipe_text_add(text, "<th scope=\"col\">n</th><th scope=\"col\">%s</th><th scope=\"col\">SD</th><th scope=\"col\">95 %% CI</th>",
                      i == 0   ? "Reference (ml)"
                      : i == 1 ? "Prediction (ml)"
                               : "Relative difference");
    pipe_text_add(text, "</tr></thead><tbody>\n");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        pipe_text_add(text, "<tr><th scope=\"row\">");
        pipe_html_organ(text, study, organ);
        pipe_text_add(text, "</th>");
        add_volume_mean(text, report, organ, fences[organ].reference);
        add_volume_mean(text, report, organ, fences[organ].prediction);
        add_volume_mean(text, report, organ, fences[organ].difference);
        pipe_text_add(text, "</tr>\n");
    }
    pipe_text_add(text, "</tbody></table></div>\n");
}

io_status pipe_html_volumes(pipe_text *text, const pipe_report *report)
{
    volume_fences *fences = NULL;
    io_status status;

    IO_TRY_GOTO(status, done, find_volume_fences(report->study, &fences));
    pipe_text_add(
        text,
        "<h2 id=\"volumes\">Volumes</h2>\n<p>Predicted volume (up) against that of the reference (right) in ml; the line is equality. "
        "Red dots are outliers.</p>\n");
    if (!has_fences(report->study, fences))
        pipe_text_add(text,
                      "<p>Too few cases to mark outliers: it takes %d with the organ. Missed organs and false positives are marked.</p>\n",
                      (int)MIN_FOR_FENCES);
    pipe_text_add(text, "<div class=\"plots small\">\n");
    for (size_t organ = 0; organ < report->study->n_organs; organ++) add_panel(text, report, organ, &fences[organ]);
    pipe_text_add(text, "</div>\n");
    add_volume_table(text, report, fences);
    add_outliers(text, report, fences);
done:
    io_free(&fences);
    return status;
}
