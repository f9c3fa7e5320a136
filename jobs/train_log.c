/* What rank 0 tells of a training run: log.csv, validation.csv, progress, the events of --json. See train.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "io/memory.h"
#include "jobs/events.h"
#include "jobs/progress.h"
#include "jobs/train.h"

enum { MAX_TABLE_BYTES = 1 << 28 };

static const double bar_every_s = 0.25, line_every_s = 30;

/* Ends text after the last whole line whose first number is at most step; the first line is the header. */
static void cut_table(char *text, int64_t step)
{
    char *end = strchr(text, '\n');

    while (end && end[1]) {
        char *next = strchr(end + 1, '\n');
        if (!next || strtoll(end + 1, NULL, 10) > step) break;
        end = next;
    }
    if (end)
        end[1] = '\0';
    else
        *text = '\0';
}

/* Commas between quotes are of an organ's name. */
static size_t count_columns(const char *line)
{
    size_t n = 1;
    bool is_quoted = false;

    for (; *line && *line != '\n'; line++) {
        is_quoted ^= *line == '"';
        n += *line == ',' && !is_quoted;
    }
    return n;
}

/* A table that an earlier version began has fewer columns, the first of today's: its lines get empty ones at their end, so that all lines
 * are of one header. Some have today's columns below that header already. */
static io_status widen_table(const char *path, const char *header, char **text)
{
    const size_t n_old = strcspn(*text, "\n"), n_columns = count_columns(header);
    char *line = *text, *wide = NULL;
    size_t n_bytes = 0;
    FILE *out;

    if (n_old + 1 == strlen(header) && !strncmp(*text, header, n_old)) return IO_OK;
    if (n_old >= strlen(header) || header[n_old] != ',' || strncmp(*text, header, n_old) != 0)
        return IO_FAIL(IO_ERR_MISMATCH, "%s: expected the columns %.*s, found %.*s; move it away to go on", path, (int)strlen(header) - 1,
                       header, (int)n_old, *text);
    out = open_memstream(&wide, &n_bytes);
    if (!out) return IO_FAIL_ERRNO("%s", path);
    fputs(header, out);
    for (line += n_old + 1; *line; line += strcspn(line, "\n") + 1) {
        fprintf(out, "%.*s", (int)strcspn(line, "\n"), line);
        for (size_t i = count_columns(line); i < n_columns; i++) fputc(',', out);
        fputc('\n', out);
    }
    if (fclose(out) != 0) return IO_FAIL(IO_ERR_MEMORY, "%s: no memory left", path);
    io_free(text);
    if (io_string_copy(wide, text) != IO_OK) *text = NULL;
    free(wide); /* of open_memstream */
    return *text ? IO_OK : IO_ERR_MEMORY;
}

/* Steps that an interrupted run made after its last checkpoint are made again: their lines go. */
static io_status open_table(const train_run *run, const char *name, const char *header, FILE **out)
{
    io_status status = IO_OK;
    char *path = NULL, *text = NULL;

    IO_TRY_GOTO(status, done, io_path_join(run->options->output, name, &path));
    if (io_file_exists(path)) {
        IO_TRY_GOTO(status, done, io_file_read_text(path, MAX_TABLE_BYTES, &text));
        cut_table(text, run->state.step);
        if (*text) IO_TRY_GOTO(status, done, widen_table(path, header, &text));
    }
    IO_TRY_GOTO(status, done, io_file_write_text(path, text && *text ? text : header));
    *out = fopen(path, "a");
    if (!*out) status = IO_FAIL_ERRNO("%s", path);
done:
    io_free(&text);
    io_free(&path);
    return status;
}

/* A field between quotes, as RFC 4180 says; returns its end. */
static char *add_field(char *end, const char *text)
{
    *end++ = ',';
    *end++ = '"';
    for (; *text; text++) {
        if (*text == '"') *end++ = '"';
        *end++ = *text;
    }
    *end++ = '"';
    return end;
}

static io_status print_header(const train_run *run, char **out)
{
    static const char first[] = "step,epoch,mean";
    const size_t field_bytes = 2 * sizeof run->labels->labels->name + 3;
    char *end;

    IO_TRY(io_alloc(sizeof first + (size_t)run->store->n_classes * field_bytes + 1, 1, (void **)out));
    memcpy(*out, first, sizeof first);
    end = *out + strlen(first);
    for (int value = 1; value <= run->store->n_classes; value++) {
        const io_label *label = io_labels_find(run->labels, value);
        end = add_field(end, label ? label->name : "");
    }
    *end = '\n';
    return IO_OK;
}

