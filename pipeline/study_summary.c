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

enum { GROUP = 48 /* cells that share the drawing of a block of resamples: 8 MB of sums, twice that with another report */ };

/* What measuring cells needs beside the study. */
typedef struct cell_scratch {
    const pipe_other_report *other;    /* may be NULL */
    pipe_resamples *resamples;         /* of the measured cases */
    pipe_bootstrap *bootstraps[GROUP]; /* of a group's cells */
    pipe_bootstrap *paired[GROUP];     /* the same of the differences to the other report; NULL without one */
    double *values, *theirs;           /* [n_cases] */
} cell_scratch;

/* Leaves the measured cases of values [n_cases], which are the cases of the resamples. */
static void keep_measured(const pipe_study *study, double *values)
{
    size_t n = 0;

    for (size_t i = 0; i < study->n_cases; i++)
        if (study->cases[i].is_done) values[n++] = values[i];
}

/* scratch->values [measured cases] of a cell under the rules. */
static void take_values(const pipe_study *study, size_t cell, const cell_scratch *scratch)
{
    fill_row(study, cell / study->n_columns, cell % study->n_columns, VALUE_RULED, scratch->values);
    keep_measured(study, scratch->values);
}

/* scratch->values [measured cases]: the differences to the other report. */
static void take_differences(const pipe_study *study, size_t cell, const cell_scratch *scratch)
{
    pair_row(study, scratch->other, cell / study->n_columns, cell % study->n_columns, scratch->theirs, scratch->values);
    keep_measured(study, scratch->theirs);
    keep_measured(study, scratch->values);
    pipe_paired_subtract(scratch->theirs, scratch->values, pipe_resamples_cases(scratch->resamples), scratch->values);
}

/* Each block of resamples is drawn once for all cells of the group. cells [n]. */
static void bootstrap_group(const pipe_study *study, const size_t *cells, size_t n, const cell_scratch *scratch)
{
    const size_t n_cases = pipe_resamples_cases(scratch->resamples);

    for (size_t i = 0; i < n; i++) {
        pipe_bootstrap_start(scratch->bootstraps[i], n_cases);
        if (scratch->other) pipe_bootstrap_start(scratch->paired[i], n_cases);
    }
    for (size_t block = 0; block < pipe_resamples_blocks(scratch->resamples); block++) {
        pipe_resamples_draw(scratch->resamples, block);
        for (size_t i = 0; i < n; i++) {
            take_values(study, cells[i], scratch);
            pipe_bootstrap_add(scratch->bootstraps[i], scratch->values, scratch->resamples);
            if (!scratch->other) continue;
            take_differences(study, cells[i], scratch);
            pipe_bootstrap_add(scratch->paired[i], scratch->values, scratch->resamples);
        }
    }
}

/* i: its place in the group, whose bootstraps are complete. */
static io_status measure_cell(const pipe_study *study, size_t index, size_t i, const cell_scratch *scratch, pipe_cell_summary *cell)
{
    const size_t row = index / study->n_columns, column = index % study->n_columns, n_cases = pipe_resamples_cases(scratch->resamples);
    double *values = scratch->values;

    count_values(study, row, column, cell);
    fill_row(study, row, column, VALUE_NOT_EMPTY, values);
    cell->mean_not_empty = measure_mean(values, study->n_cases);
    fill_row(study, row, column, VALUE_PRESENT, values);
    cell->mean_present = measure_mean(values, study->n_cases);
    fill_row(study, row, column, VALUE_WORST, values);
    cell->mean_worst = measure_mean(values, study->n_cases);
    take_values(study, index, scratch);
    IO_TRY(pipe_summary_measure(values, n_cases, &cell->stats));
    if (cell->stats.n > 0) pipe_bootstrap_finish(scratch->bootstraps[i], &cell->stats.ci_low, &cell->stats.ci_high);
    if (!scratch->other) return IO_OK;
    take_differences(study, index, scratch);
    IO_TRY(pipe_paired_measure(values, n_cases, &cell->difference));
    pipe_bootstrap_finish(scratch->paired[i], &cell->difference.ci_low, &cell->difference.ci_high);
    return IO_OK;
}

/* The cells first, first + step, ... below n_cells, group by group. */
static io_status measure_cells(const pipe_study *study, size_t first, size_t step, size_t n_cells, const cell_scratch *scratch,
                               pipe_cell_summary *summaries)
{
    size_t cells[GROUP];

    for (size_t next = first; next < n_cells;) {
        size_t n = 0;
        for (; n < GROUP && next < n_cells; next += step) cells[n++] = next;
        bootstrap_group(study, cells, n, scratch);
        for (size_t i = 0; i < n; i++) IO_TRY(measure_cell(study, cells[i], i, scratch, &summaries[cells[i]]));
    }
    return IO_OK;
}

static io_status create_bootstraps(cell_scratch *scratch)
{
    for (int i = 0; i < GROUP; i++) {
        IO_TRY(pipe_bootstrap_create(&scratch->bootstraps[i]));
        if (scratch->other) IO_TRY(pipe_bootstrap_create(&scratch->paired[i]));
    }
    return IO_OK;
}

static void free_scratch(cell_scratch *scratch)
{
    for (int i = 0; i < GROUP; i++) {
        pipe_bootstrap_free(&scratch->bootstraps[i]);
        pipe_bootstrap_free(&scratch->paired[i]);
    }
    pipe_resamples_free(&scratch->resamples);
    io_free(&scratch->theirs);
    io_free(&scratch->values);
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
    IO_TRY_GOTO(status, done,
                pipe_resamples_create(pipe_study_count_done(study), study->options.seed, PIPE_RESAMPLE_BYTES, &scratch.resamples));
    IO_TRY_GOTO(status, done, create_bootstraps(&scratch));
    mark_absent(study);
    count_all(study, summary->counts);
    IO_TRY_GOTO(status, done, measure_cells(study, first, step, n_cells, &scratch, summary->cells));
    *out = summary;
    summary = NULL; /* now the caller's */
done:
    free_scratch(&scratch);
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
