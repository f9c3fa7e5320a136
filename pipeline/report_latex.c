/* table.tex: organs as columns as in the paper of SAMed, this study's row below the published ones; see report.h. Needs booktabs. */
#include <math.h>
#include <string.h>

#include "pipeline/report.h"
#include "pipeline/text_out.h"

enum { N_PAPER = 8 };

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

static void add_tex(pipe_text *text, const char *plain)
{
    for (const char *c = plain; *c; c++) {
        if (strchr("#$%&_{}", *c))
            pipe_text_add(text, "\\%c", *c);
        else if (*c == '\\')
            pipe_text_add(text, "\\textbackslash{}");
        else if (*c == '~' || *c == '^')
            pipe_text_add(text, "\\%c{}", *c);
        else
            pipe_text_add_bytes(text, c, 1);
    }
}

/* The study's organs in the paper's order; false when it has not exactly the paper's eight. */
static bool find_paper_organs(const pipe_study *study, size_t organs[N_PAPER])
{
    if (study->n_organs != N_PAPER) return false;
    for (int i = 0; i < N_PAPER; i++) {
        organs[i] = N_PAPER;
        for (size_t organ = 0; organ < N_PAPER; organ++)
            if (!strcmp(pipe_study_organ(study, organ)->name, paper_organs[i])) organs[i] = organ;
        if (organs[i] == N_PAPER) return false;
    }
    return true;
}

static double organ_mean(const pipe_report *report, size_t organ, size_t column)
{
    return report->summary->cells[organ * report->summary->n_columns + column].stats.mean;
}

/* As in the paper: first the mean over the cases of each organ, then over the organs. */
static double mean_of_means(const pipe_report *report, size_t column)
{
    double sum = 0;
    size_t n = 0;

    for (size_t organ = 0; organ < report->study->n_organs; organ++) {
        const double mean = organ_mean(report, organ, column);
        if (!isfinite(mean)) continue;
        sum += mean;
        n++;
    }
    return n ? sum / (double)n : NAN;
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

static void add_own(pipe_text *text, const pipe_report *report, const size_t *order, size_t dsc, size_t hd)
{
    pipe_text_add(text, "\\textbf{This study}");
    add_value(text, 100 * mean_of_means(report, dsc));
    add_value(text, hd < report->study->n_columns ? mean_of_means(report, hd) : NAN);
    for (size_t i = 0; i < report->study->n_organs; i++) add_value(text, 100 * organ_mean(report, order ? order[i] : i, dsc));
    pipe_text_add(text, " \\\\\n");
}

/* The published rows are in samed, and so must be the row below them. Without them the report's main convention counts. */
static int choose_convention(const pipe_study *study, bool has_published)
{
    return has_published ? PIPE_SAMED : study->options.order[0];
}

static void add_caption(pipe_text *text, const pipe_report *report, int convention, bool has_published)
{
    const pipe_organ_counts *all = &report->summary->counts[report->study->n_organs];
    size_t n_done = 0;

    for (size_t i = 0; i < report->study->n_cases; i++) n_done += report->study->cases[i].is_done;
    pipe_text_add(text, "\\caption{DSC (\\%%) per organ, mean DSC (\\%%) and mean HD95 (%s) over organs; %zu cases. Convention: ",
                  convention == PIPE_SAMED ? "voxels" : "mm", n_done);
    add_tex(text, pipe_convention_text((pipe_convention)convention));
    pipe_text_add(text, ". %zu organs missed, %zu predicted where absent, %zu absent from both; cases not measured: %zu.", all->n_missed,
                  all->n_false_positive, all->n_both_empty, report->study->n_cases - n_done);
    if (has_published)
        pipe_text_add(text, " Rows above the rule: as published in Table~1 of arXiv:2304.13785 (SAMed\\_h: its repository), on the 12 test "
                            "cases of BTCV, in the same convention; they compare with this study only on the same cases.");
    pipe_text_add(text, "}\n");
}

io_status pipe_report_latex(const pipe_report *report)
{
    const pipe_study *study = report->study;
    size_t organs[N_PAPER];
    const bool is_paper = study->options.conventions >> PIPE_SAMED & 1 && find_paper_organs(study, organs);
    const int convention = choose_convention(study, is_paper);
    const size_t dsc = pipe_study_find(study, PIPE_DSC, convention, false);
    const size_t hd = pipe_study_find(study, PIPE_HD95, convention, convention == PIPE_SAMED);
    pipe_text *text = NULL;

    IO_TRY(pipe_text_open(report->folder, "table.tex", &text));
    pipe_text_add(text, "%% Made by samed %s; needs \\usepackage{booktabs}.\n%% ", report->version);
    pipe_text_add_bytes(text, report->command, strcspn(report->command, "\r\n"));
    pipe_text_add(text, "\n\\begin{table*}\n\\centering\n\\begin{tabular}{lrr");
    for (size_t i = 0; i < study->n_organs; i++) pipe_text_add(text, "r");
    pipe_text_add(text, "}\n\\toprule\nMethod & DSC & HD95");
    for (size_t i = 0; i < study->n_organs; i++) {
        pipe_text_add(text, " & ");
        add_tex(text, is_paper ? paper_heads[i] : pipe_study_organ(study, i)->name);
    }
    pipe_text_add(text, " \\\\\n\\midrule\n");
    if (is_paper) add_published(text);
    add_own(text, report, is_paper ? organs : NULL, dsc, hd);
    pipe_text_add(text, "\\bottomrule\n\\end{tabular}\n");
    add_caption(text, report, convention, is_paper);
    pipe_text_add(text, "\\label{tab:samed}\n\\end{table*}\n");
    return pipe_text_commit(&text);
}
