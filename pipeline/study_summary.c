/* See study_summary.h. */
#include "pipeline/study_summary.h"

#include <math.h>
#include <string.h>

#include "io/memory.h"

const pipe_statistic pipe_statistics[PIPE_N_STATISTICS] = {
    {"mean", "Mean", offsetof(pipe_cell_summary, stats.mean)},
    {"sd", "SD", offsetof(pipe_cell_summary, stats.sd)},
    {"ci95_low", "CI low", offsetof(pipe_cell_summary, stats.ci_low)},
    {"ci95_high", "CI high", offsetof(pipe_cell_summary, stats.ci_high)},
    {"median", "Median", offsetof(pipe_cell_summary, stats.median)},
    {"quartile1", "Q1", offsetof(pipe_cell_summary, stats.quartile1)},
    {"quartile3", "Q3", offsetof(pipe_cell_summary, stats.quartile3)},
    {"minimum", "Min", offsetof(pipe_cell_summary, stats.minimum)},
    {"maximum", "Max", offsetof(pipe_cell_summary, stats.maximum)},
    {"mean_not_both_empty", "Mean, non-empty", offsetof(pipe_cell_summary, mean_not_empty)},
    {"mean_both_present", "Mean, found", offsetof(pipe_cell_summary, mean_present)},
    {"mean_missed_worst", "Mean, worst", offsetof(pipe_cell_summary, mean_worst)},
};

double pipe_cell_statistic(const pipe_cell_summary *cell, int statistic)
{
    double value;

    memcpy(&value, (const char *)cell + pipe_statistics[statistic].offset, sizeof value);
    return value;
}

/* What a value stands for in one of the four means. */
typedef enum value_kind { VALUE_RULED, VALUE_NOT_EMPTY, VALUE_PRESENT, VALUE_WORST } value_kind;

/* An organ's mean volume is over the cases that have the organ: 0 ml is no size. */
static bool is_no_volume(const pipe_column *column, double value)
{
    return value == 0 && (column->metric == PIPE_VOLUME_REFERENCE || column->metric == PIPE_VOLUME_PREDICTION);
}

static double pick_value(const pipe_study *study, size_t index, size_t organ, size_t column, value_kind kind)
{
    const pipe_presence presence = pipe_study_presence(study, index, organ);
    const double value = pipe_study_value(study, index, organ, column);

    if (study->is_absent[organ] || is_no_volume(&study->columns[column], value)) return NAN;
    if (kind == VALUE_NOT_EMPTY && presence == PIPE_BOTH_EMPTY) return NAN;
    if (kind == VALUE_PRESENT && presence != PIPE_BOTH_PRESENT) return NAN;
    if (kind == VALUE_WORST && (presence == PIPE_MISSED || presence == PIPE_FALSE_POSITIVE)) {
        const double worst = pipe_study_worst(study, index, column);
        return isnan(worst) ? value : worst;
    }
    return value;
}

/* The mean over a case's organs; NaN without any. */
static double mean_organs(const pipe_study *study, size_t index, size_t column, value_kind kind)
{
    double sum = 0;
    size_t n = 0;

    for (size_t organ = 0; organ < study->n_organs; organ++) {
        const double value = pick_value(study, index, organ, column, kind);
        if (!isfinite(value)) continue;
        sum += value;
        n++;
    }
    return n ? sum / (double)n : NAN;
}

static void fill_row(const pipe_study *study, size_t row, size_t column, value_kind kind, double *values)
{
    for (size_t i = 0; i < study->n_cases; i++)
        values[i] = row < study->n_organs ? pick_value(study, i, row, column, kind) : mean_organs(study, i, column, kind);
}

void pipe_study_row_values(const pipe_study *study, size_t row, size_t column, double *values)
{
    fill_row(study, row, column, VALUE_RULED, values);
}

const char *pipe_study_row_unit(const pipe_study *study, size_t row)
{
    return row < study->n_organs ? "cases" : "case-organ pairs";
}

const char *pipe_study_row_name(const pipe_study *study, size_t row)
{
    return row < study->n_organs ? pipe_study_organ(study, row)->name : "all organs";
}

static double measure_mean(const double *values, size_t n_values)
{
    double sum = 0;
    size_t n = 0;

    for (size_t i = 0; i < n_values; i++) {
        if (!isfinite(values[i])) continue;
        sum += values[i];
        n++;
    }
    return n ? sum / (double)n : NAN;
}

static void count_values(const pipe_study *study, size_t row, size_t column, pipe_cell_summary *cell)
{
    const size_t first = row < study->n_organs ? row : 0, last = row < study->n_organs ? row + 1 : study->n_organs;

    for (size_t i = 0; i < study->n_cases; i++) {
        for (size_t organ = first; study->cases[i].is_done && organ < last; organ++) {
            const bool is_value = isfinite(pick_value(study, i, organ, column, VALUE_RULED));
            if (study->is_absent[organ]) continue;
            cell->n_values += is_value;
            cell->n_left_out += !is_value;
        }
    }
}

/* Both reports' values of a row, one per case; over all organs those organs count which both reports have and at least one of them found.
 */
static void pair_row(const pipe_study *study, const pipe_other_report *other, size_t row, size_t column, double *theirs, double *ours)
{
    const size_t first = row < study->n_organs ? row : 0, last = row < study->n_organs ? row + 1 : study->n_organs;

    for (size_t i = 0; i < study->n_cases; i++) {
        double sum_theirs = 0, sum_ours = 0;
        size_t n = 0;
        for (size_t organ = first; organ < last; organ++) {
            const double a = other->values[(i * study->n_organs + organ) * study->n_columns + column];
            const double b = pipe_study_value(study, i, organ, column);
            if (!isfinite(a) || !isfinite(b) || (study->is_absent[organ] && other->is_absent[organ])) continue;
            sum_theirs += a;
            sum_ours += b;
            n++;
        }
        theirs[i] = n ? sum_theirs / (double)n : NAN;
        ours[i] = n ? sum_ours / (double)n : NAN;
    }
}

