/* One run at a time on one output folder. */
#ifndef JOBS_LOCK_H
#define JOBS_LOCK_H

#include "io/status.h"

typedef struct job_lock job_lock;

/* Makes <folder>/.samed.lock with host, process and Slurm job. A lock that another run holds is IO_ERR_FILE naming it. A stale one is
 * taken over: its process is gone from this host, or it is of this same Slurm job (requeued), or nobody has touched it for five minutes. */
io_status job_lock_take(const char *folder, job_lock **out);
/* Shows that the run is alive; does something once in a while only. */
void job_lock_touch(job_lock *lock);
/* Removes the file. Accepts NULL. */
void job_lock_free(job_lock **lock);

#endif
