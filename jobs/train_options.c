/* The command line of `samed train`. See train.h. */
#include <stdlib.h>
#include <string.h>

#include "jobs/exits.h"
#include "jobs/options.h"
#include "jobs/train.h"

enum {
    KEY_SAM = 1000,
    KEY_ADAPTER,
    KEY_EPOCHS,
    KEY_STEPS,
    KEY_BATCH,
    KEY_RANK,
    KEY_LAYOUT,
    KEY_LORA,
    KEY_BLOCKS,
    KEY_CLASSES,
    KEY_IMAGE_SIZE,
    KEY_LR,
    KEY_WARMUP,
    KEY_SCHEDULE,
    KEY_POWER,
    KEY_OPTIMIZER,
    KEY_DICE,
    KEY_CLIP,
    KEY_NO_AUGMENT,
    KEY_JITTER,
    KEY_SEED,
    KEY_VALIDATE,
    KEY_PATIENCE,
    KEY_SAVE,
    KEY_CHECKPOINTS,
    KEY_THREADS,
    KEY_RANKS,
    KEY_RECOMPUTE,
    KEY_KEEP,
    KEY_PRECISION,
    KEY_DEVICE,
    KEY_SHARE_GPU,
    KEY_JSON
};

enum { MAX_COUNT = 1000000000, MAX_BATCH = 1 << 20 };

static const struct argp_option options_table[] = {
    {0, 0, 0, 0, "What goes in and out:", 1},
    {"data", 'd', "FOLDER", 0, "the store that samed prepare made", 1},
    {"output", 'o', "FOLDER", 0, "checkpoints, adapters, tables; started again, the run goes on from its newest checkpoint", 1},
    {"sam", KEY_SAM, "FILE", 0, "SAM's weights", 1},
    {"dry-run", 'n', 0, 0, "check everything, the store's files too, print the plan, memory and disk; train nothing and write nothing", 1},
    {"init", KEY_ADAPTER, "FILE", 0, "start from this adapter (default: as SAMed starts from SAM)", 1},
    {"adapter-init", KEY_ADAPTER, "FILE", OPTION_HIDDEN, "what --init was called", 1},
    {0, 0, 0, 0, "What is trained:", 2},
    {"layout", KEY_LAYOUT, "samed|samed_s", 0, "the decoder in full (default), or by LoRA; with --init that of the adapter", 2},
    {"rank", KEY_RANK, "N", 0, "rank of LoRA (default 4, with --init that of the adapter)", 2},
    {"lora", KEY_LORA, "qv|none|...", 0, "projections of the encoder that get LoRA, letters of qvko (default qv)", 2},
    {"blocks", KEY_BLOCKS, "0-5,8,...", 0, "blocks of the encoder that get LoRA, from 0 on (default all)", 2},
    {"classes", KEY_CLASSES, "N", 0, "number of classes without background (default: the store's)", 2},
    {"image-size", KEY_IMAGE_SIZE, "PIXELS", 0, "side of the network's input (default 512)", 2},
    {0, 0, 0, 0, "How it is trained:", 3},
    {"epochs", KEY_EPOCHS, "N", 0, "of the schedule (default 200)", 3},
    {"steps", KEY_STEPS, "N", 0, "stop after so many, counted from the very first (default: all epochs)", 3},
    {"global-batch", KEY_BATCH, "N", 0, "slices of a step on all ranks together (default 24)", 3},
    {"optimizer", KEY_OPTIMIZER, "adamw|sgd", 0, "default adamw", 3},
    {"lr", KEY_LR, "RATE", 0, "highest learning rate (default 0.005)", 3},
    {"warmup", KEY_WARMUP, "STEPS", 0, "default 250; 0 for none", 3},
    {"schedule", KEY_SCHEDULE, "samed|paper", 0, "decay as SAMed's code (default), or as its paper's eq. 5", 3},
    {"lr-power", KEY_POWER, "P", 0, "of the decay (default 0.9; 1 with --schedule paper; SAMed_h 7)", 3},
    {"dice", KEY_DICE, "WEIGHT", 0, "of Dice in the loss, the rest is cross entropy (default 0.8)", 3},
    {"clip", KEY_CLIP, "NORM", 0, "largest norm of the gradients (default: no limit)", 3},
    {"precision", KEY_PRECISION, "f32|tf32|bf16", 0, "of the products with the encoder's frozen weights (default f32)", 3},
    {"no-augment", KEY_NO_AUGMENT, 0, 0, "slices as they are", 3},
    {"jitter", KEY_JITTER, "J", 0, "random gain and shift of intensities, 0 to 1 (default 0)", 3},
    {"seed", KEY_SEED, "N", 0, "of order, augmentation and fresh weights (default 1234)", 3},
    {0, 0, 0, 0, "What is kept and looked at:", 4},
    {"validate-every", KEY_VALIDATE, "EPOCHS", 0, "DSC on the held-out cases (default 1; 0 for never)", 4},
    {"patience", KEY_PATIENCE, "N", 0, "stop after N validations without a better one (default: never)", 4},
    {"save-every", KEY_SAVE, "STEPS", 0, "a checkpoint (default: every epoch)", 4},
    {"checkpoints", KEY_CHECKPOINTS, "N", 0, "newest ones to keep beside the best (default 3)", 4},
    {0, 0, 0, 0, "How it runs (the weights stay the same):", 5},
    {"device", KEY_DEVICE, "auto|cpu|cuda", 0, "default auto; a run goes on with the kind that it began with", 5},
    {"share-gpu", KEY_SHARE_GPU, 0, 0, "let several ranks use one GPU", 5},
    {"threads", KEY_THREADS, "N", 0, "per rank; default: allowed CPUs shared by the ranks of a node", 5},
    {"ranks", KEY_RANKS, "N", 0, "ranks that were started; another number is refused", 5},
    {"recompute", KEY_RECOMPUTE, 0, 0, "keep the input of each block only: less memory, more time", 5},
    {"keep", KEY_KEEP, "N", 0, "slices whose activations a rank keeps (default 1): more memory, less time", 5},
    {0, 0, 0, 0, "What it tells:", 6},
    {"json", KEY_JSON, 0, 0, "one JSON object per event on standard output", 6},
    {"quiet", 'q', 0, 0, "errors only", 6},
    {"verbose", 'v', 0, 0, "more: a line for each step", 6},
    {0}};

