/* Exit codes of samed, read by slurm/ and by workflow managers. None of them in 104 or 130-145 (nf-core retries on those). */
#ifndef JOBS_EXITS_H
#define JOBS_EXITS_H

enum {
    JOB_EXIT_DONE = 0,    /* everything asked for is done */
    JOB_EXIT_RUN = 1,     /* the run failed: device, memory, disk, a lost rank */
    JOB_EXIT_USAGE = 2,   /* wrong options or configuration */
    JOB_EXIT_CASES = 3,   /* finished, some cases failed; failed.tsv lists them */
    JOB_EXIT_NOTHING = 4, /* nothing of what was given was valid */
    JOB_EXIT_STOPPED = 75 /* stopped in good order (signal, time limit); start again to continue */
};

#endif
