/* The options of `samed evaluate`; see evaluate.h. */
#include <argp.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "jobs/evaluate.h"
#include "jobs/exits.h"
#include "jobs/options.h"

enum {
    KEY_LIST = 1000,
    KEY_LABELS,
    KEY_MAP,
    KEY_CONVENTION,
    KEY_TOLERANCE,
    KEY_VOXELS,
    KEY_ROUND,
    KEY_RESAMPLE,
    KEY_GRID_TOLERANCE,
    KEY_EMPTY,
    KEY_MISSING,
    KEY_COMPARE,
    KEY_IMAGES,
    KEY_WORST,
    KEY_SEED,
    KEY_NNUNET,
    KEY_LATEX,
    KEY_JSON,
    KEY_RANKS
};

enum { MAX_WORST = 100, MAX_LIST = 1024 };

static const struct argp_option options_table[] = {
    {0, 0, 0, 0, "What is compared:", 1},
    {"prediction", 'p', "PATH", 0, "label maps, or folders of them, or of folders with one mask per organ (more may follow)", 1},
    {"reference", 'r', "PATH", 0, "the same for the truth", 1},
    {"list", KEY_LIST, "FILE", 0, "pairs from a table: id<TAB>prediction<TAB>reference[<TAB>image]", 1},
    {"output", 'o', "FOLDER", 0, "where the report goes; no folder in which inputs lie", 1},
    {"labels", KEY_LABELS, "FILE", 0, "names and colours of the organs (dataset.json); default: one beside the maps, else SAMed's organs",
     1},
    {"map", KEY_MAP, "[SIDE=]MAP", 0,
     "merge or rename labels: btcv, totalsegmentator, totalsegmentator_mr, or a JSON file {\"6\": 5, \"kidney_right\": \"right kidney\"} "
     "(values of label maps; names of mask files); SIDE prediction or reference, default both",
     1},
    {"round", KEY_ROUND, 0, 0, "labels that are no integers take the nearest one", 1},
    {"resample", KEY_RESAMPLE, "nearest", 0, "bring predictions on another grid to the reference's", 1},
    {"grid-tolerance", KEY_GRID_TOLERANCE, "MM", 0, "corners of the grids may be this far apart (default 0.05)", 1},
    {0, 0, 0, 0, "What is measured:", 2},
    {"convention", KEY_CONVENTION, "NAME,...", 0, "medpy, monai, reloaded, deepmind, samed, or all (default reloaded,samed)", 2},
    {"tolerance", KEY_TOLERANCE, "MM,...", 0, "of NSD (default 1,2)", 2},
    {"voxels", KEY_VOXELS, 0, 0, "distances in voxels, beside those in mm", 2},
    {"empty", KEY_EMPTY, "RULES", 0,
     "what empty masks count: library, worst, or [CONVENTION/]METRIC:STATE=VALUE,... (hd95:missed=worst); may be repeated", 2},
    {"missing", KEY_MISSING, "RULE", 0,
     "cases without a prediction: fail (default; they are in no number), or worst (all their organs count as missed)", 2},
    {"seed", KEY_SEED, "N", 0, "of the bootstrap (default 0)", 2},
    {0, 0, 0, 0, "What is written:", 3},
    {"compare", KEY_COMPARE, "FOLDER", 0, "another report: paired differences, confidence intervals, Wilcoxon's p", 3},
    {"images", KEY_IMAGES, "PATH", 0, "volumes to show below the contours of the worst cases: a folder, or the file of a single case", 3},
    {"worst", KEY_WORST, "N", 0, "cases with pictures (default 8)", 3},
    {"nnunet", KEY_NNUNET, 0, 0, "also nnunet/summary.json in nnU-Net's schema", 3},
    {"latex", KEY_LATEX, 0, 0,
     "also table.tex: mean and SD per organ in each convention; for the eight organs of SAMed's paper also below its published rows, "
     "which are in the convention samed: it is measured too",
     3},
    {"ranks", KEY_RANKS, "N", 0, "ranks that were started; another number is refused", 3},
    {"dry-run", 'n', 0, 0, "read names and headers only; print pairs, what has no partner, and memory", 3},
    {"json", KEY_JSON, 0, 0, "events as JSON lines on standard output; with --dry-run the pairs and the plan", 3},
    {"quiet", 'q', 0, 0, "errors only", 3},
    {"verbose", 'v', 0, 0, "more about each case", 3},
    {0}};

static const char doc[] =
    "Compares label maps with a reference: DSC, HD and their kin per organ, as a report.\v"
    "Examples:\n"
    "  samed evaluate -p out/ -r labelsTr/ -o report\n"
    "  mpirun -n 4 samed evaluate -p out/ -r labelsTr/ -o report --map reference=btcv --convention all --latex --nnunet\n"
    "  samed evaluate -p new/ -r labelsTr/ -o report_new --compare report\n"
    "\n"
    "Exit codes: 0 all pairs measured, 1 the run failed, 2 wrong options, 3 some pairs failed (failed.tsv), 4 none could be measured, "
    "75 stopped in good order.";

