/* Tables and cards of report.html; see report_html.h. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/report_html.h"

enum { WORST_ORGANS = 4, MAX_NOTES = 50, MAX_OPEN = 16 /* organs in a table that is shown unasked */ };

static bool is_of(const pipe_study *study, size_t column, int convention)
{
    return study->columns[column].convention == convention;
}

static void add_hint(pipe_text *text, const pipe_column *about, const char *words, double value)
{
    pipe_text_add(text, "%s", words);
    pipe_html_value(text, about, value);
}

/* What a cell does not show, for the mouse: n, median, quartiles. */
static void add_title(pipe_text *text, const pipe_report *report, size_t row, size_t column)
{
    const pipe_column *about = &report->study->columns[column];
    const pipe_cell_summary *cell = pipe_html_summary(report, row, column);

    pipe_text_add(text, "n %zu", cell->n_values);
    if (row == report->study->n_organs) pipe_text_add(text, " in %zu case%s", cell->stats.n, cell->stats.n == 1 ? "" : "s");
    pipe_text_add(text, "%s", pipe_html_few(cell->stats.n));
    if (cell->stats.n == 0) return;
    add_hint(text, about, ", median ", cell->stats.median);
    add_hint(text, about, ", quartiles ", cell->stats.quartile1);
    add_hint(text, about, " and ", cell->stats.quartile3);
}

/* One number, how many values enter where some do not, and below SD or interval as the reader chooses. */
static void add_mean(pipe_text *text, const pipe_report *report, size_t row, size_t column)
{
    const pipe_column *about = &report->study->columns[column];
    const pipe_cell_summary *cell = pipe_html_summary(report, row, column);

    pipe_text_add(text, "<td data-v=\"");
    if (isfinite(cell->stats.mean)) pipe_text_add_rounded(text, cell->stats.mean, 9);
    pipe_text_add(text, "\" title=\"");
    add_title(text, report, row, column);
    pipe_text_add(text, "\">");
    pipe_html_value(text, about, cell->stats.mean);
    if (cell->n_values != report->summary->counts[row].n_measured) pipe_text_add(text, " <span class=\"n\">(%zu)</span>", cell->n_values);
    if (cell->stats.n > 1) {
        add_hint(text, about, "<small class=\"sd\">± ", cell->stats.sd);
        add_hint(text, about, "</small><small class=\"ci\">", cell->stats.ci_low);
        add_hint(text, about, "–", cell->stats.ci_high);
        pipe_text_add(text, "</small>");
    }
    pipe_text_add(text, "</td>");
}

static void add_counts(pipe_text *text, const pipe_organ_counts *counts)
{
    pipe_text_add(text, "<td data-v=\"%zu\">%zu</td><td data-v=\"%zu\">%zu</td><td data-v=\"%zu\"%s>%zu</td><td data-v=\"%zu\"%s>%zu</td>",
                  counts->n_measured, counts->n_measured, counts->n_both_empty, counts->n_both_empty, counts->n_missed,
                  counts->n_missed ? " class=\"missed\"" : "", counts->n_missed, counts->n_false_positive,
                  counts->n_false_positive ? " class=\"false\"" : "", counts->n_false_positive);
}

static void add_means(pipe_text *text, const pipe_report *report, int convention)
{
    const pipe_study *study = report->study;

    pipe_text_add(
        text,
        "<div class=\"scroll\"><table class=\"sortable dense\"><caption>Mean over cases, below it the <span class=\"sd\">standard "
        "deviation</span><span class=\"ci\">95 %% confidence interval</span>; convention <b>%s</b>. In brackets the number of values in "
        "the "
        "mean where the <a href=\"#rules\">rules for empty masks</a> leave some out. The counts are cases; in the last row, the mean "
        "over each case's organs, cases times organs.</caption>\n<thead><tr><th class=\"text\" "
        "scope=\"col\">Organ</th><th scope=\"col\">measured</th><th scope=\"col\">both empty</th><th scope=\"col\">missed</th><th "
        "scope=\"col\">false pos.</th>",
        pipe_convention_name((pipe_convention)convention));
    for (size_t column = 0; column < study->n_columns; column++)
        if (is_of(study, column, convention)) pipe_text_add(text, "<th scope=\"col\">%s</th>", study->columns[column].title);
    pipe_text_add(text, "</tr></thead>\n<tbody>\n");
    for (size_t row = 0; row <= study->n_organs; row++) {
        pipe_text_add(text, "<tr%s><th scope=\"row\">", row == study->n_organs ? " class=\"all\"" : "");
        pipe_html_organ(text, study, row);
        pipe_text_add(text, "</th>");
        add_counts(text, &report->summary->counts[row]);
        for (size_t column = 0; column < study->n_columns; column++)
            if (is_of(study, column, convention)) add_mean(text, report, row, column);
        pipe_text_add(text, "</tr>\n");
    }
    pipe_text_add(text, "</tbody></table></div>\n");
}

