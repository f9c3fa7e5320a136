/* See options.h. The names are those that users of such programs know: -i, -o, --device, --dry-run, -q, -v. */
#include "jobs/options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"
#include "jobs/comm.h"
#include "jobs/exits.h"

enum {
    KEY_LIST = 1000,
    KEY_SAM,
    KEY_ADAPTER,
    KEY_LABELS,
    KEY_DEVICE,
    KEY_PRECISION,
    KEY_THREADS,
    KEY_TEAM,
    KEY_BATCH,
    KEY_OVERWRITE,
    KEY_OVERWRITE_BEFORE,
    KEY_PREVIEW,
    KEY_STATS,
    KEY_JSON,
    KEY_PRESET,
    KEY_WINDOW,
    KEY_PERCENTILE,
    KEY_ORIENT,
    KEY_IMAGE_SIZE,
    KEY_RANKS,
    KEY_SHARD,
    KEY_ONLY,
    KEY_SCRATCH,
    KEY_NODES,
    KEY_GPUS,
    KEY_SECONDS,
    KEY_SHARE_GPU
};

enum { MAX_SHARDS = 100000, MAX_THREADS = 1024, MAX_BATCH = 256, MAX_IMAGE_SIZE = 4096 };

/* Of this process's command line, while it is parsed. */
static bool has_fault;
static const char *range_name; /* --window or --percentile, once one was given */

const char *job_precision_name(model_type type)
{
    static const char *const names[] = {"f32", "bf16", "tf32"}; /* in the order of model_type */

    return names[type];
}

void job_options_fail(struct argp_state *state, const char *format, ...)
{
    char text[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    has_fault = true;
    argp_error(state, "%s", text);
}

long long job_options_integer(struct argp_state *state, const char *name, const char *text, long long low, long long high)
{
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < low || value > high)
        job_options_fail(state, "%s: expected a whole number from %lld to %lld, found '%s'", name, low, high, text);
    return value;
}

int job_options_ranks(struct argp_state *state, const char *text)
{
    return (int)job_options_integer(state, "--ranks", text, 1, 1 << 20);
}

double job_options_number(struct argp_state *state, const char *name, const char *text)
{
    char *end;
    const double value = strtod(text, &end);

    if (end == text || *end || !isfinite(value)) job_options_fail(state, "%s: expected a number, found '%s'", name, text);
    return value;
}

void job_options_numbers(struct argp_state *state, const char *name, const char *first, int n, double *out)
{
    out[0] = job_options_number(state, name, first);
    for (int i = 1; i < n; i++) {
        if (state->next >= state->argc) {
            job_options_fail(state, "%s: expected %d numbers, found %d", name, n, i);
            return;
        }
        out[i] = job_options_number(state, name, state->argv[state->next++]);
    }
}

model_type job_options_precision(struct argp_state *state, const char *text)
{
    if (!strcmp(text, "bf16")) return MODEL_BF16;
    if (!strcmp(text, "tf32")) return MODEL_TF32;
    if (strcmp(text, "f32") != 0) job_options_fail(state, "--precision: expected f32, tf32 or bf16, found '%s'", text);
    return MODEL_F32;
}

model_device_kind job_options_device(struct argp_state *state, const char *text)
{
    if (!strcmp(text, "cpu")) return MODEL_DEVICE_CPU;
    if (!strcmp(text, "cuda")) return MODEL_DEVICE_CUDA;
    if (strcmp(text, "auto") != 0) job_options_fail(state, "--device: expected auto, cpu or cuda, found '%s'", text);
    return MODEL_DEVICE_AUTO;
}

/* Ranks other than the first say nothing. argp cannot be told so for --help, which then has to end the program here. */
static bool asks_for_help(int argc, char **argv)
{
    static const char *const words[] = {"--help", "-?", "--usage", "--version", "-V"};

    for (int i = 1; i < argc; i++)
        for (size_t w = 0; w < sizeof words / sizeof *words; w++)
            if (!strcmp(argv[i], words[w])) return true;
    return false;
}

int job_options_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    const bool is_first = job_comm_claimed_rank() == 0;

    argp_err_exit_status = JOB_EXIT_USAGE;
    argp_program_version = "samed " SAMED_VERSION;
    has_fault = false;
    range_name = NULL;
    if (!is_first && asks_for_help(argc, argv)) return JOB_EXIT_DONE;
    if (argp_parse(argp, argc, argv, is_first ? 0 : ARGP_NO_ERRS | ARGP_NO_EXIT, NULL, input) != 0) return JOB_EXIT_USAGE;
    return has_fault ? JOB_EXIT_USAGE : -1;
}

