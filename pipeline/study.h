/* The results of a study in memory: cases, organs, and one column per metric in one convention. Raw values are what was measured; what
 * a report shows goes through the rules for empty masks. */
#ifndef PIPELINE_STUDY_H
#define PIPELINE_STUDY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/labels.h"
#include "io/status.h"
#include "pipeline/label_volume.h"
#include "pipeline/metrics.h"

typedef enum pipe_metric {
    PIPE_DSC,
    PIPE_JACCARD,
    PIPE_PRECISION,
    PIPE_RECALL,
    PIPE_HD,
    PIPE_HD95,
    PIPE_ASSD,
    PIPE_MASD,
    PIPE_NSD,
    PIPE_N_RULED, /* metrics up to here know conventions and rules for empty masks */
    PIPE_VOLUME_REFERENCE = PIPE_N_RULED,
    PIPE_VOLUME_PREDICTION,
    PIPE_VOLUME_DIFFERENCE /* (prediction - reference) / reference */
} pipe_metric;

/* Which of the two masks of an organ has voxels. */
typedef enum pipe_presence {
    PIPE_BOTH_PRESENT,
    PIPE_BOTH_EMPTY,
    PIPE_MISSED,         /* in the reference only */
    PIPE_FALSE_POSITIVE, /* in the prediction only */
    PIPE_NOT_MEASURED,   /* the case failed */
    PIPE_N_PRESENCES
} pipe_presence;

const char *pipe_metric_name(pipe_metric metric); /* "hd95" */
bool pipe_metric_is_distance(pipe_metric metric);
pipe_presence pipe_presence_of(const pipe_overlap *overlap);

/* What a value becomes when a mask is empty: a number (may be NaN or infinite), or the worst one possible: 0, and for distances the
 * diagonal of the image. */
typedef struct pipe_empty_rule {
    bool is_worst;
    double value;
} pipe_empty_rule;

enum { PIPE_N_EMPTY = 3 }; /* PIPE_BOTH_EMPTY, PIPE_MISSED, PIPE_FALSE_POSITIVE, each minus 1 */

typedef struct pipe_empty_rules {
    pipe_empty_rule rule[PIPE_N_CONVENTIONS][PIPE_N_RULED][PIPE_N_EMPTY];
} pipe_empty_rules;

/* DSC, Jaccard, precision, recall and NSD 1 for both empty, else 0; distances 0 for both empty, else NaN; samed as the paper has it. */
void pipe_empty_rules_default(pipe_empty_rules *rules);
/* Changes rules by a text: "library" (what each convention's own library gives), "worst" (missed and false positive are the worst value),
 * or comma-separated settings [CONVENTION/]METRIC:STATE=VALUE, METRIC a name or "overlap", "distance" or "all", STATE both, missed, false
 * or any, VALUE a number, nan, inf or worst. */
io_status pipe_empty_rules_change(pipe_empty_rules *rules, const char *text);

typedef struct pipe_column {
    pipe_metric metric;
    int convention; /* a pipe_convention, -1 for volumes */
    int tolerance;  /* index, for NSD */
    bool in_voxels;
    char name[40];  /* in tables for machines: "hd95", "nsd_1mm", "hd95_voxels", "volume_reference_ml" */
    char title[40]; /* in tables for people: "HD95 (mm)" */
} pipe_column;

const char *pipe_column_convention(const pipe_column *column); /* "medpy", "none" for volumes */
bool pipe_column_is_distance(const pipe_column *column);
bool pipe_column_is_better_high(const pipe_column *column);

typedef struct pipe_study_options {
    unsigned conventions;          /* bits 1 << pipe_convention */
    int order[PIPE_N_CONVENTIONS]; /* as the user named them; the first is the report's main one */
    int n_conventions;
    double tolerances_mm[PIPE_MAX_TOLERANCES];
    int n_tolerances;
    bool in_voxels;        /* distances in voxels beside those in mm */
    bool missing_is_worst; /* a case without a prediction is measured with an empty one */
    pipe_empty_rules rules;
    uint64_t seed;
} pipe_study_options;

