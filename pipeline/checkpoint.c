/* See checkpoint.h. */
#include "pipeline/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/memory.h"
#include "io/tensors.h"
#include "pipeline/case.h"

#define FORMAT_NAME "samed checkpoint 1"

enum { MAX_HEADER_BYTES = 1 << 20, NAME_BYTES = 64, NUMBER_BYTES = 32 };

/* Both blocks on the host, once: in the list that is written. */
typedef struct blocks {
    io_tensors *tensors;
    float *weights, *moments; /* of the list */
    size_t n_weights, n_moments;
} blocks;

static io_status reserve_block(io_tensors *tensors, const char *name, size_t n, float **data)
{
    const int64_t shape = (int64_t)n;

    return io_tensors_reserve(tensors, name, 1, &shape, false, data);
}

static io_status allocate_blocks(model_trainer *trainer, blocks *b)
{
    (void)model_trainer_weights(trainer, &b->n_weights);
    (void)model_trainer_moments(trainer, &b->n_moments);
    IO_TRY(io_tensors_create(&b->tensors));
    IO_TRY(reserve_block(b->tensors, "weights", b->n_weights, &b->weights));
    return reserve_block(b->tensors, "moments", b->n_moments, &b->moments);
}

static io_status hash_blocks(const blocks *b, char sha256[65])
{
    io_status status = IO_OK;
    io_hash *hash = NULL;

    IO_TRY_GOTO(status, done, io_hash_create(&hash));
    IO_TRY_GOTO(status, done, io_hash_update(hash, b->weights, b->n_weights * sizeof *b->weights));
    IO_TRY_GOTO(status, done, io_hash_update(hash, b->moments, b->n_moments * sizeof *b->moments));
    status = io_hash_hex(hash, sha256);
done:
    io_hash_free(&hash);
    return status;
}

static io_status find_path(const char *folder, int64_t step, char **out)
{
    char name[NAME_BYTES];

    snprintf(name, sizeof name, "checkpoint_%09" PRId64 ".safetensors", step);
    return io_path_join(folder, name, out);
}

/* The step of a checkpoint's file name; 0 for other files. */
static int64_t read_step(const char *name)
{
    char expected[NAME_BYTES];
    int64_t step;

    if (sscanf(name, "checkpoint_%" SCNd64 ".safetensors", &step) != 1 || step < 1) return 0;
    snprintf(expected, sizeof expected, "checkpoint_%09" PRId64 ".safetensors", step);
    return strcmp(name, expected) == 0 ? step : 0;
}

/* ---- writing ---- */

static io_status put_integer(io_json *object, const char *key, int64_t value)
{
    char text[NUMBER_BYTES];

    snprintf(text, sizeof text, "%" PRId64, value);
    return io_json_put_text(object, key, text);
}

/* Metadata of safetensors are texts; %a brings every bit of a double back. */
static io_status print_metadata(const pipe_checkpoint *state, const char *settings, const blocks *b, char **out)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    char sha256[65], settings_sha256[65], number[NUMBER_BYTES];

    snprintf(number, sizeof number, "%a", state->best_dice);
    IO_TRY_GOTO(status, done, hash_blocks(b, sha256));
    IO_TRY_GOTO(status, done, io_hash_bytes(settings, strlen(settings), settings_sha256));
    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "format", FORMAT_NAME));
    IO_TRY_GOTO(status, done, put_integer(root, "step", state->step));
    IO_TRY_GOTO(status, done, put_integer(root, "best_step", state->best_step));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "best_dice", number));
    if (state->awaits_validation) IO_TRY_GOTO(status, done, io_json_put_text(root, "awaits_validation", "1"));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "settings", settings));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "settings_sha256", settings_sha256));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "sha256", sha256));
    status = io_json_print(root, false, out);
done:
    io_json_free(&root);
    return status;
}

