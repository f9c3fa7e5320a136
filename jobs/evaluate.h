/* Inside of `samed evaluate`. Phases: options -> pairs -> (case, organs) items over the ranks -> results to rank 0 -> report.
 *
 * An item is a case, or a part of its organs when there are fewer cases than ranks. Each rank holds one pair of label maps at a time;
 * results are a few numbers per organ. Every rank lists the folders by itself and must find the same pairs. */
#ifndef JOBS_EVALUATE_H
#define JOBS_EVALUATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/labels.h"
#include "jobs/comm.h"
#include "jobs/lock.h"
#include "jobs/post.h"
#include "jobs/progress.h"
#include "jobs/queue.h"
#include "pipeline/label_map.h"
#include "pipeline/pair.h"
#include "pipeline/report.h"
#include "pipeline/study.h"
#include "pipeline/study_summary.h"

enum { JOB_MAX_MAPS = 8 };

typedef struct evaluate_options {
    const char **predictions, **references; /* [n_...], borrowed from argv; the arrays are owned */
    size_t n_predictions, n_references;
    const char *list, *output, *labels, *compare, *images; /* borrowed, NULL when not given */
    const char *maps[JOB_MAX_MAPS];                        /* "btcv", "reference=btcv", "prediction=map.json" */
    int n_maps;
    pipe_study_options study;
    double grid_tolerance_mm;
    bool round, resample, nnunet, latex, dry_run, json;
    int n_ranks;   /* that must be there, 0 when not given */
    int n_worst;   /* cases with pictures */
    int verbosity; /* -1 quiet, 0, 1 verbose */
    char *command; /* as typed, owned */
} evaluate_options;

/* Returns -1, or the exit code with which the program has to end at once. */
/* The map of --map behind its side, and which sides it is for; without a side both. */
const char *job_evaluate_map_source(const char *text, bool *is_for_reference, bool *is_for_prediction);

int job_options_evaluate(int argc, char **argv, evaluate_options *out);
void job_options_evaluate_free(evaluate_options *options);

/* What rank 0 knows of a case under way: its parts end one by one, on any rank. */
typedef struct evaluate_tally {
    int n_ended;
    double seconds;
} evaluate_tally;

typedef struct evaluate_run {
    const evaluate_options *options;
    job_comm world;
    job_lock *lock;
    job_queue *queue;
    job_post *post;
    job_progress progress;
    io_labels *labels;
    char labels_source[512];
    pipe_label_map *reference_map, *prediction_map;
    pipe_study *study;
    int n_parts;       /* items per case */
    uint8_t **results; /* [n_results], of this rank, as they travel; rank 0 puts its own into the study at once */
    size_t n_results;
    evaluate_tally *tallies; /* [n_cases], rank 0 */
    bool has_told_stop, is_polling;
    double started;
} evaluate_run;

/* The names of organs: --labels, or a dataset.json beside the first reference, or SAMed's organs. *source in words. A ready map for the
 * references leads to SAMed's organs: it replaces the values that the dataset.json beside them names. */
io_status job_evaluate_labels(const evaluate_options *options, io_labels **out, char *source, size_t n_source);
/* The cases of a study, sorted by id, with those that lack a partner. */
io_status job_evaluate_pairs(const evaluate_options *options, pipe_study *study);

/* Rank 0. Tells what the labels mean (verbose), and warns of images and names of maps that belong to no case. */
void job_evaluate_check(const evaluate_run *run);

/* Refuses an output folder in which inputs lie, or that is the report to compare with: none of their files may be replaced. */
io_status job_evaluate_check_output(const evaluate_options *options, const pipe_study *study);

/* Rank 0: prints the plan of --dry-run; returns the exit code. */
int job_evaluate_dry_run(const evaluate_run *run);

/* How this run opens a pair. */
pipe_pair_options job_evaluate_pair_options(const evaluate_run *run);
/* Collective. Measures all items; afterwards every rank but 0, whose are in the study, holds its own results. */
io_status job_evaluate_loop(evaluate_run *run);
void job_evaluate_poll(void *run);
/* Collective. All results are in rank 0's study; the other ranks hold none. */
io_status job_evaluate_gather(evaluate_run *run);
void job_evaluate_free_results(evaluate_run *run);

/* Collective. The worst cases' pictures; complete on rank 0. */
io_status job_evaluate_pictures(const evaluate_run *run, pipe_report_picture **out, size_t *n_out);
void job_evaluate_pictures_free(pipe_report_picture **pictures, size_t n_pictures);

/* Was the report of --compare made as this one is? Before measuring all but the references is known; afterwards rank 0 knows them too. */
io_status job_evaluate_check_other(const evaluate_run *run);
/* Collective. Statistics on all ranks, the report's files by rank 0. */
io_status job_evaluate_report(evaluate_run *run);

#endif