/* What measuring a cell needs beside the study. */
typedef struct cell_scratch {
    const pipe_other_report *other; /* may be NULL */
    pipe_resamples *resamples;      /* of the measured cases */
    double *values, *theirs;        /* [n_cases] */
} cell_scratch;

/* Leaves the measured cases of values [n_cases], which are the cases of the resamples. */
static void keep_measured(const pipe_study *study, double *values)
{
    size_t n = 0;

    for (size_t i = 0; i < study->n_cases; i++)
        if (study->cases[i].is_done) values[n++] = values[i];
}

static io_status measure_cell(const pipe_study *study, size_t row, size_t column, const cell_scratch *scratch, pipe_cell_summary *cell)
{
    double *values = scratch->values;

    count_values(study, row, column, cell);
    fill_row(study, row, column, VALUE_NOT_EMPTY, values);
    cell->mean_not_empty = measure_mean(values, study->n_cases);
    fill_row(study, row, column, VALUE_PRESENT, values);
    cell->mean_present = measure_mean(values, study->n_cases);
    fill_row(study, row, column, VALUE_WORST, values);
    cell->mean_worst = measure_mean(values, study->n_cases);
    fill_row(study, row, column, VALUE_RULED, values);
    keep_measured(study, values);
    IO_TRY(pipe_summary_measure(values, scratch->resamples, &cell->stats));
    if (!scratch->other) return IO_OK;
    pair_row(study, scratch->other, row, column, scratch->theirs, values);
    keep_measured(study, scratch->theirs);
    keep_measured(study, values);
    return pipe_paired_measure(scratch->theirs, values, scratch->resamples, &cell->difference);
}

static void count_presence(const pipe_study *study, size_t organ, pipe_organ_counts *counts)
{
    for (size_t i = 0; i < study->n_cases; i++) {
        const pipe_presence presence = pipe_study_presence(study, i, organ);
        counts->n_measured += presence != PIPE_NOT_MEASURED;
        counts->n_both_empty += presence == PIPE_BOTH_EMPTY;
        counts->n_missed += presence == PIPE_MISSED;
        counts->n_false_positive += presence == PIPE_FALSE_POSITIVE;
        counts->n_failed += presence == PIPE_NOT_MEASURED;
    }
}

static void count_all(const pipe_study *study, pipe_organ_counts *counts)
{
    pipe_organ_counts *all = &counts[study->n_organs];

    for (size_t organ = 0; organ < study->n_organs; organ++) {
        count_presence(study, organ, &counts[organ]);
        if (study->is_absent[organ]) continue;
        all->n_measured += counts[organ].n_measured;
        all->n_both_empty += counts[organ].n_both_empty;
        all->n_missed += counts[organ].n_missed;
        all->n_false_positive += counts[organ].n_false_positive;
        all->n_failed += counts[organ].n_failed;
    }
}

static void mark_absent(pipe_study *study)
{
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        study->is_absent[organ] = true;
        for (size_t i = 0; i < study->n_cases; i++) {
            const pipe_presence presence = pipe_study_presence(study, i, organ);
            if (presence != PIPE_BOTH_EMPTY && presence != PIPE_NOT_MEASURED) study->is_absent[organ] = false;
        }
    }
}

io_status pipe_study_summarise(pipe_study *study, const pipe_other_report *other, size_t first, size_t step, pipe_study_summary **out)
{
    io_status status = IO_OK;
    pipe_study_summary *summary = NULL;
    cell_scratch scratch = {.other = other};
    size_t n_cells;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *summary, (void **)&summary));
    summary->n_rows = study->n_organs + 1;
    summary->n_columns = study->n_columns;
    IO_TRY_GOTO(status, done, io_size_mul(summary->n_rows, summary->n_columns, &n_cells));
    IO_TRY_GOTO(status, done, io_alloc(n_cells, sizeof *summary->cells, (void **)&summary->cells));
    IO_TRY_GOTO(status, done, io_alloc(summary->n_rows, sizeof *summary->counts, (void **)&summary->counts));
    IO_TRY_GOTO(status, done, io_alloc(study->n_cases, sizeof *scratch.values, (void **)&scratch.values));
    IO_TRY_GOTO(status, done, io_alloc(study->n_cases, sizeof *scratch.theirs, (void **)&scratch.theirs));
    IO_TRY_GOTO(status, done, pipe_resamples_create(pipe_study_count_done(study), study->options.seed, &scratch.resamples));
    mark_absent(study);
    count_all(study, summary->counts);
    for (size_t i = first; i < n_cells; i += step)
        IO_TRY_GOTO(status, done, measure_cell(study, i / study->n_columns, i % study->n_columns, &scratch, &summary->cells[i]));
    *out = summary;
    summary = NULL; /* now the caller's */
done:
    pipe_resamples_free(&scratch.resamples);
    io_free(&scratch.theirs);
    io_free(&scratch.values);
    pipe_study_summary_free(&summary);
    return status;
}

void pipe_study_summary_free(pipe_study_summary **summary)
{
    if (!summary || !*summary) return;
    io_free(&(*summary)->cells);
    io_free(&(*summary)->counts);
    io_free(summary);
}
