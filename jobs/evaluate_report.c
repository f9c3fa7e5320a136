/* From the gathered results to the report's files; see evaluate.h. Times go into run.json and nowhere else. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "io/file.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/log.h"
#include "io/memory.h"
#include "io/plural.h"
#include "jobs/evaluate.h"

enum { CHUNK_BYTES = 1 << 26, MAX_DOUBTS = 10 /* told one by one */, MAX_INPUTS = JOB_MAX_MAPS + 2 };

/* What statistics and pictures need to know of a case. */
typedef struct case_facts {
    int64_t is_done;
    int64_t dims[3];
    double spacing_mm[3];
} case_facts;

/* Collective. */
static void spread_bytes(const job_comm *world, void *bytes, size_t n_bytes)
{
    for (size_t at = 0; at < n_bytes; at += CHUNK_BYTES)
        job_comm_bcast(world, (uint8_t *)bytes + at, n_bytes - at < CHUNK_BYTES ? n_bytes - at : CHUNK_BYTES, 0);
}

/* Collective. Rank 0's results reach all ranks, which then share the bootstrap. */
static io_status spread_study(evaluate_run *run)
{
    pipe_study *study = run->study;
    const size_t n_cells = study->n_cases * study->n_organs; /* checked by pipe_study_allocate */
    case_facts *facts = NULL;
    io_status status = io_alloc(study->n_cases, sizeof *facts, (void **)&facts);

    if (status == IO_OK && run->world.rank > 0) status = pipe_study_allocate(study);
    if (!job_all_ok(&run->world, &status, NULL)) goto done;
    for (size_t i = 0; i < study->n_cases; i++) {
        facts[i].is_done = study->cases[i].is_done;
        memcpy(facts[i].dims, study->cases[i].dims, sizeof facts[i].dims);
        memcpy(facts[i].spacing_mm, study->cases[i].spacing_mm, sizeof facts[i].spacing_mm);
    }
    spread_bytes(&run->world, facts, study->n_cases * sizeof *facts);
    for (size_t i = 0; i < study->n_cases; i++) {
        study->cases[i].is_done = facts[i].is_done != 0;
        memcpy(study->cases[i].dims, facts[i].dims, sizeof facts[i].dims);
        memcpy(study->cases[i].spacing_mm, facts[i].spacing_mm, sizeof facts[i].spacing_mm);
    }
    spread_bytes(&run->world, study->overlaps, n_cells * sizeof *study->overlaps);
    spread_bytes(&run->world, study->raw, n_cells * study->n_columns * sizeof *study->raw);
done:
    io_free(&facts);
    return status;
}

/* Collective. Rank r computed the cells r, r + size, ...; afterwards every rank has all of them. */
static io_status gather_summary(evaluate_run *run, pipe_study_summary *summary)
{
    const size_t n_cells = summary->n_rows * summary->n_columns, size = (size_t)run->world.size;
    const size_t n_each = (n_cells + size - 1) / size;
    pipe_cell_summary *own = NULL, *all = NULL;
    io_status status;

    if (size == 1) return IO_OK;
    status = io_alloc(n_each, sizeof *own, (void **)&own);
    if (status == IO_OK) status = io_alloc(n_each * size, sizeof *all, (void **)&all);
    if (!job_all_ok(&run->world, &status, NULL)) goto done;
    for (size_t i = 0; i < n_each; i++) {
        const size_t cell = i * size + (size_t)run->world.rank;
        if (cell < n_cells) own[i] = summary->cells[cell];
    }
    job_comm_allgather(&run->world, own, all, (int)(n_each * sizeof *own));
    for (size_t cell = 0; cell < n_cells; cell++) summary->cells[cell] = all[cell % size * n_each + cell / size];
done:
    io_free(&own);
    io_free(&all);
    return status;
}

static io_status write_run_json(const evaluate_run *run, size_t n_done)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    char *path = NULL;
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "version", SAMED_VERSION));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "host", job_comm_host()));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "ranks", run->world.size));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "cases", (double)run->study->n_cases));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "measured", (double)n_done));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "seconds", job_time_now() - run->started));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "peak_memory_mb_of_rank_0", (double)usage.ru_maxrss / 1024));
    IO_TRY_GOTO(status, done, io_path_join(run->options->output, "run.json", &path));
    status = io_json_write(root, path);
