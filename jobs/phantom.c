/* `samed phantom`: synthetic CT studies as nnU-Net lays them out, and random weights. Needs no MPI; under a launcher the ranks share the
 * cases by the rank that the environment tells. */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/labels.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/nifti.h"
#include "io/plural.h"
#include "jobs/comm.h"
#include "jobs/commands.h"
#include "jobs/exits.h"
#include "jobs/options.h"
#include "pipeline/phantom.h"
#include "pipeline/seeded.h"

enum { KEY_CASES = 1000, KEY_SEED, KEY_SIZE, KEY_SPACING, KEY_NOISE, KEY_WEIGHTS, KEY_RANK, KEY_CLASSES, KEY_SMALL };
enum { MAX_CASES = 1000000, MAX_SIDE = 4096 };

typedef struct phantom_options {
    const char *output, *weights;
    int64_t n_cases;
    int rank, n_classes, is_small, is_quiet;
    pipe_phantom_options draw;
} phantom_options;

static const struct argp_option options_table[] = {
    {"output", 'o', "FOLDER", 0, "the study: imagesTr, labelsTr, dataset.json", 0},
    {"cases", KEY_CASES, "N", 0, "default 1", 0},
    {"seed", KEY_SEED, "S", 0, "same seed, same bytes (default 0)", 0},
    {"size", KEY_SIZE, "NX NY NZ", 0, "voxels (default 256 256 40)", 0},
    {"spacing", KEY_SPACING, "X Y Z", 0, "mm (default 380 mm across, 5 mm between slices)", 0},
    {"noise", KEY_NOISE, "HU", 0, "standard deviation (default 12)", 0},
    {"weights", KEY_WEIGHTS, "SIZE", 0,
     "also write random sam_SIZE.pth and samed_SIZE.pth: vit_b, vit_l, vit_h, small or tiny; --cases 0 writes only these", 0},
    {"rank", KEY_RANK, "R", 0, "of the random adapter's LoRA (default 4)", 0},
    {"classes", KEY_CLASSES, "N", 0, "of the random adapter, without background (default 8)", 0},
    {"small", KEY_SMALL, 0, 0, "the random adapter in SAMed_s's layout", 0},
    {"quiet", 'q', 0, 0, "errors only", 0},
    {0}};

static void set_size(struct argp_state *state, const char *first, pipe_phantom_options *draw)
{
    double sides[3] = {0};

    job_options_numbers(state, "--size", first, 3, sides);
    for (int i = 0; i < 3; i++) {
        if (!(sides[i] >= 1 && sides[i] <= MAX_SIDE) || sides[i] != (double)(int64_t)sides[i])
            job_options_fail(state, "--size: expected whole numbers from 1 to %d, found %g", MAX_SIDE, sides[i]);
        draw->dims[i] = (int64_t)sides[i];
    }
}

