/* From the gathered results to the report's files; see evaluate.h. Times go into run.json and nowhere else. */
#include <stdio.h>
#include <string.h>

#include "io/file.h"
#include "io/json.h"
#include "io/log.h"
#include "io/memory.h"
#include "jobs/evaluate.h"

/* Collective. Rank 0's results reach all ranks, which then share the bootstrap. */
static io_status spread_study(evaluate_run *run)
{
    pipe_study *study = run->study;
    const size_t n_cells = study->n_cases * study->n_organs; /* checked by pipe_study_allocate */
    const size_t n_overlap_bytes = n_cells * sizeof *study->overlaps, n_raw_bytes = n_cells * study->n_columns * sizeof *study->raw;
    enum { CHUNK = 1 << 26 };

    for (size_t i = 0; i < study->n_cases; i++) {
        pipe_study_case *c = &study->cases[i];
        job_comm_bcast(&run->world, &c->is_done, sizeof c->is_done, 0);
        job_comm_bcast(&run->world, c->dims, sizeof c->dims, 0);
        job_comm_bcast(&run->world, c->spacing_mm, sizeof c->spacing_mm, 0);
    }
    for (size_t at = 0; at < n_overlap_bytes; at += CHUNK)
        job_comm_bcast(&run->world, (uint8_t *)study->overlaps + at, n_overlap_bytes - at < CHUNK ? n_overlap_bytes - at : CHUNK, 0);
    for (size_t at = 0; at < n_raw_bytes; at += CHUNK)
        job_comm_bcast(&run->world, (uint8_t *)study->raw + at, n_raw_bytes - at < CHUNK ? n_raw_bytes - at : CHUNK, 0);
    return IO_OK;
}

/* Collective. Each rank computed every size-th cell; rank 0 gets the rest. */
static io_status gather_summary(evaluate_run *run, pipe_study_summary *summary)
{
    const size_t n_cells = summary->n_rows * summary->n_columns, size = (size_t)run->world.size;
    pipe_cell_summary *all = NULL;
    io_status status = io_alloc(size, sizeof *all, (void **)&all);

    if (!job_all_ok(&run->world, &status, NULL)) goto done;
    for (size_t first = 0; first < n_cells && size > 1; first += size) {
        const size_t own = first + (size_t)run->world.rank;
        const pipe_cell_summary none = {.mean_present = 0};
        job_comm_allgather(&run->world, own < n_cells ? &summary->cells[own] : &none, all, (int)sizeof *all);
        for (size_t r = 0; r < size && first + r < n_cells; r++) summary->cells[first + r] = all[r];
    }
done:
    io_free(&all);
    return status;
}

static io_status write_run_json(const evaluate_run *run, int64_t n_done)
{
    io_status status = IO_OK;
    io_json *root = NULL;
    char *path = NULL;

    IO_TRY_GOTO(status, done, io_json_create_object(&root));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "version", SAMED_VERSION));
    IO_TRY_GOTO(status, done, io_json_put_text(root, "host", job_comm_host()));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "ranks", run->world.size));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "cases", (double)run->study->n_cases));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "measured", (double)n_done));
    IO_TRY_GOTO(status, done, io_json_put_number(root, "seconds", job_time_now() - run->started));
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

/* Rank 0. The marker comes last: its presence says that everything else is there. */
static io_status write_report(const evaluate_run *run, const pipe_report *report)
{
    char *path = NULL;
    int64_t n_done = 0;
    io_status status;

    for (size_t i = 0; i < run->study->n_cases; i++) n_done += run->study->cases[i].is_done;
    IO_TRY(write_tables(run, report));
    IO_TRY(write_run_json(run, n_done));
    IO_TRY(io_path_join(run->options->output, "done", &path));
    status = io_file_write_text(path, n_done == (int64_t)run->study->n_cases ? "0\n" : n_done ? "3\n" : "4\n");
    io_free(&path);
    if (status == IO_OK)
        io_log(IO_LOG_INFO, "%lld of %zu cases measured; the report is in %s", (long long)n_done, run->study->n_cases,
               run->options->output);
    return status;
}

io_status job_evaluate_report(evaluate_run *run)
{
    io_status status = IO_OK;
    pipe_study_summary *summary = NULL;
    pipe_other_report *other = NULL;
    pipe_report_picture *pictures = NULL;
    size_t n_pictures = 0;
    char maps[2048];

    if (run->world.size > 1) IO_TRY(spread_study(run));
    describe_maps(run->options, maps, sizeof maps);
    if (run->options->compare) status = pipe_other_report_read(run->study, run->options->compare, &other);
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
                                .grid_tolerance_mm = run->options->grid_tolerance_mm,
                                .resample = run->options->resample,
                                .round = run->options->round,
                                .pictures = pictures,
                                .n_pictures = n_pictures};
    if (run->world.rank == 0) status = write_report(run, &report);
done:
    job_evaluate_pictures_free(&pictures, n_pictures);
    pipe_other_report_free(&other);
    pipe_study_summary_free(&summary);
    return status;
}
