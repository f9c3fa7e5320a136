/* The command line of `samed prepare`. See prepare.h. */
#include <string.h>

#include "jobs/exits.h"
#include "jobs/options.h"
#include "jobs/prepare.h"

enum {
    KEY_IMAGES = 1000,
    KEY_MASKS,
    KEY_LIST,
    KEY_LABELS,
    KEY_MAP,
    KEY_CLASSES,
    KEY_OVERWRITE,
    KEY_TRAIN,
    KEY_VAL,
    KEY_FOLDS,
    KEY_FOLD,
    KEY_SEED,
    KEY_WINDOW,
    KEY_PERCENTILE,
    KEY_ORIENT,
    KEY_SIZE,
    KEY_TOLERANCE,
    KEY_JSON,
    KEY_RANKS
};

enum { MAX_SIZE = 4096, MAX_CLASSES = 65534, MAX_FOLDS = 10000 };

static const struct argp_option options_table[] = {
    {0, 0, 0, 0, "What goes in and out:", 1},
    {"input", 'i', "FOLDER", 0, "a study in nnU-Net's layout (imagesTr, labelsTr), or a folder of SAMed's .npz slices", 1},
    {"images", KEY_IMAGES, "FOLDER", 0, "images, with --masks instead of -i", 1},
    {"masks", KEY_MASKS, "FOLDER", 0, "their label maps, by the same names (also img0001 and label0001)", 1},
    {"list", KEY_LIST, "FILE", 0, "pairs from a table 'id<TAB>image<TAB>label map'; beside -i: names of .npz slices to take", 1},
    {"output", 'o', "FOLDER", 0, "the store", 1},
    {"overwrite", KEY_OVERWRITE, 0, 0, "redo cases that are done", 1},
    {"dry-run", 'n', 0, 0, "read headers only; print pairs, slices and disk space", 1},
    {0, 0, 0, 0, "What the labels mean:", 2},
    {"labels", KEY_LABELS, "FILE", 0, "names of the classes (default: the study's dataset.json, or SAMed's organs)", 2},
    {"classes", KEY_CLASSES, "N", 0, "number of classes without background (default: as many as are named)", 2},
    {"map", KEY_MAP, "NAME|FILE", 0, "btcv, totalsegmentator, totalsegmentator_mr, or a JSON file {\"6\": 5, \"9\": 0}", 2},
    {0, 0, 0, 0, "Which cases are held out (always whole cases):", 3},
    {"train", KEY_TRAIN, "FILE", 0, "list of the cases to train on, one per line", 3},
    {"val", KEY_VAL, "FILE", 0, "list of the cases to validate on", 3},
    {"folds", KEY_FOLDS, "K", 0, "deal the cases into K folds", 3},
    {"fold", KEY_FOLD, "F", 0, "validate on fold F, 0 to K - 1 (default 0)", 3},
    {"seed", KEY_SEED, "N", 0, "of the dealing (default 0)", 3},
    {0, 0, 0, 0, "How slices are prepared:", 4},
    {"window", KEY_WINDOW, "LO HI", 0, "clip to these values (default -125 275 HU)", 4},
    {"percentile", KEY_PERCENTILE, "LO HI", 0, "clip to these percentiles of each volume (MR)", 4},
    {"orient", KEY_ORIENT, "native|ras", 0, "slices in storage order (default), or turned to RAS", 4},
    {"size", KEY_SIZE, "PIXELS", 0, "side of the stored slices (default 224, as the reference)", 4},
    {"grid-tolerance", KEY_TOLERANCE, "MM", 0, "how far the corners of image and label map may be apart (default 0.01)", 4},
    {0, 0, 0, 0, "What it tells:", 5},
    {"json", KEY_JSON, 0, 0, "one JSON object per event on standard output", 5},
    {"ranks", KEY_RANKS, "N", 0, "ranks that were started; another number is refused", 5},
    {"quiet", 'q', 0, 0, "errors only", 5},
    {"verbose", 'v', 0, 0, "more about each case", 5},
    {0}};

static const char doc[] =
    "Turns images with label maps into a store of slices for training."
    "\v"
    "Examples:\n"
    "  samed prepare -i study -o store --folds 5 --fold 0\n"
    "  mpirun -n 4 samed prepare --images img --masks label --map btcv -o store --val held_out.txt\n"
    "  samed prepare -i train_npz --list lists_Synapse/train.txt -o store\n"
    "\n"
    "Started again with the same options, it skips what is done. Exit codes: 0 all done, 1 the run failed, 2 wrong options, 3 some cases "
    "failed (failed.tsv), 4 nothing was valid, 75 stopped in good order (start again to continue).";

