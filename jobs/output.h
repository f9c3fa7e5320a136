/* The output folder of a run, which belongs to it alone. */
#ifndef JOBS_OUTPUT_H
#define JOBS_OUTPUT_H

#include <stddef.h>

#include "io/status.h"
#include "jobs/lock.h"

/* Makes the folder, locks it and removes the temporary files that killed runs left there, of any host: nobody else writes here now. A
 * path that is a file is IO_ERR_ARGUMENT. */
io_status job_output_open(const char *folder, job_lock **lock);
/* Removes files of an earlier run by their names [n_names]; those that are not there are no fault. */
io_status job_output_remove(const char *folder, const char *const *names, size_t n_names);

#endif
