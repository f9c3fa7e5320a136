/* See study_unnamed.h. */
#include "pipeline/study_unnamed.h"

#include <stdio.h>

#include "io/memory.h"
#include "pipeline/label_map.h"

enum { REST = PIPE_LABEL_VALUES, N_TOTALS = PIPE_LABEL_VALUES + 1 };

static void add_total(pipe_unnamed_label *total, int64_t n_voxels)
{
    if (n_voxels == 0) return;
    total->n_cases++;
    total->n_voxels += n_voxels;
}

/* totals [N_TOTALS], by value; behind them what was not told apart. */
static void add_case(pipe_unnamed_label *totals, const pipe_unnamed *unnamed)
{
    int64_t rest = unnamed->n_voxels;

    for (int64_t i = 0; i < unnamed->n_values; i++) {
        add_total(&totals[unnamed->values[i]], unnamed->counts[i]);
        rest -= unnamed->counts[i];
    }
    add_total(&totals[REST], rest);
}

/* Moves what was counted to the front; returns how many there are. */
static size_t keep_counted(pipe_unnamed_label *totals, size_t n_totals)
{
    size_t n = 0;

    for (size_t i = 0; i < n_totals; i++)
        if (totals[i].n_cases > 0) totals[n++] = totals[i];
    return n;
}

io_status pipe_study_list_unnamed(const pipe_study *study, pipe_unnamed_label **out, size_t *n)
{
    pipe_unnamed_label *totals = NULL;

    *n = 0;
    IO_TRY(io_alloc((size_t)PIPE_N_SIDES * N_TOTALS, sizeof *totals, (void **)&totals));
    for (int side = 0; side < PIPE_N_SIDES; side++) {
        for (int value = 0; value < N_TOTALS; value++)
            totals[side * N_TOTALS + value] = (pipe_unnamed_label){.side = (pipe_side)side, .value = value == REST ? -1 : value};
        for (size_t i = 0; i < study->n_cases; i++)
            if (study->cases[i].is_done) add_case(totals + side * N_TOTALS, &study->cases[i].unnamed[side]);
    }
    *n = keep_counted(totals, (size_t)PIPE_N_SIDES * N_TOTALS);
    if (*n == 0) io_free(&totals);
    *out = totals;
    return IO_OK;
}

void pipe_unnamed_text(const pipe_unnamed_label *label, const char *labels_source, char *out, size_t n_bytes)
{
    char what[40] = "other labels";

    if (label->value >= 0) snprintf(what, sizeof what, "label %d", label->value);
    snprintf(out, n_bytes, "%s in the %ss of %zu case%s (%lld voxel%s) %s no name in %s: counted as background", what,
             pipe_side_name(label->side), label->n_cases, label->n_cases == 1 ? "" : "s", (long long)label->n_voxels,
             label->n_voxels == 1 ? "" : "s", label->value >= 0 ? "has" : "have", labels_source);
}
