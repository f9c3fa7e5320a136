/* table.tex: a compact table per convention, organs as rows, and for the eight organs of SAMed's paper its table, organs as columns, this
 * study's row below the published ones; see report.h. Needs booktabs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/report.h"
#include "pipeline/text_out.h"

enum { N_PAPER = 8, MAX_ROWS = 40 /* that fit on a page */, MAX_SHOWN = 2 + PIPE_MAX_TOLERANCES };

/* Zhang and Liu 2023 (arXiv:2304.13785), Table 1; SAMed_h from the README of its repository. DSC and HD are means over the organs, DSC in
 * percent, HD is HD95 in voxels. */
typedef struct published_row {
    const char *method;
    double dsc, hd, organs[N_PAPER];
} published_row;

static const char *const paper_organs[N_PAPER] = {"aorta", "gallbladder", "left kidney", "right kidney",
                                                  "liver", "pancreas",    "spleen",      "stomach"};
static const char *const paper_heads[N_PAPER] = {"Aorta", "GB", "KidL", "KidR", "Liver", "Panc", "Spleen", "Stom"};

static const published_row published[] = {
    {"U-Net", 76.85, 39.70, {89.07, 69.72, 77.77, 68.60, 93.43, 53.98, 86.67, 75.58}},
    {"Att-UNet", 77.77, 36.02, {89.55, 68.88, 77.98, 71.11, 93.57, 58.04, 87.30, 75.75}},
    {"TransUnet", 77.48, 31.69, {87.23, 63.13, 81.87, 77.02, 94.08, 55.86, 85.08, 75.62}},
    {"SwinUnet", 79.13, 21.55, {85.47, 66.53, 83.28, 79.61, 94.29, 56.58, 90.66, 76.60}},
    {"MissFormer", 81.96, 18.20, {86.99, 68.65, 85.21, 82.00, 94.41, 65.67, 91.92, 80.81}},
    {"TransDeepLab", 80.16, 21.25, {86.04, 69.16, 84.08, 79.88, 93.53, 61.19, 89.00, 78.40}},
    {"HiFormer", 80.39, 14.70, {86.21, 65.69, 85.23, 79.77, 94.61, 59.52, 90.99, 81.08}},
    {"DAE-Former", 82.43, 17.46, {88.96, 72.30, 86.08, 80.88, 94.98, 65.12, 91.94, 79.19}},
    {"SAMed", 81.88, 20.64, {87.77, 69.11, 80.45, 79.95, 94.80, 72.17, 88.72, 82.06}},
    {"SAMed\\_h", 84.30, 16.02, {87.81, 74.72, 85.76, 81.52, 95.76, 70.63, 90.46, 87.77}},
};

/* A table's place in the page and what it shows: columns of the study in one convention. */
typedef struct tex_table {
    const pipe_report *report;
    int convention;
    size_t columns[MAX_SHOWN]; /* [n_columns]: DSC, HD95, each NSD */
    size_t n_columns;
    bool has_missed, has_false_positive; /* in any case: worth a column */
} tex_table;

/* A name as text: what LaTeX reads as a command, or shows as another sign in its old fonts, is written out. */
static void add_tex(pipe_text *text, const char *plain)
{
    for (const char *c = plain; *c; c++) {
        switch (*c) {
        case '\\': pipe_text_add(text, "\\textbackslash{}"); break;
        case '<': pipe_text_add(text, "\\textless{}"); break;
        case '>': pipe_text_add(text, "\\textgreater{}"); break;
        case '|': pipe_text_add(text, "\\textbar{}"); break;
        case '"': pipe_text_add(text, "''"); break;
        case '~':
        case '^': pipe_text_add(text, "\\%c{}", *c); break;
        default:
            if ((unsigned char)*c < 32)
                pipe_text_add(text, " ");
            else
                pipe_text_add(text, strchr("#$%&_{}", *c) ? "\\%c" : "%c", *c);
        }
    }
}

/* The table's organs in the paper's order; false when they are not exactly the paper's eight. */
static bool find_paper_organs(const io_labels *labels, size_t organs[N_PAPER])
{
    if (pipe_organ_count(labels) != N_PAPER) return false;
    for (int i = 0; i < N_PAPER; i++) {
        organs[i] = N_PAPER;
        for (int organ = 0; organ < N_PAPER; organ++)
            if (io_label_is_same_name(pipe_organ_label(labels, organ + 1)->name, paper_organs[i])) organs[i] = (size_t)organ;
        if (organs[i] == N_PAPER) return false;
    }
    return true;
}

