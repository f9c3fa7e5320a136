/* One run per output folder; what a dead run left behind is taken over. */
#include "tests/check.h"

#include <fcntl.h>
#include <signal.h>
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
    unsetenv("SLURM_JOB_ID");
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

    check_fails(IO_ERR_FILE, job_lock_take(folder, &lock));
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

static void test_other_host_by_age(void **state)
{
    struct timespec old[2] = {{time(NULL) - 3600, 0}, {time(NULL) - 3600, 0}};

    put_lock("elsewhere", 1, "-");
    expect_refused();
    assert_int_equal(utimensat(AT_FDCWD, lock_path, old, 0), 0);
    expect_taken_over();
}

static void test_requeued_job_takes_its_own_lock(void **state)
{
    setenv("SLURM_JOB_ID", "4711", 1);
    put_lock("elsewhere", 1, "4712");
    expect_refused();
    put_lock("elsewhere", 1, "4711");
    expect_taken_over();
    unsetenv("SLURM_JOB_ID");
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
        cmocka_unit_test(test_damaged_lock_is_kept_while_young),
    };
    return cmocka_run_group_tests(tests, make_folder, NULL);
}
