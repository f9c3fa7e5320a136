/* See pair.h. */
#include "pipeline/pair.h"

#include <stdio.h>
#include <string.h>

#include "io/memory.h"
#include "io/plural.h"

/* What does not fit is cut, with a sign. */
static void add_note(pipe_study_case *about, const char *text)
{
    const size_t n = strlen(about->note), n_more = strlen(text) + (n ? 2 : 0), room = sizeof about->note - 1 - n;

    snprintf(about->note + n, sizeof about->note - n, "%s%s", n ? "; " : "", text);
    if (n_more > room) memcpy(about->note + sizeof about->note - 4, "...", 4);
}

/* "prediction: 12 voxels in two masks, the first by file name keeps them: liver 10 of stomach, ..." */
static void note_overlaps(pipe_study_case *about, const char *side, const pipe_label_volume *volume, const io_labels *labels)
{
    char text[2 * PIPE_NOTE_BYTES];
    size_t at = (size_t)snprintf(text, sizeof text, "%s: %lld voxel%s in two masks, the first by file name keeps them:", side,
                                 (long long)volume->n_overlaps, io_plural(volume->n_overlaps));

    for (int i = 0; i < volume->n_overlap_pairs && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s %s keeps %lld of %s", i ? "," : "",
                               pipe_organ_label(labels, volume->overlaps[i].kept)->name, (long long)volume->overlaps[i].n_voxels,
                               pipe_organ_label(labels, volume->overlaps[i].lost)->name);
    add_note(about, text);
}

static void note_unnamed(pipe_study_case *about, const char *side, const pipe_unnamed *unnamed)
{
    char text[PIPE_NOTE_BYTES];
    size_t at = (size_t)snprintf(text, sizeof text, "%s: %lld voxel%s of labels without a name counted as background:", side,
                                 (long long)unnamed->n_voxels, io_plural(unnamed->n_voxels));

    for (int64_t i = 0; i < unnamed->n_values && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s %lld of label %lld", i ? "," : "", (long long)unnamed->counts[i],
                               (long long)unnamed->values[i]);
    add_note(about, text);
}

static void note_volume(pipe_study_case *about, pipe_side which, const pipe_label_volume *volume, const io_labels *labels)
{
    const char *side = pipe_side_name(which);
    char text[240];

    if (volume->unnamed.n_voxels > 0) note_unnamed(about, side, &volume->unnamed);
    if (volume->n_rounded > 0) {
        snprintf(text, sizeof text, "%s: %lld voxel%s rounded (by at most %.2g)", side, (long long)volume->n_rounded,
                 io_plural(volume->n_rounded), volume->largest_step);
        add_note(about, text);
    }
    if (volume->n_overlaps > 0) note_overlaps(about, side, volume, labels);
    if (volume->n_other_files > 0) {
        snprintf(text, sizeof text, "%s: %d mask file%s of no organ left out (%s%s)", side, volume->n_other_files,
                 io_plural(volume->n_other_files), volume->other_file, volume->n_other_files == 1 ? "" : ", ...");
        add_note(about, text);
    }
    about->unnamed[which] = volume->unnamed;
}

/* Both maps lie on one grid: what the reference does not judge is in neither. */
static void leave_out(pipe_study_case *about, pipe_pair *pair)
{
    char text[80];

    about->n_ignored = pipe_label_volume_leave_out(pair->reference, pair->prediction);
    if (about->n_ignored == 0) return;
    snprintf(text, sizeof text, "reference: %lld voxel%s to ignore, left out of both", (long long)about->n_ignored,
             io_plural(about->n_ignored));
    add_note(about, text);
}

/* Takes out of both maps what the reference does not judge. */
static void describe(pipe_study_case *about, pipe_pair *pair, const io_labels *labels)
{
    memcpy(about->dims, pair->reference->grid.dims, sizeof about->dims);
    memcpy(about->spacing_mm, pair->reference->grid.spacing_mm, sizeof about->spacing_mm);
    memcpy(about->reference_sha256, pair->reference->sha256, sizeof about->reference_sha256);
    memcpy(about->prediction_sha256, pair->prediction->sha256, sizeof about->prediction_sha256);
    note_volume(about, PIPE_REFERENCE, pair->reference, labels);
    leave_out(about, pair);
    note_volume(about, PIPE_PREDICTION, pair->prediction, labels); /* with the values to ignore where the reference does not */
}