bool pipe_report_has_paper_organs(const io_labels *labels)
{
    size_t organs[N_PAPER];

    return find_paper_organs(labels, organs);
}

/* The published numbers hold under the paper's rules for empty masks; other rules make other numbers. */
static bool has_paper_rules(const pipe_study *study)
{
    pipe_empty_rules rules;

    pipe_empty_rules_default(&rules);
    for (int state = 0; state < PIPE_N_EMPTY; state++) {
        const pipe_metric metrics[] = {PIPE_DSC, PIPE_HD95};
        for (int i = 0; i < 2; i++) {
            const pipe_empty_rule *own = &study->options.rules.rule[PIPE_SAMED][metrics[i]][state];
            if (own->is_worst || own->value != rules.rule[PIPE_SAMED][metrics[i]][state].value) return false;
        }
    }
    return true;
}

static bool is_in_percent(const pipe_column *column)
{
    return !pipe_column_is_distance(column);
}

static const char *unit_of(const pipe_column *column)
{
    return is_in_percent(column) ? "\\%" : column->in_voxels ? "voxels" : "mm";
}

/* "DSC", "HD95", "NSD 1 mm". */
static void add_metric(pipe_text *text, const pipe_study *study, const pipe_column *column)
{
    if (column->metric == PIPE_NSD)
        pipe_text_add(text, "NSD at %g~mm", study->options.tolerances_mm[column->tolerance]);
    else
        pipe_text_add(text, column->metric == PIPE_DSC ? "DSC" : "HD95");
}

static void choose_columns(const pipe_report *report, int convention, tex_table *table)
{
    const pipe_study *study = report->study;
    const pipe_organ_counts *all = &report->summary->counts[study->n_organs];

    *table = (tex_table){.report = report, .convention = convention};
    table->has_missed = all->n_missed > 0;
    table->has_false_positive = all->n_false_positive > 0;
    table->columns[table->n_columns++] = pipe_study_find(study, PIPE_DSC, convention, false);
    table->columns[table->n_columns++] = pipe_study_find(study, PIPE_HD95, convention, convention == PIPE_SAMED);
    for (size_t column = 0; column < study->n_columns && table->n_columns < MAX_SHOWN; column++)
        if (study->columns[column].metric == PIPE_NSD && study->columns[column].convention == convention)
            table->columns[table->n_columns++] = column;
}

static const pipe_cell_summary *cell_of(const pipe_report *report, size_t row, size_t column)
{
    return &report->summary->cells[row * report->summary->n_columns + column];
}

/* A value under a rule, in the table's unit. */
static void add_rule(pipe_text *text, const pipe_column *column, const pipe_empty_rule *rule)
{
    if (rule->is_worst)
        pipe_text_add(text, is_in_percent(column) ? "0" : "the image's diagonal");
    else if (isnan(rule->value))
        pipe_text_add(text, "left out");
    else if (isinf(rule->value))
        pipe_text_add(text, "infinite, left out");
    else
        pipe_text_add(text, "%g", is_in_percent(column) ? 100 * rule->value : rule->value);
}

/* Tolerances of NSD share their rules: one phrase is enough. */
static void add_rules(pipe_text *text, const tex_table *table)
{
    static const char *const states[PIPE_N_EMPTY] = {"both masks empty", "organ missed", "organ predicted where absent"};
    const pipe_study *study = table->report->study;

    for (int state = 0; state < PIPE_N_EMPTY; state++) {
        pipe_text_add(text, "%s%s:", state ? "; " : " Rules for empty masks: ", states[state]);
        for (size_t i = 0; i < table->n_columns; i++) {
            const pipe_column *column = &study->columns[table->columns[i]];
            if (column->metric == PIPE_NSD && column->tolerance > 0) continue;
            pipe_text_add(text, "%s %s ", i ? "," : "", column->metric == PIPE_NSD ? "NSD" : column->metric == PIPE_DSC ? "DSC" : "HD95");
            add_rule(text, column, &pipe_column_rules(study, column)[state]);
        }
    }
    pipe_text_add(text, ".");
}

static void add_counted(pipe_text *text, size_t n, const char *one, const char *many)
{
    pipe_text_add(text, "%zu %s", n, n == 1 ? one : many);
}