/* The means that differ in what they do with empty masks; each a row of its own. */
typedef struct other_mean {
    const char *words;
    size_t offset;                      /* of the mean in pipe_cell_summary */
    bool is_of_both_empty, is_of_wrong; /* worth a row where cases are both empty; missed or false positive */
} other_mean;

static const other_mean other_means[] = {
    {"all, by the rules", offsetof(pipe_cell_summary, stats.mean), true, true},
    {"all but both empty", offsetof(pipe_cell_summary, mean_not_empty), true, false},
    {"found in both", offsetof(pipe_cell_summary, mean_present), false, true},
    {"missed, false pos. at worst", offsetof(pipe_cell_summary, mean_worst), false, true},
};

static size_t count_wrong(const pipe_organ_counts *counts)
{
    return counts->n_missed + counts->n_false_positive;
}

static bool is_worth(const other_mean *mean, const pipe_organ_counts *counts)
{
    return (mean->is_of_both_empty && counts->n_both_empty > 0) || (mean->is_of_wrong && count_wrong(counts) > 0);
}

static void add_other_row(pipe_text *text, const pipe_report *report, size_t row, int convention, const other_mean *mean)
{
    const pipe_study *study = report->study;

    pipe_text_add(text, "<td class=\"text\">%s</td>", mean->words);
    for (size_t column = 0; column < study->n_columns; column++) {
        double value;
        if (!is_of(study, column, convention)) continue;
        memcpy(&value, (const char *)pipe_html_summary(report, row, column) + mean->offset, sizeof value);
        pipe_html_cell(text, &study->columns[column], value);
    }
    pipe_text_add(text, "</tr>\n");
}

static void add_other_rows(pipe_text *text, const pipe_report *report, size_t row, int convention)
{
    const pipe_organ_counts *counts = &report->summary->counts[row];
    const size_t n_means = sizeof other_means / sizeof *other_means;
    size_t n = 0;

    for (size_t i = 0; i < n_means; i++) n += is_worth(&other_means[i], counts);
    for (size_t i = 0, told = 0; i < n_means; i++) {
        if (!is_worth(&other_means[i], counts)) continue;
        pipe_text_add(text, "<tr%s>", told ? "" : " class=\"first\"");
        if (told++ == 0) {
            pipe_text_add(text, "<th scope=\"rowgroup\" rowspan=\"%zu\">", n);
            pipe_html_organ(text, report->study, row);
            pipe_text_add(text, "</th>");
        }
        add_other_row(text, report, row, convention, &other_means[i]);
    }
}

