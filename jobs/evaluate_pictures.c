/* Pictures of the worst cases, shared by the ranks; see evaluate.h. A picture that cannot be drawn is left out, never a reason to fail. */
#include <string.h>

#include "io/log.h"
#include "io/memory.h"
#include "jobs/evaluate.h"
#include "jobs/exits.h"
#include "pipeline/overlay.h"

enum { TAG_PICTURE = 32 };

static void draw_picture(const evaluate_run *run, pipe_report_picture *picture)
{
    const pipe_pair_options options = job_evaluate_pair_options(run);
    pipe_study_case about = run->study->cases[picture->index]; /* a copy: its note must not be written twice */
    pipe_pair pair;
    const char *stage;
    char fault[600] = "";
    io_status status = pipe_pair_open(&options, &about, &pair, &stage);

    if (status == IO_OK) {
        status = pipe_overlay_draw(pair.reference, pair.prediction, run->labels, about.image, fault, sizeof fault, &picture->png,
                                   &picture->n_bytes);
        pipe_pair_close(&pair);
    }
    if (*fault) io_log(IO_LOG_WARN, "case %s is shown without its image: %s", about.id, fault);
    if (status == IO_OK) return;
    picture->n_bytes = 0;
    io_log(IO_LOG_WARN, "no picture of case %s: %s", about.id, io_last_error_text());
}

/* Rank r drew every size-th picture, beginning with its own number. */
static io_status move_picture(const evaluate_run *run, int from, pipe_report_picture *picture)
{
    if (from == 0) return IO_OK;
    if (run->world.rank == from) {
        job_comm_send(&run->world, picture->png, picture->n_bytes, 0, TAG_PICTURE);
        return IO_OK;
    }
    picture->n_bytes = job_comm_probe(&run->world, from, TAG_PICTURE);
    if (io_alloc(picture->n_bytes, 1, (void **)&picture->png) != IO_OK) return IO_ERR_MEMORY;
    job_comm_receive(&run->world, picture->png, picture->n_bytes, from, TAG_PICTURE);
    if (picture->n_bytes == 0) io_free(&picture->png);
    return IO_OK;
}

io_status job_evaluate_pictures(const evaluate_run *run, pipe_report_picture **out, size_t *n_out)
{
    io_status status;
    size_t *order = NULL, n = 0;
    pipe_report_picture *pictures = NULL;

    status = io_alloc(run->study->n_cases, sizeof *order, (void **)&order);
    if (status == IO_OK) status = pipe_report_rank_cases(run->study, order, &n);
    if (n > (size_t)run->options->n_worst) n = (size_t)run->options->n_worst;
    if (status == IO_OK) status = io_alloc(n, sizeof *pictures, (void **)&pictures);
    if (!job_all_ok(&run->world, &status, NULL)) goto done;
    for (size_t i = 0; i < n; i++) {
        pictures[i].index = order[i];
        if (i % (size_t)run->world.size == (size_t)run->world.rank) draw_picture(run, &pictures[i]);
    }
    for (size_t i = 0; i < n; i++) {
        const int from = (int)(i % (size_t)run->world.size);
        if (run->world.rank != 0 && run->world.rank != from) continue;
        status = move_picture(run, from, &pictures[i]);
        if (status != IO_OK) job_abort(JOB_EXIT_RUN, "%s", io_last_error_text());
    }
    *out = pictures;
    *n_out = n;
    pictures = NULL; /* now the caller's */
done:
    io_free(&pictures);
    io_free(&order);
    return status;
}

void job_evaluate_pictures_free(pipe_report_picture **pictures, size_t n_pictures)
{
    for (size_t i = 0; *pictures && i < n_pictures; i++) io_free(&(*pictures)[i].png);
    io_free(pictures);
}
