/* See study.h. */
#include "pipeline/study.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/label_map.h"

enum { MAX_COLUMNS = PIPE_N_CONVENTIONS * (2 * PIPE_N_RULED + PIPE_MAX_TOLERANCES) + 3 };

/* What each convention defines; NSD counts once per tolerance. MedPy has no NSD; its MASD is the assd of versions up to 0.5.1 and is named
 * so. The paper of SAMed gives DSC and HD95 in voxels. */
static const unsigned metrics_of[PIPE_N_CONVENTIONS] = {
    [PIPE_MEDPY] = 1u << PIPE_DSC | 1u << PIPE_JACCARD | 1u << PIPE_PRECISION | 1u << PIPE_RECALL | 1u << PIPE_HD | 1u << PIPE_HD95 |
                   1u << PIPE_ASSD | 1u << PIPE_MASD,
    [PIPE_MONAI] = 1u << PIPE_DSC | 1u << PIPE_JACCARD | 1u << PIPE_PRECISION | 1u << PIPE_RECALL | 1u << PIPE_HD | 1u << PIPE_HD95 |
                   1u << PIPE_ASSD | 1u << PIPE_NSD,
    [PIPE_RELOADED] = (1u << PIPE_N_RULED) - 1,
    [PIPE_DEEPMIND] = (1u << PIPE_N_RULED) - 1,
    [PIPE_SAMED] = 1u << PIPE_DSC | 1u << PIPE_HD95,
};

static const char *const names[] = {"dsc",
                                    "jaccard",
                                    "precision",
                                    "recall",
                                    "hd",
                                    "hd95",
                                    "assd",
                                    "masd",
                                    "nsd",
                                    "volume_reference_ml",
                                    "volume_prediction_ml",
                                    "volume_difference"};
static const char *const titles[] = {"DSC", "Jaccard",        "Precision",       "Recall",           "HD", "HD95", "ASSD", "MASD",
                                     "NSD", "Reference (ml)", "Prediction (ml)", "Volume difference"};

pipe_presence pipe_presence_of(const pipe_overlap *overlap)
{
    if (overlap->n_reference < 0) return PIPE_NOT_MEASURED;
    if (overlap->n_reference == 0) return overlap->n_prediction == 0 ? PIPE_BOTH_EMPTY : PIPE_FALSE_POSITIVE;
    return overlap->n_prediction == 0 ? PIPE_MISSED : PIPE_BOTH_PRESENT;
}

const char *pipe_side_name(pipe_side side)
{
    return side == PIPE_REFERENCE ? "reference" : "prediction";
}

const char *pipe_column_convention(const pipe_column *column)
{
    return column->convention < 0 ? "none" : pipe_convention_name((pipe_convention)column->convention);
}

const char *pipe_metric_name(pipe_metric metric)
{
    return names[metric];
}

bool pipe_metric_is_distance(pipe_metric metric)
{
    return metric >= PIPE_HD && metric <= PIPE_MASD;
}

bool pipe_column_is_distance(const pipe_column *column)
{
    return pipe_metric_is_distance(column->metric);
}

bool pipe_column_is_better_high(const pipe_column *column)
{
    return column->metric < PIPE_N_RULED && !pipe_column_is_distance(column);
}

static void add_column(pipe_study *study, pipe_metric metric, int convention, int tolerance, bool in_voxels)
{
    pipe_column *column = &study->columns[study->n_columns++];
    const char *name = names[metric], *title = titles[metric];

    *column = (pipe_column){.metric = metric, .convention = convention, .tolerance = tolerance, .in_voxels = in_voxels};
    if (convention == PIPE_MEDPY && metric == PIPE_MASD) {
        name = "assd_0.5.1";
        title = "ASSD of 0.5.1";
    }
    snprintf(column->name, sizeof column->name, "%s%s", name, in_voxels ? "_voxels" : "");
    snprintf(column->title, sizeof column->title, "%s", title);
    if (pipe_column_is_distance(column)) snprintf(column->title, sizeof column->title, "%s (%s)", title, in_voxels ? "voxels" : "mm");
    if (metric != PIPE_NSD) return;
    snprintf(column->name, sizeof column->name, "nsd_%gmm", study->options.tolerances_mm[tolerance]);
    snprintf(column->title, sizeof column->title, "NSD %g mm", study->options.tolerances_mm[tolerance]);
}

/* What papers show comes first. */
static const pipe_metric shown_order[PIPE_N_RULED] = {PIPE_DSC, PIPE_HD95,    PIPE_ASSD,      PIPE_MASD,  PIPE_NSD,
                                                      PIPE_HD,  PIPE_JACCARD, PIPE_PRECISION, PIPE_RECALL};

