/* `samed status`: where the run of an output folder stands. See status.h. */
#include "jobs/status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/plural.h"
#include "jobs/commands.h"
#include "jobs/exits.h"
#include "jobs/options.h"
#include "jobs/progress.h"

enum { KEY_JSON = 1000, N_SHOWN = 20 /* failed or running cases in the text; the JSON has all */ };

typedef struct status_options {
    const char *folder;
    bool json;
} status_options;

static const struct argp_option options_table[] = {{"json", KEY_JSON, 0, 0, "one JSON object on standard output", 0}, {0}};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    status_options *options = state->input;

    switch (key) {
    case KEY_JSON: options->json = true; return 0;
    case ARGP_KEY_ARG:
        if (options->folder) job_options_fail(state, "give one output folder");
        options->folder = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->folder) job_options_fail(state, "give the output folder of a run");
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

const char *job_status_name(status_state state)
{
    static const char *const names[] = {"running", "killed", "failed", "stopped", "waiting", "finished"};
    return names[state];
}

void job_status_split(char *line, char mark, char **fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *end = line ? strchr(line, mark) : NULL;
        fields[i] = line ? line : "";
        if (end) *end = '\0';
        line = end ? end + 1 : NULL;
    }
}

static bool has_file(const char *folder, const char *name)
{
    char *path = NULL;
    bool exists = false;

    if (io_path_join(folder, name, &path) == IO_OK) exists = io_file_exists(path);
    io_free(&path);
    return exists;
}

io_status job_status_place(const char *path, const char *begun, status_place *out)
{
    if (job_lock_is_held(path, out->owner))
        out->state = STATUS_RUNNING;
    else if (has_file(path, "done"))
        out->state = STATUS_FINISHED;
    else if (has_file(path, "run.json"))
        out->state = STATUS_STOPPED;
    else if (has_file(path, begun) || *out->owner)
        out->state = STATUS_KILLED;
    else
        out->state = STATUS_WAITING;
    return IO_OK;
}

/* ---- for people ---- */

/* What follows from the state. */
static const char *advise(status_state state)
{
    switch (state) {
    case STATUS_RUNNING: return "";
    case STATUS_KILLED: return " (it ended without a word: killed, or the run failed; start again to continue)";
    case STATUS_STOPPED: return " (start again to continue)";
    case STATUS_WAITING: return " (not begun)";
    default: return "";
    }
}

static void print_left(double seconds_left)
{
    char text[32];

    if (seconds_left < 0) return;
    job_duration_text(seconds_left, text);
    printf(", about %s left", text);
}

static void print_places(const segment_status *s)
{
    for (size_t i = 0; i < s->n_places; i++) {
        const status_place *place = &s->places[i];
        if (place->state == STATUS_FINISHED) continue;
        printf("  %s: %s%s", *place->name ? place->name : "run", job_status_name(place->state), advise(place->state));
        if (place->state == STATUS_RUNNING) printf(" (%s)", place->owner);
        if (place->is_listed) printf(", %lld case%s left", (long long)place->n_left, io_plural(place->n_left));
        print_left(place->seconds_left);
        printf("\n");
    }
}

/* A run of --only has ended well, and nobody has asked for the others yet. */
static bool lacks_only_left_out(const segment_status *s)
{
    return s->state == STATUS_STOPPED && s->n_left > 0 && s->n_left == s->n_left_out;
}

/* Shards that have not begun have listed nothing: how many cases and slices theirs are nobody knows. */
static void print_counts(const segment_status *s)
{
    char of[64] = "";

    if (s->n_listed < s->n_places) snprintf(of, sizeof of, " of %zu of %d shards", s->n_listed, s->n_shards);
    printf("cases%s: %lld of %lld done, %lld failed, %lld left, %lld of them under way", of, (long long)s->n_done, (long long)s->n_given,
           (long long)s->n_failed, (long long)s->n_left, (long long)s->n_running);
    if (s->n_left_out > 0) printf(", %lld not named by --only", (long long)s->n_left_out);
    printf("\nslices%s: %lld of %lld done", of, (long long)s->slices_done, (long long)s->slices_given);
    if (s->n_uncounted > 0)
        printf(" (not counted: those of %lld case%s, which are not known)", (long long)s->n_uncounted, io_plural(s->n_uncounted));
}

