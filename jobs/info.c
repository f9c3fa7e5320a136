/* `samed info`: what a NIfTI, weight or adapter file holds, for people or as JSON lines; --check reads all of it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/log.h"
#include "io/manifest.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "io/tensors.h"
#include "jobs/commands.h"
#include "jobs/exits.h"
#include "jobs/info.h"
#include "jobs/options.h"
#include "pipeline/slices.h"

enum { KEY_CHECK = 1000, KEY_JSON, MAX_WARNINGS = 16, WARNING_BYTES = 160 };

typedef struct info_options {
    const char **paths; /* [n_paths] */
    size_t n_paths;
    bool check, json, verbose;
} info_options;

static const struct argp_option options_table[] = {
    {"check", KEY_CHECK, 0, 0, "read every voxel and tensor; end with 3 if a file would be refused", 0},
    {"json", KEY_JSON, 0, 0, "one JSON object per file and line", 0},
    {"verbose", 'v', 0, 0, "list every tensor", 0},
    {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    info_options *options = state->input;

    switch (key) {
    case KEY_CHECK: options->check = true; return 0;
    case KEY_JSON: options->json = true; return 0;
    case 'v': options->verbose = true; return 0;
    case ARGP_KEY_ARG: options->paths[options->n_paths++] = arg; return 0;
    case ARGP_KEY_END:
        if (options->n_paths == 0) job_options_fail(state, "give files or folders");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* name: [a, b, c] */
static io_status put_numbers(io_json *object, const char *name, const double *numbers, int n)
{
    io_status status = IO_OK;
    io_json *array = NULL;

    IO_TRY(io_json_create_array(&array));
    for (int i = 0; i < n && status == IO_OK; i++) status = io_json_add_number(array, numbers[i]);
    if (status == IO_OK) status = io_json_put(object, name, &array);
    io_json_free(&array);
    return status;
}

static io_status put_grid(io_json *root, const io_nifti_info *info)
{
    double affine[12], dims[7];
    char axcodes[4];

    for (int i = 0; i < 12; i++) affine[i] = info->grid.affine[i / 4][i % 4];
    for (int i = 0; i < info->n_dims; i++) dims[i] = (double)info->dims[i];
    io_grid_axcodes(&info->grid, axcodes);
    IO_TRY(put_numbers(root, "dims", dims, info->n_dims));
    IO_TRY(put_numbers(root, "spacing_mm", info->grid.spacing_mm, 3));
    IO_TRY(put_numbers(root, "affine", affine, 12));
    IO_TRY(io_json_put_text(root, "orientation", axcodes));
    IO_TRY(io_json_put_number(root, "qform_code", info->grid.qform_code));
    return io_json_put_number(root, "sform_code", info->grid.sform_code);
}

static io_status put_header(io_json *root, const io_nifti_info *info)
{
    IO_TRY(io_json_put_text(root, "kind", "nifti"));
    IO_TRY(io_json_put_number(root, "nifti_version", info->grid.nifti_version));
    IO_TRY(put_grid(root, info));
    IO_TRY(io_json_put_text(root, "datatype", io_datatype_name(info->datatype)));
    IO_TRY(io_json_put_number(root, "slope", info->slope));
    IO_TRY(io_json_put_number(root, "inter", info->inter));
    IO_TRY(io_json_put_bool(root, "big_endian", info->is_big_endian));
    IO_TRY(io_json_put_number(root, "extensions", info->n_extensions));
    return io_json_put_text(root, "description", info->description);
}

static io_status put_warnings(io_json *root, const io_nifti_info *info)
{
    io_status status = IO_OK;
    io_json *array = NULL;
    char warnings[MAX_WARNINGS][WARNING_BYTES];
    const int n = io_nifti_check(info, warnings, MAX_WARNINGS);

    IO_TRY(io_json_create_array(&array));
    for (int i = 0; i < n && status == IO_OK; i++) status = io_json_add_text(array, warnings[i]);
    if (status == IO_OK) status = io_json_put(root, "suspicious", &array);
    io_json_free(&array);
    return status;
}

static void measure_voxels(const io_volume *volume, float *slice, info_range *range)
{
    const int64_t n = volume->grid.dims[0] * volume->grid.dims[1];

    for (int64_t k = 0; k < volume->grid.dims[2]; k++) {
        io_volume_slice(volume, k, slice);
        job_info_range_add(range, slice, (size_t)n);
    }
}

/* All voxels, and what `samed segment` would say to them. */
static io_status check_nifti(const char *path, io_json *root)
{
    io_status status = IO_OK;
    io_volume *volume = NULL;
    pipe_slices *slices = NULL;
    float *slice = NULL;
    info_range range = {0};
    pipe_options options;

    pipe_options_default(&options);
    IO_TRY_GOTO(status, done, io_nifti_read(path, &volume));
    IO_TRY_GOTO(status, done, io_alloc((size_t)volume->grid.dims[0] * (size_t)volume->grid.dims[1], sizeof *slice, (void **)&slice));
    measure_voxels(volume, slice, &range);
    IO_TRY_GOTO(status, done, job_info_range_put(&range, root));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "sha256", volume->sha256));
    status = pipe_slices_create(volume, &options, &slices);
done:
    pipe_slices_free(&slices);
    io_free(&slice);
    io_volume_free(&volume);
    return status;
}

static io_status describe_nifti(const info_options *options, const char *path, io_json *root)
{
    io_nifti_info info;

    IO_TRY(io_nifti_read_info(path, &info));
    IO_TRY(put_header(root, &info));
    IO_TRY(put_warnings(root, &info));
    return options->check ? check_nifti(path, root) : IO_OK;
}

void job_info_range_add(info_range *range, const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double value = values[i];
        if (isnan(value)) {
            range->n_nan++;
            continue;
        }
        range->n_infinite += isinf(value) != 0;
        if (range->n == 0 || value < range->low) range->low = value;
        if (range->n == 0 || value > range->high) range->high = value;
        range->n++;
    }
}

