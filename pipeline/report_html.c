/* report.html: one file that needs nothing else, neither a network nor, but for sorting and the long table, a script. See report.h. */
#include "pipeline/report_html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/plural.h"
#include "pipeline/report_assets.h"

int pipe_html_decimals(const pipe_column *column)
{
    if (column->metric == PIPE_VOLUME_REFERENCE || column->metric == PIPE_VOLUME_PREDICTION) return 1;
    return pipe_column_is_distance(column) ? 2 : 3;
}

void pipe_html_value(pipe_text *text, const pipe_column *column, double value)
{
    if (isnan(value))
        pipe_text_add(text, "–");
    else if (isinf(value))
        pipe_text_add(text, "%s∞", value < 0 ? "−" : "");
    else
        pipe_text_add(text, "%s%.*f", value < 0 ? "−" : "", pipe_html_decimals(column), fabs(value));
}

void pipe_html_cell(pipe_text *text, const pipe_column *column, double value)
{
    pipe_text_add(text, "<td data-v=\"");
    if (isfinite(value)) pipe_text_add_rounded(text, value, 9);
    pipe_text_add(text, "\">");
    pipe_html_value(text, column, value);
    pipe_text_add(text, "</td>");
}

void pipe_html_organ(pipe_text *text, const pipe_study *study, size_t row)
{
    if (row < study->n_organs) {
        const uint8_t *rgb = pipe_study_organ(study, row)->rgb;
        pipe_text_add(text, "<span class=\"swatch\" style=\"background:#%02x%02x%02x\"></span>", rgb[0], rgb[1], rgb[2]);
    }
    pipe_text_add_html(text, pipe_study_row_name(study, row));
}

const char *pipe_html_few(size_t n_cases)
{
    return n_cases < PIPE_FEW_CASES ? " (few cases)" : "";
}

const pipe_cell_summary *pipe_html_summary(const pipe_report *report, size_t row, size_t column)
{
    return &report->summary->cells[row * report->summary->n_columns + column];
}

static void add_head(pipe_text *text, const pipe_report *report)
{
    pipe_text_add(text,
                  "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
                  "content=\"width=device-width,initial-scale=1\">\n<meta name=\"generator\" content=\"samed %s\">\n<meta "
                  "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline';script-src "
                  "'unsafe-inline';img-src data:\">\n<title>Segmentation report</title>\n<style>\n",
                  report->version);
    pipe_text_add_bytes(text, pipe_report_css, strlen((const char *)pipe_report_css));
    pipe_text_add(text, "</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#results\">Skip to the results</a>\n");
}

static void add_other_mean(pipe_text *text, const pipe_column *about, const char *words, double value)
{
    pipe_text_add(text, "<small>%s ", words);
    pipe_html_value(text, about, value);
    pipe_text_add(text, "</small>");
}

/* What the mean hides stands beside it: values left out, organs that both masks lack, missed organs at the worst. */
static void add_other_means(pipe_text *text, const pipe_report *report, size_t column)
{
    const pipe_column *about = &report->study->columns[column];
    const pipe_cell_summary *all = pipe_html_summary(report, report->study->n_organs, column);
    const pipe_organ_counts *counts = &report->summary->counts[report->study->n_organs];
    char words[96];

    if (all->n_left_out > 0)
        pipe_text_add(text, "<small>leaves out %zu of %zu organs (<a href=\"#rules\">empty masks</a>)</small>", all->n_left_out,
                      counts->n_measured);
    if (counts->n_both_empty > 0) {
        snprintf(words, sizeof words, "without %zu both empty:", counts->n_both_empty);
        add_other_mean(text, about, words, all->mean_not_empty);
    }
    if (counts->n_missed + counts->n_false_positive > 0) {
        snprintf(words, sizeof words, "with %zu missed, %zu false positive at worst:", counts->n_missed, counts->n_false_positive);
        add_other_mean(text, about, words, all->mean_worst);
    }
}

