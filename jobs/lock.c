/* See lock.h. O_EXCL decides who is first, also on NFS 3 and later; the time stamp is for hosts whose processes cannot be asked. A thread
 * renews it, because a run may be busy for minutes in one call. */
#include "jobs/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/file.h"
#include "io/memory.h"
#include "jobs/comm.h"

enum { LOCK_BYTES = 512 };

static const job_lock_times default_times = {.touch_s = 30, .stale_s = 300, .settle_s = 0.2};

typedef struct lock_owner {
    char host[JOB_HOST_BYTES];
    long pid;
    char job[64];
} lock_owner;

struct job_lock {
    char *path;
    lock_owner self;
    job_lock_times times;
    pthread_t toucher;
    pthread_mutex_t mutex; /* of is_ending */
    pthread_cond_t wake;
    bool is_ending;
};

static void describe_self(lock_owner *owner)
{
    const char *job = getenv("SAMED_JOB");

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

static bool is_same_owner(const lock_owner *a, const lock_owner *b)
{
    return a->pid == b->pid && !strcmp(a->host, b->host) && !strcmp(a->job, b->job);
}

/* A requeued job finds its own lock, and so may a second step of a job that still runs on another node: the owner has to be silent too. */
static bool is_stale(const char *path, const lock_owner *owner, const job_lock *lock)
{
    struct stat about;

    const bool is_same_host = !strcmp(owner->host, lock->self.host);
    const bool is_same_job = strcmp(lock->self.job, "-") != 0 && !strcmp(owner->job, lock->self.job);

    if (is_same_host && owner->pid > 0) return owner->pid == lock->self.pid || is_process_gone(owner->pid);
    if (stat(path, &about) != 0) return false;
    return difftime(time(NULL), about.st_mtime) > (is_same_job ? 2 * lock->times.touch_s : lock->times.stale_s);
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

/* Moves the lock of judged aside. Between judging and moving, another run may have taken it over: then it is a fresh lock that was moved,
 * and it goes back. link never replaces. */
static void remove_stale(const char *path, const lock_owner *judged)
{
    char aside[4096];
    lock_owner moved;

    snprintf(aside, sizeof aside, "%s.%s.%ld.tmp", path, job_comm_host(), (long)getpid());
    if (rename(path, aside) != 0) return;
    read_owner(aside, &moved);
    if (!is_same_owner(&moved, judged)) (void)!link(aside, path);
    unlink(aside);
}

static bool is_ours(const job_lock *lock)
{
    lock_owner owner;

    read_owner(lock->path, &owner);
    return is_same_owner(&owner, &lock->self);
}

/* Whoever judged the old lock just before this run replaced it moves the new one aside and back; a third run may come in between. All of
 * that is over after a moment. */
static bool is_still_ours_later(const job_lock *lock)
{
    const struct timespec moment = {(time_t)lock->times.settle_s, (long)(1e9 * (lock->times.settle_s - floor(lock->times.settle_s)))};

    nanosleep(&moment, NULL);
    return is_ours(lock);
}

static io_status take(const job_lock *lock)
{
    lock_owner owner = {.host = "unknown", .job = "-"};
    bool has_moved = false;
    io_status status;

    for (int attempt = 0; attempt < 3; attempt++) {
        if (try_create(lock->path, &lock->self, &status) && (!has_moved || is_still_ours_later(lock))) return IO_OK;
        IO_TRY(status);
        read_owner(lock->path, &owner);
        if (!is_stale(lock->path, &owner, lock)) break;
        remove_stale(lock->path, &owner);
        has_moved = true;
    }
    return IO_FAIL(IO_ERR_ARGUMENT,
                   "another run (process %ld on %s, job %s) is writing to this output folder; wait for it, or remove %s if it is gone",
                   owner.pid, owner.host, owner.job, lock->path);
}

bool job_lock_is_held(const char *folder, char text[JOB_LOCK_OWNER_BYTES])
{
    job_lock self = {.times = default_times};
    lock_owner owner;
    bool is_held = false;

    *text = '\0';
    if (io_path_join(folder, ".samed.lock", &self.path) != IO_OK || !io_file_exists(self.path)) goto done;
    describe_self(&self.self);
    read_owner(self.path, &owner);
    is_held = !is_stale(self.path, &owner, &self);
    snprintf(text, JOB_LOCK_OWNER_BYTES, "process %ld on %s, job %s", owner.pid, owner.host, owner.job);
done:
    io_free(&self.path);
    return is_held;
}

/* Judging, moving and making the lock as one step for all runs that start on this host: flock on the folder, which the kernel drops with
 * the process. File systems that cannot do that (NFS, for folders) are left to what take() does by itself. Returns the folder's file, which
 * is closed to let the next one in, or -1. */
static int enter_folder(const char *folder)
{
    const struct timespec pause = {0, 10 * 1000 * 1000};
    const int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    for (int i = 0; file >= 0 && i < 300; i++) { /* 3 s: longer than a crowd takes, and no hang on a broken lock server */
        if (flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) break;
        nanosleep(&pause, NULL);
    }
    return file;
}

/* Best effort: a touch that fails makes the lock look stale, no worse. */
static void *touch_now_and_then(void *argument)
{
    job_lock *lock = argument;
    struct timespec next;

    pthread_mutex_lock(&lock->mutex);
    while (!lock->is_ending) {
        clock_gettime(CLOCK_MONOTONIC, &next);
        next.tv_sec += (time_t)lock->times.touch_s;
        next.tv_nsec += (long)(1e9 * (lock->times.touch_s - floor(lock->times.touch_s)));
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        if (pthread_cond_timedwait(&lock->wake, &lock->mutex, &next) != ETIMEDOUT) continue;
        if (is_ours(lock)) (void)utimensat(AT_FDCWD, lock->path, NULL, 0);
    }
    pthread_mutex_unlock(&lock->mutex);
    return NULL;
}

static io_status start_toucher(job_lock *lock)
{
    pthread_condattr_t monotonic;
    int fault;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&lock->mutex, NULL);
    pthread_cond_init(&lock->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    fault = pthread_create(&lock->toucher, NULL, touch_now_and_then, lock);
    if (fault == 0) return IO_OK;
    pthread_cond_destroy(&lock->wake);
    pthread_mutex_destroy(&lock->mutex);
    return IO_FAIL(IO_ERR_MEMORY, "the thread that renews the lock cannot be started; raise the limit on processes (ulimit -u)");
}

io_status job_lock_take_timed(const char *folder, const job_lock_times *times, job_lock **out)
{
    io_status status;
    job_lock *lock = NULL;
    int entered;

    IO_TRY_GOTO(status, done, io_alloc(1, sizeof *lock, (void **)&lock));
    IO_TRY_GOTO(status, done, io_path_join(folder, ".samed.lock", &lock->path));
    lock->times = *times;
    describe_self(&lock->self);
    entered = enter_folder(folder);
    status = take(lock);
    if (entered >= 0) close(entered);
    if (status != IO_OK) goto done;
    status = start_toucher(lock);
    if (status != IO_OK) {
        (void)unlink(lock->path);
        goto done;
    }
    *out = lock;
    return IO_OK;
done:
    if (lock) io_free(&lock->path);
    io_free(&lock);
    return status;
}

io_status job_lock_take(const char *folder, job_lock **out)
{
    return job_lock_take_timed(folder, &default_times, out);
}

void job_lock_remove(const job_lock *lock)
{
    if (is_ours(lock)) (void)unlink(lock->path);
}

void job_lock_free(job_lock **lock)
{
    if (!lock || !*lock) return;
    pthread_mutex_lock(&(*lock)->mutex);
    (*lock)->is_ending = true;
    pthread_cond_signal(&(*lock)->wake);
    pthread_mutex_unlock(&(*lock)->mutex);
    pthread_join((*lock)->toucher, NULL);
    pthread_cond_destroy(&(*lock)->wake);
    pthread_mutex_destroy(&(*lock)->mutex);
    if (is_ours(*lock)) (void)unlink((*lock)->path);
    io_free(&(*lock)->path);
    io_free(lock);
}
