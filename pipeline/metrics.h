/* Segmentation metrics of one organ in one case, in every convention by name (what each library computes and where they differ: the
 * table in pipeline/README.md). Distances are in mm when the spacing is, in voxels when it is 1.
 *
 *   medpy     6-connected surface, volume edge counts; HD95 = percentile of the pooled directed distances; ASSD pooled as in MedPy
 *             0.5.2; MASD = mean of the two means, which is MedPy's assd up to 0.5.1
 *   monai     the same surface; HD95 = larger of the two directed percentiles; ASSD pooled
 *   reloaded  (Metrics Reloaded) as monai; MASD = mean of the two means, ASSD pooled; NSD on boundary voxels, pooled
 *   deepmind  surfels of 2x2x2 neighbourhoods weighted by area; percentile without interpolation, larger direction
 *   samed     as medpy with unit spacing, DSC and HD95 only, and the paper's empty rules
 */
#ifndef PIPELINE_METRICS_H
#define PIPELINE_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef enum pipe_convention {
    PIPE_MEDPY,
    PIPE_MONAI,
    PIPE_RELOADED,
    PIPE_DEEPMIND,
    PIPE_SAMED,
    PIPE_N_CONVENTIONS
} pipe_convention;

const char *pipe_convention_name(pipe_convention convention); /* "medpy" */
io_status pipe_convention_parse(const char *name, pipe_convention *out);

enum { PIPE_MAX_TOLERANCES = 8 };

/* Counts of voxels of one organ in both label maps: overlap metrics of every convention follow from these. */
typedef struct pipe_overlap {
    int64_t n_reference, n_prediction, n_both;
} pipe_overlap;

/* Distances between the two surfaces in one convention. NaN where the convention (or an empty mask) leaves a value undefined. */
typedef struct pipe_surface {
    double hd;                          /* largest distance, both directions */
    double hd95;
    double assd;                        /* as the convention pools it; deepmind: by area */
    double masd;                        /* mean of the two directed means (medpy: its assd up to 0.5.1; reloaded; deepmind: of the two by area) */
    double nsd[PIPE_MAX_TOLERANCES];    /* 0..1, one per tolerance */
} pipe_surface;

typedef struct pipe_metrics {
    pipe_overlap overlap;
    bool is_computed[PIPE_N_CONVENTIONS];
    pipe_surface surface[PIPE_N_CONVENTIONS]; /* valid where computed and both masks are non-empty; else all NaN */
} pipe_metrics;

typedef struct pipe_metrics_options {
    unsigned conventions;               /* bit 1 << pipe_convention */
    double spacing_mm[3];               /* along i, j, k, 1e-6 to 1e6; samed ignores it */
    double percentile;                  /* 95 */
    double tolerances_mm[PIPE_MAX_TOLERANCES]; /* ascending */
    int n_tolerances;
    bool is_planar;                     /* maps of one slice are 2-D images: no surface across k, and deepmind's contour lengths */
} pipe_metrics_options;

/* One pass over a pair of label maps [nz][ny][nx] (label_bytes 1 or 2 each): the boxes and counts of every value 1..n_values-1; larger
 * values are passed over. The maps are borrowed: they must stay as they are until the boxes are freed. */
typedef struct pipe_label_boxes pipe_label_boxes;
io_status pipe_label_boxes_create(const int64_t dims[3], const void *reference, int reference_bytes, const void *prediction,
                                  int prediction_bytes, int n_values, pipe_label_boxes **out);
void pipe_label_boxes_free(pipe_label_boxes **boxes);
pipe_overlap pipe_label_boxes_overlap(const pipe_label_boxes *boxes, int value);

/* Metrics of one value. Thread-safe with its own scratch; scratch grows on demand and is kept between calls. */
typedef struct pipe_metrics_scratch pipe_metrics_scratch;
io_status pipe_metrics_scratch_create(pipe_metrics_scratch **out);
void pipe_metrics_scratch_free(pipe_metrics_scratch **scratch);
io_status pipe_metrics_measure(const pipe_label_boxes *boxes, int value, const pipe_metrics_options *options, pipe_metrics_scratch *scratch,
                               pipe_metrics *out);

/* Overlap metrics; NaN where the denominator is zero (empty rules are the report's business). */
double pipe_overlap_dice(const pipe_overlap *overlap);
double pipe_overlap_jaccard(const pipe_overlap *overlap);
double pipe_overlap_precision(const pipe_overlap *overlap);
double pipe_overlap_recall(const pipe_overlap *overlap);
double pipe_overlap_volume_difference(const pipe_overlap *overlap); /* (prediction - reference) / reference */

#endif
