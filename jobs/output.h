/* The output folder of a run, which belongs to it alone, or to the shards of one study together. */
#ifndef JOBS_OUTPUT_H
#define JOBS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "io/status.h"
#include "jobs/lock.h"

/* Part index of n of a study, 1 <= index <= n; n 0 for the whole. */
typedef struct job_shard {
    int index, n;
} job_shard;

/* Where a run's own files are (lock, run.json, failed.tsv, done): the output folder itself, or "<folder>/shard-<i>of<n>" of a shard.
 * *out with io_free. */
io_status job_output_place(const char *folder, job_shard shard, char **out);
/* Is this name a shard's folder? */
bool job_output_is_shard(const char *name, job_shard *out);

/* Makes the folder, locks it and removes the temporary files that killed runs left there, of any host: nobody else writes here now. A
 * path that is a file is IO_ERR_ARGUMENT. */
io_status job_output_open(const char *folder, job_lock **lock);
/* The same for a part of a study: only the part's place is locked, other parts may be at work. The whole and its parts exclude each other,
 * and so do parts of a different number. place is that of job_output_place. */
io_status job_output_open_shard(const char *folder, const char *place, job_shard shard, job_lock **lock);
/* Removes files of an earlier run by their names [n_names]; those that are not there are no fault. */
io_status job_output_remove(const char *folder, const char *const *names, size_t n_names);
/* The same in all places of folder that this run replaces: its own, and those of runs that were split otherwise. */
io_status job_output_forget(const char *folder, job_shard shard, const char *const *names, size_t n_names);

#endif