static void add_convention(pipe_study *study, int convention)
{
    for (int i = 0; i < PIPE_N_RULED; i++) {
        const pipe_metric metric = shown_order[i];
        const int n = metric == PIPE_NSD ? study->options.n_tolerances : 1;
        if (!(metrics_of[convention] >> metric & 1)) continue;
        for (int t = 0; t < n; t++) add_column(study, metric, convention, t, convention == PIPE_SAMED && metric == PIPE_HD95);
    }
    if (!study->options.in_voxels || convention == PIPE_SAMED) return;
    for (int metric = PIPE_HD; metric <= PIPE_MASD; metric++)
        if (metrics_of[convention] >> metric & 1) add_column(study, (pipe_metric)metric, convention, 0, true);
}

io_status pipe_study_create(const io_labels *labels, const pipe_study_options *options, pipe_study **out)
{
    io_status status = IO_OK;
    pipe_study *study = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *study, (void **)&study));
    IO_TRY_GOTO(status, done, io_alloc(MAX_COLUMNS, sizeof *study->columns, (void **)&study->columns));
    study->options = *options;
    study->labels = labels;
    study->n_organs = pipe_organ_count(labels);
    for (int i = 0; i < options->n_conventions; i++) add_convention(study, options->order[i]);
    for (int metric = PIPE_VOLUME_REFERENCE; metric <= PIPE_VOLUME_DIFFERENCE; metric++)
        add_column(study, (pipe_metric)metric, -1, 0, false);
    *out = study;
    study = NULL; /* now the caller's */
done:
    pipe_study_free(&study);
    return status;
}

static void free_case(pipe_study_case *c)
{
    io_free(&c->id);
    io_free(&c->reference);
    io_free(&c->prediction);
    io_free(&c->image);
    io_free(&c->stage);
    io_free(&c->reason);
    io_free(&c->text);
}

void pipe_study_free(pipe_study **study)
{
    if (!study || !*study) return;
    for (size_t i = 0; i < (*study)->n_cases; i++) free_case(&(*study)->cases[i]);
    io_free(&(*study)->cases);
    io_free(&(*study)->columns);
    io_free(&(*study)->overlaps);
    io_free(&(*study)->raw);
    io_free(&(*study)->is_absent);
    io_free(study);
}

static io_status copy_path(const char *path, char **out)
{
    return path ? io_string_copy(path, out) : IO_OK;
}

io_status pipe_study_add_case(pipe_study *study, const char *id, const char *reference, const char *prediction, const char *image)
{
    const size_t n = study->n_cases;
    pipe_study_case *c;

    if ((n & (n - 1)) == 0) IO_TRY(io_grow((void **)&study->cases, n * sizeof *c, n ? 2 * n : 1, sizeof *c));
    c = &study->cases[study->n_cases++];
    memset(c, 0, sizeof *c);
    IO_TRY(io_string_copy(id, &c->id));
    IO_TRY(copy_path(reference, &c->reference));
    IO_TRY(copy_path(prediction, &c->prediction));
    return copy_path(image, &c->image);
}

io_status pipe_study_allocate(pipe_study *study)
{
    size_t n_cells, n_values;

    IO_TRY(io_size_mul(study->n_cases, study->n_organs, &n_cells));
    IO_TRY(io_size_mul(n_cells, study->n_columns, &n_values));
    IO_TRY(io_alloc(n_cells, sizeof *study->overlaps, (void **)&study->overlaps));
    IO_TRY(io_alloc(n_values, sizeof *study->raw, (void **)&study->raw));
    IO_TRY(io_alloc(study->n_organs, sizeof *study->is_absent, (void **)&study->is_absent));
    for (size_t i = 0; i < n_cells; i++) study->overlaps[i].n_reference = -1;
    for (size_t i = 0; i < n_values; i++) study->raw[i] = NAN;
    return IO_OK;
}

io_status pipe_study_fail(pipe_study *study, size_t index, const char *stage, const char *reason, const char *text)
{
    pipe_study_case *c = &study->cases[index];

    c->is_done = false;
    io_free(&c->stage);
    io_free(&c->reason);
    io_free(&c->text);
    IO_TRY(io_string_copy(stage, &c->stage));
    IO_TRY(io_string_copy(reason, &c->reason));
    return io_string_copy(text, &c->text);
}

size_t pipe_study_count_done(const pipe_study *study)
{
    size_t n = 0;

    for (size_t i = 0; i < study->n_cases; i++) n += study->cases[i].is_done;
    return n;
}

size_t pipe_study_count_notes(const pipe_study *study)
{
    size_t n = 0;

    for (size_t i = 0; i < study->n_cases; i++) n += study->cases[i].is_done && *study->cases[i].note;
    return n;
}

pipe_case_counts pipe_study_count_cases(const pipe_study *study)
{
    pipe_case_counts counts = {0};

    for (size_t i = 0; i < study->n_cases; i++) {
        const pipe_study_case *c = &study->cases[i];
        if (c->is_done)
            c->prediction ? counts.n_measured++ : counts.n_counted_empty++;
        else if (!c->prediction)
            counts.n_no_prediction++;
        else if (!c->reference)
            counts.n_no_reference++;
        else
            counts.n_failed++;
    }
    return counts;
}

