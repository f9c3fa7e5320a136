/* The words and orders that several files of a report share; see report.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/report.h"

const char *pipe_convention_text(pipe_convention convention)
{
    switch (convention) {
    case PIPE_MEDPY:
        return "MedPy 0.5.2: surface of 6-connected voxels, the volume's edge counts; HD95 is the percentile of both directions pooled; "
               "ASSD "
               "pools all distances; ASSD of 0.5.1 is the mean of the two directed means, which MedPy gave under that name up to 0.5.1";
    case PIPE_MONAI: return "MONAI: the surface of MedPy; HD95 is the larger of the two directed percentiles; ASSD pools all distances";
    case PIPE_RELOADED:
        return "Metrics Reloaded: the surface of MedPy; HD95 is the larger of the two directed percentiles; ASSD pools all distances, MASD "
               "is "
               "the mean of the two directed means; NSD counts surface voxels of both";
    case PIPE_DEEPMIND:
        return "DeepMind surface-distance: surfels between voxels weighted by their area; percentiles without interpolation, the larger "
               "direction; NSD is a share of area";
    case PIPE_SAMED: return "SAMed's paper: DSC, and HD95 of MedPy in voxels (spacing ignored)";
    default: return "unknown";
    }
}

void pipe_empty_rule_text(const pipe_empty_rule *rule, char out[32])
{
    if (rule->is_worst)
        snprintf(out, 32, "worst");
    else if (isnan(rule->value))
        snprintf(out, 32, "left out");
    else if (isinf(rule->value))
        snprintf(out, 32, "infinite");
    else
        snprintf(out, 32, "%g", rule->value);
}

const pipe_empty_rule *pipe_column_rules(const pipe_study *study, const pipe_column *column)
{
    return column->convention < 0 ? NULL : study->options.rules.rule[column->convention][column->metric];
}

size_t pipe_report_count_shown(const pipe_report *report)
{
    size_t n_bytes = 0, n = 0;

    for (; n < report->n_pictures; n++) {
        n_bytes += report->pictures[n].n_bytes;
        if (n_bytes > PIPE_MAX_PICTURE_BYTES) break;
    }
    return n;
}

const char *pipe_report_doubt(const pipe_study *study, size_t organ)
{
    size_t n_reference = 0, n_prediction = 0, n_both = 0, n_meet = 0;

    for (size_t i = 0; i < study->n_cases; i++) {
        const pipe_overlap *overlap = &study->overlaps[i * study->n_organs + organ];
        if (!study->cases[i].is_done) continue;
        n_reference += overlap->n_reference > 0;
        n_prediction += overlap->n_prediction > 0;
        n_both += overlap->n_reference > 0 && overlap->n_prediction > 0;
        n_meet += overlap->n_both > 0;
    }
    if (pipe_study_count_done(study) == 0) return NULL;
    if (n_reference == 0 && n_prediction == 0) return "never occurs, neither in a reference nor in a prediction";
    if (n_reference == 0) return "never occurs in a reference";
    if (n_prediction == 0) return "never occurs in a prediction";
    return n_both > 0 && n_meet == 0 ? "has no voxel in common in any case" : NULL;
}

typedef struct ranked_case {
    double score;
    size_t index;
} ranked_case;

static int compare_ranked(const void *a, const void *b)
{
    const ranked_case *x = a, *y = b;

    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Mean DSC over the organs that the reference or the prediction has; without any, the case is a perfect one. */
static double score_case(const pipe_study *study, size_t index)
{
    double sum = 0;
    size_t n = 0;

    for (size_t organ = 0; organ < study->n_organs; organ++) {
        const pipe_overlap *overlap = &study->overlaps[index * study->n_organs + organ];
        const pipe_presence presence = pipe_study_presence(study, index, organ);
        if (presence == PIPE_BOTH_EMPTY || presence == PIPE_NOT_MEASURED) continue;
        sum += pipe_overlap_dice(overlap);
        n++;
    }
    return n ? sum / (double)n : 1;
}

io_status pipe_report_rank_cases(const pipe_study *study, size_t *order, size_t *n)
{
    ranked_case *ranked = NULL;

    *n = 0;
    IO_TRY(io_alloc(study->n_cases, sizeof *ranked, (void **)&ranked));
    for (size_t i = 0; i < study->n_cases; i++) {
        const double score = study->cases[i].is_done ? score_case(study, i) : 1;
        if (score < 1) ranked[(*n)++] = (ranked_case){score, i};
    }
    qsort(ranked, *n, sizeof *ranked, compare_ranked);
    for (size_t i = 0; i < *n; i++) order[i] = ranked[i].index;
    io_free(&ranked);
    return IO_OK;
}