static void set_spacing(struct argp_state *state, const char *first, pipe_phantom_options *draw)
{
    job_options_numbers(state, "--spacing", first, 3, draw->spacing_mm);
    for (int i = 0; i < 3; i++)
        if (!(draw->spacing_mm[i] > 0 && draw->spacing_mm[i] <= 1000))
            job_options_fail(state, "--spacing: expected millimetres above 0, found %g", draw->spacing_mm[i]);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    phantom_options *options = state->input;

    switch (key) {
    case 'o': options->output = arg; return 0;
    case KEY_CASES: options->n_cases = job_options_integer(state, "--cases", arg, 0, MAX_CASES); return 0;
    case KEY_SEED: options->draw.seed = (uint64_t)job_options_integer(state, "--seed", arg, 0, INT64_MAX); return 0;
    case KEY_SIZE: set_size(state, arg, &options->draw); return 0;
    case KEY_SPACING: set_spacing(state, arg, &options->draw); return 0;
    case KEY_NOISE:
        options->draw.noise_hu = job_options_number(state, "--noise", arg);
        if (options->draw.noise_hu < 0) job_options_fail(state, "--noise: expected HU from 0 on, found '%s'", arg);
        return 0;
    case KEY_WEIGHTS: options->weights = arg; return 0;
    case KEY_RANK: options->rank = (int)job_options_integer(state, "--rank", arg, 1, 1024); return 0;
    case KEY_CLASSES: options->n_classes = (int)job_options_integer(state, "--classes", arg, 1, 1000); return 0;
    case KEY_SMALL: options->is_small = 1; return 0;
    case 'q': options->is_quiet = 1; return 0;
    case ARGP_KEY_ARG: job_options_fail(state, "'%s' is not expected here", arg); return 0;
    case ARGP_KEY_END:
        if (!options->output) job_options_fail(state, "no output folder; give -o FOLDER");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* A torso of 380 mm across and slices of 5 mm, whatever the grid. */
static void set_default_spacing(pipe_phantom_options *draw)
{
    static const double field_mm = 380, thickness_mm = 5;

    if (draw->spacing_mm[0] > 0) return;
    draw->spacing_mm[0] = field_mm / (double)draw->dims[0];
    draw->spacing_mm[1] = field_mm / (double)draw->dims[1];
    draw->spacing_mm[2] = thickness_mm;
}

static io_status make_paths(const char *output, int64_t index, char **image_path, char **label_path)
{
    char name[80];

    snprintf(name, sizeof name, "imagesTr/case_%04lld_0000.nii.gz", (long long)index);
    IO_TRY(io_path_join(output, name, image_path));
    snprintf(name, sizeof name, "labelsTr/case_%04lld.nii.gz", (long long)index);
    return io_path_join(output, name, label_path);
}

static io_status write_case(const phantom_options *options, int64_t index, const char *names_xml)
{
    io_status status = IO_OK;
    char *image_path = NULL, *label_path = NULL;
    int16_t *image = NULL;
    uint8_t *labels = NULL;
    pipe_phantom_options draw = options->draw;
    const size_t n_voxels = (size_t)draw.dims[0] * (size_t)draw.dims[1] * (size_t)draw.dims[2]; /* sides are at most 4096 */
    const double origin_mm[3] = {0, 0, 0};
    io_grid grid;

    draw.case_index = (uint64_t)index;
    IO_TRY_GOTO(status, done, make_paths(options->output, index, &image_path, &label_path));
    IO_TRY_GOTO(status, done, io_alloc(n_voxels, sizeof *image, (void **)&image));
    IO_TRY_GOTO(status, done, io_alloc(n_voxels, sizeof *labels, (void **)&labels));
    IO_TRY_GOTO(status, done, pipe_phantom_draw(&draw, image, labels));
    io_grid_create_plain(draw.dims, draw.spacing_mm, origin_mm, &grid);
    IO_TRY_GOTO(status, done, io_nifti_write_int16(image_path, &grid, image, 1, 0));
    status = io_nifti_write_labels(label_path, &grid, labels, 1, names_xml, NULL);
done:
    io_free(&labels);
    io_free(&image);
    io_free(&label_path);
    io_free(&image_path);
    return status;
}

static io_status add_training(const phantom_options *options, io_json *root)
{
    io_status status = IO_OK;
    io_json *list = NULL, *entry = NULL;

    IO_TRY_GOTO(status, done, io_json_create_array(&list));
    for (int64_t i = 0; i < options->n_cases; i++) {
        char image[80], label[80];
        snprintf(image, sizeof image, "./imagesTr/case_%04lld.nii.gz", (long long)i);
        snprintf(label, sizeof label, "./labelsTr/case_%04lld.nii.gz", (long long)i);
        IO_TRY_GOTO(status, done, io_json_create_object(&entry));
        IO_TRY_GOTO(status, done, io_json_put_text(entry, "image", image)); /* nnU-Net leaves the channel suffix out here */
        IO_TRY_GOTO(status, done, io_json_put_text(entry, "label", label));
        IO_TRY_GOTO(status, done, io_json_add(list, &entry));
    }
    status = io_json_put(root, "training", &list);
done:
    io_json_free(&entry);
    io_json_free(&list);
    return status;
}

/* Both generations of nnU-Net's dataset.json: channel_names, labels by name, numTraining, file_ending. */
static io_status write_dataset(const phantom_options *options, const io_labels *names)
{
    io_status status = IO_OK;
    io_json *root = NULL, *channels = NULL, *labels = NULL;
    char *path = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_create_object(&channels));
    IO_TRY_GOTO(status, done, io_json_create_object(&labels));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "name", "samed phantom"));
    IO_TRY_GOTO(status, done, io_json_put_text(channels, "0", "CT"));
    IO_TRY_GOTO(status, done, io_json_put(root, "channel_names", &channels));
    for (size_t i = 0; i < names->n_labels; i++)
        IO_TRY_GOTO(status, done, io_json_put_number(labels, names->labels[i].name, names->labels[i].value));
    IO_TRY_GOTO(status, done, io_json_put(root, "labels", &labels));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "numTraining", (double)options->n_cases));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "file_ending", ".nii.gz"));
    IO_TRY_GOTO(status, done, add_training(options, root));
    IO_TRY_GOTO(status, done, io_path_join(options->output, "dataset.json", &path));
    status = io_json_write(root, path);