/* A missed organ must not hide behind a better mean: beside the mean under the rules, the others, one number each. */
static void add_empty_masks(pipe_text *text, const pipe_report *report, int convention)
{
    const pipe_study *study = report->study;
    const pipe_organ_counts *counts = report->summary->counts;
    size_t n = 0;

    for (size_t organ = 0; organ < study->n_organs; organ++) n += counts[organ].n_both_empty + count_wrong(&counts[organ]) > 0;
    if (n == 0) return;
    pipe_text_add(
        text,
        "<details%s><summary>What empty masks change</summary><div class=\"scroll\"><table class=\"dense others\"><caption>Means of "
        "organs that a case lacks, misses or has falsely, convention <b>%s</b>: under the <a href=\"#rules\">rules</a>, over the "
        "other cases only, and with missed organs and false positives at the worst value (0, or the image's "
        "diagonal).</caption>\n<thead><tr><th class=\"text\" scope=\"col\">Organ</th><th class=\"text\" scope=\"col\">Mean "
        "over</th>",
        n <= MAX_OPEN ? " open" : "", pipe_convention_name((pipe_convention)convention));
    for (size_t column = 0; column < study->n_columns; column++)
        if (is_of(study, column, convention)) pipe_text_add(text, "<th scope=\"col\">%s</th>", study->columns[column].title);
    pipe_text_add(text, "</tr></thead>\n<tbody>\n");
    for (size_t row = 0; row <= study->n_organs; row++) add_other_rows(text, report, row, convention);
    pipe_text_add(text, "</tbody></table></div></details>\n");
}

static void add_statistics_row(pipe_text *text, const pipe_report *report, size_t row, size_t column)
{
    const pipe_column *about = &report->study->columns[column];
    const pipe_cell_summary *cell = pipe_html_summary(report, row, column);

    pipe_text_add(text, "<tr><th scope=\"row\">");
    pipe_html_organ(text, report->study, row);
    pipe_text_add(text, "</th><td class=\"text\">%s</td><td data-v=\"%zu\">%zu</td>", about->title, cell->n_values, cell->n_values);
    for (int i = 0; i < PIPE_N_STATISTICS; i++) pipe_html_cell(text, about, pipe_cell_statistic(cell, i));
    pipe_text_add(text, "</tr>\n");
}

static void add_statistics(pipe_text *text, const pipe_report *report, int convention)
{
    const pipe_study *study = report->study;

    pipe_text_add(text,
                  "<details><summary>All statistics</summary><div class=\"scroll\"><table "
                  "class=\"sortable\"><caption>Convention <b>%s</b>; n counts the cases, over all organs the pairs of a case and an organ, "
                  "whose value is a number under the rules for empty masks.</caption>\n<thead><tr><th class=\"text\" "
                  "scope=\"col\">Organ</th><th class=\"text\" "
                  "scope=\"col\">Metric</th><th "
                  "scope=\"col\">n</th>",
                  pipe_convention_name((pipe_convention)convention));
    for (int i = 0; i < PIPE_N_STATISTICS; i++) pipe_text_add(text, "<th scope=\"col\">%s</th>", pipe_statistics[i].title);
    pipe_text_add(text, "</tr></thead>\n<tbody>\n");
    for (size_t column = 0; column < study->n_columns; column++)
        for (size_t row = 0; row <= study->n_organs; row++)
            if (is_of(study, column, convention)) add_statistics_row(text, report, row, column);
    pipe_text_add(text, "</tbody></table></div></details>\n");
}

static void add_compare_cell(pipe_text *text, const pipe_column *about, const pipe_paired *d)
{
    const bool is_clear = d->wilcoxon_p < 0.05;
    const bool is_better = (d->mean_difference > 0) == pipe_column_is_better_high(about);

    pipe_text_add(text, "<td class=\"%s\" data-v=\"", !is_clear ? "" : is_better ? "better" : "worse");
    if (isfinite(d->mean_difference)) pipe_text_add_rounded(text, d->mean_difference, 9);
    pipe_text_add(text, "\">%s", d->mean_difference > 0 ? "+" : "");
    pipe_html_value(text, about, d->mean_difference);
    pipe_text_add(text, "<small>");
    pipe_html_value(text, about, d->ci_low);
    pipe_text_add(text, " to ");
    pipe_html_value(text, about, d->ci_high);
    pipe_text_add(text, "%s", pipe_html_few(d->n));
    if (isnan(d->wilcoxon_p))
        pipe_text_add(text, "</small><small>no difference, n %zu</small></td>", d->n);
    else if (d->wilcoxon_p < 0.001)
        pipe_text_add(text, "</small><small>p &lt; 0.001, n %zu</small></td>", d->n);
    else
        pipe_text_add(text, "</small><small>p %.3f, n %zu</small></td>", d->wilcoxon_p, d->n);
}