static void print_segment(const char *folder, const segment_status *s)
{
    const char *advice = lacks_only_left_out(s) ? " (what --only named is finished; start without it for the others)" : advise(s->state);

    printf("%s: %s%s\n", folder, job_status_name(s->state), s->n_shards ? "" : advice);
    if (s->n_listed == 0)
        printf("cases: not listed yet");
    else
        print_counts(s);
    if (s->slices_per_second > 0) printf(", %.3g per second", s->slices_per_second);
    if (s->state == STATUS_RUNNING) print_left(s->seconds_left);
    printf("\n");
    if (s->n_shards) printf("shards: %d\n", s->n_shards);
    if (s->n_listed > 0 && s->n_listed < s->n_places)
        printf("not known: the cases of the %s\n",
               s->n_places - s->n_listed == 1 ? "shard that has not listed them" : "shards that have not listed them");
    print_places(s);
    for (int64_t i = 0; i < s->n_running && i < N_SHOWN; i++) printf("%s%s", i ? ", " : "under way: ", s->running[i]);
    if (s->n_running > N_SHOWN) printf(", and %lld more", (long long)s->n_running - N_SHOWN);
    if (s->n_running > 0) printf("\n");
    for (size_t i = 0; i < s->n_failures && i < N_SHOWN; i++)
        printf("failed: %s (%s): %s\n", s->failures[i].id, s->failures[i].stage, s->failures[i].text);
    if (s->n_failures > N_SHOWN) printf("failed: and %zu more; see failed.tsv\n", s->n_failures - N_SHOWN);
}

static void print_train(const char *folder, const train_status *s)
{
    if (s->place.state == STATUS_FAILED)
        printf("%s: failed: %s\n", folder, s->reason);
    else
        printf("%s: %s%s\n", folder, job_status_name(s->place.state), advise(s->place.state));
    printf("step: %lld", (long long)s->step);
    if (s->n_steps > 0) printf(" of %lld", (long long)s->n_steps);
    if (s->step > 0) printf(", epoch %lld, loss %.4f, %.3g s per step", (long long)s->epoch, s->loss, s->seconds_per_step);
    print_left(s->place.seconds_left);
    printf("\ncheckpoint: %s%lld\n", s->checkpoint_step ? "step " : "none yet, step ", (long long)s->checkpoint_step);
    if (s->best_dice >= 0) printf("best mean DSC: %.4f at step %lld\n", s->best_dice, (long long)s->best_step);
}

/* ---- for programs ---- */

/* NaN becomes null: not known. */
static io_status put_count(io_json *root, const char *name, const char *const *keys, const double *values, size_t n)
{
    io_status status = IO_OK;
    io_json *object = NULL;

    IO_TRY(io_json_create_object(&object));
    for (size_t i = 0; i < n && status == IO_OK; i++) status = io_json_put_number(object, keys[i], values[i]);
    if (status == IO_OK) status = io_json_put(root, name, &object);
    io_json_free(&object);
    return status;
}

static io_status put_left(io_json *object, double seconds_left)
{
    return io_json_put_number(object, "seconds_left", seconds_left < 0 ? NAN : seconds_left); /* null when not known */
}

static io_status add_place(io_json *array, const status_place *place)
{
    io_status status = IO_OK;
    io_json *object = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&object));
    IO_TRY_GOTO(status, done, io_json_put_text(object, "name", place->name));
    IO_TRY_GOTO(status, done, io_json_put_text(object, "state", job_status_name(place->state)));
    if (place->state == STATUS_RUNNING) IO_TRY_GOTO(status, done, io_json_put_text(object, "owner", place->owner));
    IO_TRY_GOTO(status, done, io_json_put_number(object, "cases_left", place->is_listed ? (double)place->n_left : NAN));
    IO_TRY_GOTO(status, done, io_json_put_number(object, "slices_left", place->is_listed ? (double)place->slices_left : NAN));
    IO_TRY_GOTO(status, done, put_left(object, place->seconds_left));
    status = io_json_add(array, &object);