/* The options while they are parsed; paths that stand alone belong to the -p or -r before them. */
typedef struct parser {
    evaluate_options *options;
    bool is_reference;
} parser;

static void add_path(parser *p, const char *path)
{
    if (p->is_reference)
        p->options->references[p->options->n_references++] = path;
    else
        p->options->predictions[p->options->n_predictions++] = path;
}

static void refuse_conventions(struct argp_state *state, const char *text)
{
    job_options_fail(state, "--convention: expected medpy, monai, reloaded, deepmind, samed or all, found '%s'", text);
}

static void add_convention(struct argp_state *state, pipe_study_options *study, const char *name)
{
    pipe_convention convention;

    if (!strcmp(name, "all")) {
        for (int c = 0; c < PIPE_N_CONVENTIONS; c++) add_convention(state, study, pipe_convention_name((pipe_convention)c));
        return;
    }
    if (pipe_convention_parse(name, &convention) != IO_OK) {
        refuse_conventions(state, name);
        return;
    }
    if (study->conventions >> convention & 1) return;
    study->conventions |= 1u << convention;
    study->order[study->n_conventions++] = convention;
}

/* A list of names or numbers to take apart; a longer one than any that makes sense is refused, not cut. */
static char *copy_list(struct argp_state *state, const char *option, const char *text, char copy[MAX_LIST])
{
    if (strlen(text) >= MAX_LIST)
        job_options_fail(state, "%s: a list of %zu letters, expected at most %d", option, strlen(text), MAX_LIST - 1);
    snprintf(copy, MAX_LIST, "%s", text);
    return copy;
}

