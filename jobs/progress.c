/* See progress.h. */
#include "jobs/progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/plural.h"

enum { BAR_WIDTH = 24 };

static const double bar_every_s = 0.25, line_every_s = 30;

double job_time_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void job_duration_text(double seconds, char out[32])
{
    const long whole = isfinite(seconds) && seconds > 0 ? lround(fmin(seconds, 1e9)) : 0;

    if (whole < 60)
        snprintf(out, 32, "%ld s", whole);
    else if (whole < 3600)
        snprintf(out, 32, "%ld min", (whole + 30) / 60);
    else
        snprintf(out, 32, "%ld h %02ld min", whole / 3600, whole % 3600 / 60);
}

void job_progress_start(job_progress *progress, int64_t n_cases, int64_t n_slices, bool is_quiet)
{
    const job_progress_mode mode = isatty(STDERR_FILENO) ? JOB_PROGRESS_BAR : JOB_PROGRESS_LINES;

    *progress = (job_progress){.mode = is_quiet ? JOB_PROGRESS_NONE : mode, .n_cases = n_cases, .n_slices = n_slices};
    progress->started = progress->shown = job_time_now();
}

void job_progress_text(const job_progress *progress, double elapsed_s, char *out, size_t n_bytes)
{
    const double rate = elapsed_s > 0 ? (double)progress->slices_done / elapsed_s : 0;
    const int64_t left = progress->n_slices > progress->slices_done ? progress->n_slices - progress->slices_done : 0;
    const char *unit = progress->unit ? progress->unit : "slices";
    char eta[32] = "", failed[40] = "", end[48] = "", units[64] = "";

    if (progress->cases_failed) snprintf(failed, sizeof failed, " (%lld failed)", (long long)progress->cases_failed);
    if (rate > 0) {
        job_duration_text((double)left / rate, eta);
        snprintf(end, sizeof end, ", %s left", eta);
    }
    if (strcmp(unit, "cases") != 0)
        snprintf(units, sizeof units, ", %lld/%lld %s", (long long)progress->slices_done, (long long)progress->n_slices, unit);
    snprintf(out, n_bytes, "%lld/%lld case%s%s%s, %.2f %s/s%s", (long long)(progress->cases_done + progress->cases_failed),
             (long long)progress->n_cases, io_plural(progress->n_cases), failed, units, rate, unit, end);
}

static void draw_bar(job_progress *progress, const char *text)
{
    char bar[BAR_WIDTH + 1];
    double part = progress->n_slices > 0 ? (double)progress->slices_done / (double)progress->n_slices : 0;
    int filled;

    if (part > 1) part = 1;
    filled = (int)(part * BAR_WIDTH);
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', (size_t)filled);
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r\033[K[%s] %s", bar, text);
    fflush(stderr);
    progress->has_bar = true;
}

void job_progress_show(job_progress *progress)
{
    const double now = job_time_now();
    char text[256];

    if (progress->mode == JOB_PROGRESS_NONE) return;
    if (now - progress->shown < (progress->mode == JOB_PROGRESS_BAR ? bar_every_s : line_every_s)) return;
    progress->shown = now;
    job_progress_text(progress, now - progress->started, text, sizeof text);
    if (progress->mode == JOB_PROGRESS_BAR)
        draw_bar(progress, text);
    else
        fprintf(stderr, "samed: %s\n", text);
}

void job_progress_clear(job_progress *progress)
{
    if (!progress->has_bar) return;
    fprintf(stderr, "\r\033[K");
    fflush(stderr);
    progress->has_bar = false;
}