/* What every table says of its numbers: cases, convention, rules, what is missing. */
static void add_terms(pipe_text *text, const tex_table *table)
{
    const pipe_report *report = table->report;
    const pipe_organ_counts *all = &report->summary->counts[report->study->n_organs];
    const pipe_case_counts counts = pipe_study_count_cases(report->study);
    const size_t n_done = counts.n_measured + counts.n_counted_empty;
    char words[300];

    pipe_text_add(text, " Convention \\emph{%s} (", pipe_convention_name((pipe_convention)table->convention));
    add_tex(text, pipe_convention_text((pipe_convention)table->convention));
    pipe_text_add(text, ").");
    add_rules(text, table);
    pipe_text_add(text, " What is left out enters no mean. Of ");
    add_counted(text, all->n_measured, "organ", "organs");
    pipe_text_add(text, " in ");
    add_counted(text, n_done, "case", "cases");
    pipe_text_add(text, ", %zu missed, %zu predicted where absent, %zu absent from both.", all->n_missed, all->n_false_positive,
                  all->n_both_empty);
    pipe_case_counts_text(&counts, words, sizeof words);
    if (*words) pipe_text_add(text, " Beside these: %s.", words);
}

/* "$87.31 \pm 4.20$"; of one case there is no SD. */
static void add_mean(pipe_text *text, const pipe_column *column, const pipe_summary *stats)
{
    const double unit = is_in_percent(column) ? 100 : 1;

    if (!isfinite(stats->mean))
        pipe_text_add(text, " & --");
    else if (isfinite(stats->sd) && stats->n > 1)
        pipe_text_add(text, " & $%.2f \\pm %.2f$", unit * stats->mean, unit * stats->sd);
    else
        pipe_text_add(text, " & $%.2f$", unit * stats->mean);
}

/* Values in the means, in the unit of the row's counts: one number, or one per column where rules leave some out. */
static void add_n(pipe_text *text, const tex_table *table, size_t row)
{
    const size_t first = cell_of(table->report, row, table->columns[0])->n_values;
    bool is_one = true;

    for (size_t i = 1; i < table->n_columns; i++) is_one = is_one && cell_of(table->report, row, table->columns[i])->n_values == first;
    pipe_text_add(text, " & %zu", first);
    for (size_t i = 1; !is_one && i < table->n_columns; i++)
        pipe_text_add(text, "/%zu", cell_of(table->report, row, table->columns[i])->n_values);
}

static void add_row(pipe_text *text, const tex_table *table, size_t row)
{
    const pipe_report *report = table->report;

    add_tex(text, pipe_study_row_name(report->study, row));
    for (size_t i = 0; i < table->n_columns; i++)
        add_mean(text, &report->study->columns[table->columns[i]], &cell_of(report, row, table->columns[i])->stats);
    add_n(text, table, row);
    if (table->has_missed) pipe_text_add(text, " & %zu", report->summary->counts[row].n_missed);
    if (table->has_false_positive) pipe_text_add(text, " & %zu", report->summary->counts[row].n_false_positive);
    pipe_text_add(text, " \\\\\n");
}

static void add_compact_head(pipe_text *text, const tex_table *table)
{
    const pipe_study *study = table->report->study;

    pipe_text_add(text, "\\begin{table}\n\\centering\n\\begin{tabular}{l");
    for (size_t i = 0; i < table->n_columns + 1 + table->has_missed + table->has_false_positive; i++) pipe_text_add(text, "r");
    pipe_text_add(text, "}\n\\toprule\nOrgan");
    for (size_t i = 0; i < table->n_columns; i++) {
        pipe_text_add(text, " & ");
        add_metric(text, study, &study->columns[table->columns[i]]);
        pipe_text_add(text, " (%s)", unit_of(&study->columns[table->columns[i]]));
    }
    pipe_text_add(text, " & $n$%s%s \\\\\n\\midrule\n", table->has_missed ? " & missed" : "",
                  table->has_false_positive ? " & false pos." : "");
}

static void add_compact_caption(pipe_text *text, const tex_table *table)
{
    pipe_text_add(text,
                  "\\caption{Mean $\\pm$ standard deviation over the cases of each organ, $n$ of them%s.%s Last row: mean over the "
                  "organs of each case, then over the cases; its counts are pairs of a case and an organ.",
                  table->n_columns > 1 ? " (per column where they differ)" : "",
                  table->has_missed || table->has_false_positive ? " Missed, false pos.: cases." : "");
    add_terms(text, table);
    pipe_text_add(text, "}\n\\label{tab:samed-%s}\n", pipe_convention_name((pipe_convention)table->convention));
}

