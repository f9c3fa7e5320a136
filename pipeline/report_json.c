/* summary.json, in samed's own words and in nnU-Net's; see report.h. Written as text: numbers keep all their digits. */
#include <math.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "pipeline/report.h"
#include "pipeline/text_out.h"

/* What is no number is null in JSON (RFC 8259). */
static void add_number(pipe_text *text, double number)
{
    if (isfinite(number))
        pipe_text_add_number(text, number);
    else
        pipe_text_add(text, "null");
}

static void add_member(pipe_text *text, const char *name, double number)
{
    pipe_text_add(text, ", \"%s\": ", name);
    add_number(text, number);
}

static void add_text_member(pipe_text *text, const char *indent, const char *name, const char *value)
{
    pipe_text_add(text, "%s\"%s\": ", indent, name);
    if (value)
        pipe_text_add_json(text, value);
    else
        pipe_text_add(text, "null");
}

static void add_conventions(pipe_text *text, const pipe_study *study)
{
    pipe_text_add(text, "  \"conventions\": {");
    for (int i = 0; i < study->options.n_conventions; i++) {
        const pipe_convention convention = (pipe_convention)study->options.order[i];
        pipe_text_add(text, "%s\n    \"%s\": ", i ? "," : "", pipe_convention_name(convention));
        pipe_text_add_json(text, pipe_convention_text(convention));
    }
    pipe_text_add(text, "\n  },\n");
}

static void add_rules(pipe_text *text, const pipe_study *study)
{
    bool is_first = true;

    pipe_text_add(text, "  \"empty_rules\": [");
    for (size_t i = 0; i < study->n_columns; i++) {
        const pipe_column *column = &study->columns[i];
        const pipe_empty_rule *rules = pipe_column_rules(study, column);
        char words[PIPE_N_EMPTY][32];
        if (!rules) continue;
        for (int state = 0; state < PIPE_N_EMPTY; state++) pipe_empty_rule_text(&rules[state], words[state]);
        pipe_text_add(text,
                      "%s\n    {\"metric\": \"%s\", \"convention\": \"%s\", \"both_empty\": \"%s\", \"missed\": \"%s\", "
                      "\"false_positive\": \"%s\"}",
                      is_first ? "" : ",", column->name, pipe_column_convention(column), words[0], words[1], words[2]);
        is_first = false;
    }
    pipe_text_add(text, "\n  ],\n");
}

static void add_settings(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;

    add_text_member(text, "  ", "samed_version", report->version);
    add_text_member(text, ",\n  ", "command", report->command);
    add_text_member(text, ",\n  ", "labels", report->labels_source);
    add_text_member(text, ",\n  ", "label_maps", report->maps);
    pipe_text_add(text, ",\n  \"ignore_value\": %d", pipe_label_map_has_ignore(report->reference_map) ? study->labels->ignore_value : -1);
    pipe_text_add(text,
                  ",\n  \"grid_tolerance_mm\": %.17g,\n  \"resample\": \"%s\",\n  \"round\": %s,\n  \"missing\": \"%s\",\n  "
                  "\"bootstrap_resamples\": %d,\n  "
                  "\"seed\": %llu,\n",
                  report->grid_tolerance_mm, report->resample ? "nearest" : "none", report->round ? "true" : "false",
                  study->options.missing_is_worst ? "worst" : "fail", PIPE_N_RESAMPLES, (unsigned long long)study->options.seed);
    pipe_text_add(text, "  \"tolerances_mm\": [");
    for (int i = 0; i < study->options.n_tolerances; i++) {
        pipe_text_add(text, i ? ", " : "");
        add_number(text, study->options.tolerances_mm[i]);
    }
    pipe_text_add(text, "],\n");
    add_conventions(text, study);
    add_rules(text, study);
}