static void add_figure(pipe_text *text, const pipe_report *report, size_t column)
{
    const pipe_study *study = report->study;
    const pipe_cell_summary *all = pipe_html_summary(report, study->n_organs, column);

    if (column == study->n_columns) return;
    pipe_text_add(text, "<div><dt>Mean %s</dt><dd>", study->columns[column].title);
    pipe_html_value(text, &study->columns[column], all->stats.mean);
    if (all->stats.n > 1) {
        pipe_text_add(text, "<small>95 %% CI ");
        pipe_html_value(text, &study->columns[column], all->stats.ci_low);
        pipe_text_add(text, " to ");
        pipe_html_value(text, &study->columns[column], all->stats.ci_high);
        pipe_text_add(text, "%s</small>", pipe_html_few(all->stats.n));
    }
    add_other_means(text, report, column);
    pipe_text_add(text, "<small>n %zu organ%s in %zu case%s, convention %s</small></dd></div>\n", all->n_values, io_plural(all->n_values),
                  all->stats.n, io_plural(all->stats.n), pipe_column_convention(&study->columns[column]));
}

static void add_count(pipe_text *text, const char *title, size_t n, const char *note, bool is_bad)
{
    pipe_text_add(text, "<div%s><dt>%s</dt><dd>%zu<small>%s</small></dd></div>\n", is_bad && n ? " class=\"warn\"" : "", title, n, note);
}

static void add_header(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;
    const pipe_organ_counts *all = &report->summary->counts[study->n_organs];
    const int main_convention = study->options.order[0];
    const size_t n_done = pipe_study_count_done(study);
    const pipe_case_counts counts = pipe_study_count_cases(study);
    char words[300];

    pipe_case_counts_text(&counts, words, sizeof words);
    pipe_text_add(text,
                  "<header>\n<h1>Segmentation report</h1>\n<p class=\"soft\">%zu case%s, %zu organ%s; predictions against the "
                  "reference, measured by samed %s. Every number names its convention.</p>\n<dl class=\"figures\">\n",
                  study->n_cases, io_plural(study->n_cases), study->n_organs, io_plural(study->n_organs), report->version);
    add_figure(text, report, pipe_study_find(study, PIPE_DSC, main_convention, false));
    add_figure(text, report, pipe_study_find(study, PIPE_HD95, main_convention, main_convention == PIPE_SAMED));
    add_count(text, "Cases measured", n_done, "both files read, grids agree", false);
    add_count(text, "Cases not measured", study->n_cases - n_done, *words ? words : "none missing", true);
    add_count(text, "Organs missed", all->n_missed, "in the reference only", true);
    add_count(text, "False positives", all->n_false_positive, "in the prediction only", true);
    pipe_text_add(text,
                  "</dl>\n</header>\n<nav aria-label=\"Sections\"><ul><li><a href=\"#results\">Results</a></li>%s<li><a "
                  "href=\"#worst\">Worst cases</a></li><li><a href=\"#all\">All cases</a></li><li><a href=\"#volumes\">Volumes</a></li>"
                  "<li><a href=\"#rules\">Empty masks</a></li><li><a href=\"#methods\">Methods and files</a></li></ul></nav>\n<main>\n",
                  report->other ? "<li><a href=\"#compare\">Comparison</a></li>" : "");
}

static void add_choice(pipe_text *text, const pipe_study *study)
{
    pipe_text_add(text, "<div class=\"choices\">");
    if (study->options.n_conventions > 1) {
        pipe_text_add(text, "<div class=\"choice\" role=\"group\" aria-label=\"Convention\">");
        for (int i = 0; i < study->options.n_conventions; i++) {
            const char *name = pipe_convention_name((pipe_convention)study->options.order[i]);
            pipe_text_add(text, "<button type=\"button\" data-choose=\"%s\" aria-pressed=\"%s\">%s</button>", name, i ? "false" : "true",
                          name);
        }
        pipe_text_add(text, "</div>\n");
    }
    pipe_text_add(text, "<div class=\"choice\" role=\"group\" aria-label=\"Beside the mean\"><button type=\"button\" data-beside=\"sd\" "
                        "aria-pressed=\"true\">± SD</button><button type=\"button\" data-beside=\"ci\" aria-pressed=\"false\">95 %% "
                        "CI</button></div></div>\n");
}

/* A figure per metric worth one: DSC, HD95, the mean distance, the first NSD. */
static io_status add_plots(pipe_text *text, const pipe_report *report, int convention)
{
    static const pipe_metric metrics[] = {PIPE_DSC, PIPE_HD95, PIPE_ASSD, PIPE_NSD};

    pipe_text_add(text, "<div class=\"plots\">\n");
    for (size_t i = 0; i < sizeof metrics / sizeof *metrics; i++) {
        const size_t column = pipe_study_find(report->study, metrics[i], convention, convention == PIPE_SAMED && metrics[i] == PIPE_HD95);
        if (column < report->study->n_columns) IO_TRY(pipe_html_boxplot(text, report, column));
    }
    pipe_text_add(text, "</div>\n");
    return IO_OK;
}