io_status job_info_range_put(const info_range *range, io_json *root)
{
    IO_TRY(io_json_put_number(root, "min", range->n ? range->low : NAN));
    IO_TRY(io_json_put_number(root, "max", range->n ? range->high : NAN));
    IO_TRY(io_json_put_number(root, "nan", (double)range->n_nan));
    return io_json_put_number(root, "infinite", (double)range->n_infinite);
}

static bool is_weights_name(const char *path)
{
    return io_path_has_suffix(path, ".pth") || io_path_has_suffix(path, ".pt") || io_path_has_suffix(path, ".safetensors");
}

static void print_line(const io_json *root)
{
    char *line = NULL;

    if (io_json_print(root, false, &line) == IO_OK) printf("%s\n", line);
    io_free(&line);
}

/* One file: its line, and whether it would be refused. */
static io_status show_file(const info_options *options, const char *path, bool *is_refused)
{
    io_status status = IO_OK, verdict;
    io_json *root = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "path", path));
    verdict = is_weights_name(path) ? job_info_weights(path, options->check, options->verbose, root) : describe_nifti(options, path, root);
    *is_refused = verdict != IO_OK;
    if (verdict != IO_OK) {
        IO_TRY_GOTO(status, done, io_json_put_text(root, "refused", io_status_name(verdict)));
        IO_TRY_GOTO(status, done, io_json_put_text(root, "text", io_last_error_text()));
    } else if (options->check) {
        IO_TRY_GOTO(status, done, io_json_put_bool(root, "checked", true));
    }
    if (options->json)
        print_line(root);
    else
        job_info_print(root);
done:
    io_json_free(&root);
    return status;
}

/* What `samed segment` would take from this folder, and weights. */
static io_status show_folder(const info_options *options, const char *folder, int64_t *n_files, int64_t *n_refused)
{
    io_status status = IO_OK;
    char **names = NULL, *path = NULL;
    size_t n_names = 0;

    IO_TRY(io_folder_list(folder, &names, &n_names));
    for (size_t i = 0; i < n_names && status == IO_OK; i++) {
        bool is_refused = false;
        const bool is_weights = names[i][0] != '.' && is_weights_name(names[i]);
        if (!is_weights && !io_folder_has_case(names, i)) continue;
        status = io_path_join(folder, names[i], &path);
        if (status == IO_OK && !io_folder_exists(path)) {
            status = show_file(options, path, &is_refused);
            *n_files += 1;
            *n_refused += is_refused;
        }
        io_free(&path);
    }
    io_names_free(&names, n_names);
    return status;
}

static int show_all(const info_options *options)
{
    int64_t n_files = 0, n_refused = 0;

    for (size_t i = 0; i < options->n_paths; i++) {
        io_status status;
        bool is_refused = false;
        if (io_folder_exists(options->paths[i])) {
            status = show_folder(options, options->paths[i], &n_files, &n_refused);
        } else {
            status = show_file(options, options->paths[i], &is_refused);
            n_files++;
            n_refused += is_refused;
        }
        if (status != IO_OK) {
            io_log(IO_LOG_ERROR, "%s", io_last_error_text());
            return JOB_EXIT_RUN;
        }
    }
    if (n_files == 0) io_log(IO_LOG_ERROR, "nothing there to tell about: expected NIfTI files or weights (.pth, .safetensors)");
    if (n_files == 0) return JOB_EXIT_NOTHING;
    if (options->check && !options->json)
        printf("%lld file%s, %lld would be refused\n", (long long)n_files, io_plural(n_files), (long long)n_refused);
    return n_refused > 0 ? JOB_EXIT_CASES : JOB_EXIT_DONE;
}

int job_info_main(int argc, char **argv)
{
    const struct argp argp = {options_table,
                              parse,
                              "FILE|FOLDER...",
                              "Tells what NIfTI files, SAM weights and SAMed adapters hold.\v"
                              "Example:\n  samed info --check study/ sam_vit_b_01ec64.pth epoch_159.pth",
                              0,
                              0,
                              0};
    info_options options = {0};
    int code = JOB_EXIT_RUN;

    if (io_alloc((size_t)argc + 1, sizeof *options.paths, (void **)&options.paths) != IO_OK) return JOB_EXIT_RUN;
    code = job_options_parse(&argp, argc, argv, &options);
    if (code < 0) code = show_all(&options);
    io_free(&options.paths);
    return code;
}
