/* See scratch.h. */
#include "jobs/scratch.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/file.h"
#include "io/memory.h"
#include "jobs/comm.h"

struct job_scratch {
    char *path;
};

/* Best effort: what cannot be removed is the node's to clean. No folders are made inside. */
static void remove_folder(const char *path)
{
    char **names = NULL;
    size_t n_names = 0;

    if (io_folder_list(path, &names, &n_names) != IO_OK) return;
    for (size_t i = 0; i < n_names; i++) {
        char *file = NULL;
        if (io_path_join(path, names[i], &file) == IO_OK) (void)unlink(file);
        io_free(&file);
    }
    io_names_free(&names, n_names);
    (void)rmdir(path);
}

/* "samed.<host>.<process>" of a process of this host that is gone. */
static bool is_abandoned(const char *name)
{
    char start[JOB_HOST_BYTES + 16];
    long pid = 0;
    int end = 0;
    const int n = snprintf(start, sizeof start, "samed.%s.", job_comm_host());

    if (strncmp(name, start, (size_t)n) != 0) return false;
    if (sscanf(name + n, "%ld%n", &pid, &end) != 1 || pid <= 0 || name[n + end]) return false;
    return pid == (long)getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

static void remove_abandoned(const char *parent)
{
    char **names = NULL;
    size_t n_names = 0;

    if (io_folder_list(parent, &names, &n_names) != IO_OK) return;
    for (size_t i = 0; i < n_names; i++) {
        char *path = NULL;
        if (is_abandoned(names[i]) && io_path_join(parent, names[i], &path) == IO_OK) remove_folder(path);
        io_free(&path);
    }
    io_names_free(&names, n_names);
}

io_status job_scratch_create(const char *parent, job_scratch **out)
{
    io_status status = IO_OK;
    job_scratch *scratch = NULL;
    char name[JOB_HOST_BYTES + 64];

    if (!io_folder_exists(parent))
        return IO_FAIL(IO_ERR_ARGUMENT, "--scratch: there is no folder %s on %s; give one that every node has", parent, job_comm_host());
    remove_abandoned(parent);
    snprintf(name, sizeof name, "samed.%s.%ld", job_comm_host(), (long)getpid());
    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *scratch, (void **)&scratch));
    IO_TRY_GOTO(status, done, io_path_join(parent, name, &scratch->path));
    if (mkdir(scratch->path, 0700) != 0) { /* patients' images: for this user's eyes */
        status = IO_FAIL_ERRNO("--scratch: %s on %s cannot be made", scratch->path, job_comm_host());
        goto done;
    }
    *out = scratch;
    scratch = NULL;
done:
    if (scratch) io_free(&scratch->path);
    io_free(&scratch);
    return status;
}

void job_scratch_abandon(const job_scratch *scratch)
{
    if (scratch) remove_folder(scratch->path);
}

void job_scratch_free(job_scratch **scratch)
{
    if (!scratch || !*scratch) return;
    remove_folder((*scratch)->path);
    io_free(&(*scratch)->path);
    io_free(scratch);
}

const char *job_scratch_path(const job_scratch *scratch)
{
    return scratch->path;
}