static const char doc[] =
    "Finetunes SAM as SAMed does: LoRA in the encoder, the decoder. The weights do not depend on the number of ranks."
    "\v"
    "Examples:\n"
    "  samed train -d store -o run --sam sam_vit_b_01ec64.pth\n"
    "  mpirun -n 8 samed train -d store -o run --sam sam_vit_b_01ec64.pth --epochs 200 --global-batch 24\n"
    "  samed train -d store -o run --sam sam_vit_b_01ec64.pth -n\n"
    "\n"
    "Exit codes: 0 all done, 1 the run failed, 2 wrong options, 4 no case to train or validate on, 75 stopped in good order (start again "
    "to continue, on any number of ranks).";

static double take_number(struct argp_state *state, const char *name, const char *text, double low, double high)
{
    const double value = job_options_number(state, name, text);

    if (!(value >= low && value <= high)) job_options_fail(state, "%s: expected a number from %g to %g, found '%s'", name, low, high, text);
    return value;
}

/* One of two words: the second? */
static bool take_word(struct argp_state *state, const char *name, const char *text, const char *first, const char *second)
{
    if (strcmp(text, first) != 0 && strcmp(text, second) != 0)
        job_options_fail(state, "%s: expected %s or %s, found '%s'", name, first, second, text);
    return strcmp(text, second) == 0;
}

static void take_projections(struct argp_state *state, const char *text, train_options *o)
{
    static const char letters[] = "qvko";
    static const unsigned bits[] = {MODEL_LORA_Q, MODEL_LORA_V, MODEL_LORA_K, MODEL_LORA_O};

    o->model.projections = 0;
    if (!strcmp(text, "none")) return;
    for (const char *c = text; *c && strchr(letters, *c); c++) o->model.projections |= bits[strchr(letters, *c) - letters];
    if (!*text || text[strspn(text, letters)]) job_options_fail(state, "--lora: expected letters of qvko, or none, found '%s'", text);
}