/* Organs as rows: any number of them, in parts of a page each. */
static void add_compact(pipe_text *text, const pipe_report *report, int convention)
{
    const size_t n_organs = report->study->n_organs;
    tex_table table;

    choose_columns(report, convention, &table);
    for (size_t first = 0; first < n_organs; first += MAX_ROWS) {
        const size_t last = first + MAX_ROWS < n_organs ? first + MAX_ROWS : n_organs;
        add_compact_head(text, &table);
        for (size_t organ = first; organ < last; organ++) add_row(text, &table, organ);
        if (last == n_organs) {
            pipe_text_add(text, "\\midrule\n");
            add_row(text, &table, n_organs);
        }
        pipe_text_add(text, "\\bottomrule\n\\end{tabular}\n");
        if (first == 0)
            add_compact_caption(text, &table);
        else
            pipe_text_add(text, "\\caption{Table~\\ref{tab:samed-%s} continued: organs %zu to %zu of %zu.}\n",
                          pipe_convention_name((pipe_convention)convention), first + 1, last, n_organs);
        pipe_text_add(text, "\\end{table}\n\n");
    }
}

static void add_value(pipe_text *text, double value)
{
    if (isfinite(value))
        pipe_text_add(text, " & %.2f", value);
    else
        pipe_text_add(text, " & --");
}

static void add_published(pipe_text *text)
{
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        pipe_text_add(text, "%s & %.2f & %.2f", published[i].method, published[i].dsc, published[i].hd);
        for (int organ = 0; organ < N_PAPER; organ++) add_value(text, published[i].organs[organ]);
        pipe_text_add(text, " \\\\\n");
    }
    pipe_text_add(text, "\\midrule\n");
}

static void add_paper_caption(pipe_text *text, const tex_table *table, bool has_published)
{
    pipe_text_add(text, "\\caption{DSC (\\%%) per organ, mean DSC (\\%%) and mean HD95 (voxels): over the organs of each case, then over "
                        "the cases.");
    add_terms(text, table);
    if (has_published)
        pipe_text_add(text, " Rows above the rule: as published in Table~1 of arXiv:2304.13785 (SAMed\\_h: its repository), on the 12 test "
                            "cases of BTCV, in the same convention under the same rules; they compare with this study only on the same "
                            "cases.");
    pipe_text_add(text, "}\n\\label{tab:samed-paper}\n");
}

/* The table of the paper, organs as columns; samed is in the study. */
static void add_paper(pipe_text *text, const pipe_report *report, const size_t organs[N_PAPER])
{
    const bool has_published = has_paper_rules(report->study);
    tex_table table;

    choose_columns(report, PIPE_SAMED, &table);
    if (!has_published)
        pipe_text_add(text, "%% No published rows: they hold under the paper's rules for empty masks, and --empty changed these.\n");
    pipe_text_add(text, "\\begin{table*}\n\\centering\n\\begin{tabular}{lrrrrrrrrrr}\n\\toprule\nMethod & DSC & HD95");
    for (int i = 0; i < N_PAPER; i++) pipe_text_add(text, " & %s", paper_heads[i]);
    pipe_text_add(text, " \\\\\n\\midrule\n");
    if (has_published) add_published(text);
    pipe_text_add(text, "\\textbf{This study}");
    add_value(text, 100 * cell_of(report, N_PAPER, table.columns[0])->stats.mean);
    add_value(text, cell_of(report, N_PAPER, table.columns[1])->stats.mean);
    for (int i = 0; i < N_PAPER; i++) add_value(text, 100 * cell_of(report, organs[i], table.columns[0])->stats.mean);
    pipe_text_add(text, " \\\\\n\\bottomrule\n\\end{tabular}\n");
    add_paper_caption(text, &table, has_published);
    pipe_text_add(text, "\\end{table*}\n");
}

io_status pipe_report_latex(const pipe_report *report)
{
    const pipe_study *study = report->study;
    size_t organs[N_PAPER];
    pipe_text *text = NULL;

    IO_TRY(pipe_text_open(report->folder, "table.tex", &text));
    pipe_text_add(text, "%% Made by samed %s; needs \\usepackage{booktabs}.\n%% ", report->version);
    pipe_text_add_line(text, report->command);
    pipe_text_add(text, "\n\n");
    for (int i = 0; i < study->options.n_conventions; i++) add_compact(text, report, study->options.order[i]);
    if (study->options.conventions >> PIPE_SAMED & 1 && find_paper_organs(study->labels, organs)) add_paper(text, report, organs);
    return pipe_text_commit(&text);
}