static void add_organs(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;
    char words[PIPE_LABEL_TEXT];

    pipe_text_add(text, "  \"organs\": [");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        const io_label *label = pipe_study_organ(study, organ);
        pipe_text_add(text, "%s\n    {\"value\": %d, \"name\": ", organ ? "," : "", label->value);
        pipe_text_add_json(text, label->name);
        pipe_text_add(text, ", \"color\": \"#%02x%02x%02x\"", label->rgb[0], label->rgb[1], label->rgb[2]);
        pipe_label_map_describe(report->reference_map, (int)organ + 1, words, sizeof words);
        add_text_member(text, ", ", "reference_values", words);
        pipe_label_map_describe(report->prediction_map, (int)organ + 1, words, sizeof words);
        add_text_member(text, ", ", "prediction_values", words);
        pipe_text_add(text, ", \"occurs\": %s}", study->is_absent[organ] ? "false" : "true");
    }
    pipe_text_add(text, "\n  ],\n");
}

static void add_inputs(pipe_text *text, const pipe_report *report)
{
    pipe_text_add(text, "  \"inputs\": [");
    for (size_t i = 0; i < report->n_inputs; i++) {
        pipe_text_add(text, i ? "," : "");
        add_text_member(text, "\n    {", "option", report->inputs[i].option);
        add_text_member(text, ", ", "file", report->inputs[i].path);
        add_text_member(text, ", ", "sha256", report->inputs[i].sha256);
        pipe_text_add(text, "}");
    }
    pipe_text_add(text, "%s],\n", report->n_inputs ? "\n  " : "");
}

static void add_unnamed(pipe_text *text, const pipe_report *report)
{
    pipe_text_add(text, "  \"unnamed_labels\": [");
    for (size_t i = 0; i < report->n_unnamed; i++) {
        const pipe_unnamed_label *label = &report->unnamed[i];
        pipe_text_add(text, "%s\n    {\"side\": \"%s\", \"value\": ", i ? "," : "", pipe_side_name(label->side));
        if (label->value >= 0)
            pipe_text_add(text, "%d", label->value);
        else
            pipe_text_add(text, "null");
        pipe_text_add(text, ", \"n_cases\": %zu, \"n_voxels\": %lld}", label->n_cases, (long long)label->n_voxels);
    }
    pipe_text_add(text, "%s],\n", report->n_unnamed ? "\n  " : "");
}

static void add_case(pipe_text *text, const pipe_study_case *c)
{
    add_text_member(text, "    {", "case", c->id);
    add_text_member(text, ", ", "reference", c->reference);
    add_text_member(text, ", ", "prediction", c->prediction);
    pipe_text_add(text, ", \"status\": \"%s\"", c->is_done ? "done" : "failed");
    if (c->is_done) {
        add_text_member(text, ", ", "reference_sha256", c->reference_sha256);
        add_text_member(text, ", ", "prediction_sha256", c->prediction_sha256);
        pipe_text_add(text, ", \"dims\": [%lld, %lld, %lld], \"spacing_mm\": [", (long long)c->dims[0], (long long)c->dims[1],
                      (long long)c->dims[2]);
        for (int a = 0; a < 3; a++) {
            pipe_text_add(text, a ? ", " : "");
            add_number(text, c->spacing_mm[a]);
        }
        pipe_text_add(text, "]");
        pipe_text_add(text, ", \"n_ignored_voxels\": %lld", (long long)c->n_ignored);
        add_text_member(text, ", ", "note", c->note);
    } else {
        add_text_member(text, ", ", "stage", c->stage);
        add_text_member(text, ", ", "reason", c->reason);
        add_text_member(text, ", ", "text", c->text);
    }
    pipe_text_add(text, "}");
}

static void add_cases(pipe_text *text, const pipe_study *study)
{
    const pipe_case_counts counts = pipe_study_count_cases(study);
    const size_t n_measured = counts.n_measured + counts.n_counted_empty;

    pipe_text_add(text, "  \"n_cases\": %zu,\n  \"n_measured\": %zu,\n  \"n_failed\": %zu,\n", study->n_cases, n_measured,
                  study->n_cases - n_measured);
    pipe_text_add(text,
                  "  \"n_missing_counted_empty\": %zu,\n  \"n_without_prediction\": %zu,\n  \"n_without_reference\": %zu,\n  "
                  "\"n_unreadable\": %zu,\n  \"cases\": [",
                  counts.n_counted_empty, counts.n_no_prediction, counts.n_no_reference, counts.n_failed);
    for (size_t i = 0; i < study->n_cases; i++) {
        pipe_text_add(text, i ? ",\n" : "\n");
        add_case(text, &study->cases[i]);
    }
    pipe_text_add(text, "\n  ],\n");
}

