/* What `samed evaluate` leaves behind, file by file. The bytes depend on the study and the options alone: no times, hosts or ranks. */
#ifndef PIPELINE_REPORT_H
#define PIPELINE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "pipeline/label_map.h"
#include "pipeline/study.h"
#include "pipeline/study_summary.h"
#include "pipeline/study_unnamed.h"

/* A worst case's picture. */
typedef struct pipe_report_picture {
    size_t index; /* of the case */
    uint8_t *png; /* [n_bytes]; NULL when it could not be drawn */
    size_t n_bytes;
} pipe_report_picture;

/* A file that says what labels mean or which pairs there are. */
typedef struct pipe_report_input {
    const char *option, *path; /* "--map" */
    char sha256[65];
} pipe_report_input;

/* PNG bytes that report.html takes in; as text they are a third more, so that the page stays below 20 MB. */
enum { PIPE_MAX_PICTURE_BYTES = 9 << 20 };

typedef struct pipe_report {
    const pipe_study *study;
    const pipe_study_summary *summary;
    const pipe_other_report *other; /* NULL without --compare */
    const char *folder, *command, *version;
    const char *labels_source; /* where the label table came from, in words */
    const char *maps;          /* of labels, in words; "" without one */
    const pipe_label_map *reference_map, *prediction_map;
    const pipe_report_input *inputs; /* [n_inputs] */
    size_t n_inputs;
    const pipe_unnamed_label *unnamed; /* [n_unnamed] */
    size_t n_unnamed;
    double grid_tolerance_mm;
    bool resample, round;
    const pipe_report_picture *pictures; /* [n_pictures], worst case first */
    size_t n_pictures;
} pipe_report;

io_status pipe_report_metrics_csv(const pipe_report *report); /* metrics.csv: case,organ,metric,convention,value */
io_status pipe_report_summary_csv(const pipe_report *report); /* summary.csv: a line per organ, metric and convention */
io_status pipe_report_compare_csv(const pipe_report *report); /* compare.csv, with another report only: what both hold */
io_status pipe_report_failed_tsv(const pipe_report *report);  /* failed.tsv, or none when nothing failed */
io_status pipe_report_json(const pipe_report *report);        /* summary.json */
io_status pipe_report_nnunet(const pipe_report *report);      /* nnunet/summary.json, as nnU-Net v2 writes it */
io_status pipe_report_html(const pipe_report *report);        /* report.html */
io_status pipe_report_latex(const pipe_report *report);       /* table.tex */
/* Are these the eight organs of SAMed's paper? Then table.tex has its table too, if the study holds the convention samed. */
bool pipe_report_has_paper_organs(const io_labels *labels);

/* IO_ERR_MISMATCH unless another report's folder was made of the same references (of the cases that both measured), label names, labels of
 * the reference, rules for empty masks (of the metrics that both have), --missing, --resample, --grid-tolerance and --round. Of report:
 * study, reference_map, grid_tolerance_mm, resample and round; before anything is measured the references are not looked at. */
io_status pipe_report_check_other(const pipe_report *report, const char *folder);

/* One sentence on each convention: what its distances are. Static text. */
const char *pipe_convention_text(pipe_convention convention);
/* "1", "0", "worst", "not a number" of a rule. */
void pipe_empty_rule_text(const pipe_empty_rule *rule, char out[32]);
/* Rules of two columns are equal when all three are. */
const pipe_empty_rule *pipe_column_rules(const pipe_study *study, const pipe_column *column); /* [PIPE_N_EMPTY], NULL for volumes */

/* How many of the pictures, from the first on, report.html has room for. */
size_t pipe_report_count_shown(const pipe_report *report);

/* Why the labels of an organ may be wrong: it never occurs on a side, or both sides never meet. NULL when nothing is odd. Static text. */
const char *pipe_report_doubt(const pipe_study *study, size_t organ);

/* Cases that were measured and differ from their reference, worst first: by the mean over the organs of the main convention's DSC with
 * missed organs as 0, then by id. order [n_cases] receives *n indices. Fails for lack of memory only. */
io_status pipe_report_rank_cases(const pipe_study *study, size_t *order, size_t *n);

#endif