done:
    io_free(&path);
    io_json_free(&labels);
    io_json_free(&channels);
    io_json_free(&root);
    return status;
}

static io_status create_folder(const char *parent, const char *name)
{
    char *path = NULL;
    io_status status = io_path_join(parent, name, &path);

    if (status == IO_OK) status = io_folder_create(path);
    io_free(&path);
    return status;
}

static io_status write_study(const phantom_options *options)
{
    io_status status = IO_OK;
    io_labels *names = NULL;
    char *names_xml = NULL;
    const int rank = job_comm_claimed_rank(), n_ranks = job_comm_claimed_size();

    IO_TRY_GOTO(status, done, io_labels_default(9, &names));
    IO_TRY_GOTO(status, done, io_labels_xml(names, &names_xml));
    IO_TRY_GOTO(status, done, create_folder(options->output, "imagesTr"));
    IO_TRY_GOTO(status, done, create_folder(options->output, "labelsTr"));
    for (int64_t i = rank; i < options->n_cases; i += n_ranks) IO_TRY_GOTO(status, done, write_case(options, i, names_xml));
    if (rank == 0) status = write_dataset(options, names);
done:
    io_free(&names_xml);
    io_labels_free(&names);
    return status;
}

static io_status write_tensors(const phantom_options *options, const char *stem, const io_tensors *tensors, bool is_state_dict)
{
    io_status status;
    char name[64], *path = NULL;

    snprintf(name, sizeof name, "%s_%s.pth", stem, options->weights);
    status = io_path_join(options->output, name, &path);
    if (status == IO_OK) status = io_pth_write(path, tensors, is_state_dict);
    if (status == IO_OK) io_log(IO_LOG_INFO, "wrote %s (random: what it segments means nothing)", path);
    io_free(&path);
    return status;
}

static io_status write_weights(const phantom_options *options)
{
    io_status status = IO_OK;
    io_tensors *sam = NULL, *adapter = NULL;

    if (!options->weights || job_comm_claimed_rank() != 0) return IO_OK;
    IO_TRY_GOTO(
        status, done,
        pipe_seeded_create(options->weights, options->draw.seed, options->rank, options->n_classes, options->is_small, &sam, &adapter));
    IO_TRY_GOTO(status, done, io_folder_create(options->output));
    IO_TRY_GOTO(status, done, write_tensors(options, "sam", sam, true));
    status = write_tensors(options, "samed", adapter, false);
done:
    io_tensors_free(&adapter);
    io_tensors_free(&sam);
    return status;
}

int job_phantom_main(int argc, char **argv)
{
    const struct argp argp = {options_table,
                              parse,
                              "",
                              "Writes synthetic abdominal CT with label maps: imagesTr/case_0000_0000.nii.gz, labelsTr/case_0000.nii.gz, "
                              "dataset.json.\vExample:\n  samed phantom -o study --cases 4 --seed 1 --weights vit_b",
                              0,
                              0,
                              0};
    phantom_options options = {.n_cases = 1, .rank = 4, .n_classes = 8, .draw = {.dims = {256, 256, 40}, .noise_hu = 12}};
    const int code = job_options_parse(&argp, argc, argv, &options);
    io_status status;

    if (code >= 0) return code;
    if (options.is_quiet) io_log_set_level(IO_LOG_ERROR);
    set_default_spacing(&options.draw);
    status = write_weights(&options);
    if (status == IO_OK && options.n_cases > 0) status = write_study(&options);
    if (status != IO_OK)
        io_log(IO_LOG_ERROR, "%s", io_last_error_text());
    else if (options.n_cases > 0 && job_comm_claimed_rank() == 0)
        io_log(IO_LOG_INFO, "wrote %lld case%s to %s", (long long)options.n_cases, io_plural(options.n_cases), options.output);
    if (status == IO_ERR_ARGUMENT) return JOB_EXIT_USAGE;
    return status == IO_OK ? JOB_EXIT_DONE : JOB_EXIT_RUN;
}