static bool is_compared(const pipe_report *report, size_t column, int convention)
{
    return is_of(report->study, column, convention) && report->other->has_column[column];
}

static void add_compare_table(pipe_text *text, const pipe_report *report, int convention)
{
    const pipe_study *study = report->study;

    pipe_text_add(text,
                  "<div class=\"scroll\"><table class=\"sortable dense\"><caption>Convention <b>%s</b>. Coloured below p 0.05: better or "
                  "worse than the other report.</caption>\n<thead><tr><th class=\"text\" scope=\"col\">Organ</th>",
                  pipe_convention_name((pipe_convention)convention));
    for (size_t column = 0; column < study->n_columns; column++)
        if (is_compared(report, column, convention)) pipe_text_add(text, "<th scope=\"col\">Δ %s</th>", study->columns[column].title);
    pipe_text_add(text, "</tr></thead>\n<tbody>\n");
    for (size_t row = 0; row <= study->n_organs; row++) {
        pipe_text_add(text, "<tr%s><th scope=\"row\">", row == study->n_organs ? " class=\"all\"" : "");
        pipe_html_organ(text, study, row);
        pipe_text_add(text, "</th>");
        for (size_t column = 0; column < study->n_columns; column++)
            if (is_compared(report, column, convention))
                add_compare_cell(text, &study->columns[column], &pipe_html_summary(report, row, column)->difference);
        pipe_text_add(text, "</tr>\n");
    }
    pipe_text_add(text, "</tbody></table></div>\n");
}

static bool has_compared(const pipe_report *report, int convention)
{
    for (size_t column = 0; column < report->study->n_columns; column++)
        if (is_compared(report, column, convention)) return true;
    return false;
}

void pipe_html_compare(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;
    char differences[400];

    if (!report->other) return;
    pipe_other_report_differences(study, report->other, differences, sizeof differences);
    pipe_text_add(text, "<h2 id=\"compare\">Comparison</h2>\n<p>Δ is this report minus <b>");
    pipe_text_add_html(text, report->other->folder);
    pipe_text_add(text,
                  "</b>, paired over %zu case%s: above 0 this report's value is the larger one. Mean difference, 95 %% bootstrap interval, "
                  "two-sided Wilcoxon signed-rank p (not corrected for the number of tests).</p>\n",
                  report->other->n_cases, report->other->n_cases == 1 ? "" : "s");
    if (*differences) {
        pipe_text_add(text, "<p class=\"notice\">");
        pipe_text_add_html(text, differences);
        pipe_text_add(text, ".</p>\n");
    }
    for (int i = 0; i < study->options.n_conventions; i++) {
        const int convention = study->options.order[i];
        pipe_text_add(text, "<section data-convention=\"%s\">\n", pipe_convention_name((pipe_convention)convention));
        if (has_compared(report, convention))
            add_compare_table(text, report, convention);
        else
            pipe_text_add(text, "<p>Convention <b>%s</b>: not in the other report.</p>\n",
                          pipe_convention_name((pipe_convention)convention));
        pipe_text_add(text, "</section>\n");
    }
}

void pipe_html_convention(pipe_text *text, const pipe_report *report, int convention)
{
    add_means(text, report, convention);
    add_empty_masks(text, report, convention);
    add_statistics(text, report, convention);
}

static bool has_equal_rules(const pipe_study *study, size_t a, size_t b)
{
    const pipe_empty_rule *x = pipe_column_rules(study, &study->columns[a]), *y = pipe_column_rules(study, &study->columns[b]);
    char p[32], q[32];

    for (int state = 0; state < PIPE_N_EMPTY; state++) {
        pipe_empty_rule_text(&x[state], p);
        pipe_empty_rule_text(&y[state], q);
        if (strcmp(p, q) != 0) return false;
    }
    return true;
}