/* "0-5,8": the others are skipped. */
static void take_blocks(struct argp_state *state, const char *text, train_options *o)
{
    const char *c = text;

    for (int i = 0; i < MODEL_MAX_DEPTH; i++) o->model.skips[i] = true;
    for (bool is_more = true; is_more; c++) {
        char *end = NULL;
        const long first = *c >= '0' && *c <= '9' ? strtol(c, &end, 10) : -1;
        const long last = first >= 0 && *end == '-' && end[1] >= '0' && end[1] <= '9' ? strtol(end + 1, &end, 10) : first;

        if (first < 0 || last < first || last >= MODEL_MAX_DEPTH || (*end && *end != ',')) {
            job_options_fail(state, "--blocks: expected blocks as 0-5,8 below %d, found '%s'", MODEL_MAX_DEPTH, text);
            return;
        }
        for (long i = first; i <= last; i++) o->model.skips[i] = false;
        if (last > o->last_block) o->last_block = (int)last;
        is_more = *end == ',';
        c = end;
    }
}

static void take_image_size(struct argp_state *state, const char *text, train_options *o)
{
    o->image_size = (int)job_options_integer(state, "--image-size", text, 16, 4096);
    if (o->image_size % 16) job_options_fail(state, "--image-size: expected a multiple of 16, found '%s'", text);
}