static io_status add_results(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;

    pipe_text_add(text, "<h2 id=\"results\">Results per organ</h2>\n");
    add_choice(text, study);
    for (int i = 0; i < study->options.n_conventions; i++) {
        const pipe_convention convention = (pipe_convention)study->options.order[i];
        pipe_text_add(text, "<section data-convention=\"%s\">\n<h3>Convention <i>%s</i></h3>\n<p class=\"soft\">%s.</p>\n",
                      pipe_convention_name(convention), pipe_convention_name(convention), pipe_convention_text(convention));
        pipe_html_convention(text, report, convention);
        IO_TRY(add_plots(text, report, convention));
        pipe_text_add(text, "</section>\n");
    }
    return IO_OK;
}

static void add_long_table(pipe_text *text, const pipe_study *study)
{
    pipe_text_add(
        text,
        "<h2 id=\"all\">All cases and organs, worst first</h2>\n<p class=\"soft screen\">Convention <i id=\"cases-of\"></i>; a click on a "
        "heading sorts. All values of all conventions are in <code>metrics.csv</code>.</p>\n<noscript><p>This table needs "
        "JavaScript; its values are in metrics.csv.</p></noscript>\n<div class=\"controls\"><label>Case <input id=\"filter\" "
        "type=\"search\" size=\"14\"></label> <label>Organ <select id=\"organ\"><option value=\"\">all</option>");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        pipe_text_add(text, "<option value=\"%zu\">", organ);
        pipe_text_add_html(text, pipe_study_organ(study, organ)->name);
        pipe_text_add(text, "</option>");
    }
    pipe_text_add(text, "</select></label> <label>State <select id=\"state\"><option value=\"\">all</option><option value=\"p\">both "
                        "present</option><option value=\"m\">missed</option><option value=\"f\">false positive</option><option "
                        "value=\"e\">both empty</option></select></label> <button type=\"button\" id=\"back\">Back</button> <button "
                        "type=\"button\" id=\"on\">On</button> <span id=\"place\" role=\"status\"></span></div>\n<p class=\"paper\" "
                        "id=\"cases-cut\"></p><div "
                        "class=\"scroll long\"><table "
                        "id=\"cases\"><thead><tr></tr></thead><tbody></tbody></table></div>\n");
}

static void add_setting(pipe_text *text, const char *name, const char *value)
{
    pipe_text_add(text, "<tr><th scope=\"row\">%s</th><td class=\"wrap\">", name);
    pipe_text_add_html(text, value);
    pipe_text_add(text, "</td></tr>\n");
}

static void describe_ignore(const pipe_report *report, char *out, size_t n_bytes)
{
    const pipe_study *study = report->study;
    long long n_voxels = 0;

    for (size_t i = 0; i < study->n_cases; i++) n_voxels += study->cases[i].is_done ? study->cases[i].n_ignored : 0;
    if (pipe_label_map_has_ignore(report->reference_map))
        snprintf(out, n_bytes, "value %d of the references: in neither label map (%lld voxel%s)", study->labels->ignore_value, n_voxels,
                 io_plural(n_voxels));
    else
        snprintf(out, n_bytes, "none");
}

static void add_settings(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;
    char line[700];
    size_t at = 0;

    pipe_text_add(text, "<div class=\"scroll\"><table><tbody>\n");
    add_setting(text, "Label table", report->labels_source);
    add_setting(text, "Label maps", *report->maps ? report->maps : "none");
    for (size_t i = 0; i < report->n_inputs; i++) {
        snprintf(line, sizeof line, "%s %s", report->inputs[i].sha256, report->inputs[i].path);
        add_setting(text, report->inputs[i].option, line);
    }
    snprintf(line, sizeof line, "corners at most %g mm apart; predictions on another grid %s", report->grid_tolerance_mm,
             report->resample ? "are resampled (nearest voxel)" : "fail");
    add_setting(text, "Grids", line);
    add_setting(text, "Labels that are no integers", report->round ? "rounded" : "refused");
    describe_ignore(report, line, sizeof line);
    add_setting(text, "Voxels to ignore", line);
    for (int i = 0; i < study->options.n_tolerances; i++)
        at += (size_t)snprintf(line + at, sizeof line - at, "%s%g mm", i ? ", " : "", study->options.tolerances_mm[i]);
    add_setting(text, "Tolerances of NSD", line);
    snprintf(line, sizeof line, "percentile bootstrap of the mean over cases, %d resamples of cases, the same for all numbers, seed %llu",
             PIPE_N_RESAMPLES, (unsigned long long)study->options.seed);
    add_setting(text, "95 % confidence intervals", line);
    add_setting(text, "All organs", "mean over the organs of each case, then statistics over the cases");
    add_setting(text, "Distances", "mm, by the spacing of the reference's affine, unless a column says voxels");
    pipe_text_add(text, "</tbody></table></div>\n");
}