static void add_cell(pipe_text *text, const pipe_report *report, size_t row, size_t column)
{
    const pipe_cell_summary *cell = &report->summary->cells[row * report->summary->n_columns + column];
    const pipe_organ_counts *counts = &report->summary->counts[row];
    const pipe_column *about = &report->study->columns[column];

    add_text_member(text, "    {", "organ", pipe_study_row_name(report->study, row));
    pipe_text_add(text,
                  ", \"metric\": \"%s\", \"convention\": \"%s\", \"unit\": \"%s\", \"n\": %zu, \"n_measured\": %zu, \"n_left_out\": %zu, "
                  "\"n_both_empty\": %zu, \"n_missed\": %zu, \"n_false_positive\": %zu, \"n_failed\": %zu, \"n_cases\": %zu",
                  about->name, pipe_column_convention(about), pipe_study_row_unit(report->study, row), cell->n_values, counts->n_measured,
                  cell->n_left_out, counts->n_both_empty, counts->n_missed, counts->n_false_positive, counts->n_failed, cell->stats.n);
    for (int i = 0; i < PIPE_N_STATISTICS; i++) add_member(text, pipe_statistics[i].name, pipe_cell_statistic(cell, i));
    if (report->other && report->other->has_column[column]) {
        pipe_text_add(text, ", \"compare\": {\"n\": %zu", cell->difference.n);
        add_member(text, "mean_this_minus_other", cell->difference.mean_difference);
        add_member(text, "ci95_low", cell->difference.ci_low);
        add_member(text, "ci95_high", cell->difference.ci_high);
        add_member(text, "wilcoxon_p", cell->difference.wilcoxon_p);
        pipe_text_add(text, "}");
    }
    pipe_text_add(text, "}");
}

io_status pipe_report_json(const pipe_report *report)
{
    pipe_text *text = NULL;
    const size_t n_cells = report->summary->n_rows * report->summary->n_columns;

    IO_TRY(pipe_text_open(report->folder, "summary.json", &text));
    pipe_text_add(text, "{\n");
    add_settings(text, report);
    add_inputs(text, report);
    if (report->other) {
        add_text_member(text, "  ", "compared_with", report->other->folder);
        pipe_text_add(text, ",\n  \"n_cases_compared\": %zu,\n", report->other->n_cases);
    }
    add_organs(text, report);
    add_unnamed(text, report);
    add_cases(text, report->study);
    pipe_text_add(text, "  \"summary\": [");
    for (size_t i = 0; i < n_cells; i++) {
        pipe_text_add(text, i ? ",\n" : "\n");
        add_cell(text, report, i / report->summary->n_columns, i % report->summary->n_columns);
    }
    pipe_text_add(text, "\n  ]\n}\n");
    return pipe_text_commit(&text);
}

/* nnU-Net's metrics of one organ, in its order (nnunetv2/evaluation/evaluate_predictions.py, compute_metrics). */
enum { NN_DICE, NN_FN, NN_FP, NN_IOU, NN_TN, NN_TP, NN_PREDICTION, NN_REFERENCE, N_NN };
static const char *const nn_names[N_NN] = {"Dice", "FN", "FP", "IoU", "TN", "TP", "n_pred", "n_ref"};

static void measure_nn(const pipe_study *study, size_t index, size_t organ, double out[N_NN])
{
    const pipe_overlap *o = &study->overlaps[index * study->n_organs + organ];
    const int64_t *dims = study->cases[index].dims;
    const double n_voxels = (double)dims[0] * (double)dims[1] * (double)dims[2], both = (double)o->n_both;

    out[NN_TP] = both;
    out[NN_FP] = (double)o->n_prediction - both;
    out[NN_FN] = (double)o->n_reference - both;
    out[NN_TN] = n_voxels - (double)study->cases[index].n_ignored - out[NN_TP] - out[NN_FP] - out[NN_FN];
    out[NN_DICE] = pipe_overlap_dice(o); /* NaN for both empty, as there */
    out[NN_IOU] = pipe_overlap_jaccard(o);
    out[NN_PREDICTION] = (double)o->n_prediction;
    out[NN_REFERENCE] = (double)o->n_reference;
}

