/* Was the program launched as it was meant to be? Most first-day failures on clusters are found here. */
#ifndef JOBS_SELFCHECK_H
#define JOBS_SELFCHECK_H

#include "jobs/comm.h"
#include "jobs/devices.h"

/* Refuses a world that is not the one that was started: N singletons would each do the whole study. expected is --ranks, 0 without it;
 * claimed_size is what the launcher's environment says (job_comm_claimed_size). */
io_status job_selfcheck_launch(int expected, int claimed_size, const job_comm *world);

/* Collective. Logs ranks, hosts, threads and device of each kind of rank in a few lines, and warns when ranks of a node together
 * use more threads than they may. */
io_status job_selfcheck_report(const job_comm *world, const job_device_share *share, const char *device);

#endif
