/* --dry-run: pairs and what would become of them, from names and headers alone; see evaluate.h. */
#include <stdio.h>

#include "io/file.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "jobs/evaluate.h"
#include "jobs/events.h"
#include "jobs/exits.h"
#include "pipeline/label_volume.h"

/* Bytes a rank needs beside its label maps and the study's values: program, libraries, blocks of a file. */
static const double fixed_bytes = 60e6;
/* Samples of an image's greys, twice; its planes are small beside them. */
static const double image_bytes = 34e6;

typedef struct dry_totals {
    size_t n_no_prediction, n_no_reference, n_failing;
    double largest_voxels;
} dry_totals;

/* The header of a label map; a folder of masks is looked into only when it is measured. */
static io_status read_grid(const char *path, io_nifti_info *info, bool *is_known)
{
    *is_known = !io_folder_exists(path);
    return *is_known ? io_nifti_read_info(path, info) : IO_OK;
}

static io_status check_pair(const evaluate_options *options, const pipe_study_case *c, dry_totals *totals)
{
    io_nifti_info reference, prediction;
    bool has_reference, has_prediction;
    double n_voxels = 1;

    IO_TRY(read_grid(c->reference, &reference, &has_reference));
    IO_TRY(read_grid(c->prediction, &prediction, &has_prediction));
    if (has_reference || has_prediction)
        for (int a = 0; a < 3; a++) n_voxels *= (double)(has_reference ? reference : prediction).grid.dims[a];
    if (n_voxels > totals->largest_voxels) totals->largest_voxels = n_voxels;
    if (!has_reference || !has_prediction || options->resample) return IO_OK;
    return pipe_grid_compare(&reference.grid, &prediction.grid, options->grid_tolerance_mm);
}

/* A case as an event; status "pair", "no prediction", "no reference" or "would fail". */
static void print_case_event(const pipe_study_case *c, const char *status, const char *text)
{
    io_json *event = job_event_create(true, "case");

    if (!event) return;
    (void)io_json_put_text(event, "case", c->id);
    (void)io_json_put_text(event, "status", status);
    if (c->prediction) (void)io_json_put_text(event, "prediction", c->prediction);
    if (c->reference) (void)io_json_put_text(event, "reference", c->reference);
    if (c->image) (void)io_json_put_text(event, "image", c->image);
    if (text) (void)io_json_put_text(event, "text", text);
    job_event_print(&event);
}

static void show_alone(const evaluate_options *options, const pipe_study_case *c)
{
    const char *lacks = c->prediction ? "reference" : "prediction";

    if (options->json)
        print_case_event(c, c->prediction ? "no reference" : "no prediction", NULL);
    else
        printf("  %s: no %s for %s\n", c->id, lacks, c->prediction ? c->prediction : c->reference);
}

static void show_case(const evaluate_options *options, const pipe_study_case *c, dry_totals *totals)
{
    io_status status;

    totals->n_no_prediction += !c->prediction && !options->study.missing_is_worst;
    totals->n_no_reference += !c->reference;
    if (!c->prediction || !c->reference) {
        show_alone(options, c);
        return;
    }
    status = check_pair(options, c, totals);
    totals->n_failing += status != IO_OK;
    if (options->json) {
        print_case_event(c, status == IO_OK ? "pair" : "would fail", status == IO_OK ? NULL : io_last_error_text());
        return;
    }
    printf("  %s: %s, %s%s%s\n", c->id, c->prediction, c->reference, c->image ? ", " : "", c->image ? c->image : "");
    if (status != IO_OK) printf("    would fail: %s\n", io_last_error_text());
}

/* Bytes of the rank that needs most, the first: the study's values, and beside them first two label maps, a third while one is brought to
 * another grid, and at most a byte per voxel while an organ is measured; then the resamples of the bootstrap, 10 kB per case but at most 64
 * MB; then two label maps again and what a picture holds of an image. With another report also its values, while its table is read. 0 when
 * no header told the size. */
static double count_bytes(const evaluate_run *run, const dry_totals *totals)
{
    const pipe_study *study = run->study;
    const double n_cells = (double)study->n_cases * (double)study->n_organs, value_bytes = (double)study->n_columns * sizeof(double);
    const double organ_bytes = study->n_organs + (study->labels->ignore_value > 0) > UINT8_MAX ? 2 : 1;
    const double maps = totals->largest_voxels * ((run->options->resample ? 3 : 2) * organ_bytes + 1) +
                        (run->options->images && run->options->n_worst > 0 ? image_bytes : 0);
    const double results = n_cells * (value_bytes + sizeof *study->overlaps) + (double)study->n_cases * sizeof *study->cases;
    double resamples = (double)study->n_cases * PIPE_N_RESAMPLES;

    resamples = resamples < PIPE_RESAMPLE_BYTES ? resamples : PIPE_RESAMPLE_BYTES;
    if (run->options->compare) resamples += n_cells * value_bytes;
    return totals->largest_voxels > 1 ? fixed_bytes + results + (maps > resamples ? maps : resamples) : 0;
}

static void print_plan(const evaluate_run *run, const dry_totals *totals, size_t n_good)
{
    const pipe_study *study = run->study;

    printf(
        "plan: %zu case%s, %zu to measure (%zu without a prediction, %zu without a reference, %zu would fail), %zu organ%s, %zu metric%s, "
        "%d rank%s\n",
        study->n_cases, io_plural(study->n_cases), n_good, totals->n_no_prediction, totals->n_no_reference, totals->n_failing,
        study->n_organs, io_plural(study->n_organs), study->n_columns, io_plural(study->n_columns), run->world.size,
        io_plural(run->world.size));
    printf("labels: %s\n", run->labels_source);
    if (count_bytes(run, totals) > 0) printf("memory: about %.0f MB per rank\n", count_bytes(run, totals) / 1e6);
}

static void print_plan_event(const evaluate_run *run, const dry_totals *totals, size_t n_good)
{
    const pipe_study *study = run->study;
    io_json *event = job_event_create(true, "plan");

    if (!event) return;
    (void)io_json_put_number(event, "cases", (double)study->n_cases);
    (void)io_json_put_number(event, "to_measure", (double)n_good);
    (void)io_json_put_number(event, "without_prediction", (double)totals->n_no_prediction);
    (void)io_json_put_number(event, "without_reference", (double)totals->n_no_reference);
    (void)io_json_put_number(event, "would_fail", (double)totals->n_failing);
    (void)io_json_put_number(event, "organs", (double)study->n_organs);
    (void)io_json_put_number(event, "metrics", (double)study->n_columns);
    (void)io_json_put_number(event, "ranks", run->world.size);
    (void)io_json_put_text(event, "labels", run->labels_source);
    if (count_bytes(run, totals) > 0) (void)io_json_put_number(event, "memory_bytes_per_rank", count_bytes(run, totals));
    job_event_print(&event);
}

int job_evaluate_dry_run(const evaluate_run *run)
{
    const pipe_study *study = run->study;
    dry_totals totals = {0};
    size_t n_good;

    if (!run->options->json) printf("pairs (prediction, reference):\n");
    for (size_t i = 0; i < study->n_cases; i++) show_case(run->options, &study->cases[i], &totals);
    n_good = study->n_cases - totals.n_no_prediction - totals.n_no_reference - totals.n_failing;
    if (run->options->json)
        print_plan_event(run, &totals, n_good);
    else
        print_plan(run, &totals, n_good);
    return n_good > 0 ? JOB_EXIT_DONE : JOB_EXIT_NOTHING;
}