static io_status remove_step(const char *folder, int64_t step)
{
    char *path = NULL;
    io_status status = find_path(folder, step, &path);

    if (status == IO_OK) status = io_file_remove(path);
    io_free(&path);
    return status;
}

/* Names come sorted, so steps of nine digits ascend. */
static io_status remove_old(const char *folder, int64_t best_step, int n_kept)
{
    io_status status = IO_OK;
    char **names = NULL;
    size_t n = 0;
    int n_newer = 0;

    IO_TRY(io_folder_list(folder, &names, &n));
    for (size_t i = n; i-- > 0 && status == IO_OK;) {
        const int64_t step = read_step(names[i]);
        if (step == 0 || n_newer++ < n_kept || step == best_step) continue;
        status = remove_step(folder, step);
    }
    io_names_free(&names, n);
    return status;
}

static io_status download_blocks(model_device *device, model_trainer *trainer, blocks *b)
{
    size_t n;

    IO_TRY(allocate_blocks(trainer, b));
    IO_TRY(device->ops->download(device->backend, b->weights, model_trainer_weights(trainer, &n), b->n_weights * sizeof *b->weights));
    return device->ops->download(device->backend, b->moments, model_trainer_moments(trainer, &n), b->n_moments * sizeof *b->moments);
}

static io_status check_block(const char *name, const float *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i]))
            return IO_FAIL(IO_ERR_DIVERGED, "%s %zu of %zu is %g: the training has diverged, lower the learning rate", name, i, n,
                           (double)values[i]);
    return IO_OK;
}

io_status pipe_checkpoint_check(model_device *device, model_trainer *trainer)
{
    blocks b = {0};
    io_status status = download_blocks(device, trainer, &b);

    if (status == IO_OK) status = check_block("weight", b.weights, b.n_weights);
    if (status == IO_OK) status = check_block("moment", b.moments, b.n_moments);
    io_tensors_free(&b.tensors);
    return status;
}

io_status pipe_checkpoint_write(const char *folder, const pipe_checkpoint *state, const char *settings, int n_kept, model_device *device,
                                model_trainer *trainer)
{
    io_status status = IO_OK;
    blocks b = {0};
    char *path = NULL, *metadata = NULL;

    IO_TRY_GOTO(status, done, download_blocks(device, trainer, &b));
    IO_TRY_GOTO(status, done, print_metadata(state, settings, &b, &metadata));
    IO_TRY_GOTO(status, done, find_path(folder, state->step, &path));
    IO_TRY_GOTO(status, done, io_safetensors_write(path, b.tensors, metadata));
    status = remove_old(folder, state->best_step, n_kept);
done:
    io_free(&path);
    io_free(&metadata);
    io_tensors_free(&b.tensors);
    return status;
}

/* ---- reading ---- */

/* The "__metadata__" of a .safetensors: 8 bytes of length, little-endian, then JSON. */
static io_status read_metadata(const char *path, io_json **root, const io_json **metadata)
{
    io_status status = IO_OK;
    io_mapping *mapping = NULL;
    char *text = NULL;
    uint64_t n_bytes = 0;

    IO_TRY_GOTO(status, done, io_mapping_open(path, &mapping));
    for (int i = 7; i >= 0 && mapping->n_bytes >= 8; i--) n_bytes = n_bytes << 8 | mapping->bytes[i];
    if (n_bytes == 0 || n_bytes > MAX_HEADER_BYTES || n_bytes > mapping->n_bytes - 8) {
        status = IO_FAIL(IO_ERR_FORMAT, "%s: this is not a checkpoint; move it away to go on from the one before", path);
        goto done;
    }
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_bytes + 1, 1, (void **)&text));
    memcpy(text, mapping->bytes + 8, (size_t)n_bytes);
    IO_TRY_GOTO(status, done, io_json_parse(text, path, root));
    *metadata = io_json_get(*root, "__metadata__");
    if (!*metadata || !io_json_get_text(*metadata, "format") || strcmp(io_json_get_text(*metadata, "format"), FORMAT_NAME) != 0)
        status =
            IO_FAIL(IO_ERR_FORMAT, "%s: its metadata are not those of a %s; move it away to go on from the one before", path, FORMAT_NAME);
