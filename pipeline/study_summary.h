/* Statistics of a study: per organ and over all organs, for every column. */
#ifndef PIPELINE_STUDY_SUMMARY_H
#define PIPELINE_STUDY_SUMMARY_H

#include <stdbool.h>
#include <stddef.h>

#include "io/status.h"
#include "pipeline/study.h"
#include "pipeline/summary.h"

/* n, in every file of a report, is n_values, in the same unit as all other counts of its row: cases, and over all organs pairs of a case
 * and an organ. Over all organs a case enters mean and interval with the mean of those of its organs that have a value; stats.n counts
 * cases. An organ that occurs in no file of the study has no values and is in none of the counts over all organs. A volume of 0 is no
 * value: mean volumes are over the cases whose reference, or prediction, has the organ. */
typedef struct pipe_cell_summary {
    pipe_summary stats;     /* of the values under the rules for empty masks; what is not finite is left out */
    size_t n_values;        /* values that are finite under the rules */
    size_t n_left_out;      /* measured values that are not finite under the rules; over all organs their sum */
    double mean_not_empty;  /* mean without the cases where reference and prediction both lack the organ */
    double mean_present;    /* mean where reference and prediction both have the organ */
    double mean_worst;      /* mean with missed and falsely predicted organs at the worst value; both empty as in the rules */
    pipe_paired difference; /* to the other report, this minus other; n 0 without one */
} pipe_cell_summary;

/* The statistics of a cell that a report lists, in its order; the only list of them. */
typedef struct pipe_statistic {
    const char *name, *title; /* in tables for machines, for people */
    size_t offset;            /* of a double in pipe_cell_summary */
} pipe_statistic;

enum { PIPE_N_STATISTICS = 12 };
extern const pipe_statistic pipe_statistics[PIPE_N_STATISTICS];
double pipe_cell_statistic(const pipe_cell_summary *cell, int statistic);

typedef struct pipe_organ_counts {
    size_t n_measured, n_both_empty, n_missed, n_false_positive, n_failed;
} pipe_organ_counts;

/* Row n_organs is "all organs": its values are the means over the organs of each case, its counts are sums over the organs. */
typedef struct pipe_study_summary {
    size_t n_rows, n_columns;
    pipe_cell_summary *cells;  /* [n_rows][n_columns] */
    pipe_organ_counts *counts; /* [n_rows] */
} pipe_study_summary;

/* Values of another report beside this study's, [n_cases][n_organs][n_columns], NaN where it has none. */
typedef struct pipe_other_report {
    char *folder;
    double *values;
    size_t n_cases, n_values; /* that were found in both */
    bool *has_column;         /* [n_columns] of the study: those that the other report has too */
    bool *is_absent;          /* [n_organs]: has no volume there, neither in a reference nor in a prediction */
    unsigned conventions;     /* of the other report, bits 1 << pipe_convention */
} pipe_other_report;

/* Marks the organs that never occur. Counts for all rows, statistics for the cells first, first + step, ... only: ranks share the work.
 * other may be NULL. */
io_status pipe_study_summarise(pipe_study *study, const pipe_other_report *other, size_t first, size_t step, pipe_study_summary **out);
void pipe_study_summary_free(pipe_study_summary **summary);

/* The unit of a row's counts: "cases", "case-organ pairs". */
const char *pipe_study_row_unit(const pipe_study *study, size_t row);
/* "all organs" for row n_organs. */
const char *pipe_study_row_name(const pipe_study *study, size_t row);
/* One value per case of a row's column: [n_cases]. */
void pipe_study_row_values(const pipe_study *study, size_t row, size_t column, double *values);

/* Reads metrics.csv of another report's folder. IO_ERR_MISMATCH when nothing in it is about this study's cases, organs and metrics. */
io_status pipe_other_report_read(const pipe_study *study, const char *folder, pipe_other_report **out);
void pipe_other_report_free(pipe_other_report **other);
/* Which conventions and metrics the two reports do not share, as a sentence; "" when they hold the same. */
void pipe_other_report_differences(const pipe_study *study, const pipe_other_report *other, char *out, size_t n_bytes);

#endif
