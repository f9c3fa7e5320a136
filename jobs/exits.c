/* See exits.h. */
#include "jobs/exits.h"

#include "io/log.h"

int job_exit_of(io_status status)
{
    switch (status) {
    case IO_OK: return JOB_EXIT_DONE;
    case IO_ERR_MEMORY:
    case IO_ERR_FILE:
    case IO_ERR_NO_SPACE:
    case IO_ERR_DEVICE: return JOB_EXIT_RUN;
    case IO_ERR_STOPPED: return JOB_EXIT_STOPPED;
    default: return JOB_EXIT_USAGE;
    }
}

int job_exit_leave(const job_comm *world, io_status status, int exit_code)
{
    if (status != IO_OK && world->rank == 0) io_log(IO_LOG_ERROR, "%s", io_last_error_text());
    return exit_code;
}
