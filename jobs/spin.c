/* See spin.h. */
#include "jobs/spin.h"

#include <stdlib.h>
#include <unistd.h>

/* Turns of the waiting loop: some microseconds, enough for the short gaps between two operations. On idle cores 1000, 10000 and the
 * default (300000) were equally fast; with four busy processes on two cores they took 0.6, 1.5 and 2 s for the same small volume. */
static const char spin_count[] = "1000";

void job_spin_limit(char **argv)
{
    char program[4096]; /* its own path, so that ps and pgrep show its name */
    ssize_t n_bytes;

    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    n_bytes = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n_bytes <= 0 || setenv("GOMP_SPINCOUNT", spin_count, 1) != 0) return;
    program[n_bytes] = '\0';
    execv(program, argv); /* returns only when it failed */
}