static const struct argp_option segment_options[] = {
    {0, 0, 0, 0, "What goes in and out:", 1},
    {"input", 'i', "PATH", 0, "NIfTI files or folders of them (more may follow: -i a.nii.gz b.nii.gz)", 1},
    {"list", KEY_LIST, "FILE", 0, "cases from a table, one 'id<TAB>path' per line", 1},
    {"output", 'o', "FOLDER", 0, "where label maps, records and failed.tsv go", 1},
    {"sam", KEY_SAM, "FILE", 0, "SAM's weights (.pth or .safetensors)", 1},
    {"adapter", KEY_ADAPTER, "FILE", 0, "SAMed's weights; without it SAM's own mask channels are labelled", 1},
    {"labels", KEY_LABELS, "FILE", 0, "names and colours of the classes (dataset.json; default: SAMed's organs)", 1},
    {"only", KEY_ONLY, "FILE", 0, "just the cases that a failed.tsv or a list of ids names", 1},
    {"shard", KEY_SHARD, "I/N", 0, "part I (1 to N) of N of the study, of equal size; the parts may run at once", 1},
    {"overwrite", KEY_OVERWRITE, 0, 0, "redo cases that are done", 1},
    {"overwrite-before", KEY_OVERWRITE_BEFORE, "FILE", 0, "redo cases that were done before this file was last written, keep later ones",
     1},
    {"preview", KEY_PREVIEW, 0, 0, "write a picture of each case (<case>_preview.png)", 1},
    {"stats", KEY_STATS, 0, 0, "measure volumes and intensities per label (stats.tsv)", 1},
    {0, 0, 0, 0, "How slices are prepared:", 2},
    {"preset", KEY_PRESET, "samed|direct", 0, "through 224 pixels as the reference (default), or straight to the image size", 2},
    {"window", KEY_WINDOW, "LO HI", 0, "clip to these values (default -125 275 HU)", 2},
    {"percentile", KEY_PERCENTILE, "LO HI", 0, "clip to these percentiles of each volume (MR)", 2},
    {"orient", KEY_ORIENT, "native|ras", 0, "slices in storage order (default), or turned to RAS and back", 2},
    {"image-size", KEY_IMAGE_SIZE, "PIXELS", 0, "side of the network's input, a multiple of 16 (default 512)", 2},
    {0, 0, 0, 0, "How it is computed:", 3},
    {"device", KEY_DEVICE, "auto|cpu|cuda", 0, "default auto", 3},
    {"precision", KEY_PRECISION, "f32|tf32|bf16", 0, "default f32; tf32 is of CUDA devices", 3},
    {"share-gpu", KEY_SHARE_GPU, 0, 0, "let several ranks use one GPU", 3},
    {"threads", KEY_THREADS, "N", 0, "per rank; default: allowed CPUs shared by the ranks of a node", 3},
    {"ranks", KEY_RANKS, "N", 0, "ranks that were started; another number is refused", 3},
    {"team", KEY_TEAM, "N|all|auto", 0,
     "ranks that share one case: 1 for none, all for the fastest single case; auto shares the more the fewer cases are left (default)", 3},
    {"batch", KEY_BATCH, "N", 0, "slices per call of the network (default 1)", 3},
    {"seconds-per-slice", KEY_SECONDS, "S", 0,
     "of one rank, as samed bench or run.json tell: cases are cut for it, and the plan's time follows (default: an estimate)", 3},
    {"scratch", KEY_SCRATCH, "FOLDER", 0, "of this node alone: inputs are copied there first, outputs written there and moved out", 3},
    {0, 0, 0, 0, "What it tells before it is run (no ranks needed):", 4},
    {"dry-run", 'n', 0, 0, "read headers only; print the plan, memory, disk, time and suspicious headers", 4},
    {"nodes", KEY_NODES, "N", 0, "plan for the ranks of --ranks on so many nodes like this one (default 1)", 4},
    {"gpus-per-node", KEY_GPUS, "N", 0, "plan which ranks share a GPU", 4},
    {0, 0, 0, 0, "What it tells:", 5},
    {"json", KEY_JSON, 0, 0, "one JSON object per event on standard output", 5},
    {"quiet", 'q', 0, 0, "errors only", 5},
    {"verbose", 'v', 0, 0, "more about each case", 5},
    {0}};