enum { PIPE_NOTE_BYTES = 600 };

typedef enum pipe_side { PIPE_REFERENCE, PIPE_PREDICTION, PIPE_N_SIDES } pipe_side;
const char *pipe_side_name(pipe_side side); /* "reference" */

typedef struct pipe_study_case {
    char *id, *reference, *prediction, *image; /* paths, NULL where there is none */
    bool is_done;
    char *stage, *reason, *text; /* of a failure */
    int64_t dims[3];
    double spacing_mm[3];
    char reference_sha256[65], prediction_sha256[65];
    int64_t n_ignored; /* voxels that the reference leaves out of both */
    pipe_unnamed unnamed[PIPE_N_SIDES];
    char note[PIPE_NOTE_BYTES]; /* unnamed labels, overlapping masks, rounding, resampling; ends with "..." where it was cut */
} pipe_study_case;

typedef struct pipe_study {
    pipe_study_options options;
    const io_labels *labels; /* borrowed */
    size_t n_organs;
    pipe_column *columns; /* [n_columns] */
    size_t n_columns;
    pipe_study_case *cases; /* [n_cases], ascending by id */
    size_t n_cases;
    pipe_overlap *overlaps; /* [n_cases][n_organs] */
    double *raw;            /* [n_cases][n_organs][n_columns] */
    bool *is_absent;        /* [n_organs]: in no reference and no prediction of a measured case; false until pipe_study_summarise */
} pipe_study;

/* cases come from pipe_study_add_case; pipe_study_allocate follows the last of them. */
io_status pipe_study_create(const io_labels *labels, const pipe_study_options *options, pipe_study **out);
void pipe_study_free(pipe_study **study);
io_status pipe_study_add_case(pipe_study *study, const char *id, const char *reference, const char *prediction, const char *image);
io_status pipe_study_allocate(pipe_study *study);
io_status pipe_study_fail(pipe_study *study, size_t index, const char *stage, const char *reason, const char *text);

size_t pipe_study_count_done(const pipe_study *study);  /* cases that were measured */
size_t pipe_study_count_notes(const pipe_study *study); /* of these, cases with a note */

/* Cases by what became of them: they add up to n_cases. */
typedef struct pipe_case_counts {
    size_t n_measured;      /* from two files */
    size_t n_counted_empty; /* no prediction: measured with an empty one */
    size_t n_no_prediction; /* in no number */
    size_t n_no_reference;  /* predictions that belong to no reference: in no number */
    size_t n_failed;        /* unreadable, no labels, another grid: in no number */
} pipe_case_counts;

pipe_case_counts pipe_study_count_cases(const pipe_study *study);
/* "2 without a prediction, 1 prediction without a reference" of what is in no number, or counted as empty; "" for nothing. */
void pipe_case_counts_text(const pipe_case_counts *counts, char *out, size_t n_bytes);

/* The columns of one organ's metrics: values [n_columns]. in_voxels may be NULL without such columns. */
void pipe_study_fill(const pipe_study *study, const pipe_study_case *about, const pipe_metrics *in_mm, const pipe_metrics *in_voxels,
                     double *values);

pipe_presence pipe_study_presence(const pipe_study *study, size_t index, size_t organ); /* organ from 0 */
/* As a report shows it; NaN for a case that failed. */
double pipe_study_value(const pipe_study *study, size_t index, size_t organ, size_t column);
/* The worst value possible: 0, or the diagonal of the case's image in mm or voxels; NaN for volumes. */
double pipe_study_worst(const pipe_study *study, size_t index, size_t column);
/* Label of an organ counted from 0. */
const io_label *pipe_study_organ(const pipe_study *study, size_t organ);
/* The column of a metric in a convention, n_columns when there is none. */
size_t pipe_study_find(const pipe_study *study, pipe_metric metric, int convention, bool in_voxels);

#endif