/* Which values and files became which organ, and what looks wrong about it. */
static void add_labels(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;
    char words[PIPE_LABEL_TEXT];

    pipe_text_add(text, "<div class=\"scroll\"><table id=\"labels\"><caption>Labels: the values of label maps (and names of mask files "
                        "beside the organ's own) that became each organ.</caption><thead><tr><th class=\"text\" "
                        "scope=\"col\">Organ</th><th class=\"text\" scope=\"col\">Reference</th><th class=\"text\" "
                        "scope=\"col\">Prediction</th><th class=\"text\" scope=\"col\">To look at</th></tr></thead><tbody>\n");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        const char *doubt = pipe_report_doubt(study, organ);
        pipe_text_add(text, "<tr><th scope=\"row\">");
        pipe_html_organ(text, study, organ);
        pipe_text_add(text, "</th><td class=\"wrap\">");
        pipe_label_map_describe(report->reference_map, (int)organ + 1, words, sizeof words);
        pipe_text_add_html(text, words);
        pipe_text_add(text, "</td><td class=\"wrap\">");
        pipe_label_map_describe(report->prediction_map, (int)organ + 1, words, sizeof words);
        pipe_text_add_html(text, words);
        pipe_text_add(text, "</td><td class=\"wrap false\">%s</td></tr>\n", doubt ? doubt : "");
    }
    pipe_text_add(text, "</tbody></table></div>\n");
}

static void add_methods(pipe_text *text, const pipe_report *report)
{
    pipe_text_add(text, "<h2 id=\"methods\">Methods and files</h2>\n<p>Made by samed %s with</p>\n<pre><code>", report->version);
    pipe_text_add_html(text, report->command);
    pipe_text_add(text, "</code></pre>\n");
    add_settings(text, report);
    add_labels(text, report);
    pipe_text_add(
        text,
        "<details class=\"files\"><summary>Files and their SHA-256 (%zu case%s; also in summary.json)</summary>\n<div "
        "class=\"scroll\"><table><thead><tr><th class=\"text\" scope=\"col\">Case</th><th class=\"text\" "
        "scope=\"col\">Reference</th><th class=\"text\" scope=\"col\">Prediction</th><th class=\"text\" scope=\"col\">SHA-256 of the "
        "reference</th><th class=\"text\" scope=\"col\">SHA-256 of the prediction</th><th class=\"text\" "
        "scope=\"col\">Note</th></tr></thead><tbody></tbody></table></div></details>\n",
        report->study->n_cases, io_plural(report->study->n_cases));
}

io_status pipe_report_html(const pipe_report *report)
{
    io_status status = IO_OK;
    pipe_text *text = NULL;

    IO_TRY_GOTO(status, done, pipe_text_open(report->folder, "report.html", &text));
    add_head(text, report);
    add_header(text, report);
    pipe_html_failed(text, report);
    IO_TRY_GOTO(status, done, add_results(text, report));
    pipe_html_compare(text, report);
    IO_TRY_GOTO(status, done, pipe_html_worst(text, report));
    add_long_table(text, report->study);
    IO_TRY_GOTO(status, done, pipe_html_volumes(text, report));
    pipe_html_rules(text, report);
    add_methods(text, report);
    pipe_text_add(text, "</main>\n<footer>samed %s · research software, not a medical device</footer>\n", report->version);
    pipe_html_data(text, report);
    pipe_text_add(text, "<script>\n");
    pipe_text_add_bytes(text, pipe_report_js, strlen((const char *)pipe_report_js));
    pipe_text_add(text, "</script>\n</body>\n</html>\n");
    status = pipe_text_commit(&text);
done:
    pipe_text_free(&text);
    return status;
}
