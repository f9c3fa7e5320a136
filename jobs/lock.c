/* See lock.h. O_EXCL decides who is first, also on NFS 3 and later; the time stamp is for hosts whose processes cannot be asked. */
#include "jobs/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/file.h"
#include "io/memory.h"
#include "jobs/comm.h"

enum { TOUCH_S = 30, STALE_S = 300, LOCK_BYTES = 512 };

struct job_lock {
    char *path;
    time_t touched;
};

typedef struct lock_owner {
    char host[JOB_HOST_BYTES];
    long pid;
    char job[64];
} lock_owner;

static void describe_self(lock_owner *owner)
{
    const char *job = getenv("SLURM_JOB_ID");

    snprintf(owner->host, sizeof owner->host, "%s", job_comm_host());
    snprintf(owner->job, sizeof owner->job, "%.63s", job ? job : "-");
    owner->pid = (long)getpid();
}

/* Leaves the owner unknown when the file holds something else: it is being written at this moment, or its writer died doing so. */
static void read_owner(const char *path, lock_owner *owner)
{
    char *text = NULL;

    *owner = (lock_owner){.host = "unknown", .job = "-"};
    if (io_file_read_text(path, LOCK_BYTES, &text) != IO_OK) return;
    if (sscanf(text, "%63s %ld %63s", owner->host, &owner->pid, owner->job) != 3) *owner = (lock_owner){.host = "unknown", .job = "-"};
    io_free(&text);
}

/* Gone, or a zombie that nobody waits for: containers without an init keep those for ever. */
static bool is_process_gone(long pid)
{
    char path[64], line[512], state = '?';
    const char *behind_name;
    FILE *file;

    if (kill((pid_t)pid, 0) != 0 && errno == ESRCH) return true;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    file = fopen(path, "r");
    if (!file) return false;
    if (fgets(line, sizeof line, file) && (behind_name = strrchr(line, ')'))) state = behind_name[1] ? behind_name[2] : '?';
    fclose(file);
    return state == 'Z' || state == 'X';
}

static bool is_stale(const char *path, const lock_owner *owner, const lock_owner *self)
{
    struct stat about;

    const bool is_same_host = !strcmp(owner->host, self->host);
    const bool is_same_job = strcmp(self->job, "-") != 0 && !strcmp(owner->job, self->job);

    if (is_same_host && owner->pid > 0) return owner->pid == self->pid || is_process_gone(owner->pid);
    if (is_same_job) return true;
    return stat(path, &about) == 0 && time(NULL) - about.st_mtime > STALE_S;
}

/* True when the lock was made; false with *status IO_OK when somebody else's is there. */
static bool try_create(const char *path, const lock_owner *self, io_status *status)
{
    char text[LOCK_BYTES];
    const int n = snprintf(text, sizeof text, "%s %ld %s\n", self->host, self->pid, self->job);
    const int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    *status = IO_OK;
    if (file < 0) {
        if (errno != EEXIST) *status = IO_FAIL_ERRNO("%s: cannot be made; is the output folder writable?", path);
        return false;
    }
    if (write(file, text, (size_t)n) != n) *status = IO_FAIL_ERRNO("%s: cannot be written", path);
    close(file);
    if (*status != IO_OK) unlink(path);
    return *status == IO_OK;
}

/* Moves a stale lock aside first: of two runs that find it, only one can move it. */
static void remove_stale(const char *path)
{
    char aside[4096];

    snprintf(aside, sizeof aside, "%s.%ld.tmp", path, (long)getpid());
    if (rename(path, aside) == 0) unlink(aside);
}

static io_status take(const char *path)
{
    lock_owner self, owner = {.host = "unknown", .job = "-"};
    io_status status;

    describe_self(&self);
    for (int attempt = 0; attempt < 3; attempt++) {
        if (try_create(path, &self, &status)) return IO_OK;
        IO_TRY(status);
        read_owner(path, &owner);
        if (is_stale(path, &owner, &self)) remove_stale(path);
    }
    return IO_FAIL(IO_ERR_FILE,
                   "another run (process %ld on %s, job %s) is writing to this output folder; wait for it, or remove %s if it is gone",
                   owner.pid, owner.host, owner.job, path);
}

io_status job_lock_take(const char *folder, job_lock **out)
{
    io_status status;
    job_lock *lock = NULL;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *lock, (void **)&lock));
    IO_TRY_GOTO(status, done, io_path_join(folder, ".samed.lock", &lock->path));
    IO_TRY_GOTO(status, done, take(lock->path));
    lock->touched = time(NULL);
    *out = lock;
    return IO_OK;
done:
    if (lock) io_free(&lock->path);
    io_free(&lock);
    return status;
}

void job_lock_touch(job_lock *lock)
{
    const time_t now = time(NULL);

    if (!lock || now - lock->touched < TOUCH_S) return;
    lock->touched = now;
    (void)utimensat(AT_FDCWD, lock->path, NULL, 0); /* best effort: a failure makes the lock look stale, no worse */
}

void job_lock_free(job_lock **lock)
{
    if (!lock || !*lock) return;
    (void)unlink((*lock)->path);
    io_free(&(*lock)->path);
    io_free(lock);
}