void pipe_case_counts_text(const pipe_case_counts *counts, char *out, size_t n_bytes)
{
    const struct {
        size_t n;
        const char *one, *many;
    } kinds[] = {
        {counts->n_counted_empty, "missing prediction counted as empty", "missing predictions counted as empty"},
        {counts->n_no_prediction, "case without a prediction", "cases without a prediction"},
        {counts->n_no_reference, "prediction without a reference", "predictions without a reference"},
        {counts->n_failed, "case not readable or on another grid", "cases not readable or on another grid"},
    };
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds && at < n_bytes; i++)
        if (kinds[i].n > 0)
            at += (size_t)snprintf(out + at, n_bytes - at, "%s%zu %s", at ? ", " : "", kinds[i].n,
                                   kinds[i].n == 1 ? kinds[i].one : kinds[i].many);
}

static double overlap_value(pipe_metric metric, const pipe_overlap *overlap)
{
    switch (metric) {
    case PIPE_DSC: return pipe_overlap_dice(overlap);
    case PIPE_JACCARD: return pipe_overlap_jaccard(overlap);
    case PIPE_PRECISION: return pipe_overlap_precision(overlap);
    case PIPE_RECALL: return pipe_overlap_recall(overlap);
    case PIPE_VOLUME_DIFFERENCE: return pipe_overlap_volume_difference(overlap);
    default: return NAN;
    }
}

static double surface_value(const pipe_column *column, const pipe_surface *surface)
{
    switch (column->metric) {
    case PIPE_HD: return surface->hd;
    case PIPE_HD95: return surface->hd95;
    case PIPE_ASSD: return surface->assd;
    case PIPE_MASD: return surface->masd;
    case PIPE_NSD: return surface->nsd[column->tolerance];
    default: return NAN;
    }
}

void pipe_study_fill(const pipe_study *study, const pipe_study_case *about, const pipe_metrics *in_mm, const pipe_metrics *in_voxels,
                     double *values)
{
    const double voxel_ml = about->spacing_mm[0] * about->spacing_mm[1] * about->spacing_mm[2] / 1000;

    for (size_t i = 0; i < study->n_columns; i++) {
        const pipe_column *column = &study->columns[i];
        const bool is_other = column->in_voxels && column->convention != PIPE_SAMED; /* samed measures in voxels by itself */
        const pipe_metrics *metrics = is_other ? in_voxels : in_mm;
        if (column->metric == PIPE_VOLUME_REFERENCE)
            values[i] = voxel_ml * (double)in_mm->overlap.n_reference;
        else if (column->metric == PIPE_VOLUME_PREDICTION)
            values[i] = voxel_ml * (double)in_mm->overlap.n_prediction;
        else if (column->metric <= PIPE_RECALL || column->metric == PIPE_VOLUME_DIFFERENCE)
            values[i] = overlap_value(column->metric, &in_mm->overlap);
        else
            values[i] = metrics ? surface_value(column, &metrics->surface[column->convention]) : NAN;
    }
}

pipe_presence pipe_study_presence(const pipe_study *study, size_t index, size_t organ)
{
    if (!study->cases[index].is_done) return PIPE_NOT_MEASURED;
    return pipe_presence_of(&study->overlaps[index * study->n_organs + organ]);
}

double pipe_study_worst(const pipe_study *study, size_t index, size_t column)
{
    const pipe_study_case *c = &study->cases[index];
    const pipe_column *about = &study->columns[column];
    double square = 0;

    if (about->convention < 0) return NAN;
    if (!pipe_column_is_distance(about)) return 0;
    for (int a = 0; a < 3; a++) {
        const double extent = (double)c->dims[a] * (about->in_voxels ? 1 : c->spacing_mm[a]);
        square += extent * extent;
    }
    return sqrt(square);
}

double pipe_study_value(const pipe_study *study, size_t index, size_t organ, size_t column)
{
    const pipe_presence presence = pipe_study_presence(study, index, organ);
    const pipe_column *about = &study->columns[column];
    const pipe_empty_rule *rule;

    if (presence == PIPE_NOT_MEASURED) return NAN;
    if (presence == PIPE_BOTH_PRESENT || about->convention < 0)
        return study->raw[(index * study->n_organs + organ) * study->n_columns + column];
    rule = &study->options.rules.rule[about->convention][about->metric][presence - 1];
    return rule->is_worst ? pipe_study_worst(study, index, column) : rule->value;
}

const io_label *pipe_study_organ(const pipe_study *study, size_t organ)
{
    return pipe_organ_label(study->labels, (int)organ + 1);
}

size_t pipe_study_find(const pipe_study *study, pipe_metric metric, int convention, bool in_voxels)
{
    for (size_t i = 0; i < study->n_columns; i++) {
        const pipe_column *column = &study->columns[i];
        if (column->metric == metric && column->convention == convention && column->in_voxels == in_voxels) return i;
    }
    return study->n_columns;
}