static const char segment_doc[] =
    "Segments NIfTI volumes: one label map per case, on the input's grid."
    "\v"
    "Examples:\n"
    "  samed segment -i scan.nii.gz -o out --sam sam_vit_b_01ec64.pth --adapter epoch_159.pth\n"
    "  mpirun -n 4 samed segment -i study/ -o out --sam sam_vit_b_01ec64.pth --adapter epoch_159.pth --preview --stats\n"
    "  samed segment -i study/ -o out -n\n"
    "\n"
    "Started again with the same options, it skips what is done. Exit codes: 0 all done, 1 the run failed, 2 wrong options, 3 some cases "
    "failed (failed.tsv), 4 nothing was valid, 75 stopped in good order (start again to continue).";

static void add_input(job_segment_options *options, const char *path)
{
    options->inputs[options->n_inputs++] = path; /* room for argc entries was made before parsing */
}

void job_options_verbosity(struct argp_state *state, int value, int *verbosity)
{
    if (*verbosity == -value) job_options_fail(state, "give --quiet or --verbose, not both");
    *verbosity = value;
}

void job_options_range(struct argp_state *state, const char *name, const char *first, pipe_intensity_kind kind, pipe_options *pipe)
{
    double range[2] = {0, 1};

    if (range_name && strcmp(range_name, name) != 0) job_options_fail(state, "give %s or %s, not both", range_name, name);
    range_name = name;
    job_options_numbers(state, name, first, 2, range);
    if (!(range[0] < range[1]))
        job_options_fail(state, "%s: the first number must be below the second, found %g and %g", name, range[0], range[1]);
    if (kind == PIPE_PERCENTILE && (range[0] < 0 || range[1] > 100))
        job_options_fail(state, "%s: expected percentiles from 0 to 100, found %g and %g", name, range[0], range[1]);
    pipe->intensity = kind;
    pipe->low = range[0];
    pipe->high = range[1];
}

static void set_image_size(struct argp_state *state, const char *text, pipe_options *pipe)
{
    pipe->image_size = (int)job_options_integer(state, "--image-size", text, 16, MAX_IMAGE_SIZE);
    if (pipe->image_size % 16 != 0) job_options_fail(state, "--image-size: expected a multiple of 16, found '%s'", text);
}

static void set_preset(struct argp_state *state, const char *text, pipe_options *pipe)
{
    if (strcmp(text, "samed") != 0 && strcmp(text, "direct") != 0)
        job_options_fail(state, "--preset: expected samed or direct, found '%s'", text);
    pipe->preset = strcmp(text, "direct") ? PIPE_PRESET_SAMED : PIPE_PRESET_DIRECT;
}

void job_options_orient(struct argp_state *state, const char *text, pipe_options *pipe)
{
    if (strcmp(text, "native") != 0 && strcmp(text, "ras") != 0)
        job_options_fail(state, "--orient: expected native or ras, found '%s'", text);
    pipe->orient = strcmp(text, "ras") ? PIPE_ORIENT_NATIVE : PIPE_ORIENT_RAS;
}

static int read_team(struct argp_state *state, const char *text)
{
    if (!strcmp(text, "auto")) return JOB_TEAM_AUTO;
    if (!strcmp(text, "all")) return JOB_TEAM_ALL;
    if (!*text || text[strspn(text, "0123456789")])
        job_options_fail(state, "--team: expected a number of ranks, all or auto, found '%s'", text);
    return (int)job_options_integer(state, "--team", text, 1, 1 << 20);
}

static void set_shard(struct argp_state *state, const char *text, job_shard *shard)
{
    int end = 0;

    if (sscanf(text, "%d/%d%n", &shard->index, &shard->n, &end) == 2 && end > 0 && !text[end] && shard->index >= 1 &&
        shard->index <= shard->n && shard->n <= MAX_SHARDS)
        return;
    job_options_fail(state, "--shard: expected I/N, part I from 1 to N of at most %d, found '%s'", MAX_SHARDS, text);
}

static double read_seconds(struct argp_state *state, const char *text)
{
    const double seconds = job_options_number(state, "--seconds-per-slice", text);

    if (!(seconds > 0)) job_options_fail(state, "--seconds-per-slice: expected a number above 0, found '%s'", text);
    return seconds;
}