done:
    io_free(&text);
    io_mapping_free(&mapping);
    return status;
}

static bool get_integer(const io_json *metadata, const char *key, int64_t *out)
{
    const char *text = io_json_get_text(metadata, key);
    char *end = NULL;

    if (!text) return false;
    *out = strtoll(text, &end, 10);
    return end != text && *end == '\0' && *out >= 0;
}

static io_status read_state(const char *path, const io_json *metadata, pipe_checkpoint *state)
{
    const char *dice = io_json_get_text(metadata, "best_dice");
    char *end = NULL;

    if (!get_integer(metadata, "step", &state->step) || !get_integer(metadata, "best_step", &state->best_step) || !dice)
        return IO_FAIL(IO_ERR_FORMAT, "%s: its metadata lack the step or the best validation", path);
    state->awaits_validation = io_json_get_text(metadata, "awaits_validation") != NULL;
    state->best_dice = strtod(dice, &end);
    if (end == dice || *end) return IO_FAIL(IO_ERR_FORMAT, "%s: best_dice is '%s', which is no number", path, dice);
    return IO_OK;
}

static int line_length(const char *text)
{
    return (int)strcspn(text, "\n");
}

/* The first line of text that begins as the n bytes of line do; NULL without one. */
static const char *find_line(const char *text, const char *line, size_t n)
{
    for (; *text; text += line_length(text) + (text[line_length(text)] != '\0'))
        if ((size_t)line_length(text) >= n && !memcmp(text, line, n)) return text;
    return NULL;
}

/* The first line of text, "key=value", that other lacks; NULL without one. */
static const char *find_lone_line(const char *text, const char *other)
{
    for (; *text; text += line_length(text) + (text[line_length(text)] != '\0')) {
        const char *same = find_line(other, text, (size_t)line_length(text));
        if (!same || line_length(same) != line_length(text)) return text;
    }
    return NULL;
}

/* Names the first setting that differs. */
static io_status check_settings(const char *path, const char *found, const char *expected)
{
    static const char advice[] = "use the same settings to go on, or another folder";
    const char *lone = found ? find_lone_line(found, expected) : NULL, *now = NULL;

    if (found && strcmp(found, expected) == 0) return IO_OK;
    if (!found) return IO_FAIL(IO_ERR_MISMATCH, "%s does not say with which settings it was made; use another folder", path);
    if (!lone) {
        lone = find_lone_line(expected, found);
        return IO_FAIL(IO_ERR_MISMATCH, "%s was made without '%.*s'; %s", path, lone ? line_length(lone) : 0, lone ? lone : "", advice);
    }
    now = find_line(expected, lone, strcspn(lone, "=") + 1);
    if (!now) return IO_FAIL(IO_ERR_MISMATCH, "%s was made with '%.*s', which is not given now; %s", path, line_length(lone), lone, advice);
    return IO_FAIL(IO_ERR_MISMATCH, "%s was made with '%.*s', now it is '%.*s'; %s", path, line_length(lone), lone, line_length(now), now,
                   advice);
}

static io_status read_block(const io_tensors *tensors, const char *name, size_t n, float *out)
{
    const int64_t shape = (int64_t)n;
    const io_tensor *tensor;

    IO_TRY(io_tensors_require(tensors, name, 1, &shape, &tensor));
    return io_tensor_read_f32(tensor, out);
}