/* Neighbouring metrics of a convention that share their rules are one row. */
static void add_rule_rows(pipe_text *text, const pipe_study *study, int convention)
{
    size_t column = 0;

    while (column < study->n_columns) {
        const size_t first = column;
        if (!is_of(study, column, convention)) {
            column++;
            continue;
        }
        pipe_text_add(text, "<tr><th scope=\"row\">%s</th><td class=\"wrap\">", pipe_convention_name((pipe_convention)convention));
        for (; column < study->n_columns && is_of(study, column, convention) && has_equal_rules(study, first, column); column++)
            pipe_text_add(text, "%s%s", column > first ? ", " : "", study->columns[column].title);
        pipe_text_add(text, "</td>");
        for (int state = 0; state < PIPE_N_EMPTY; state++) {
            char words[32];
            pipe_empty_rule_text(&pipe_column_rules(study, &study->columns[first])[state], words);
            pipe_text_add(text, "<td>%s</td>", words);
        }
        pipe_text_add(text, "</tr>\n");
    }
}

void pipe_html_rules(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;

    pipe_text_add(
        text, "<h2 id=\"rules\">Empty masks</h2>\n<p>What a value becomes when the organ is empty in the reference, the prediction or "
              "both. <i>Left out</i> values enter no mean, median or interval; they are counted beside it, and the mean at worst "
              "puts 0 or the image's diagonal in their place.</p>\n<div class=\"scroll\"><table><thead><tr><th class=\"text\" "
              "scope=\"col\">Convention</th><th class=\"text\" scope=\"col\">Metrics</th><th scope=\"col\">both empty</th><th "
              "scope=\"col\">missed (reference only)</th><th scope=\"col\">false positive (prediction only)</th></tr></thead><tbody>\n");
    for (int i = 0; i < study->options.n_conventions; i++) add_rule_rows(text, study, study->options.order[i]);
    pipe_text_add(text, "</tbody></table></div>\n");
}

/* What was left out or changed on the way is said before any number: the notes of cases, a few in full. */
static void add_notes(pipe_text *text, const pipe_study *study)
{
    size_t n_notes = pipe_study_count_notes(study);

    if (n_notes == 0) return;
    pipe_text_add(text,
                  "<details class=\"notice\"><summary>%zu measured case%s with a note: what was left out, rounded, resampled or claimed "
                  "twice</summary><ul>\n",
                  n_notes, n_notes == 1 ? "" : "s");
    n_notes = 0;
    for (size_t i = 0; i < study->n_cases && n_notes < MAX_NOTES; i++) {
        if (!study->cases[i].is_done || !*study->cases[i].note) continue;
        n_notes++;
        pipe_text_add(text, "<li>");
        pipe_text_add_html(text, study->cases[i].id);
        pipe_text_add(text, ": ");
        pipe_text_add_html(text, study->cases[i].note);
        pipe_text_add(text, "</li>\n");
    }
    pipe_text_add(text, "</ul><p class=\"soft\">All notes are in summary.json.</p></details>\n");
}

/* In no number: said openly. */
static void add_unnamed(pipe_text *text, const pipe_report *report)
{
    char line[700];

    if (report->n_unnamed == 0) return;
    pipe_text_add(text, "<div class=\"notice\"><b>Labels without a name</b> are in no number below.<ul>\n");
    for (size_t i = 0; i < report->n_unnamed && i < MAX_NOTES; i++) {
        pipe_unnamed_text(&report->unnamed[i], report->labels_source, line, sizeof line);
        pipe_text_add(text, "<li>");
        pipe_text_add_html(text, line);
        pipe_text_add(text, "</li>\n");
    }
    if (report->n_unnamed > MAX_NOTES) pipe_text_add(text, "<li>%zu more, in summary.json</li>\n", report->n_unnamed - MAX_NOTES);
    pipe_text_add(text, "</ul></div>\n");
}

