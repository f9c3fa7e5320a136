/* The values of the long table of report.html as JSON for its script: six digits are more than a screen shows. See report_html.h. */
#include <math.h>
#include <string.h>

#include "pipeline/report_html.h"

static void add_columns(pipe_text *text, const pipe_study *study)
{
    pipe_text_add(text, "\"columns\":[");
    for (size_t i = 0; i < study->n_columns; i++) {
        const pipe_column *column = &study->columns[i];
        pipe_text_add(text, "%s{\"n\":\"%s\",\"c\":\"%s\",\"d\":%d,\"up\":%s}", i ? "," : "", column->title, pipe_column_convention(column),
                      pipe_html_decimals(column), pipe_column_is_better_high(column) ? "true" : "false");
    }
    pipe_text_add(text, "],\n");
}

static void add_case(pipe_text *text, const pipe_study_case *c)
{
    const char *const fields[] = {c->id, c->reference, c->prediction, c->reference_sha256, c->prediction_sha256, c->note};

    pipe_text_add(text, "[");
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (i) pipe_text_add(text, ",");
        pipe_text_add_json(text, fields[i] ? fields[i] : "");
    }
    pipe_text_add(text, "]");
}

static void add_values(pipe_text *text, const pipe_study *study, size_t index)
{
    pipe_text_add(text, "[");
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        for (size_t column = 0; column < study->n_columns; column++) {
            const double value = pipe_study_value(study, index, organ, column);
            if (organ || column) pipe_text_add(text, ",");
            if (isfinite(value))
                pipe_text_add_rounded(text, value, 6);
            else
                pipe_text_add(text, "null");
        }
    }
    pipe_text_add(text, "]");
}

static void add_states(pipe_text *text, const pipe_study *study, size_t index)
{
    pipe_text_add(text, "\"");
    for (size_t organ = 0; organ < study->n_organs; organ++) pipe_text_add(text, "%c", "pemf"[pipe_study_presence(study, index, organ)]);
    pipe_text_add(text, "\"");
}

/* Cases that failed have no values and are left out. */
static void add_list(pipe_text *text, const pipe_study *study, const char *name, void (*add)(pipe_text *, const pipe_study *, size_t))
{
    bool is_first = true;

    pipe_text_add(text, "\"%s\":[", name);
    for (size_t i = 0; i < study->n_cases; i++) {
        if (!study->cases[i].is_done) continue;
        pipe_text_add(text, is_first ? "\n" : ",\n");
        is_first = false;
        add(text, study, i);
    }
    pipe_text_add(text, "]");
}

static void add_case_at(pipe_text *text, const pipe_study *study, size_t index)
{
    add_case(text, &study->cases[index]);
}

void pipe_html_data(pipe_text *text, const pipe_report *report)
{
    const pipe_study *study = report->study;

    pipe_text_add(text, "<script type=\"application/json\" id=\"data\">{\"main\":\"%s\",\n\"organs\":[",
                  pipe_convention_name((pipe_convention)study->options.order[0]));
    for (size_t organ = 0; organ < study->n_organs; organ++) {
        if (organ) pipe_text_add(text, ",");
        pipe_text_add_json(text, pipe_study_organ(study, organ)->name);
    }
    pipe_text_add(text, "],\n");
    add_columns(text, study);
    add_list(text, study, "cases", add_case_at);
    pipe_text_add(text, ",\n");
    add_list(text, study, "states", add_states);
    pipe_text_add(text, ",\n");
    add_list(text, study, "values", add_values);
    pipe_text_add(text, "}</script>\n");
}
