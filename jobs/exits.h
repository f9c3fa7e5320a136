/* Exit codes of samed, read by slurm/ and by workflow managers. None of them in 104 or 130-145 (nf-core retries on those). */
#ifndef JOBS_EXITS_H
#define JOBS_EXITS_H

#include "io/status.h"
#include "jobs/comm.h"

enum {
    JOB_EXIT_DONE = 0,    /* everything asked for is done */
    JOB_EXIT_RUN = 1,     /* the run failed: device, memory, disk, a folder that cannot be written, a lost rank */
    JOB_EXIT_USAGE = 2,   /* wrong options or configuration */
    JOB_EXIT_CASES = 3,   /* finished, some cases failed; failed.tsv lists them */
    JOB_EXIT_NOTHING = 4, /* nothing of what was given was valid */
    JOB_EXIT_STOPPED = 75 /* stopped in good order (signal, time limit); start again to continue */
};

/* The code of a run that ends before its first case. A faulty option, weight file or label table is not retried by anything: 2. What the
 * system or the machine refused may work another time or elsewhere: 1. */
int job_exit_of(io_status status);
/* status is the same on all ranks (job_all_ok): one line from rank 0. Returns exit_code. */
int job_exit_leave(const job_comm *world, io_status status, int exit_code);

#endif