static io_status match_grids(const pipe_pair_options *options, pipe_study_case *about, pipe_pair *pair)
{
    if (pipe_grid_compare(&pair->reference->grid, &pair->prediction->grid, options->tolerance_mm) == IO_OK) return IO_OK;
    if (!options->resample) return IO_ERR_MISMATCH; /* with the text of the comparison */
    add_note(about, "prediction resampled to the reference's grid");
    return pipe_label_volume_resample(pair->prediction, &pair->reference->grid);
}

static io_status check_spacing(const io_grid *grid, const char *path)
{
    for (int a = 0; a < 3; a++)
        if (!(grid->spacing_mm[a] > 0 && grid->spacing_mm[a] < 1e6))
            return IO_FAIL(IO_ERR_RANGE, "%s: spacing %g x %g x %g mm; expected above 0: distances need it, correct the header", path,
                           grid->spacing_mm[0], grid->spacing_mm[1], grid->spacing_mm[2]);
    return IO_OK;
}

static io_status read_prediction(const pipe_pair_options *options, pipe_study_case *about, pipe_pair *pair)
{
    if (about->prediction) return pipe_label_volume_read(about->prediction, options->prediction_map, options->round, &pair->prediction);
    add_note(about, "no prediction: counted as an empty one");
    return pipe_label_volume_create(&pair->reference->grid, options->prediction_map, &pair->prediction);
}

io_status pipe_pair_open(const pipe_pair_options *options, pipe_study_case *about, pipe_pair *pair, const char **stage)
{
    io_status status = IO_OK;

    *pair = (pipe_pair){.reference = NULL};
    about->note[0] = '\0';
    *stage = "reference";
    if (!about->reference) {
        status = IO_FAIL(IO_ERR_NOT_FOUND, "%s: there is no reference for this prediction", about->prediction);
        goto done;
    }
    *stage = "prediction";
    if (!about->prediction && !options->missing_is_worst) {
        status = IO_FAIL(IO_ERR_NOT_FOUND, "%s: there is no prediction for this reference; --missing worst counts its organs as missed",
                         about->reference);
        goto done;
    }
    *stage = "reference";
    IO_TRY_GOTO(status, done, pipe_label_volume_read(about->reference, options->reference_map, options->round, &pair->reference));
    IO_TRY_GOTO(status, done, check_spacing(&pair->reference->grid, about->reference));
    *stage = "prediction";
    IO_TRY_GOTO(status, done, read_prediction(options, about, pair));
    *stage = "grids";
    IO_TRY_GOTO(status, done, match_grids(options, about, pair));
    describe(about, pair, options->reference_map->labels);
    *stage = "measure";
    status =
        pipe_label_boxes_create(pair->reference->grid.dims, pair->reference->organs, pair->reference->organ_bytes, pair->prediction->organs,
                                pair->prediction->organ_bytes, (int)pipe_organ_count(options->reference_map->labels) + 1, &pair->boxes);
done:
    if (status != IO_OK) pipe_pair_close(pair);
    return status;
}

void pipe_pair_close(pipe_pair *pair)
{
    pipe_label_boxes_free(&pair->boxes);
    pipe_label_volume_free(&pair->reference);
    pipe_label_volume_free(&pair->prediction);
}

static void set_options(const pipe_study *study, const double spacing_mm[3], pipe_metrics_options *options)
{
    *options =
        (pipe_metrics_options){.conventions = study->options.conventions, .percentile = 95, .n_tolerances = study->options.n_tolerances};
    memcpy(options->spacing_mm, spacing_mm, sizeof options->spacing_mm);
    memcpy(options->tolerances_mm, study->options.tolerances_mm, sizeof options->tolerances_mm);
}

io_status pipe_pair_measure(const pipe_pair *pair, const pipe_study *study, const pipe_study_case *about, size_t organ,
                            pipe_metrics_scratch *scratch, pipe_overlap *overlap, double *values)
{
    static const double unit[3] = {1, 1, 1};
    pipe_metrics_options options;
    pipe_metrics in_mm, in_voxels = {.overlap = {0, 0, 0}};

    set_options(study, about->spacing_mm, &options);
    IO_TRY(pipe_metrics_measure(pair->boxes, (int)organ + 1, &options, scratch, &in_mm));
    if (study->options.in_voxels) {
        set_options(study, unit, &options);
        options.conventions &= ~(1u << PIPE_SAMED);
        options.n_tolerances = 0;
        if (options.conventions) IO_TRY(pipe_metrics_measure(pair->boxes, (int)organ + 1, &options, scratch, &in_voxels));
    }
    *overlap = in_mm.overlap;
    pipe_study_fill(study, about, &in_mm, study->options.in_voxels ? &in_voxels : NULL, values);
    return IO_OK;
}