static void set_conventions(struct argp_state *state, const char *text, pipe_study_options *study)
{
    char copy[MAX_LIST], *rest = copy_list(state, "--convention", text, copy);

    study->conventions = 0;
    study->n_conventions = 0;
    for (char *name = strtok_r(copy, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) add_convention(state, study, name);
    if (study->n_conventions == 0) refuse_conventions(state, text);
}

static void set_tolerances(struct argp_state *state, const char *text, pipe_study_options *study)
{
    char copy[MAX_LIST], *rest = copy_list(state, "--tolerance", text, copy);

    study->n_tolerances = 0;
    for (char *word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        const double mm = job_options_number(state, "--tolerance", word);
        if (!(mm >= 0) || study->n_tolerances == PIPE_MAX_TOLERANCES) {
            job_options_fail(state, "--tolerance: expected 1 to %d distances in mm, found '%s'", PIPE_MAX_TOLERANCES, text);
            return;
        }
        study->tolerances_mm[study->n_tolerances++] = mm;
    }
    if (study->n_tolerances == 0) job_options_fail(state, "--tolerance: expected distances in mm, found '%s'", text);
    qsort(study->tolerances_mm, (size_t)study->n_tolerances, sizeof *study->tolerances_mm, pipe_compare_doubles);
    for (int i = 1; i < study->n_tolerances; i++)
        if (study->tolerances_mm[i] == study->tolerances_mm[i - 1]) job_options_fail(state, "--tolerance: '%s' names one twice", text);
}

const char *job_evaluate_map_source(const char *text, bool *is_for_reference, bool *is_for_prediction)
{
    static const char prediction[] = "prediction=", reference[] = "reference=";

    *is_for_reference = strncmp(text, prediction, sizeof prediction - 1) != 0;
    *is_for_prediction = strncmp(text, reference, sizeof reference - 1) != 0;
    if (!*is_for_reference) return text + sizeof prediction - 1;
    return *is_for_prediction ? text : text + sizeof reference - 1;
}

static void add_map(struct argp_state *state, const char *text, evaluate_options *options)
{
    bool is_for_reference, is_for_prediction;
    const char *source = job_evaluate_map_source(text, &is_for_reference, &is_for_prediction);

    if (source == text && strchr(text, '=') && !io_file_exists(text))
        job_options_fail(state, "--map: expected prediction= or reference= before a map, found '%s'", text);
    if (options->n_maps == JOB_MAX_MAPS)
        job_options_fail(state, "--map: at most %d of them", JOB_MAX_MAPS);
    else
        options->maps[options->n_maps++] = text;
}

static void set_grid_tolerance(struct argp_state *state, const char *text, evaluate_options *options)
{
    options->grid_tolerance_mm = job_options_number(state, "--grid-tolerance", text);
    if (!(options->grid_tolerance_mm >= 0)) job_options_fail(state, "--grid-tolerance: expected mm, found '%s'", text);
}

static error_t parse_measure(int key, char *arg, struct argp_state *state, parser *p)
{
    evaluate_options *options = p->options;

    switch (key) {
    case KEY_CONVENTION: set_conventions(state, arg, &options->study); return 0;
    case KEY_TOLERANCE: set_tolerances(state, arg, &options->study); return 0;
    case KEY_VOXELS: options->study.in_voxels = true; return 0;
    case KEY_ROUND: options->round = true; return 0;
    case KEY_RESAMPLE:
        options->resample = true;
        if (strcmp(arg, "nearest") != 0) job_options_fail(state, "--resample: expected nearest, found '%s'", arg);
        return 0;
    case KEY_GRID_TOLERANCE: set_grid_tolerance(state, arg, options); return 0;
    case KEY_EMPTY:
        if (pipe_empty_rules_change(&options->study.rules, arg) != IO_OK) job_options_fail(state, "--empty: %s", io_last_error_text());
        return 0;
    case KEY_MISSING:
        options->study.missing_is_worst = !strcmp(arg, "worst");
        if (strcmp(arg, "worst") != 0 && strcmp(arg, "fail") != 0)
            job_options_fail(state, "--missing: expected fail or worst, found '%s'", arg);
        return 0;
    case KEY_SEED: options->study.seed = (uint64_t)job_options_integer(state, "--seed", arg, 0, INT64_MAX); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_files(int key, char *arg, struct argp_state *state, parser *p)
{
    evaluate_options *options = p->options;

    switch (key) {
    case 'p':
    case 'r':
        p->is_reference = key == 'r';
        add_path(p, arg);
        return 0;
    case ARGP_KEY_ARG: add_path(p, arg); return 0;
    case KEY_LIST: options->list = arg; return 0;
    case 'o': options->output = arg; return 0;
    case KEY_LABELS: options->labels = arg; return 0;
    case KEY_MAP: add_map(state, arg, options); return 0;
    case KEY_COMPARE: options->compare = arg; return 0;
    case KEY_IMAGES: options->images = arg; return 0;
    case KEY_WORST: options->n_worst = (int)job_options_integer(state, "--worst", arg, 0, MAX_WORST); return 0;
    case KEY_RANKS: options->n_ranks = job_options_ranks(state, arg); return 0;
    case KEY_NNUNET: options->nnunet = true; return 0;
    case 'n': options->dry_run = true; return 0;
    case KEY_JSON: options->json = true; return 0;
    case KEY_LATEX: options->latex = true; return 0;
    case 'q': job_options_verbosity(state, -1, &options->verbosity); return 0;
    case 'v': job_options_verbosity(state, 1, &options->verbosity); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void check_complete(struct argp_state *state, const evaluate_options *options)
{
    if (options->list && (options->n_predictions || options->n_references)) job_options_fail(state, "give -p and -r, or --list, not both");
    if (!options->list && !options->n_predictions) job_options_fail(state, "no predictions; give -p FILE or FOLDER, or --list FILE");
    if (!options->list && !options->n_references) job_options_fail(state, "no references; give -r FILE or FOLDER, or --list FILE");
    if (!options->output) job_options_fail(state, "no output folder; give -o FOLDER");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    parser *p = state->input;

    if (key == ARGP_KEY_END) {
        check_complete(state, p->options);
        return 0;
    }
    if (parse_files(key, arg, state, p) == 0) return 0;
    return parse_measure(key, arg, state, p);
}

/* The command line as it can be typed again: words with blanks or signs of the shell are quoted. */
static io_status join_command(int argc, char **argv, char **out)
{
    size_t n_bytes = 1, at = 0;

    for (int i = 0; i < argc; i++) n_bytes += 4 * strlen(argv[i]) + 3;
    IO_TRY(io_alloc(n_bytes, 1, (void **)out));
    for (int i = 0; i < argc; i++) {
        const bool is_plain = i == 0 || (argv[i][0] && !strpbrk(argv[i], " \t\n'\"\\$`!*?[](){}<>|&;#~"));
        at += (size_t)snprintf(*out + at, n_bytes - at, "%s%s", i ? " " : "", is_plain ? argv[i] : "'");
        if (is_plain) continue;
        for (const char *c = argv[i]; *c; c++) at += (size_t)snprintf(*out + at, n_bytes - at, *c == '\'' ? "'\\''" : "%c", *c);
        at += (size_t)snprintf(*out + at, n_bytes - at, "'");
    }
    return IO_OK;
}

int job_options_evaluate(int argc, char **argv, evaluate_options *out)
{
    const struct argp argp = {options_table, parse, "", doc, 0, 0, 0};
    parser p = {.options = out};

    *out = (evaluate_options){.grid_tolerance_mm = 0.05, .n_worst = 8};
    out->study = (pipe_study_options){.conventions = 1u << PIPE_RELOADED | 1u << PIPE_SAMED,
                                      .order = {PIPE_RELOADED, PIPE_SAMED},
                                      .n_conventions = 2,
                                      .tolerances_mm = {1, 2},
                                      .n_tolerances = 2};
    pipe_empty_rules_default(&out->study.rules);
    if (io_alloc((size_t)argc + 1, sizeof *out->predictions, (void **)&out->predictions) != IO_OK ||
        io_alloc((size_t)argc + 1, sizeof *out->references, (void **)&out->references) != IO_OK ||
        join_command(argc, argv, &out->command) != IO_OK)
        return JOB_EXIT_RUN;
    return job_options_parse(&argp, argc, argv, &p);
}

void job_options_evaluate_free(evaluate_options *options)
{
    io_free(&options->predictions);
    io_free(&options->references);
    io_free(&options->command);
}