/* What samed status needs beside the tables, and how the run ended; exit_code -1: it has not. error NULL: it did not fail. */
static io_status write_run(const train_run *run, int exit_code, const char *error)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    char *path = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "version", SAMED_VERSION));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "ranks", run->world.size));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "steps", (double)run->n_steps));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "steps_of_epoch", (double)run->epoch_steps));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "first_step", (double)run->log.first));
    if (exit_code >= 0) {
        IO_TRY_GOTO(status, done, io_json_put_number(root, "last_step", (double)run->state.step));
        IO_TRY_GOTO(status, done, io_json_put_number(root, "exit", exit_code));
    }
    if (error) IO_TRY_GOTO(status, done, io_json_put_text(root, "error", error));
    IO_TRY_GOTO(status, done, io_path_join(run->options->output, "run.json", &path));
    status = io_json_write(root, path);
done:
    io_free(&path);
    io_json_free(&root);
    return status;
}

io_status job_train_log_exit(const train_run *run, int exit_code)
{
    return write_run(run, exit_code, NULL);
}

io_status job_train_log_begin(const train_run *run)
{
    return write_run(run, -1, NULL);
}

io_status job_train_log_open(train_run *run)
{
    io_status status = IO_OK;
    char *header = NULL;

    run->log.started = run->log.shown = run->log.step_started = job_time_now();
    run->log.first = run->state.step;
    IO_TRY_GOTO(
        status, done,
        open_table(run, "log.csv", "step,epoch,slices,loss,ce,dice,lr,gradient_norm,seconds,sum_seconds,wait_seconds\n", &run->log.steps));
    if (run->validator) {
        IO_TRY_GOTO(status, done, print_header(run, &header));
        IO_TRY_GOTO(status, done, open_table(run, "validation.csv", header, &run->log.validations));
    }
done:
    io_free(&header);
    return status;
}

void job_train_log_close(train_run *run)
{
    job_train_log_clear(run);
    if (run->log.steps) fclose(run->log.steps);
    if (run->log.validations) fclose(run->log.validations);
    run->log.steps = run->log.validations = NULL;
}

void job_train_log_clear(train_run *run)
{
    if (!run->log.has_bar) return;
    fputs("\r\033[K", stderr);
    run->log.has_bar = false;
}

static void show_step(train_run *run, const pipe_step *step, double now)
{
    const bool is_terminal = isatty(STDERR_FILENO), is_last = step->number == run->n_steps;
    const double per_step = (now - run->log.started) / (double)(step->number - run->log.first);
    char left[32], sums[64] = "", line[320];

    if (run->options->verbosity < 0) return;
    if (now - run->log.shown < (is_terminal ? bar_every_s : line_every_s) && !is_last && run->options->verbosity == 0) return;
    job_duration_text(per_step * (double)(run->n_steps - step->number), left);
    if (run->options->verbosity > 0) snprintf(sums, sizeof sums, ", sums %.1f ms, waited %.1f ms", 1e3 * step->sum_s, 1e3 * step->wait_s);
    snprintf(line, sizeof line, "step %" PRId64 "/%" PRId64 ", epoch %u, loss %.4f (ce %.4f, dice %.4f), lr %.3g, %.2f s/step%s, %s left",
             step->number, run->n_steps, (unsigned)step->epoch + 1, step->loss.total, step->loss.ce, step->loss.dice, step->rate, per_step,
             sums, left);
    run->log.shown = now;
    if (!is_terminal || is_last || run->options->verbosity > 0) {
        io_log(IO_LOG_INFO, "%s", line);
        return;
    }
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    run->log.has_bar = true;
}

static io_status end_line(FILE *file, const char *name)
{
    fputc('\n', file);
    return fflush(file) == 0 ? IO_OK : IO_FAIL_ERRNO("%s", name);
}

