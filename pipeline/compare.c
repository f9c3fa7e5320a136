/* Another report's values beside those of a study; see study_summary.h. Its metrics.csv is read line by line in memory. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "pipeline/study_summary.h"

enum { MAX_CSV_BYTES = 1 << 30, N_FIELDS = 5 };

static const char header[] = "case,organ,metric,convention,value";

/* Where the last line's case and organ were found: lines of one case follow each other. */
typedef struct place {
    size_t index, organ;
} place;

/* Takes the next field of a line apart (RFC 4180), in place; NULL behind the last one. */
static char *next_field(char **rest)
{
    char *start = *rest, *read, *write;

    if (!start) return NULL;
    if (*start != '"') {
        char *comma = strchr(start, ',');
        *rest = comma ? comma + 1 : NULL;
        if (comma) *comma = '\0';
        return start;
    }
    for (read = write = start + 1; *read; read++) {
        if (*read == '"' && read[1] != '"') break;
        if (*read == '"') read++;
        *write++ = *read;
    }
    *rest = *read == '"' && read[1] == ',' ? read + 2 : NULL;
    *write = '\0';
    return start + 1;
}

static int compare_ids(const void *key, const void *entry)
{
    return strcmp(key, ((const pipe_study_case *)entry)->id);
}

static bool find_case(const pipe_study *study, const char *id, place *at)
{
    const pipe_study_case *found;

    if (at->index < study->n_cases && !strcmp(study->cases[at->index].id, id)) return true;
    found = study->n_cases ? bsearch(id, study->cases, study->n_cases, sizeof *study->cases, compare_ids) : NULL;
    if (found) at->index = (size_t)(found - study->cases);
    return found != NULL;
}

static bool find_organ(const pipe_study *study, const char *name, place *at)
{
    if (at->organ < study->n_organs && !strcmp(pipe_study_organ(study, at->organ)->name, name)) return true;
    for (at->organ = 0; at->organ < study->n_organs; at->organ++)
        if (!strcmp(pipe_study_organ(study, at->organ)->name, name)) return true;
    return false;
}

static size_t find_column(const pipe_study *study, const char *metric, const char *convention)
{
    for (size_t i = 0; i < study->n_columns; i++)
        if (!strcmp(study->columns[i].name, metric) && !strcmp(pipe_column_convention(&study->columns[i]), convention)) return i;
    return study->n_columns;
}

static void note_convention(const char *name, pipe_other_report *other)
{
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++)
        if (!strcmp(name, pipe_convention_name((pipe_convention)c))) other->conventions |= 1u << c;
}

static io_status read_line(const pipe_study *study, const char *path, size_t line_number, char *line, place *at, pipe_other_report *other)
{
    char *fields[N_FIELDS], *rest = line, *end;
    size_t column;
    double value;

    for (int i = 0; i < N_FIELDS; i++) fields[i] = next_field(&rest);
    if (!fields[N_FIELDS - 1] || rest)
        return IO_FAIL(IO_ERR_FORMAT, "%s: line %zu has not the %d fields %s", path, line_number, N_FIELDS, header);
    value = strtod(fields[4], &end);
    if (end == fields[4] || *end) return IO_FAIL(IO_ERR_FORMAT, "%s: line %zu: '%s' is no number", path, line_number, fields[4]);
    note_convention(fields[3], other);
    if (!find_case(study, fields[0], at) || !find_organ(study, fields[1], at)) return IO_OK;
    column = find_column(study, fields[2], fields[3]);
    if (column == study->n_columns) return IO_OK;
    other->values[(at->index * study->n_organs + at->organ) * study->n_columns + column] = value;
    other->has_column[column] = true;
    other->n_values++;
    return IO_OK;
}

static io_status read_lines(const pipe_study *study, const char *path, char *text, pipe_other_report *other)
{
    place at = {0, 0};
    size_t line_number = 1;
    char differences[400];

    if (strncmp(text, header, sizeof header - 1) != 0) return IO_FAIL(IO_ERR_FORMAT, "%s: expected a first line of %s", path, header);
    for (char *line = strchr(text, '\n'), *next; line && line[1]; line = next) {
        line++;
        next = strchr(line, '\n');
        if (next) *next = '\0';
        if (next > line && next[-1] == '\r') next[-1] = '\0';
        IO_TRY(read_line(study, path, ++line_number, line, &at, other));
    }
    if (other->n_values > 0) return IO_OK;
    pipe_other_report_differences(study, other, differences, sizeof differences);
    return IO_FAIL(IO_ERR_MISMATCH,
                   "%s: none of its values belongs to this study's cases, organs and metrics; compare reports of the same "
                   "cases with the same --labels and --convention; %s",
                   path, differences);
}