/* nnU-Net writes NaN where a value is undefined, as Python's json does. */
static void add_nn(pipe_text *text, const char *indent, const double values[N_NN])
{
    for (int m = 0; m < N_NN; m++) {
        pipe_text_add(text, "%s%s\"%s\": ", m ? ",\n" : "", indent, nn_names[m]);
        if (isfinite(values[m]))
            pipe_text_add_number(text, values[m]);
        else
            pipe_text_add(text, "NaN");
    }
}

/* Means over the cases of one organ, NaN left out (its nanmean). */
static void mean_nn(const pipe_study *study, size_t organ, double out[N_NN])
{
    double sum[N_NN] = {0}, values[N_NN];
    size_t n[N_NN] = {0};

    for (size_t i = 0; i < study->n_cases; i++) {
        if (!study->cases[i].is_done) continue;
        measure_nn(study, i, organ, values);
        for (int m = 0; m < N_NN; m++) {
            if (isnan(values[m])) continue;
            sum[m] += values[m];
            n[m]++;
        }
    }
    for (int m = 0; m < N_NN; m++) out[m] = n[m] ? sum[m] / (double)n[m] : NAN;
}

static void add_nn_means(pipe_text *text, const pipe_study *study)
{
    double values[N_NN], foreground[N_NN] = {0};

    pipe_text_add(text, "    \"mean\": {\n");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        mean_nn(study, organ, values);
        for (int m = 0; m < N_NN; m++) foreground[m] += values[m] / (double)study->n_organs; /* np.mean there: NaN stays NaN */
        pipe_text_add(text, "%s        \"%d\": {\n", organ ? ",\n" : "", pipe_study_organ(study, organ)->value);
        add_nn(text, "            ", values);
        pipe_text_add(text, "\n        }");
    }
    pipe_text_add(text, "\n    },\n    \"foreground_mean\": {\n");
    add_nn(text, "        ", foreground);
    pipe_text_add(text, "\n    },\n");
}

static void add_nn_case(pipe_text *text, const pipe_study *study, size_t index)
{
    double values[N_NN];

    pipe_text_add(text, "        {\n            \"metrics\": {\n");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        measure_nn(study, index, organ, values);
        pipe_text_add(text, "%s                \"%d\": {\n", organ ? ",\n" : "", pipe_study_organ(study, organ)->value);
        add_nn(text, "                    ", values);
        pipe_text_add(text, "\n                }");
    }
    pipe_text_add(text, "\n            },\n");
    add_text_member(text, "            ", "prediction_file", study->cases[index].prediction);
    add_text_member(text, ",\n            ", "reference_file", study->cases[index].reference);
    pipe_text_add(text, "\n        }");
}

io_status pipe_report_nnunet(const pipe_report *report)
{
    io_status status = IO_OK;
    const pipe_study *study = report->study;
    char *folder = NULL;
    pipe_text *text = NULL;
    bool is_first = true;

    IO_TRY_GOTO(status, done, io_path_join(report->folder, "nnunet", &folder));
    IO_TRY_GOTO(status, done, io_folder_create(folder));
    IO_TRY_GOTO(status, done, pipe_text_open(folder, "summary.json", &text));
    pipe_text_add(text, "{\n");
    add_nn_means(text, study);
    pipe_text_add(text, "    \"metric_per_case\": [\n");
    for (size_t i = 0; i < study->n_cases; i++) {
        if (!study->cases[i].is_done) continue;
        pipe_text_add(text, is_first ? "" : ",\n");
        is_first = false;
        add_nn_case(text, study, i);
    }
    pipe_text_add(text, "\n    ]\n}\n");
    status = pipe_text_commit(&text);
done:
    pipe_text_free(&text);
    io_free(&folder);
    return status;
}