static error_t parse_model(int key, char *arg, struct argp_state *state, train_options *o)
{
    switch (key) {
    case 'd': o->store = arg; return 0;
    case 'o': o->output = arg; return 0;
    case KEY_SAM: o->sam = arg; return 0;
    case KEY_ADAPTER: o->adapter = arg; return 0;
    case KEY_LAYOUT:
        o->asks_layout = true;
        o->model.layout = take_word(state, "--layout", arg, "samed", "samed_s") ? MODEL_LAYOUT_SAMED_S : MODEL_LAYOUT_SAMED;
        return 0;
    case KEY_RANK:
        o->asks_rank = true;
        o->model.lora_rank = (int)job_options_integer(state, "--rank", arg, 1, 4096);
        return 0;
    case KEY_LORA: take_projections(state, arg, o); return 0;
    case KEY_BLOCKS: take_blocks(state, arg, o); return 0;
    case KEY_CLASSES: o->n_classes = (int)job_options_integer(state, "--classes", arg, 1, 255); return 0;
    case KEY_IMAGE_SIZE: take_image_size(state, arg, o); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_training(int key, char *arg, struct argp_state *state, train_options *o)
{
    switch (key) {
    case KEY_EPOCHS: o->n_epochs = job_options_integer(state, "--epochs", arg, 1, MAX_COUNT); return 0;
    case KEY_STEPS: o->n_steps = job_options_integer(state, "--steps", arg, 1, MAX_COUNT); return 0;
    case KEY_BATCH: o->global_batch = (int)job_options_integer(state, "--global-batch", arg, 1, MAX_BATCH); return 0;
    case KEY_OPTIMIZER: o->model.optimizer = take_word(state, "--optimizer", arg, "adamw", "sgd") ? MODEL_SGD : MODEL_ADAMW; return 0;
    case KEY_LR: o->schedule.base = take_number(state, "--lr", arg, 1e-12, 1e3); return 0;
    case KEY_WARMUP: o->schedule.warmup_steps = job_options_integer(state, "--warmup", arg, 0, MAX_COUNT); return 0;
    case KEY_SCHEDULE:
        o->schedule.kind = take_word(state, "--schedule", arg, "samed", "paper") ? MODEL_SCHEDULE_PAPER : MODEL_SCHEDULE_SAMED;
        return 0;
    case KEY_POWER: o->schedule.power = take_number(state, "--lr-power", arg, 1e-3, 100); return 0;
    case KEY_DICE: o->model.dice_weight = take_number(state, "--dice", arg, 0, 1); return 0;
    case KEY_CLIP: o->clip = take_number(state, "--clip", arg, 1e-12, 1e12); return 0;
    case KEY_DEVICE: o->device = job_options_device(state, arg); return 0;
    case KEY_SHARE_GPU: o->share_gpu = true; return 0;
    case KEY_PRECISION: o->precision = job_options_precision(state, arg); return 0;
    case KEY_NO_AUGMENT: o->augment = false; return 0;
    case KEY_JITTER: o->jitter = take_number(state, "--jitter", arg, 0, 1); return 0;
    case KEY_SEED: o->seed = (uint64_t)job_options_integer(state, "--seed", arg, 0, 1ll << 53); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_running(int key, char *arg, struct argp_state *state, train_options *o)
{
    switch (key) {
    case KEY_VALIDATE: o->validate_every = job_options_integer(state, "--validate-every", arg, 0, MAX_COUNT); return 0;
    case KEY_PATIENCE: o->patience = job_options_integer(state, "--patience", arg, 1, MAX_COUNT); return 0;
    case KEY_SAVE: o->save_every = job_options_integer(state, "--save-every", arg, 1, MAX_COUNT); return 0;
    case KEY_CHECKPOINTS: o->n_checkpoints = (int)job_options_integer(state, "--checkpoints", arg, 1, MAX_COUNT); return 0;
    case KEY_THREADS: o->n_threads = (int)job_options_integer(state, "--threads", arg, 1, 1024); return 0;
    case KEY_RANKS: o->n_ranks = job_options_ranks(state, arg); return 0;
    case KEY_RECOMPUTE: o->model.recompute = true; return 0;
    case KEY_KEEP: o->n_kept = (int)job_options_integer(state, "--keep", arg, 1, MAX_BATCH); return 0;
    case 'n': o->dry_run = true; return 0;
    case KEY_JSON: o->json = true; return 0;
    case 'q': job_options_verbosity(state, -1, &o->verbosity); return 0;
    case 'v': job_options_verbosity(state, 1, &o->verbosity); return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* What cannot be gone on with; NULL when all is well. */
static const char *find_fault(const train_options *o)
{
    if (!o->store) return "no data; give -d FOLDER, a store that samed prepare made";
    if (!o->output) return "no output folder; give -o FOLDER";
    if (o->dry_run && o->json) return "--dry-run prints a plan, not events; leave --json out";
    if (o->last_block >= 0 && o->model.projections == 0) return "--blocks and --lora none exclude each other";
    if (!o->sam) return "no weights; give --sam FILE (for example sam_vit_b_01ec64.pth)";
    if (o->jitter > 0 && !o->augment) return "--jitter and --no-augment exclude each other";
    if (o->patience > 0 && o->validate_every == 0) return "--patience needs validation; leave --validate-every 0 out";
    return NULL;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    train_options *o = state->input;

    if (key == ARGP_KEY_END) {
        if (find_fault(o)) job_options_fail(state, "%s", find_fault(o));
        return 0;
    }
    if (key == ARGP_KEY_ARG) {
        job_options_fail(state, "'%s' is not expected here", arg);
        return 0;
    }
    if (parse_model(key, arg, state, o) == 0 || parse_training(key, arg, state, o) == 0) return 0;
    return parse_running(key, arg, state, o);
}

int job_options_train(int argc, char **argv, train_options *out)
{
    const struct argp argp = {options_table, parse, "", doc, 0, 0, 0};
    int code;

    *out = (train_options){.n_epochs = 200, .global_batch = 24, .n_kept = 1, .image_size = 512, .augment = true, .seed = 1234};
    out->model = model_train_options_default();
    out->schedule = (model_schedule){.base = 0.005, .warmup_steps = 250};
    out->validate_every = -1;
    out->n_checkpoints = 3;
    out->last_block = -1;
    code = job_options_parse(&argp, argc, argv, out);
    if (out->schedule.power == 0) out->schedule.power = out->schedule.kind == MODEL_SCHEDULE_PAPER ? 1 : 0.9;
    return code;
}
