/* What the parts of the network share while they run: the device, the activations, and who watches. */
#ifndef MODEL_RUN_H
#define MODEL_RUN_H

#include <stdbool.h>
#include <stddef.h>

#include "io/status.h"
#include "model/backend.h"
#include "model/config.h"
#include "model/sam.h"
#include "model/workspace.h"

typedef struct model_run {
    const model_config *config;
    const model_ops *ops;
    model_backend *backend;
    model_type type;
    const model_workspace *workspace;
    int b;             /* slices in this pass */
    model_trace trace; /* NULL: nobody measures */
    void *trace_context;
    double trace_start; /* seconds */
    char probe[32];     /* "" : nobody looks */
    float *probe_out;
} model_run;

/* A linear layer on the device: bias [n_out] may be NULL. */
typedef struct model_linear {
    model_matrix *weight;
    const float *bias;
    int n_out, n_in;
    model_matrix *transposed; /* for the way back; NULL unless loaded for training */
} model_linear;

/* gamma, beta [n] on the device. */
typedef struct model_norm {
    const float *gamma, *beta;
} model_norm;

io_status model_run_linear(model_run *run, model_rows out, model_rows in, const model_linear *linear, model_epilogue epilogue, int M);

/* Ends what was measured since the last call, under this name; waits for the device only when somebody measures. */
io_status model_run_trace(model_run *run, const char *operation, double flop, double bytes);
/* The same for a product of M rows. */
io_status model_run_trace_linear(model_run *run, const char *operation, const model_linear *linear, int M);
io_status model_run_trace_start(model_run *run);

/* Copies rows [M,C] f32 out when somebody asked for them under this name. transposed: out is [C,M]. */
io_status model_run_probe(model_run *run, const char *what, model_rows rows, int M, int C, bool transposed);

#endif
