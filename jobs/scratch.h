/* A rank's own folder on a disk of its node, for the time of a run. Nothing of other ranks or nodes is expected there. */
#ifndef JOBS_SCRATCH_H
#define JOBS_SCRATCH_H

#include "io/status.h"

typedef struct job_scratch job_scratch;

/* Makes "<parent>/samed.<host>.<process>"; parent has to be there. Removes what processes of this host that are gone left beside it. */
io_status job_scratch_create(const char *parent, job_scratch **out);
/* Removes the folder and what is in it, from any thread, before the process aborts. Accepts NULL. */
void job_scratch_abandon(const job_scratch *scratch);
/* Removes the folder and what is in it. Accepts NULL. */
void job_scratch_free(job_scratch **scratch);
const char *job_scratch_path(const job_scratch *scratch); /* borrowed */

#endif
