/* What a rank may compute on: its share of the CPUs it is allowed on, never the machine. */
#ifndef JOBS_DEVICES_H
#define JOBS_DEVICES_H

#include <sched.h>

#include "jobs/comm.h"

/* CPUs that the cgroup's quota allows to everything inside it, 0 when it sets none. Reads v2 (cpu.max) and v1 (cpu.cfs_quota_us) of
 * this process's group and of all groups above it, below root ("/sys/fs/cgroup", another one in tests). cgroup_text is the content of
 * /proc/self/cgroup. */
double job_cgroup_cpus(const char *cgroup_text, const char *root);

/* Bytes that the cgroup's memory limit allows, 0 when it sets none. */
uint64_t job_cgroup_memory(const char *cgroup_text, const char *root);

enum { JOB_CPU_SETS = 8 };

/* CPUs by number: as many as Linux can be built for (8192, CONFIG_NR_CPUS). One cpu_set_t ends at 1024, and the kernel of a machine
 * with more refuses to fill it. */
typedef struct job_cpus {
    cpu_set_t sets[JOB_CPU_SETS];
} job_cpus;

/* The share of one rank in CPUs: masks [n_ranks] are the affinity masks of the ranks on the node, each CPU divided by the ranks that may
 * use it; the quota divided by the ranks. At least 1. */
int job_threads_share(const job_cpus *masks, int n_ranks, int rank, double quota_cpus);

typedef struct job_device_share {
    int n_threads; /* for this rank */
    int local_rank, local_size;
    int node_cpus;         /* CPUs that the ranks of this node may use, together */
    double quota_cpus;     /* 0 without one */
    uint64_t memory_limit; /* bytes of the cgroup, for all ranks of the node together; 0 without one */
} job_device_share;

/* Collective over all ranks. requested_threads 0 lets the masks decide. */
io_status job_device_share_find(const job_comm *world, int requested_threads, job_device_share *out);
/* The same for a command that runs alone. */
int job_threads_alone(int requested_threads);

/* Collective over all ranks. Refuses (IO_ERR_ARGUMENT) two ranks of a node on one physical GPU, unless may_share. identity as in
 * model_device: "" for a CPU, which may always be shared. */
io_status job_device_check_shared(const job_comm *world, const char *identity, bool may_share);

/* Tells io/memory.h what the cgroup allows, so that volumes which cannot fit are refused one by one instead of ending the run. */
void job_memory_limit_apply(void);

#endif