void pipe_html_failed(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;
    const size_t n_done = pipe_study_count_done(study), n_failed = study->n_cases - n_done;

    add_unnamed(text, report);
    add_notes(text, study);
    if (n_done < PIPE_FEW_CASES)
        pipe_text_add(text,
                      "<p class=\"notice\">Too few cases for statistics: %zu measured. Intervals and p-values of fewer than %d cases say "
                      "little; a bootstrap of so few is too narrow.</p>\n",
                      n_done, PIPE_FEW_CASES);
    if (n_failed == 0) return;
    pipe_text_add(text,
                  "<div class=\"notice\"><b>%zu of %zu case%s could not be measured</b>, and in no number below.\n<div "
                  "class=\"scroll\"><table><thead><tr><th class=\"text\" scope=\"col\">Case</th><th class=\"text\" "
                  "scope=\"col\">Stage</th><th class=\"text\" scope=\"col\">Why</th></tr></thead><tbody>\n",
                  n_failed, study->n_cases, study->n_cases == 1 ? "" : "s");
    for (size_t i = 0; i < study->n_cases; i++) {
        const pipe_study_case *c = &study->cases[i];
        if (c->is_done) continue;
        pipe_text_add(text, "<tr><th scope=\"row\">");
        pipe_text_add_html(text, c->id);
        pipe_text_add(text, "</th><td class=\"text\">%s</td><td class=\"wrap\">", c->stage ? c->stage : "");
        pipe_text_add_html(text, c->text ? c->text : "");
        pipe_text_add(text, "</td></tr>\n");
    }
    pipe_text_add(text, "</tbody></table></div></div>\n");
}

/* Organs of one case, worst first. */
typedef struct ranked_organ {
    double dsc;
    size_t organ;
} ranked_organ;

static int compare_organs(const void *a, const void *b)
{
    const ranked_organ *x = a, *y = b;

    if (x->dsc != y->dsc) return x->dsc < y->dsc ? -1 : 1;
    return x->organ < y->organ ? -1 : x->organ > y->organ;
}

/* order [n_organs]; returns how many organs the case has. */
static size_t rank_organs(const pipe_study *study, size_t index, ranked_organ *order)
{
    size_t n = 0;

    for (size_t organ = 0; organ < study->n_organs; organ++) {
        if (pipe_study_presence(study, index, organ) == PIPE_BOTH_EMPTY) continue;
        order[n++] = (ranked_organ){pipe_overlap_dice(&study->overlaps[index * study->n_organs + organ]), organ};
    }
    qsort(order, n, sizeof *order, compare_organs);
    return n;
}

static void add_presence(pipe_text *text, pipe_presence presence)
{
    if (presence == PIPE_MISSED) pipe_text_add(text, " <span class=\"tag missed\">missed</span>");
    if (presence == PIPE_FALSE_POSITIVE) pipe_text_add(text, " <span class=\"tag false\">false positive</span>");
}

static void add_card_table(pipe_text *text, const pipe_study *study, size_t index, const ranked_organ *order, size_t n)
{
    const int convention = study->options.order[0];
    const size_t dsc = pipe_study_find(study, PIPE_DSC, convention, false);
    const size_t hd = pipe_study_find(study, PIPE_HD95, convention, convention == PIPE_SAMED);

    pipe_text_add(text,
                  "<div><table><caption>Convention <b>%s</b></caption><thead><tr><th class=\"text\" scope=\"col\">Worst organs</th><th "
                  "scope=\"col\">DSC</th>",
                  pipe_convention_name((pipe_convention)convention));
    if (hd < study->n_columns) pipe_text_add(text, "<th scope=\"col\">%s</th>", study->columns[hd].title);
    pipe_text_add(text, "</tr></thead><tbody>\n");
    for (size_t i = 0; i < n && i < WORST_ORGANS && order[i].dsc < 1; i++) {
        pipe_text_add(text, "<tr><th scope=\"row\">");
        pipe_html_organ(text, study, order[i].organ);
        add_presence(text, pipe_study_presence(study, index, order[i].organ));
        pipe_text_add(text, "</th>");
        pipe_html_cell(text, &study->columns[dsc], pipe_study_value(study, index, order[i].organ, dsc));
        if (hd < study->n_columns) pipe_html_cell(text, &study->columns[hd], pipe_study_value(study, index, order[i].organ, hd));
        pipe_text_add(text, "</tr>\n");
    }
    pipe_text_add(text, "</tbody></table>");
    if (*study->cases[index].note) {
        pipe_text_add(text, "<p class=\"soft\">");
        pipe_text_add_html(text, study->cases[index].note);
        pipe_text_add(text, "</p>");
    }
    pipe_text_add(text, "</div>");
}