done:
    io_json_free(&object);
    return status;
}

static io_status add_failure(io_json *array, const status_failure *failure)
{
    io_status status = IO_OK;
    io_json *object = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&object));
    IO_TRY_GOTO(status, done, io_json_put_text(object, "case", failure->id));
    IO_TRY_GOTO(status, done, io_json_put_text(object, "stage", failure->stage));
    IO_TRY_GOTO(status, done, io_json_put_text(object, "reason", failure->reason));
    IO_TRY_GOTO(status, done, io_json_put_text(object, "text", failure->text));
    status = io_json_add(array, &object);
done:
    io_json_free(&object);
    return status;
}

static io_status put_lists(io_json *root, const segment_status *s)
{
    io_status status = IO_OK;
    io_json *places = NULL, *failures = NULL, *running = NULL;

    IO_TRY_GOTO(status, done, io_json_create_array(&places));
    for (size_t i = 0; i < s->n_places; i++) IO_TRY_GOTO(status, done, add_place(places, &s->places[i]));
    IO_TRY_GOTO(status, done, io_json_put(root, "runs", &places));
    IO_TRY_GOTO(status, done, io_json_create_array(&failures));
    for (size_t i = 0; i < s->n_failures; i++) IO_TRY_GOTO(status, done, add_failure(failures, &s->failures[i]));
    IO_TRY_GOTO(status, done, io_json_put(root, "failed", &failures));
    IO_TRY_GOTO(status, done, io_json_create_array(&running));
    for (int64_t i = 0; i < s->n_running; i++) IO_TRY_GOTO(status, done, io_json_add_text(running, s->running[i]));
    status = io_json_put(root, "under_way", &running);
done:
    io_json_free(&places);
    io_json_free(&failures);
    io_json_free(&running);
    return status;
}

static io_status put_segment(io_json *root, const segment_status *s)
{
    static const char *const case_keys[] = {"given", "done", "failed", "under_way", "left", "left_out"};
    static const char *const slice_keys[] = {"given", "done", "left"};
    const bool is_whole = s->n_listed == s->n_places, is_counted = is_whole && s->n_uncounted == 0;
    const double cases[] = {is_whole ? (double)s->n_given : NAN, (double)s->n_done,    (double)s->n_failed, (double)s->n_running,
                            is_whole ? (double)s->n_left : NAN,  (double)s->n_left_out};
    const double slices[] = {is_counted ? (double)s->slices_given : NAN, (double)s->slices_done, is_counted ? (double)s->slices_left : NAN};

    IO_TRY(io_json_put_text(root, "kind", "segment"));
    IO_TRY(io_json_put_text(root, "state", job_status_name(s->state)));
    IO_TRY(put_count(root, "cases", case_keys, cases, sizeof cases / sizeof *cases));
    IO_TRY(put_count(root, "slices", slice_keys, slices, sizeof slices / sizeof *slices));
    IO_TRY(io_json_put_number(root, "slices_per_second", s->slices_per_second));
    IO_TRY(put_left(root, s->seconds_left));
    IO_TRY(io_json_put_number(root, "shards", s->n_shards));
    return put_lists(root, s);
}

static io_status put_train(io_json *root, const train_status *s)
{
    IO_TRY(io_json_put_text(root, "kind", "train"));
    IO_TRY(io_json_put_text(root, "state", job_status_name(s->place.state)));
    if (s->place.state == STATUS_FAILED) IO_TRY(io_json_put_text(root, "reason", s->reason));
    IO_TRY(io_json_put_number(root, "step", (double)s->step));
    IO_TRY(io_json_put_number(root, "steps", (double)s->n_steps));
    IO_TRY(io_json_put_number(root, "epoch", (double)s->epoch));
    IO_TRY(io_json_put_number(root, "loss", s->loss));
    IO_TRY(io_json_put_number(root, "best_dsc", s->best_dice < 0 ? NAN : s->best_dice));
    IO_TRY(io_json_put_number(root, "best_step", (double)s->best_step));
    IO_TRY(io_json_put_number(root, "checkpoint_step", (double)s->checkpoint_step));
    IO_TRY(io_json_put_number(root, "seconds_per_step", s->seconds_per_step));
    return put_left(root, s->place.seconds_left);
}

