/* One run at a time on one output folder. */
#ifndef JOBS_LOCK_H
#define JOBS_LOCK_H

#include <stdbool.h>

#include "io/status.h"

enum { JOB_LOCK_OWNER_BYTES = 192 };

typedef struct job_lock job_lock;

/* Makes <folder>/.samed.lock with host, process and the job's name (SAMED_JOB of the environment, which job scripts set). A lock that
 * another run holds is IO_ERR_ARGUMENT naming it. A stale one is taken over: its process is gone from this host, or it is of this same job
 * (requeued) and nobody has touched it for a minute, or nobody has touched it for five. A thread touches the file until job_lock_free. */
io_status job_lock_take(const char *folder, job_lock **out);
/* Does a living run hold this folder, as far as can be told from here? By the rules above; owner says who. */
bool job_lock_is_held(const char *folder, char owner[JOB_LOCK_OWNER_BYTES]);
/* Removes the file if it is still this process's, and nothing else: for a thread of a process that is about to be killed. */
void job_lock_remove(const job_lock *lock);
/* Removes the file if it is still this process's. Accepts NULL. */
void job_lock_free(job_lock **lock);

/* The same with other times, for tests: the file is touched every touch_s; another host's is stale after stale_s, the same job's after
 * two touches. A run that took over looks again after settle_s. */
typedef struct job_lock_times {
    double touch_s, stale_s, settle_s;
} job_lock_times;
io_status job_lock_take_timed(const char *folder, const job_lock_times *times, job_lock **out);

#endif