/* What --dry-run plans for. */
static error_t parse_plan(int key, char *arg, struct argp_state *state, job_segment_options *options)
{
    switch (key) {
    case KEY_NODES: options->n_nodes = (int)job_options_integer(state, "--nodes", arg, 1, 1 << 20); return 0;
    case KEY_GPUS: options->gpus_per_node = (int)job_options_integer(state, "--gpus-per-node", arg, 1, 1 << 10); return 0;
    case KEY_SECONDS: options->seconds_per_slice = read_seconds(state, arg); return 0;
    case KEY_SHARD: set_shard(state, arg, &options->shard); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_paths(int key, char *arg, job_segment_options *options)
{
    switch (key) {
    case ARGP_KEY_ARG:
    case 'i': add_input(options, arg); return 0;
    case KEY_LIST: options->list = arg; return 0;
    case 'o': options->output = arg; return 0;
    case KEY_SAM: options->sam = arg; return 0;
    case KEY_ADAPTER: options->adapter = arg; return 0;
    case KEY_LABELS: options->labels = arg; return 0;
    case KEY_ONLY: options->only = arg; return 0;
    case KEY_OVERWRITE_BEFORE: options->overwrite_before = arg; return 0;
    case KEY_SCRATCH: options->scratch = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_switches(int key, job_segment_options *options)
{
    switch (key) {
    case KEY_OVERWRITE: options->overwrite = true; return 0;
    case 'n': options->dry_run = true; return 0;
    case KEY_PREVIEW: options->preview = true; return 0;
    case KEY_STATS: options->stats = true; return 0;
    case KEY_JSON: options->json = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_settings(int key, char *arg, struct argp_state *state, job_segment_options *options)
{
    switch (key) {
    case 'q': job_options_verbosity(state, -1, &options->verbosity); return 0;
    case 'v': job_options_verbosity(state, 1, &options->verbosity); return 0;
    case KEY_PRESET: set_preset(state, arg, &options->pipe); return 0;
    case KEY_WINDOW: job_options_range(state, "--window", arg, PIPE_WINDOW, &options->pipe); return 0;
    case KEY_PERCENTILE: job_options_range(state, "--percentile", arg, PIPE_PERCENTILE, &options->pipe); return 0;
    case KEY_ORIENT: job_options_orient(state, arg, &options->pipe); return 0;
    case KEY_IMAGE_SIZE: set_image_size(state, arg, &options->pipe); return 0;
    case KEY_DEVICE: options->device = job_options_device(state, arg); return 0;
    case KEY_SHARE_GPU: options->share_gpu = true; return 0;
    case KEY_PRECISION: options->precision = job_options_precision(state, arg); return 0;
    case KEY_THREADS: options->n_threads = (int)job_options_integer(state, "--threads", arg, 1, MAX_THREADS); return 0;
    case KEY_RANKS: options->n_ranks = job_options_ranks(state, arg); return 0;
    case KEY_TEAM: options->team = read_team(state, arg); return 0;
    case KEY_BATCH: options->batch = (int)job_options_integer(state, "--batch", arg, 1, MAX_BATCH); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void check_complete(struct argp_state *state, const job_segment_options *options)
{
    if (options->n_inputs == 0 && !options->list) job_options_fail(state, "nothing to segment; give -i FILE or FOLDER, or --list FILE");
    if (options->n_inputs > 0 && options->list) job_options_fail(state, "give -i or --list, not both");
    if (!options->output) job_options_fail(state, "no output folder; give -o FOLDER");
    if (!options->sam && !options->dry_run) job_options_fail(state, "no weights; give --sam FILE (for example sam_vit_b_01ec64.pth)");
}

/* What only a plan can use, and would be misunderstood in a run. */
static void check_plan(struct argp_state *state, const job_segment_options *options)
{
    if (options->dry_run) return;
    if (options->n_nodes || options->gpus_per_node) job_options_fail(state, "--nodes and --gpus-per-node belong to --dry-run");
}

static error_t parse_segment(int key, char *arg, struct argp_state *state)
{
    job_segment_options *options = state->input;

    if (key == ARGP_KEY_END) {
        check_complete(state, options);
        check_plan(state, options);
        return 0;
    }
    if (parse_paths(key, arg, options) == 0 || parse_switches(key, options) == 0 || parse_plan(key, arg, state, options) == 0) return 0;
    return parse_settings(key, arg, state, options);
}

int job_options_segment(int argc, char **argv, job_segment_options *out)
{
    const struct argp argp = {segment_options, parse_segment, "", segment_doc, 0, 0, 0};

    *out = (job_segment_options){.batch = 1, .device = MODEL_DEVICE_AUTO, .precision = MODEL_F32, .team = JOB_TEAM_AUTO};
    pipe_options_default(&out->pipe);
    if (io_alloc((size_t)argc + 1, sizeof *out->inputs, (void **)&out->inputs) != IO_OK) return JOB_EXIT_RUN;
    return job_options_parse(&argp, argc, argv, out);
}

void job_options_free(job_segment_options *options)
{
    io_free(&options->inputs);
    options->n_inputs = 0;
}