static void add_card(pipe_text *text, const pipe_report *report, size_t place, bool is_shown, ranked_organ *order)
{
    const pipe_study *study = report->study;
    const pipe_report_picture *picture = &report->pictures[place];
    const size_t n = rank_organs(study, picture->index, order);
    double sum = 0;

    for (size_t i = 0; i < n; i++) sum += order[i].dsc;
    pipe_text_add(text, "<article class=\"case\"><h3>%zu. ", place + 1);
    pipe_text_add_html(text, study->cases[picture->index].id);
    pipe_text_add(text, " <span class=\"soft\">mean DSC %.3f</span></h3>\n", n ? sum / (double)n : 1.0);
    if (!is_shown) {
        pipe_text_add(text, "<p class=\"soft\">Left out, to keep this page small.</p>\n");
    } else if (picture->png) {
        pipe_text_add(text, "<img loading=\"lazy\" alt=\"Axial, coronal and sagittal slice of case ");
        pipe_text_add_html(text, study->cases[picture->index].id);
        pipe_text_add(text, " where reference and prediction differ most, with the contours of both\" src=\"data:image/png;base64,");
        pipe_text_add_base64(text, picture->png, picture->n_bytes);
        pipe_text_add(text, "\">\n");
    } else {
        pipe_text_add(text, "<p class=\"soft\">no picture</p>\n");
    }
    add_card_table(text, study, picture->index, order, n);
    pipe_text_add(text, "</article>\n");
}

/* The signs of the pictures: lines, and organs by colour. */
static void add_legend(pipe_text *text, const pipe_study *study)
{
    pipe_text_add(text, "<p class=\"legend\">Contours: <span class=\"key\" style=\"border-color:#40e080\"></span>reference <span "
                        "class=\"key dashed\" style=\"border-color:#ff50d0\"></span>prediction <span class=\"key\" "
                        "style=\"border-color:#fff;outline:1px solid #999\"></span>both</p>\n<p class=\"legend\">Organs: ");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        pipe_text_add(text, "<span class=\"organ\">");
        pipe_html_organ(text, study, organ);
        pipe_text_add(text, "</span> ");
    }
    pipe_text_add(text, "</p>\n");
}

static io_status count_different(const pipe_study *study, size_t *n)
{
    size_t *order = NULL;
    io_status status;

    IO_TRY(io_alloc(study->n_cases, sizeof *order, (void **)&order));
    status = pipe_report_rank_cases(study, order, n);
    io_free(&order);
    return status;
}

io_status pipe_html_worst(pipe_text *text, const pipe_report *report)
{
    ranked_organ *order = NULL;
    const size_t n_shown = pipe_report_count_shown(report);
    size_t n;

    IO_TRY(count_different(report->study, &n));
    pipe_text_add(text, "<h2 id=\"worst\">Worst cases</h2>\n");
    if (report->n_pictures == 0) {
        pipe_text_add(text, "<p class=\"soft\">%s</p>\n",
                      n > 0                                       ? "None asked for."
                      : pipe_study_count_done(report->study) == 0 ? "No case could be measured."
                                                                  : "No measured case differs from its reference.");
        return IO_OK;
    }
    IO_TRY(io_alloc(report->study->n_organs, sizeof *order, (void **)&order));
    pipe_text_add(
        text,
        "<p>%zu of %zu case%s that differ%s from the reference, by the mean DSC over the organs that reference or prediction "
        "have; the numbers are of convention <i>%s</i>. Each plane is the one where most voxels differ, all at one scale; the patient's "
        "right is on the left.</p>\n",
        report->n_pictures, n, n == 1 ? "" : "s", n == 1 ? "s" : "",
        pipe_convention_name((pipe_convention)report->study->options.order[0]));
    if (n_shown < report->n_pictures)
        pipe_text_add(
            text,
            "<p class=\"notice\">Pictures of the first %zu cases only: those of all %zu would make this page larger than 20 MB.</p>\n",
            n_shown, report->n_pictures);
    add_legend(text, report->study);
    for (size_t i = 0; i < report->n_pictures; i++) add_card(text, report, i, i < n_shown, order);
    io_free(&order);
    return IO_OK;
}
