/* See devices.h. The file names are the kernel's: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/. */
#include "jobs/devices.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"
#include "io/memory.h"
#include "model/device.h"

enum { SMALL_FILE = 65536 };

/* The first line of "<root><group>/<name>", false when there is none. */
static bool read_setting(const char *root, const char *group, const char *name, char out[128])
{
    char path[4096];
    FILE *file;
    bool has_line;

    if (snprintf(path, sizeof path, "%s%s/%s", root, group, name) >= (int)sizeof path) return false;
    file = fopen(path, "r");
    if (!file) return false;
    has_line = fgets(out, 128, file) != NULL;
    fclose(file);
    return has_line;
}

/* The number that a line begins with, 0 for another text such as "max". */
static double read_number(const char *line)
{
    char *end;
    const double number = strtod(line, &end);
    return end == line ? 0 : number;
}

static double read_cpus_v2(const char *root, const char *group)
{
    char line[128];
    double quota, period;

    if (!read_setting(root, group, "cpu.max", line)) return 0;
    return sscanf(line, "%lf %lf", &quota, &period) == 2 && quota > 0 && period > 0 ? quota / period : 0;
}

static double read_cpus_v1(const char *root, const char *group)
{
    char line[128];
    double quota, period;

    if (!read_setting(root, group, "cpu.cfs_quota_us", line)) return 0;
    quota = read_number(line);
    if (!read_setting(root, group, "cpu.cfs_period_us", line)) return 0;
    period = read_number(line);
    return quota > 0 && period > 0 ? quota / period : 0;
}

static double read_memory_v2(const char *root, const char *group)
{
    char line[128];
    return read_setting(root, group, "memory.max", line) ? read_number(line) : 0; /* "max" reads as 0: no limit */
}

static double read_memory_v1(const char *root, const char *group)
{
    char line[128];
    double bytes;

    if (!read_setting(root, group, "memory.limit_in_bytes", line)) return 0;
    bytes = read_number(line);
    return bytes < 1e18 ? bytes : 0; /* "no limit" is written as the largest page-aligned number */
}

/* The smallest limit of a group and its parents; limits hold for everything below. group is cut shorter on the way. */
static double find_smallest(double (*read)(const char *, const char *), const char *root, char *group)
{
    double smallest = 0;

    for (;;) {
        const double limit = read(root, group);
        char *slash = strrchr(group, '/');
        if (limit > 0 && (smallest == 0 || limit < smallest)) smallest = limit;
        if (!slash) return smallest;
        *slash = '\0';
    }
}

static bool has_word(const char *list, const char *word)
{
    const size_t n = strlen(word);

    for (const char *at = list; (at = strstr(at, word)) != NULL; at += n)
        if ((at == list || at[-1] == ',') && (at[n] == ',' || at[n] == '\0')) return true;
    return false;
}

/* line is "<id>:<controllers>:<group>"; the controllers are empty for v2. Returns the limit that this line leads to, 0 without one. */
static double find_in_line(char *line, const char *root, const char *controller, double (*v1)(const char *, const char *),
                           double (*v2)(const char *, const char *))
{
    char folder[4096];
    char *controllers = strchr(line, ':'), *group;

    if (!controllers) return 0;
    *controllers++ = '\0';
    group = strchr(controllers, ':');
    if (!group) return 0;
    *group++ = '\0';
    if (!strcmp(group, "/")) *group = '\0';
    if (*controllers == '\0') return find_smallest(v2, root, group);
    if (!has_word(controllers, controller)) return 0;
    snprintf(folder, sizeof folder, "%s/%s", root, controllers);
    if (!io_folder_exists(folder)) snprintf(folder, sizeof folder, "%s/%s", root, controller);
    return find_smallest(v1, folder, group);
}

static double find_limit(const char *cgroup_text, const char *root, const char *controller, double (*v1)(const char *, const char *),
                         double (*v2)(const char *, const char *))
{
    char *copy = NULL, *rest;
    double smallest = 0;

    if (io_string_copy(cgroup_text, &copy) != IO_OK) return 0;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        const double limit = find_in_line(line, root, controller, v1, v2);
        if (limit > 0 && (smallest == 0 || limit < smallest)) smallest = limit;
    }
    io_free(&copy);
    return smallest;
}

double job_cgroup_cpus(const char *cgroup_text, const char *root)
{
    return find_limit(cgroup_text, root, "cpu", read_cpus_v1, read_cpus_v2);
}

uint64_t job_cgroup_memory(const char *cgroup_text, const char *root)
{
    return (uint64_t)find_limit(cgroup_text, root, "memory", read_memory_v1, read_memory_v2);
}

static bool has_cpu(const job_cpus *mask, int cpu)
{
    return CPU_ISSET(cpu % CPU_SETSIZE, &mask->sets[cpu / CPU_SETSIZE]);
}

