/* The program starts itself again with a short spin, once, and leaves the user's choice alone. */
#include "tests/check.h"

#include <sys/wait.h>
#include <unistd.h>

#include "jobs/spin.h"

static char **arguments;

/* What GOMP_SPINCOUNT is in a child that calls job_spin_limit with the environment as the caller prepared it. */
static int run_child(void)
{
    int code = -1;
    const pid_t child = fork();

    if (child == 0) {
        setenv("SPIN_CHILD", "1", 1);
        job_spin_limit(arguments);
        _exit(1); /* it did not start again */
    }
    assert_int_equal(waitpid(child, &code, 0), child);
    return WEXITSTATUS(code);
}

static void test_starts_again_once(void **state)
{
    unsetenv("OMP_WAIT_POLICY");
    unsetenv("GOMP_SPINCOUNT");
    assert_int_equal(run_child(), 42);
}

static void test_leaves_a_choice_alone(void **state)
{
    setenv("OMP_WAIT_POLICY", "active", 1);
    assert_int_equal(run_child(), 1);
    unsetenv("OMP_WAIT_POLICY");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_starts_again_once), cmocka_unit_test(test_leaves_a_choice_alone)};
    const char *count = getenv("GOMP_SPINCOUNT");

    if (getenv("SPIN_CHILD")) return count && !strcmp(count, "1000") ? 42 : 2;
    arguments = argv;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