static io_status print_json(const char *folder, const segment_status *segment, const train_status *train)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    char *text = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "folder", folder));
    IO_TRY_GOTO(status, done, segment ? put_segment(root, segment) : put_train(root, train));
    IO_TRY_GOTO(status, done, io_json_print(root, false, &text));
    printf("%s\n", text);
done:
    io_free(&text);
    io_json_free(&root);
    return status;
}

/* ---- the command ---- */

static int choose_exit(const segment_status *s)
{
    if (s->state != STATUS_FINISHED || s->n_left > 0) return JOB_EXIT_STOPPED;
    if (s->n_failed == 0) return JOB_EXIT_DONE;
    return s->n_done > 0 ? JOB_EXIT_CASES : JOB_EXIT_NOTHING;
}

static io_status show_segment(const status_options *options, int *exit_code)
{
    segment_status s;
    io_status status = job_status_segment(options->folder, &s);

    if (status == IO_OK && options->json) status = print_json(options->folder, &s, NULL);
    if (status == IO_OK && !options->json) print_segment(options->folder, &s);
    if (status == IO_OK) *exit_code = choose_exit(&s);
    job_status_segment_free(&s);
    return status;
}

static io_status show_train(const status_options *options, int *exit_code)
{
    train_status s;

    IO_TRY(job_status_train(options->folder, &s));
    if (options->json) IO_TRY(print_json(options->folder, NULL, &s));
    if (!options->json) print_train(options->folder, &s);
    *exit_code = s.place.state == STATUS_FINISHED ? JOB_EXIT_DONE : JOB_EXIT_STOPPED;
    return IO_OK;
}

/* A run leaves its lock first of all, and its tables once it has begun. */
static io_status is_of_segment(const char *folder, bool *answer)
{
    char **names = NULL;
    size_t n = 0;
    job_shard shard;

    *answer = has_file(folder, "cases.tsv") || has_file(folder, ".samed.lock");
    if (*answer) return IO_OK;
    IO_TRY(io_folder_list(folder, &names, &n));
    for (size_t i = 0; i < n; i++) *answer |= job_output_is_shard(names[i], &shard);
    io_names_free(&names, n);
    return IO_OK;
}

static io_status show(const status_options *options, int *exit_code)
{
    bool is_segment = false;

    *exit_code = JOB_EXIT_USAGE;
    if (!io_folder_exists(options->folder)) return IO_FAIL(IO_ERR_ARGUMENT, "there is no folder %s", options->folder);
    if (has_file(options->folder, "log.csv")) return show_train(options, exit_code);
    IO_TRY(is_of_segment(options->folder, &is_segment));
    if (is_segment) return show_segment(options, exit_code);
    return IO_FAIL(IO_ERR_ARGUMENT, "%s: no run of samed segment or samed train has written there (no cases.tsv, no log.csv)",
                   options->folder);
}

int job_status_main(int argc, char **argv)
{
    const struct argp argp = {options_table,
                              parse,
                              "FOLDER",
                              "Tells where the run of an output folder stands: what is done, under way, failed and why, what is left.\v"
                              "From the folder's files alone, while samed segment or samed train is at work there or after; shards are "
                              "added up.\n"
                              "\n"
                              "Exit codes: 0 all done, 3 finished and some cases failed, 4 finished and nothing was valid, 75 something is "
                              "left (the first line says whether it runs, was stopped, was killed or failed), 2 not a run's folder, 1 it "
                              "cannot be read.",
                              0,
                              0,
                              0};
    status_options options = {0};
    io_status status;
    int code = job_options_parse(&argp, argc, argv, &options);

    if (code >= 0) return code;
    status = show(&options, &code);
    if (status == IO_OK) return code;
    io_log(IO_LOG_ERROR, "%s", io_last_error_text());
    return status == IO_ERR_ARGUMENT ? JOB_EXIT_USAGE : JOB_EXIT_RUN;
}
