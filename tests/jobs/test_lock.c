/* One run per output folder; what a dead run left behind is taken over. */
#include "tests/check.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/file.h"
#include "jobs/comm.h"
#include "jobs/lock.h"

static char folder[128], lock_path[160];

static int make_folder(void **state)
{
    unsetenv("SAMED_JOB");
    snprintf(folder, sizeof folder, "lock.%ld", (long)getpid());
    snprintf(lock_path, sizeof lock_path, "%s/.samed.lock", folder);
    return io_folder_create(folder) == IO_OK ? 0 : -1;
}

static void put_lock(const char *host, long pid, const char *job)
{
    char text[256];

    snprintf(text, sizeof text, "%s %ld %s\n", host, pid, job);
    check_ok(io_file_write_text(lock_path, text));
}

static void expect_taken_over(void)
{
    job_lock *lock = NULL;

    check_ok(job_lock_take(folder, &lock));
    job_lock_free(&lock);
    assert_false(io_file_exists(lock_path));
}

static void expect_refused(void)
{
    job_lock *lock = NULL;

    check_fails(IO_ERR_ARGUMENT, job_lock_take(folder, &lock));
    assert_null(lock);
    assert_true(io_file_exists(lock_path));
}

static void test_free_folder(void **state)
{
    expect_taken_over();
}

static void test_living_process_refuses(void **state)
{
    put_lock(job_comm_host(), (long)getppid(), "-"); /* ctest: alive, not us */
    expect_refused();
    assert_non_null(strstr(io_last_error_text(), "another run"));
}

static void test_dead_process_is_taken_over(void **state)
{
    const pid_t child = fork();

    if (child == 0) _exit(0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    put_lock(job_comm_host(), (long)child, "-");
    expect_taken_over();
}

static void test_zombie_is_dead(void **state)
{
    siginfo_t about;
    const pid_t child = fork();

    if (child == 0) _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)child, &about, WEXITED | WNOWAIT), 0); /* ended, and left as a zombie */
    put_lock(job_comm_host(), (long)child, "-");
    expect_taken_over();
    waitpid(child, NULL, 0);
}

static void age_lock(int seconds)
{
    const struct timespec old[2] = {{time(NULL) - seconds, 0}, {time(NULL) - seconds, 0}};
    assert_int_equal(utimensat(AT_FDCWD, lock_path, old, 0), 0);
}

static int find_age(void)
{
    struct stat about;
    assert_int_equal(stat(lock_path, &about), 0);
    return (int)(time(NULL) - about.st_mtime);
}

static void test_other_host_by_age(void **state)
{
    put_lock("elsewhere", 1, "-");
    expect_refused();
    age_lock(200);
    expect_refused();
    age_lock(3600);
    expect_taken_over();
}

/* The job may also still run on its other node: only a lock that was silent for two touches is a dead run's. */
static void test_requeued_job_takes_its_own_lock(void **state)
{
    setenv("SAMED_JOB", "4711", 1);
    put_lock("elsewhere", 1, "4712");
    age_lock(200);
    expect_refused();
    put_lock("elsewhere", 1, "4711");
    expect_refused();
    age_lock(30);
    expect_refused();
    age_lock(200);
    expect_taken_over();
    unsetenv("SAMED_JOB");
}

/* A run that is busy elsewhere for as long as it takes is no dead run: nobody calls anything here. */
static void test_held_lock_stays_young(void **state)
{
    const job_lock_times times = {.touch_s = 0.02, .stale_s = 300};
    const struct timespec pause = {0, 10 * 1000 * 1000};
    job_lock *lock = NULL;

    check_ok(job_lock_take_timed(folder, &times, &lock));
    age_lock(3600);
    for (int i = 0; i < 1000 && find_age() > 60; i++) nanosleep(&pause, NULL);
    assert_true(find_age() <= 60);
    job_lock_free(&lock);
    assert_false(io_file_exists(lock_path));
}

/* Taken over by somebody who thought us dead: the file is theirs, and we neither renew nor remove it. */
static void test_lost_lock_is_left_alone(void **state)
{
    const job_lock_times times = {.touch_s = 0.02, .stale_s = 300};
    const struct timespec pause = {0, 200 * 1000 * 1000};
    job_lock *lock = NULL;

    check_ok(job_lock_take_timed(folder, &times, &lock));
    put_lock("elsewhere", 1, "-");
    age_lock(3600);
    nanosleep(&pause, NULL);
    assert_true(find_age() > 60);
    job_lock_free(&lock);
    assert_true(io_file_exists(lock_path));
    check_ok(io_file_remove(lock_path));
}

enum { N_ROUNDS = 80, N_CONTENDERS = 3 };

/* In memory that the contenders share. */
typedef struct arena {
    atomic_int n_ready, n_answered, n_taken;
    atomic_bool is_over;
} arena;

/* Tries once everybody is here, and keeps what it got until everybody has tried. */
static void contend(arena *shared)
{
    const job_lock_times times = {.touch_s = 30, .stale_s = 300, .settle_s = 0.005};
    job_lock *lock = NULL;

    atomic_fetch_add(&shared->n_ready, 1);
    while (atomic_load(&shared->n_ready) < N_CONTENDERS) continue;
    if (job_lock_take_timed(folder, &times, &lock) == IO_OK) atomic_fetch_add(&shared->n_taken, 1);
    atomic_fetch_add(&shared->n_answered, 1);
    while (!atomic_load(&shared->is_over)) sched_yield();
    _exit(0);
}

/* Several runs find one stale lock at the same moment: never do two of them go on. */
static void test_one_taker_of_a_stale_lock(void **state)
{
    arena *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(shared != MAP_FAILED);
    for (int round = 0; round < N_ROUNDS; round++) {
        memset(shared, 0, sizeof *shared);
        put_lock("elsewhere", 1, "-");
        age_lock(3600);
        for (int i = 0; i < N_CONTENDERS; i++)
            if (fork() == 0) contend(shared);
        while (atomic_load(&shared->n_answered) < N_CONTENDERS) sched_yield();
        atomic_store(&shared->is_over, true);
        while (wait(NULL) > 0) continue;
        if (atomic_load(&shared->n_taken) > 1) fail_msg("round %d: %d runs hold the lock", round, atomic_load(&shared->n_taken));
        check_ok(io_file_remove(lock_path));
    }
    munmap(shared, sizeof *shared);
}

static void test_damaged_lock_is_kept_while_young(void **state)
{
    check_ok(io_file_write_text(lock_path, "garbage"));
    expect_refused();
    check_ok(io_file_remove(lock_path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_free_folder),
        cmocka_unit_test(test_living_process_refuses),
        cmocka_unit_test(test_dead_process_is_taken_over),
        cmocka_unit_test(test_zombie_is_dead),
        cmocka_unit_test(test_other_host_by_age),
        cmocka_unit_test(test_requeued_job_takes_its_own_lock),
        cmocka_unit_test(test_held_lock_stays_young),
        cmocka_unit_test(test_lost_lock_is_left_alone),
        cmocka_unit_test(test_one_taker_of_a_stale_lock),
        cmocka_unit_test(test_damaged_lock_is_kept_while_young),
    };
    return cmocka_run_group_tests(tests, make_folder, NULL);
}