done:
    io_free(&path);
    io_json_free(&root);
    return status;
}

static void describe_maps(const evaluate_options *options, char *out, size_t n_bytes)
{
    size_t at = 0;

    out[0] = '\0';
    for (int i = 0; i < options->n_maps && at < n_bytes; i++)
        at += (size_t)snprintf(out + at, n_bytes - at, "%s%s", i ? ", " : "", options->maps[i]);
}

static io_status add_input(const char *option, const char *path, pipe_report_input *inputs, size_t *n)
{
    pipe_report_input *input = &inputs[*n];

    *input = (pipe_report_input){.option = option, .path = path};
    (*n)++;
    return io_hash_file(path, input->sha256);
}

/* The files that the numbers depend on beside the label maps: inputs [MAX_INPUTS]. */
static io_status list_inputs(const evaluate_run *run, pipe_report_input *inputs, size_t *n)
{
    const evaluate_options *options = run->options;
    bool is_for_reference, is_for_prediction;

    if (options->list) IO_TRY(add_input("--list", options->list, inputs, n));
    if (io_file_exists(run->labels_source)) IO_TRY(add_input("--labels", run->labels_source, inputs, n));
    for (int i = 0; i < options->n_maps; i++) {
        const char *source = job_evaluate_map_source(options->maps[i], &is_for_reference, &is_for_prediction);
        if (!pipe_label_map_is_ready(source)) IO_TRY(add_input("--map", source, inputs, n));
    }
    return IO_OK;
}

static io_status write_tables(const evaluate_run *run, const pipe_report *report)
{
    IO_TRY(pipe_report_metrics_csv(report));
    IO_TRY(pipe_report_summary_csv(report));
    if (report->other) IO_TRY(pipe_report_compare_csv(report));
    IO_TRY(pipe_report_json(report));
    if (run->options->nnunet) IO_TRY(pipe_report_nnunet(report));
    if (run->options->latex) IO_TRY(pipe_report_latex(report));
    IO_TRY(pipe_report_html(report));
    return pipe_report_failed_tsv(report);
}

/* A wrong --map or --labels measures nonsense without a fault: an organ that never occurs or never overlaps is the sign of it. */
static void warn_of_labels(const evaluate_run *run)
{
    char reference[PIPE_LABEL_TEXT], prediction[PIPE_LABEL_TEXT];
    size_t n = 0;

    for (size_t organ = 0; organ < run->study->n_organs; organ++) {
        const char *doubt = pipe_report_doubt(run->study, organ);
        if (!doubt || ++n > MAX_DOUBTS) continue;
        pipe_label_map_describe(run->reference_map, (int)organ + 1, reference, sizeof reference);
        pipe_label_map_describe(run->prediction_map, (int)organ + 1, prediction, sizeof prediction);
        io_log(IO_LOG_WARN, "organ \"%s\" (reference %s, prediction %s) %s; are --labels and --map right?",
               pipe_study_organ(run->study, organ)->name, reference, prediction, doubt);
    }
    if (n > MAX_DOUBTS)
        io_log(IO_LOG_WARN, "%zu more organ%s of this kind: see report.html, Methods", n - MAX_DOUBTS, io_plural(n - MAX_DOUBTS));
}

/* Labels that nothing names are lost from every number: each is told by its value. */
static void warn_of_unnamed(const pipe_report *report)
{
    char text[700];

    for (size_t i = 0; i < report->n_unnamed && i < MAX_DOUBTS; i++) {
        pipe_unnamed_text(&report->unnamed[i], report->labels_source, text, sizeof text);
        io_log(IO_LOG_WARN, "%s; name it with --labels, or say with --map what it is", text);
    }
    if (report->n_unnamed > MAX_DOUBTS)
        io_log(IO_LOG_WARN, "%zu more label%s without a name: see unnamed_labels in summary.json", report->n_unnamed - MAX_DOUBTS,
               io_plural(report->n_unnamed - MAX_DOUBTS));
}

