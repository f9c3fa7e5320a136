/* May a report be compared with another one? Paired differences mean something only when both were measured against the same references,
 * under the same labels and rules; see report.h. The other report's summary.json says what it was made of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/memory.h"
#include "pipeline/report.h"

enum { MAX_JSON_BYTES = 1 << 29 };

static io_status refuse(const char *folder, const char *what, const char *here, const char *there)
{
    return IO_FAIL(IO_ERR_MISMATCH,
                   "--compare %s: %s differ: \"%s\" here, \"%s\" there; measure both with the same references, --labels, --map of the "
                   "reference, --empty, --missing, --resample, --grid-tolerance and --round",
                   folder, what, here, there ? there : "nothing");
}

static const char *text_or_none(const io_json *object, const char *key)
{
    const char *text = io_json_get_text(object, key);

    return text ? text : "none";
}

static io_status check_options(const pipe_report *report, const char *folder, const io_json *root)
{
    const char *resample = report->resample ? "nearest" : "none", *round = report->round ? "yes" : "no";
    const char *missing = report->study->options.missing_is_worst ? "worst" : "fail";
    const char *other_round = io_json_is_true(io_json_get(root, "round")) ? "yes" : "no";
    const int ignore = pipe_label_map_has_ignore(report->reference_map) ? report->study->labels->ignore_value : -1;
    double other_tolerance, other_ignore = -1; /* of a report that does not say */
    char here[32], there[32];

    if (strcmp(resample, text_or_none(root, "resample")) != 0)
        return refuse(folder, "--resample", resample, text_or_none(root, "resample"));
    if (strcmp(round, other_round) != 0) return refuse(folder, "--round", round, other_round);
    (void)io_json_get_number(root, "ignore_value", &other_ignore);
    snprintf(here, sizeof here, "%d", ignore);
    snprintf(there, sizeof there, "%g", other_ignore);
    if (io_json_get_number(root, "grid_tolerance_mm", &other_tolerance) && other_tolerance != report->grid_tolerance_mm) {
        snprintf(here, sizeof here, "%g", report->grid_tolerance_mm);
        snprintf(there, sizeof there, "%g", other_tolerance);
        return refuse(folder, "--grid-tolerance", here, there);
    }
    if (ignore != other_ignore) return refuse(folder, "values to ignore (-1: none)", here, there);
    return strcmp(missing, text_or_none(root, "missing")) == 0 ? IO_OK
                                                               : refuse(folder, "--missing", missing, text_or_none(root, "missing"));
}

static io_status check_organs(const pipe_report *report, const char *folder, const io_json *root)
{
    const pipe_study *study = report->study;
    const io_json *organ = io_json_at(io_json_get(root, "organs"), 0);
    char own[PIPE_LABEL_TEXT];

    for (size_t i = 0; i < study->n_organs; i++, organ = io_json_next(organ)) {
        const char *name = pipe_study_organ(study, i)->name;
        if (!organ || strcmp(text_or_none(organ, "name"), name) != 0)
            return refuse(folder, "names of organs", name, organ ? io_json_get_text(organ, "name") : NULL);
        pipe_label_map_describe(report->reference_map, (int)i + 1, own, sizeof own);
        if (strcmp(text_or_none(organ, "reference_values"), own) != 0)
            return refuse(folder, "labels of the reference", own, io_json_get_text(organ, "reference_values"));
    }
    return organ ? refuse(folder, "names of organs", "nothing", io_json_get_text(organ, "name")) : IO_OK;
}

static io_status check_rule(const pipe_report *report, const char *folder, const io_json *rule)
{
    static const char *const states[PIPE_N_EMPTY] = {"both_empty", "missed", "false_positive"};
    const pipe_study *study = report->study;
    char what[160], own[32];

    for (size_t i = 0; i < study->n_columns; i++) {
        const pipe_column *column = &study->columns[i];
        const pipe_empty_rule *rules = pipe_column_rules(study, column);
        const bool is_same = rules && !strcmp(column->name, text_or_none(rule, "metric")) &&
                             !strcmp(pipe_column_convention(column), text_or_none(rule, "convention"));
        for (int state = 0; is_same && state < PIPE_N_EMPTY; state++) {
            pipe_empty_rule_text(&rules[state], own);
            snprintf(what, sizeof what, "rules for empty masks (%s of %s, %s)", column->name, pipe_column_convention(column),
                     states[state]);
            if (strcmp(own, text_or_none(rule, states[state])) != 0)
                return refuse(folder, what, own, io_json_get_text(rule, states[state]));
        }
    }
    return IO_OK;
}