static error_t parse_paths(int key, char *arg, prepare_options *options)
{
    switch (key) {
    case 'i': options->study = arg; return 0;
    case KEY_IMAGES: options->images = arg; return 0;
    case KEY_MASKS: options->masks = arg; return 0;
    case KEY_LIST: options->list = arg; return 0;
    case 'o': options->output = arg; return 0;
    case KEY_LABELS: options->labels = arg; return 0;
    case KEY_MAP: options->map = arg; return 0;
    case KEY_TRAIN: options->split.train_list = arg; return 0;
    case KEY_VAL: options->split.val_list = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_switches(int key, prepare_options *options)
{
    switch (key) {
    case KEY_OVERWRITE: options->overwrite = true; return 0;
    case 'n': options->dry_run = true; return 0;
    case KEY_JSON: options->json = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void set_tolerance(struct argp_state *state, const char *text, prepare_options *options)
{
    options->tolerance_mm = job_options_number(state, "--grid-tolerance", text);
    if (!(options->tolerance_mm >= 0)) job_options_fail(state, "--grid-tolerance: expected millimetres from 0 on, found '%s'", text);
}

static error_t parse_settings(int key, char *arg, struct argp_state *state, prepare_options *options)
{
    switch (key) {
    case 'q': job_options_verbosity(state, -1, &options->verbosity); return 0;
    case 'v': job_options_verbosity(state, 1, &options->verbosity); return 0;
    case KEY_RANKS: options->n_ranks = job_options_ranks(state, arg); return 0;
    case KEY_CLASSES: options->n_classes = (int)job_options_integer(state, "--classes", arg, 1, MAX_CLASSES); return 0;
    case KEY_FOLDS: options->split.n_folds = (int)job_options_integer(state, "--folds", arg, 2, MAX_FOLDS); return 0;
    case KEY_FOLD: options->split.fold = (int)job_options_integer(state, "--fold", arg, 0, MAX_FOLDS - 1); return 0;
    case KEY_SEED: options->split.seed = (uint64_t)job_options_integer(state, "--seed", arg, 0, 1ll << 53); return 0;
    case KEY_WINDOW: job_options_range(state, "--window", arg, PIPE_WINDOW, &options->slices); return 0;
    case KEY_PERCENTILE: job_options_range(state, "--percentile", arg, PIPE_PERCENTILE, &options->slices); return 0;
    case KEY_ORIENT: job_options_orient(state, arg, &options->slices); return 0;
    case KEY_SIZE: options->slices.image_size = (int)job_options_integer(state, "--size", arg, 16, MAX_SIZE); return 0;
    case KEY_TOLERANCE: set_tolerance(state, arg, options); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* What cannot be gone on with; NULL when all is well. */
static const char *find_fault(const prepare_options *o)
{
    const bool has_folders = o->images || o->masks;

    if (!o->study && !has_folders && !o->list) return "nothing to prepare; give -i FOLDER, --images and --masks, or --list FILE";
    if (has_folders && (o->study || o->list)) return "give -i, or --images and --masks, or --list";
    if (has_folders && !(o->images && o->masks)) return "--images and --masks go together";
    if (!o->output) return "no output folder; give -o FOLDER";
    if (o->split.n_folds > 0 && (o->split.train_list || o->split.val_list)) return "give --folds, or --train and --val, not both";
    if (o->split.n_folds == 0 && o->split.fold > 0) return "--fold needs --folds";
    if (o->split.n_folds > 0 && o->split.fold >= o->split.n_folds) return "--fold: expected a number below --folds";
    return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    prepare_options *options = state->input;

    if (key == ARGP_KEY_END) {
        if (find_fault(options)) job_options_fail(state, "%s", find_fault(options));
        return 0;
    }
    if (key == ARGP_KEY_ARG) {
        job_options_fail(state, "'%s' is not expected here", arg);
        return 0;
    }
    if (parse_paths(key, arg, options) == 0 || parse_switches(key, options) == 0) return 0;
    return parse_settings(key, arg, state, options);
}

int job_options_prepare(int argc, char **argv, prepare_options *out)
{
    const struct argp argp = {options_table, parse, "", doc, 0, 0, 0};

    *out = (prepare_options){.tolerance_mm = 0.01};
    pipe_options_default(&out->slices);
    out->slices.image_size = 224; /* spec 5.3, 7 step 6 */
    return job_options_parse(&argp, argc, argv, out);
}
