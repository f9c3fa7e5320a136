/* The tables for machines; see report.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "pipeline/report.h"
#include "pipeline/text_out.h"

static void add_fields(pipe_text *text, const double *values, size_t n_values)
{
    for (size_t i = 0; i < n_values; i++) {
        pipe_text_add(text, ",");
        pipe_text_add_number(text, values[i]);
    }
}

static void add_case_rows(pipe_text *text, const pipe_study *study, size_t index)
{
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        const char *name = pipe_study_organ(study, organ)->name;
        for (size_t column = 0; column < study->n_columns; column++) {
            const double value = pipe_study_value(study, index, organ, column);
            pipe_text_add_csv(text, study->cases[index].id);
            pipe_text_add(text, ",");
            pipe_text_add_csv(text, name);
            pipe_text_add(text, ",%s,%s", study->columns[column].name, pipe_column_convention(&study->columns[column]));
            add_fields(text, &value, 1);
            pipe_text_add(text, "\n");
        }
    }
}

io_status pipe_report_metrics_csv(const pipe_report *report)
{
    pipe_text *text = NULL;

    IO_TRY(pipe_text_open(report->folder, "metrics.csv", &text));
    pipe_text_add(text, "case,organ,metric,convention,value\n");
    for (size_t i = 0; i < report->study->n_cases; i++)
        if (report->study->cases[i].is_done) add_case_rows(text, report->study, i);
    return pipe_text_commit(&text);
}

static void add_summary_row(pipe_text *text, const pipe_report *report, size_t row, size_t column)
{
    const pipe_cell_summary *cell = &report->summary->cells[row * report->summary->n_columns + column];
    const pipe_organ_counts *counts = &report->summary->counts[row];
    const pipe_column *about = &report->study->columns[column];

    pipe_text_add_csv(text, pipe_study_row_name(report->study, row));
    pipe_text_add(text, ",%s,%s,%s,%zu,%zu,%zu,%zu,%zu,%zu,%zu,%zu", about->name, pipe_column_convention(about),
                  pipe_study_row_unit(report->study, row), cell->n_values, counts->n_measured, cell->n_left_out, counts->n_both_empty,
                  counts->n_missed, counts->n_false_positive, counts->n_failed, cell->stats.n);
    for (int i = 0; i < PIPE_N_STATISTICS; i++) {
        const double value = pipe_cell_statistic(cell, i);
        add_fields(text, &value, 1);
    }
    pipe_text_add(text, "\n");
}

io_status pipe_report_summary_csv(const pipe_report *report)
{
    pipe_text *text = NULL;

    IO_TRY(pipe_text_open(report->folder, "summary.csv", &text));
    pipe_text_add(text, "organ,metric,convention,unit,n,n_measured,n_left_out,n_both_empty,n_missed,n_false_positive,n_failed,n_cases");
    for (int i = 0; i < PIPE_N_STATISTICS; i++) pipe_text_add(text, ",%s", pipe_statistics[i].name);
    pipe_text_add(text, "\n");
    for (size_t row = 0; row < report->summary->n_rows; row++)
        for (size_t column = 0; column < report->summary->n_columns; column++) add_summary_row(text, report, row, column);
    return pipe_text_commit(&text);
}

static void add_compare_row(pipe_text *text, const pipe_report *report, size_t row, size_t column)
{
    const pipe_paired *d = &report->summary->cells[row * report->summary->n_columns + column].difference;
    const pipe_column *about = &report->study->columns[column];
    const double values[] = {d->mean_difference, d->ci_low, d->ci_high, d->wilcoxon_p};

    pipe_text_add_csv(text, pipe_study_row_name(report->study, row));
    pipe_text_add(text, ",%s,%s,%zu", about->name, pipe_column_convention(about), d->n);
    add_fields(text, values, sizeof values / sizeof *values);
    pipe_text_add(text, "\n");
}

io_status pipe_report_compare_csv(const pipe_report *report)
{
    pipe_text *text = NULL;

    IO_TRY(pipe_text_open(report->folder, "compare.csv", &text));
    pipe_text_add(text, "organ,metric,convention,n,mean_this_minus_other,ci95_low,ci95_high,wilcoxon_p\n");
    for (size_t row = 0; row < report->summary->n_rows; row++)
        for (size_t column = 0; column < report->summary->n_columns; column++)
            if (report->other->has_column[column]) add_compare_row(text, report, row, column);
    return pipe_text_commit(&text);
}

static void add_cell(pipe_text *text, const char *cell, char end)
{
    pipe_text_add_line(text, cell);
    pipe_text_add_bytes(text, &end, 1);
}

io_status pipe_report_failed_tsv(const pipe_report *report)
{
    pipe_text *text = NULL;
    size_t n_failed = 0;

    IO_TRY(pipe_text_open(report->folder, "failed.tsv", &text));
    pipe_text_add(text, "case\tstage\treason\ttext\n");
    for (size_t i = 0; i < report->study->n_cases; i++) {
        const pipe_study_case *c = &report->study->cases[i];
        if (c->is_done || !c->text) continue;
        n_failed++;
        add_cell(text, c->id, '\t');
        add_cell(text, c->stage, '\t');
        add_cell(text, c->reason, '\t');
        add_cell(text, c->text, '\n');
    }
    if (n_failed > 0) return pipe_text_commit(&text);
    pipe_text_free(&text);
    return IO_OK;
}
