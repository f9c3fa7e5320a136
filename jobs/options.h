/* What the user asked for. Options are parsed by argp before MPI starts; a fault ends the program with JOB_EXIT_USAGE and one message
 * from the first rank only. */
#ifndef JOBS_OPTIONS_H
#define JOBS_OPTIONS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>

#include "jobs/output.h"
#include "model/device.h"
#include "pipeline/slices.h"

enum { JOB_TEAM_AUTO = 0, JOB_TEAM_ALL = -1 };

typedef struct job_segment_options {
    const char **inputs; /* [n_inputs], borrowed from argv; the array is owned */
    size_t n_inputs;
    const char *list, *output, *sam, *adapter, *labels; /* borrowed from argv, NULL when not given, as the next */
    const char *only, *scratch, *overwrite_before;      /* NULL when not given */
    job_shard shard;                                    /* n 0 for the whole */
    model_device_kind device;
    model_type precision;
    int n_ranks;   /* that must be there, 0 when not given */
    int n_threads; /* per rank, 0: by affinity and quota */
    int team;      /* ranks that share a case, JOB_TEAM_AUTO or JOB_TEAM_ALL */
    int batch;     /* slices per call of the model */
    bool overwrite, dry_run, preview, stats, json, share_gpu;
    int verbosity;              /* -1 quiet, 0, 1 verbose */
    int n_nodes, gpus_per_node; /* of --dry-run's plan; 0 when not given, as the next */
    double seconds_per_slice;
    pipe_options pipe;
} job_segment_options;

/* Fills in *out; returns -1, or the exit code with which the program has to end at once (0 after --help). */
int job_options_segment(int argc, char **argv, job_segment_options *out);
void job_options_free(job_segment_options *options);

/* For the other commands: runs argp on argv. Messages come from the first rank only. Same return as above. */
int job_options_parse(const struct argp *argp, int argc, char **argv, void *input);

/* To be called inside an argp parser: the command line has a fault. Ends the program of the first rank with this message. On the other
 * ranks it returns, and job_options_parse says JOB_EXIT_USAGE at its end, so that no rank waits in MPI_Init for one that left. */
void job_options_fail(struct argp_state *state, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same; each reports a fault through job_options_fail. */
long long job_options_integer(struct argp_state *state, const char *name, const char *text, long long low, long long high);
double job_options_number(struct argp_state *state, const char *name, const char *text);
/* first and the n - 1 arguments that follow it -> out [n]. */
void job_options_numbers(struct argp_state *state, const char *name, const char *first, int n, double *out);
/* --ranks: how many ranks the caller started; the run refuses another number. */
int job_options_ranks(struct argp_state *state, const char *text);
/* -q (value -1) or -v (1); both together are a fault. */
void job_options_verbosity(struct argp_state *state, int value, int *verbosity);
/* --window or --percentile (both are a fault), and --orient: into the options of the slices. */
void job_options_range(struct argp_state *state, const char *name, const char *first, pipe_intensity_kind kind, pipe_options *pipe);
void job_options_orient(struct argp_state *state, const char *text, pipe_options *pipe);
model_type job_options_precision(struct argp_state *state, const char *text);
model_device_kind job_options_device(struct argp_state *state, const char *text);

const char *job_precision_name(model_type type); /* "f32", "bf16", "tf32" */

#endif