/* An organ that has a volume in the other report occurs there. */
static void mark_absent(const pipe_study *study, pipe_other_report *other)
{
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        other->is_absent[organ] = true;
        for (size_t i = 0; i < study->n_cases * study->n_columns; i++) {
            const size_t index = i / study->n_columns, column = i % study->n_columns;
            const pipe_metric metric = study->columns[column].metric;
            const double value = other->values[(index * study->n_organs + organ) * study->n_columns + column];
            if ((metric == PIPE_VOLUME_REFERENCE || metric == PIPE_VOLUME_PREDICTION) && value > 0) other->is_absent[organ] = false;
        }
    }
}

static void count_cases(const pipe_study *study, pipe_other_report *other)
{
    const size_t n_per_case = study->n_organs * study->n_columns;

    for (size_t i = 0; i < study->n_cases; i++) {
        bool has_any = false;
        for (size_t v = 0; v < n_per_case; v++) has_any |= isfinite(other->values[i * n_per_case + v]);
        other->n_cases += has_any;
    }
}

io_status pipe_other_report_read(const pipe_study *study, const char *folder, pipe_other_report **out)
{
    io_status status = IO_OK;
    pipe_other_report *other = NULL;
    char *path = NULL, *text = NULL;
    const size_t n_values = study->n_cases * study->n_organs * study->n_columns; /* checked by pipe_study_allocate */

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *other, (void **)&other));
    IO_TRY_GOTO(status, done, io_string_copy(folder, &other->folder));
    IO_TRY_GOTO(status, done, io_alloc(n_values, sizeof *other->values, (void **)&other->values));
    for (size_t i = 0; i < n_values; i++) other->values[i] = NAN;
    IO_TRY_GOTO(status, done, io_alloc(study->n_columns, sizeof *other->has_column, (void **)&other->has_column));
    IO_TRY_GOTO(status, done, io_alloc(study->n_organs, sizeof *other->is_absent, (void **)&other->is_absent));
    IO_TRY_GOTO(status, done, io_path_join(folder, "metrics.csv", &path));
    IO_TRY_GOTO(status, done, io_file_read_text(path, MAX_CSV_BYTES, &text));
    IO_TRY_GOTO(status, done, read_lines(study, path, text, other));
    count_cases(study, other);
    mark_absent(study, other);
    *out = other;
    other = NULL; /* now the caller's */
done:
    io_free(&text);
    io_free(&path);
    pipe_other_report_free(&other);
    return status;
}

void pipe_other_report_free(pipe_other_report **other)
{
    if (!other || !*other) return;
    io_free(&(*other)->folder);
    io_free(&(*other)->values);
    io_free(&(*other)->has_column);
    io_free(&(*other)->is_absent);
    io_free(other);
}

/* "medpy, samed" of bits. */
static void list_conventions(unsigned bits, char out[80])
{
    size_t at = 0;

    snprintf(out, 80, "none");
    for (int c = 0; c < PIPE_N_CONVENTIONS; c++)
        if (bits >> c & 1) at += (size_t)snprintf(out + at, 80 - at, "%s%s", at ? ", " : "", pipe_convention_name((pipe_convention)c));
}

void pipe_other_report_differences(const pipe_study *study, const pipe_other_report *other, char *out, size_t n_bytes)
{
    char own[80], theirs[80];
    size_t n_missing = 0, first = 0;

    for (size_t i = study->n_columns; i-- > 0;) {
        if (other->has_column[i]) continue;
        n_missing++;
        first = i;
    }
    list_conventions(study->options.conventions, own);
    list_conventions(other->conventions, theirs);
    out[0] = '\0';
    if (other->conventions != study->options.conventions)
        snprintf(out, n_bytes, "conventions differ: this report has %s, %s has %s; only what both have is compared", own, other->folder,
                 theirs);
    else if (n_missing > 0)
        snprintf(out, n_bytes, "%s lacks %zu of this report's %zu metrics (%s in %s, ...); only what both have is compared", other->folder,
                 n_missing, study->n_columns, study->columns[first].name, pipe_column_convention(&study->columns[first]));
}
