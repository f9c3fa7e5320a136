/* Steps of a training run. See status.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/memory.h"
#include "jobs/status.h"

enum { MAX_TABLE_BYTES = 1 << 28, MAX_RUN_BYTES = 1 << 20, N_STEPS = 50, LOG_FIELDS = 9 };

static io_status read_text(const char *folder, const char *name, char **out)
{
    io_status status = IO_OK;
    char *path = NULL;

    *out = NULL;
    IO_TRY(io_path_join(folder, name, &path));
    if (io_file_exists(path)) status = io_file_read_text(path, MAX_TABLE_BYTES, out);
    io_free(&path);
    return status;
}

/* The last step, and the time of a step over the last ones. A line that is being written has no end yet and is left out. */
static void read_log(char *text, train_status *out)
{
    double seconds[N_STEPS];
    int64_t n = 0;
    char *fields[LOG_FIELDS], *line = strchr(text, '\n');

    while (line && strchr(line + 1, '\n')) {
        char *end = strchr(line + 1, '\n');
        *end = '\0';
        job_status_split(line + 1, ',', fields, LOG_FIELDS);
        out->step = strtoll(fields[0], NULL, 10);
        out->epoch = strtoll(fields[1], NULL, 10) + 1;
        out->loss = strtod(fields[3], NULL);
        seconds[n++ % N_STEPS] = strtod(fields[8], NULL);
        line = end;
    }
    for (int64_t i = 0; i < n && i < N_STEPS; i++) out->seconds_per_step += seconds[i] / (double)(n < N_STEPS ? n : N_STEPS);
}

static void read_validations(char *text, train_status *out)
{
    char *rest = NULL, *fields[3];

    (void)strtok_r(text, "\n", &rest);
    for (char *line = strtok_r(NULL, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        job_status_split(line, ',', fields, 3);
        if (!*fields[2] || !(strtod(fields[2], NULL) > out->best_dice)) continue;
        out->best_dice = strtod(fields[2], NULL);
        out->best_step = strtoll(fields[0], NULL, 10);
    }
}

static io_status find_checkpoint(const char *folder, int64_t *step)
{
    char **names = NULL;
    size_t n = 0;

    IO_TRY(io_folder_list(folder, &names, &n));
    for (size_t i = 0; i < n; i++) {
        long long found = 0;
        if (sscanf(names[i], "checkpoint_%lld.safetensors", &found) == 1 && found > *step) *step = found;
    }
    io_names_free(&names, n);
    return IO_OK;
}

static io_status read_run(const char *folder, train_status *out)
{
    io_status status = IO_OK;
    char *path = NULL;
    io_json *root = NULL;
    double number;
    const char *reason;

    IO_TRY_GOTO(status, done, io_path_join(folder, "run.json", &path));
    if (!io_file_exists(path)) goto done;
    IO_TRY_GOTO(status, done, io_json_read(path, MAX_RUN_BYTES, &root));
    if (io_json_get_number(root, "steps", &number)) out->n_steps = (int64_t)number;
    out->has_ended = io_json_get_number(root, "exit", &number);
    reason = io_json_get_text(root, "error");
    if (reason) snprintf(out->reason, sizeof out->reason, "%s", reason);
done:
    io_json_free(&root);
    io_free(&path);
    return status;
}

/* run.json is written at the start of a training run, and again at its end, with the exit code, and the reason when it failed. */
static void judge(train_status *out)
{
    if (out->place.state == STATUS_STOPPED && !out->has_ended) out->place.state = STATUS_KILLED;
    if (out->place.state == STATUS_STOPPED && *out->reason) out->place.state = STATUS_FAILED;
    out->place.seconds_left = -1;
    if (out->place.state == STATUS_RUNNING && out->n_steps >= out->step && out->seconds_per_step > 0)
        out->place.seconds_left = (double)(out->n_steps - out->step) * out->seconds_per_step;
}

io_status job_status_train(const char *folder, train_status *out)
{
    io_status status = IO_OK;
    char *text = NULL;

    *out = (train_status){.best_dice = -1, .loss = NAN};
    IO_TRY(job_status_place(folder, "log.csv", &out->place));
    IO_TRY(read_run(folder, out));
    IO_TRY_GOTO(status, done, read_text(folder, "log.csv", &text));
    if (text) read_log(text, out);
    io_free(&text);
    IO_TRY_GOTO(status, done, read_text(folder, "validation.csv", &text));
    if (text) read_validations(text, out);
    IO_TRY_GOTO(status, done, find_checkpoint(folder, &out->checkpoint_step));
    judge(out);
done:
    io_free(&text);
    return status;
}