static io_status check_rules(const pipe_report *report, const char *folder, const io_json *root)
{
    const io_json *rules = io_json_get(root, "empty_rules");

    for (const io_json *rule = io_json_at(rules, 0); rule; rule = io_json_next(rule)) IO_TRY(check_rule(report, folder, rule));
    return IO_OK;
}

static int compare_ids(const void *key, const void *entry)
{
    return strcmp(key, ((const pipe_study_case *)entry)->id);
}

/* In JSON what is no UTF-8 became U+FFFD, byte by byte: is this how the id was written? */
static bool is_written_as(const char *id, const char *written)
{
    static const char replacement[] = "\xef\xbf\xbd";

    while (*id && *written) {
        const size_t n = io_json_character_bytes((const uint8_t *)id), n_written = n ? n : sizeof replacement - 1;
        if (strncmp(n ? id : replacement, written, n_written) != 0) return false;
        id += n ? n : 1;
        written += n_written;
    }
    return !*id && !*written;
}

/* The case that another report's id and reference belong to; of several that were written alike, one with this reference. */
static const pipe_study_case *find_case(const pipe_study *study, const char *id, const char *hash)
{
    const pipe_study_case *found = study->n_cases ? bsearch(id, study->cases, study->n_cases, sizeof *found, compare_ids) : NULL;

    if (found || !strstr(id, "\xef\xbf\xbd")) return found;
    for (size_t i = 0; i < study->n_cases; i++) {
        const pipe_study_case *c = &study->cases[i];
        if (is_written_as(c->id, id) && (!found || !strcmp(c->reference_sha256, hash))) found = c;
    }
    return found;
}

/* Cases that both reports measured; before anything is measured here there are none. */
static io_status check_references(const pipe_report *report, const char *folder, const io_json *root)
{
    const pipe_study *study = report->study;
    const char *first_id = NULL, *here = NULL, *there = NULL;
    size_t n_shared = 0, n_other = 0;

    for (const io_json *c = io_json_at(io_json_get(root, "cases"), 0); c; c = io_json_next(c)) {
        const char *id = io_json_get_text(c, "case"), *hash = io_json_get_text(c, "reference_sha256");
        const pipe_study_case *own = id && hash ? find_case(study, id, hash) : NULL;
        if (!own || !own->is_done || !*own->reference_sha256) continue;
        n_shared++;
        if (!strcmp(own->reference_sha256, hash)) continue;
        if (n_other++ == 0) {
            first_id = id;
            here = own->reference_sha256;
            there = hash;
        }
    }
    if (n_other == 0) return IO_OK;
    return IO_FAIL(IO_ERR_MISMATCH,
                   "--compare %s: the references of %zu of %zu cases are other files (case %s: SHA-256 %.12s... here, %.12s... there); a "
                   "paired comparison needs the same references",
                   folder, n_other, n_shared, first_id, here, there);
}

io_status pipe_report_check_other(const pipe_report *report, const char *folder)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    char *path = NULL;

    IO_TRY_GOTO(status, done, io_path_join(folder, "summary.json", &path));
    if (!io_file_exists(path)) {
        status = IO_FAIL(IO_ERR_NOT_FOUND,
                         "--compare: %s is not there, which says how the other report was made; give the folder of a whole report", path);
        goto done;
    }
    IO_TRY_GOTO(status, done, io_json_read(path, MAX_JSON_BYTES, &root));
    IO_TRY_GOTO(status, done, check_options(report, folder, root));
    IO_TRY_GOTO(status, done, check_organs(report, folder, root));
    IO_TRY_GOTO(status, done, check_rules(report, folder, root));
    status = check_references(report, folder, root);
done:
    io_json_free(&root);
    io_free(&path);
    return status;
}