static io_status read_blocks(const char *path, const char *expected, const blocks *b)
{
    io_status status = IO_OK;
    io_tensors *tensors = NULL;
    char sha256[65];

    IO_TRY_GOTO(status, done, io_tensors_open(path, &tensors));
    IO_TRY_GOTO(status, done, read_block(tensors, "weights", b->n_weights, b->weights));
    IO_TRY_GOTO(status, done, read_block(tensors, "moments", b->n_moments, b->moments));
    IO_TRY_GOTO(status, done, hash_blocks(b, sha256));
    if (!expected || strcmp(expected, sha256) != 0)
        status = IO_FAIL(IO_ERR_CHECKSUM, "%s: its bytes are not those that were written; remove it to go on from the one before", path);
done:
    io_tensors_free(&tensors);
    return status;
}

static io_status upload_blocks(const blocks *b, model_device *device, model_trainer *trainer)
{
    size_t n;

    IO_TRY(device->ops->upload(device->backend, model_trainer_weights(trainer, &n), b->weights, b->n_weights * sizeof *b->weights));
    IO_TRY(device->ops->upload(device->backend, model_trainer_moments(trainer, &n), b->moments, b->n_moments * sizeof *b->moments));
    return model_trainer_pack(trainer);
}

static io_status read_checkpoint(const char *path, const char *settings, model_device *device, model_trainer *trainer,
                                 pipe_checkpoint *state)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    const io_json *metadata = NULL;
    blocks b = {0};

    IO_TRY_GOTO(status, done, read_metadata(path, &root, &metadata));
    IO_TRY_GOTO(status, done, check_settings(path, io_json_get_text(metadata, "settings"), settings));
    IO_TRY_GOTO(status, done, read_state(path, metadata, state));
    IO_TRY_GOTO(status, done, allocate_blocks(trainer, &b));
    IO_TRY_GOTO(status, done, read_blocks(path, io_json_get_text(metadata, "sha256"), &b));
    status = upload_blocks(&b, device, trainer);
done:
    io_tensors_free(&b.tensors);
    io_json_free(&root);
    return status;
}

static io_status find_newest(const char *folder, int64_t *step)
{
    char **names = NULL;
    size_t n = 0;

    *step = 0;
    IO_TRY(io_folder_list(folder, &names, &n));
    for (size_t i = 0; i < n; i++)
        if (read_step(names[i]) > *step) *step = read_step(names[i]);
    io_names_free(&names, n);
    return IO_OK;
}

io_status pipe_checkpoint_read(const char *folder, const char *settings, model_device *device, model_trainer *trainer,
                               pipe_checkpoint *state, bool *is_there)
{
    io_status status;
    char *path = NULL;
    int64_t newest;

    IO_TRY(find_newest(folder, &newest));
    *is_there = newest > 0;
    *state = (pipe_checkpoint){0};
    if (!*is_there) return IO_OK;
    IO_TRY(find_path(folder, newest, &path));
    status = read_checkpoint(path, settings, device, trainer, state);
    if (status == IO_OK && state->step != newest)
        status = IO_FAIL(IO_ERR_MISMATCH, "%s: it says that it is of step %" PRId64 "; give it back the name that it was written with",
                         path, state->step);
    io_free(&path);
    return status;
}

/* ---- the adapter ---- */

static io_status write_as(const char *folder, const char *name, const char *suffix, const io_tensors *adapter)
{
    io_status status = IO_OK;
    char *path = NULL;

    IO_TRY_GOTO(status, done, pipe_case_path(folder, name, suffix, &path));
    status = strcmp(suffix, ".pth") == 0 ? io_pth_write(path, adapter, false) : io_safetensors_write(path, adapter, NULL);
done:
    io_free(&path);
    return status;
}

io_status pipe_checkpoint_write_adapter(const char *folder, const char *name, const model_trainer *trainer)
{
    io_status status = IO_OK;
    io_tensors *adapter = NULL;

    IO_TRY_GOTO(status, done, model_trainer_adapter(trainer, &adapter));
    IO_TRY_GOTO(status, done, write_as(folder, name, ".safetensors", adapter));
    status = write_as(folder, name, ".pth", adapter);
done:
    io_tensors_free(&adapter);
    return status;
}
