/* `samed convert`: weights from .pth to .safetensors and back, and an adapter merged into SAM. The output's name says its format. */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/log.h"
#include "io/plural.h"
#include "io/tensors.h"
#include "jobs/commands.h"
#include "jobs/exits.h"
#include "jobs/options.h"
#include "jobs/weights.h"
#include "model/sam.h"

enum { KEY_MERGE = 1000, KEY_OVERWRITE };

typedef struct convert_options {
    const char *input, *output, *adapter;
    bool overwrite, is_quiet;
} convert_options;

static const struct argp_option options_table[] = {
    {"merge", KEY_MERGE, "ADAPTER", 0, "put this adapter into the SAM file given as INPUT: a full model under SAM's names", 0},
    {"overwrite", KEY_OVERWRITE, 0, 0, "replace an output that exists", 0},
    {"quiet", 'q', 0, 0, "errors only", 0},
    {"input", 'i', "FILE", 0, "the same as INPUT", 0},
    {"output", 'o', "FILE", 0, "the same as OUTPUT", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    convert_options *options = state->input;

    switch (key) {
    case KEY_MERGE: options->adapter = arg; return 0;
    case KEY_OVERWRITE: options->overwrite = true; return 0;
    case 'q': options->is_quiet = true; return 0;
    case 'i': options->input = arg; return 0;
    case 'o': options->output = arg; return 0;
    case ARGP_KEY_ARG:
        if (!options->input)
            options->input = arg;
        else if (!options->output)
            options->output = arg;
        else
            job_options_fail(state, "one input and one output, then '%s' is too much", arg);
        return 0;
    case ARGP_KEY_END:
        if (!options->input || !options->output) job_options_fail(state, "give an input and an output file");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static io_status check_output(const convert_options *options, bool *is_safetensors)
{
    *is_safetensors = io_path_has_suffix(options->output, ".safetensors");
    if (!*is_safetensors && !io_path_has_suffix(options->output, ".pth") && !io_path_has_suffix(options->output, ".pt"))
        return IO_FAIL(IO_ERR_ARGUMENT, "%s: the name has to end in .pth, .pt or .safetensors", options->output);
    if (!options->overwrite && io_file_exists(options->output))
        return IO_FAIL(IO_ERR_ARGUMENT, "%s exists; give another name or --overwrite", options->output);
    return IO_OK;
}

static io_status check_unmerged(const char *path, const io_tensors *sam)
{
    const io_tensor *tokens = io_tensors_find(sam, "mask_decoder.mask_tokens.weight");

    return tokens && tokens->n_dims == 2 ? job_weights_check_unmerged(path, (int)tokens->shape[0]) : IO_OK;
}

/* SAMed's own adapters are plain dicts, SAM's files are state dicts (spec 2.2): what has w_a_000 is an adapter. */
static io_status convert(const convert_options *options)
{
    io_status status = IO_OK;
    io_tensors *input = NULL, *adapter = NULL, *merged = NULL;
    const io_tensors *result;
    bool is_safetensors;

    IO_TRY_GOTO(status, done, check_output(options, &is_safetensors));
    IO_TRY_GOTO(status, done, io_tensors_open(options->input, &input));
    result = input;
    if (options->adapter) {
        IO_TRY_GOTO(status, done, io_tensors_open(options->adapter, &adapter));
        IO_TRY_GOTO(status, done, check_unmerged(options->input, input));
        IO_TRY_GOTO(status, done, model_sam_merge(input, adapter, &merged));
        result = merged;
    }
    if (is_safetensors)
        IO_TRY_GOTO(status, done, io_safetensors_write(options->output, result, NULL));
    else
        IO_TRY_GOTO(status, done, io_pth_write(options->output, result, io_tensors_find(result, "w_a_000") == NULL));
    io_log(IO_LOG_INFO, "wrote %zu tensor%s to %s", io_tensors_count(result), io_plural(io_tensors_count(result)), options->output);
done:
    io_tensors_free(&merged);
    io_tensors_free(&adapter);
    io_tensors_free(&input);
    return status;
}

int job_convert_main(int argc, char **argv)
{
    const struct argp argp = {
        options_table,
        parse,
        "INPUT OUTPUT",
        "Rewrites weights: .pth to .safetensors and back, by the output's name. Tensors only: a __metadata__ text is not kept.\v"
        "Examples:\n  samed convert epoch_159.pth epoch_159.safetensors\n"
        "  samed convert --merge epoch_159.pth sam_vit_b_01ec64.pth merged.safetensors",
        0,
        0,
        0};
    convert_options options = {0};
    const int code = job_options_parse(&argp, argc, argv, &options);
    io_status status;

    if (code >= 0) return code;
    if (options.is_quiet) io_log_set_level(IO_LOG_ERROR);
    status = convert(&options);
    if (status != IO_OK) io_log(IO_LOG_ERROR, "%s", io_last_error_text());
    switch (status) {
    case IO_OK: return JOB_EXIT_DONE;
    case IO_ERR_MEMORY:
    case IO_ERR_NO_SPACE: return JOB_EXIT_RUN;
    default: return JOB_EXIT_USAGE;
    }
}