/* Rank 0. The marker comes last: its presence says that everything else is there. */
static io_status write_report(const evaluate_run *run, const pipe_report *report)
{
    char *path = NULL, differences[400] = "";
    const size_t n_done = pipe_study_count_done(run->study), n_notes = pipe_study_count_notes(run->study);
    io_status status;

    warn_of_unnamed(report);
    if (pipe_report_count_shown(report) < report->n_pictures)
        io_log(IO_LOG_WARN, "report.html has room for the pictures of the first %zu of %zu worst cases; --worst N asks for fewer",
               pipe_report_count_shown(report), report->n_pictures);
    if (n_notes > 0)
        io_log(IO_LOG_WARN, "%zu case%s with a note, of what was left out or changed on the way: see summary.json", n_notes,
               io_plural(n_notes));
    if (n_done > 0 && n_done < PIPE_FEW_CASES)
        io_log(IO_LOG_WARN, "only %zu case%s measured: confidence intervals and p-values of fewer than %d say little", n_done,
               io_plural(n_done), PIPE_FEW_CASES);
    warn_of_labels(run);
    if (report->other) pipe_other_report_differences(run->study, report->other, differences, sizeof differences);
    if (*differences) io_log(IO_LOG_WARN, "--compare: %s", differences);
    IO_TRY(write_tables(run, report));
    IO_TRY(write_run_json(run, n_done));
    IO_TRY(io_path_join(run->options->output, "done", &path));
    status = io_file_write_text(path, n_done == run->study->n_cases ? "0\n" : n_done ? "3\n" : "4\n");
    io_free(&path);
    if (status == IO_OK)
        io_log(IO_LOG_INFO, "%zu of %zu case%s measured; the report is in %s", n_done, run->study->n_cases, io_plural(run->study->n_cases),
               run->options->output);
    return status;
}

io_status job_evaluate_check_other(const evaluate_run *run)
{
    const pipe_report report = {.study = run->study,
                                .reference_map = run->reference_map,
                                .grid_tolerance_mm = run->options->grid_tolerance_mm,
                                .resample = run->options->resample,
                                .round = run->options->round};

    return pipe_report_check_other(&report, run->options->compare);
}

/* The other report's values, if it may be compared with. */
static io_status read_other(const evaluate_run *run, pipe_other_report **out)
{
    if (!run->options->compare) return IO_OK;
    if (run->world.rank == 0) IO_TRY(job_evaluate_check_other(run));
    return pipe_other_report_read(run->study, run->options->compare, out);
}

io_status job_evaluate_report(evaluate_run *run)
{
    io_status status = IO_OK;
    pipe_study_summary *summary = NULL;
    pipe_other_report *other = NULL;
    pipe_report_picture *pictures = NULL;
    pipe_unnamed_label *unnamed = NULL;
    pipe_report_input inputs[MAX_INPUTS];
    size_t n_pictures = 0, n_unnamed = 0, n_inputs = 0;
    char maps[2048];

    if (run->world.size > 1) IO_TRY(spread_study(run));
    describe_maps(run->options, maps, sizeof maps);
    status = read_other(run, &other);
    if (status == IO_OK && run->world.rank == 0) status = pipe_study_list_unnamed(run->study, &unnamed, &n_unnamed);
    if (status == IO_OK && run->world.rank == 0) status = list_inputs(run, inputs, &n_inputs);
    if (status == IO_OK) status = pipe_study_summarise(run->study, other, (size_t)run->world.rank, (size_t)run->world.size, &summary);
    if (!job_all_ok(&run->world, &status, NULL)) goto done;
    IO_TRY_GOTO(status, done, gather_summary(run, summary));
    IO_TRY_GOTO(status, done, job_evaluate_pictures(run, &pictures, &n_pictures));
    const pipe_report report = {.study = run->study,
                                .summary = summary,
                                .other = other,
                                .folder = run->options->output,
                                .command = run->options->command,
                                .version = SAMED_VERSION,
                                .labels_source = run->labels_source,
                                .maps = maps,
                                .reference_map = run->reference_map,
                                .prediction_map = run->prediction_map,
                                .inputs = inputs,
                                .n_inputs = n_inputs,
                                .unnamed = unnamed,
                                .n_unnamed = n_unnamed,
                                .grid_tolerance_mm = run->options->grid_tolerance_mm,
                                .resample = run->options->resample,
                                .round = run->options->round,
                                .pictures = pictures,
                                .n_pictures = n_pictures};
    if (run->world.rank == 0) status = write_report(run, &report);
done:
    job_evaluate_pictures_free(&pictures, n_pictures);
    io_free(&unnamed);
    pipe_other_report_free(&other);
    pipe_study_summary_free(&summary);
    return status;
}
