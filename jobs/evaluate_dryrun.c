/* --dry-run: pairs and what would become of them, from names and headers alone; see evaluate.h. */
#include <stdio.h>

#include "io/file.h"
#include "io/nifti.h"
#include "jobs/evaluate.h"
#include "jobs/exits.h"
#include "pipeline/label_volume.h"

/* Bytes a rank needs beside its label maps: program, libraries, blocks of a file, results. */
static const double fixed_bytes = 60e6;

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

static void show_case(const evaluate_options *options, const pipe_study_case *c, dry_totals *totals)
{
    totals->n_no_prediction += !c->prediction;
    totals->n_no_reference += !c->reference;
    if (!c->prediction || !c->reference) {
        printf("  %s: no %s for %s\n", c->id, c->prediction ? "reference" : "prediction", c->prediction ? c->prediction : c->reference);
        return;
    }
    printf("  %s: %s, %s%s%s\n", c->id, c->prediction, c->reference, c->image ? ", " : "", c->image ? c->image : "");
    if (check_pair(options, c, totals) == IO_OK) return;
    totals->n_failing++;
    printf("    would fail: %s\n", io_last_error_text());
}

int job_evaluate_dry_run(const evaluate_run *run)
{
    const pipe_study *study = run->study;
    const int organ_bytes = study->n_organs > 255 ? 2 : 1;
    dry_totals totals = {0};
    size_t n_good;

    printf("pairs (prediction, reference):\n");
    for (size_t i = 0; i < study->n_cases; i++) show_case(run->options, &study->cases[i], &totals);
    n_good = study->n_cases - totals.n_no_prediction - totals.n_no_reference - totals.n_failing;
    printf("plan: %zu cases, %zu to measure (%zu without a prediction, %zu without a reference, %zu would fail), %zu organs, %zu metrics, "
           "%d rank%s\n",
           study->n_cases, n_good, totals.n_no_prediction, totals.n_no_reference, totals.n_failing, study->n_organs, study->n_columns,
           run->world.size, run->world.size == 1 ? "" : "s");
    printf("labels: %s\n", run->labels_source);
    if (totals.largest_voxels > 1) /* two label maps, and at most a byte per voxel while an organ is measured */
        printf("memory: about %.0f MB per rank\n", (totals.largest_voxels * (2 * organ_bytes + 1) + fixed_bytes) / 1e6);
    return n_good > 0 ? JOB_EXIT_DONE : JOB_EXIT_NOTHING;
}
