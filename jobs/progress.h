/* How far the run is, from rank 0: a bar on a terminal, a line every so often in a log, nothing when quiet. */
#ifndef JOBS_PROGRESS_H
#define JOBS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum job_progress_mode { JOB_PROGRESS_NONE, JOB_PROGRESS_LINES, JOB_PROGRESS_BAR } job_progress_mode;

typedef struct job_progress {
    job_progress_mode mode;
    int64_t n_cases, n_slices; /* to do in this run */
    int64_t cases_done, cases_failed;
    int64_t slices_done;
    const char *unit;      /* what stands for slices where cases have none, as "parts"; NULL: "slices", "cases": each case counts as one */
    double started, shown; /* seconds, monotonic */
    bool has_bar;          /* a bar stands in the terminal's last line */
} job_progress;

/* Bar when standard error is a terminal, lines otherwise. */
void job_progress_start(job_progress *progress, int64_t n_cases, int64_t n_slices, bool is_quiet);
/* Shows the state if it is time to. */
void job_progress_show(job_progress *progress);
/* Takes the bar away, so that a line can be printed; the next show brings it back. */
void job_progress_clear(job_progress *progress);

/* "12/40 cases, 1803/6000 slices, 1.62 slices/s, 43 min left" for elapsed_s seconds; "12/40 cases, 0.12 cases/s, 4 min left". */
void job_progress_text(const job_progress *progress, double elapsed_s, char *out, size_t n_bytes);
/* "2 h 05 min", "43 min", "12 s". */
void job_duration_text(double seconds, char out[32]);
double job_time_now(void); /* seconds, monotonic */

#endif
