/* Labels that nothing names, over a whole study: what the cases' counts add up to. */
#ifndef PIPELINE_STUDY_UNNAMED_H
#define PIPELINE_STUDY_UNNAMED_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "pipeline/study.h"

typedef struct pipe_unnamed_label {
    pipe_side side;
    int value; /* -1: those that a case did not tell apart */
    size_t n_cases;
    int64_t n_voxels;
} pipe_unnamed_label;

/* Of the measured cases, references first, ascending by value: *out [*n], with io_free; NULL for none. */
io_status pipe_study_list_unnamed(const pipe_study *study, pipe_unnamed_label **out, size_t *n);
/* "label 9 in the predictions of 12 cases (1200000 voxels) has no name in labels.json: it counts as background". */
void pipe_unnamed_text(const pipe_unnamed_label *label, const char *labels_source, char *out, size_t n_bytes);

#endif