int job_threads_share(const job_cpus *masks, int n_ranks, int rank, double quota_cpus)
{
    double share = 0;

    for (int cpu = 0; cpu < JOB_CPU_SETS * CPU_SETSIZE; cpu++) {
        int n_users = 0;
        if (!has_cpu(&masks[rank], cpu)) continue;
        for (int r = 0; r < n_ranks; r++) n_users += has_cpu(&masks[r], cpu) ? 1 : 0;
        share += 1.0 / n_users;
    }
    if (quota_cpus > 0 && quota_cpus / n_ranks < share) share = quota_cpus / n_ranks;
    return share < 1 ? 1 : (int)(share + 1e-6); /* a third three times is one CPU, not none */
}

/* A system that does not tell counts as one CPU. */
static void find_mask(job_cpus *mask)
{
    memset(mask, 0, sizeof *mask);
    if (sched_getaffinity(0, sizeof mask->sets, mask->sets) != 0) CPU_SET(0, &mask->sets[0]);
}

/* The CPUs that any of the ranks may use. */
static int count_cpus(const job_cpus *masks, int n_ranks)
{
    int n = 0;

    for (int cpu = 0; cpu < JOB_CPU_SETS * CPU_SETSIZE; cpu++) {
        int r = 0;
        while (r < n_ranks && !has_cpu(&masks[r], cpu)) r++;
        n += r < n_ranks;
    }
    return n;
}

static void find_limits(double *quota_cpus, uint64_t *memory_limit)
{
    char *text = NULL;

    *quota_cpus = 0;
    *memory_limit = 0;
    if (io_file_read_text("/proc/self/cgroup", SMALL_FILE, &text) != IO_OK) return;
    *quota_cpus = job_cgroup_cpus(text, "/sys/fs/cgroup");
    *memory_limit = job_cgroup_memory(text, "/sys/fs/cgroup");
    io_free(&text);
}

io_status job_device_share_find(const job_comm *world, int requested_threads, job_device_share *out)
{
    io_status status;
    job_comm node = {0};
    job_cpus *masks = NULL, mask;

    job_comm_split_node(world, &node);
    status = io_alloc((size_t)node.size, sizeof *masks, (void **)&masks);
    if (!job_all_ok(world, &status, NULL)) goto done;
    find_mask(&mask);
    job_comm_allgather(&node, &mask, masks, sizeof mask);
    *out = (job_device_share){.local_rank = node.rank, .local_size = node.size};
    find_limits(&out->quota_cpus, &out->memory_limit);
    out->node_cpus = count_cpus(masks, node.size);
    out->n_threads = requested_threads > 0 ? requested_threads : job_threads_share(masks, node.size, node.rank, out->quota_cpus);
done:
    io_free(&masks);
    job_comm_free(&node);
    return status;
}

enum { IDENTITY_BYTES = sizeof((model_device *)0)->identity };

/* Another rank of the node with the same device, or -1. identities [n_ranks][IDENTITY_BYTES]. */
static int find_sharer(const char *identities, int n_ranks, int rank)
{
    const char *own = identities + (size_t)rank * IDENTITY_BYTES;

    for (int r = 0; r < n_ranks; r++)
        if (own[0] && r != rank && !strncmp(own, identities + (size_t)r * IDENTITY_BYTES, IDENTITY_BYTES)) return r;
    return -1;
}

io_status job_device_check_shared(const job_comm *world, const char *identity, bool may_share)
{
    io_status status;
    job_comm node = {0};
    char own[IDENTITY_BYTES] = "", *all = NULL;
    int sharer;

    job_comm_split_node(world, &node);
    status = io_alloc((size_t)node.size, IDENTITY_BYTES, (void **)&all);
    if (!job_all_ok(world, &status, NULL)) goto done;
    snprintf(own, sizeof own, "%s", identity);
    job_comm_allgather(&node, own, all, IDENTITY_BYTES);
    sharer = find_sharer(all, node.size, node.rank);
    if (sharer >= 0 && !may_share)
        status = IO_FAIL(IO_ERR_ARGUMENT,
                         "ranks %d and %d of %d on this node have the same GPU (%s); start one rank per GPU, make all GPUs of the node "
                         "visible to all of its ranks, or allow it with --share-gpu",
                         node.rank, sharer, node.size, own);
    (void)job_all_ok(world, &status, NULL);
done:
    io_free(&all);
    job_comm_free(&node);
    return status;
}

void job_memory_limit_apply(void)
{
    double quota_cpus;
    uint64_t memory_limit;

    find_limits(&quota_cpus, &memory_limit);
    io_memory_set_limit(memory_limit);
}

int job_threads_alone(int requested_threads)
{
    job_cpus mask;
    double quota_cpus;
    uint64_t memory_limit;

    if (requested_threads > 0) return requested_threads;
    find_mask(&mask);
    find_limits(&quota_cpus, &memory_limit);
    return job_threads_share(&mask, 1, 0, quota_cpus);
}