static void print_step(const train_run *run, const pipe_step *step, double seconds)
{
    io_json *event = job_event_create(run->options->json, "step");

    if (!event) return;
    (void)io_json_put_number(event, "step", (double)step->number);
    (void)io_json_put_number(event, "epoch", step->epoch);
    (void)io_json_put_number(event, "slices", step->n_slices);
    (void)io_json_put_number(event, "loss", step->loss.total);
    (void)io_json_put_number(event, "ce", step->loss.ce);
    (void)io_json_put_number(event, "dice", step->loss.dice);
    (void)io_json_put_number(event, "lr", step->rate);
    (void)io_json_put_number(event, "gradient_norm", step->norm);
    (void)io_json_put_number(event, "seconds", seconds);
    (void)io_json_put_number(event, "sum_seconds", step->sum_s);
    (void)io_json_put_number(event, "wait_seconds", step->wait_s);
    job_event_print(&event);
}

io_status job_train_log_step(train_run *run, const pipe_step *step)
{
    const double now = job_time_now();

    fprintf(run->log.steps, "%" PRId64 ",%u,%d,%.9g,%.9g,%.9g,%.9g,%.9g,%.3f,%.4f,%.4f", step->number, (unsigned)step->epoch,
            step->n_slices, step->loss.total, step->loss.ce, step->loss.dice, step->rate, step->norm, now - run->log.step_started,
            step->sum_s, step->wait_s);
    IO_TRY(end_line(run->log.steps, "log.csv"));
    print_step(run, step, now - run->log.step_started);
    show_step(run, step, now);
    run->log.step_started = now;
    return IO_OK;
}

/* An organ without a value, and a mean of none, are null. */
static void print_validation(const train_run *run, const pipe_validation *validation)
{
    io_json *event = job_event_create(run->options->json, "validation"), *organs = NULL;

    if (!event) return;
    (void)io_json_put_number(event, "step", (double)run->state.step);
    (void)io_json_put_number(event, "cases", (double)validation->n_cases);
    (void)io_json_put_number(event, "dsc", validation->mean);
    if (io_json_create_object(&organs) == IO_OK) {
        for (int i = 0; i < validation->n_classes; i++) {
            const io_label *label = io_labels_find(run->labels, i + 1);
            (void)io_json_put_number(organs, label ? label->name : "", validation->dice[i]);
        }
        (void)io_json_put(event, "organs", &organs);
    }
    (void)io_json_put_bool(event, "best", run->state.best_step == run->state.step);
    job_event_print(&event);
}

void job_train_log_saved(const train_run *run)
{
    io_json *event = job_event_create(run->options->json, "checkpoint");

    if (!event) return;
    (void)io_json_put_number(event, "step", (double)run->state.step);
    job_event_print(&event);
}

io_status job_train_log_ended(const train_run *run, int exit_code, const char *error)
{
    io_json *event = job_event_create(run->options->json, "end");

    if (!event) return write_run(run, exit_code, error);
    (void)io_json_put_number(event, "step", (double)run->state.step);
    (void)io_json_put_number(event, "best_step", (double)run->state.best_step);
    (void)io_json_put_number(event, "best_dsc", run->state.best_step > 0 ? run->state.best_dice : NAN);
    (void)io_json_put_number(event, "seconds", job_time_now() - run->log.started);
    (void)io_json_put_number(event, "exit", exit_code);
    if (error) (void)io_json_put_text(event, "error", error);
    job_event_print(&event);
    return write_run(run, exit_code, error);
}

/* An organ without a value leaves its field empty. */
io_status job_train_log_validation(train_run *run, const pipe_validation *validation)
{
    FILE *file = run->log.validations;

    fprintf(file, "%" PRId64 ",%" PRId64 ",", run->state.step, run->state.step / run->epoch_steps - 1);
    if (!isnan(validation->mean)) fprintf(file, "%.9g", validation->mean);
    for (int i = 0; i < validation->n_classes; i++) {
        fputc(',', file);
        if (!isnan(validation->dice[i])) fprintf(file, "%.9g", validation->dice[i]);
    }
    print_validation(run, validation);
    io_log(IO_LOG_INFO, "step %" PRId64 ": mean DSC %.4f on %zu held-out case%s%s", run->state.step, validation->mean, validation->n_cases,
           validation->n_cases == 1 ? "" : "s", run->state.best_step == run->state.step ? ", the best so far" : "");
    run->log.step_started = job_time_now();
    return end_line(file, "validation.csv");
}
