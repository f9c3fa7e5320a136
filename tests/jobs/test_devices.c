/* The share of a rank: affinity masks and cgroup limits, on a made-up cgroup tree. */
#include "tests/check.h"

#include <unistd.h>

#include "io/file.h"
#include "io/memory.h"
#include "jobs/devices.h"

static char root[256];

static void put(const char *name, const char *text)
{
    char path[512], folder[512];

    snprintf(path, sizeof path, "%s/%s", root, name);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    check_ok(io_folder_create(folder));
    check_ok(io_file_write_text(path, text));
}

static int make_root(void **state)
{
    snprintf(root, sizeof root, "cgroup.%ld", (long)getpid());
    return io_folder_create(root) == IO_OK ? 0 : -1;
}

static job_cpus mask_of(int first, int n)
{
    job_cpus mask = {0};

    for (int i = first; i < first + n; i++) CPU_SET(i % CPU_SETSIZE, &mask.sets[i / CPU_SETSIZE]);
    return mask;
}

static void test_shared_mask_is_divided(void **state)
{
    const job_cpus masks[] = {mask_of(0, 8), mask_of(0, 8), mask_of(0, 8)};

    assert_int_equal(job_threads_share(masks, 1, 0, 0), 8);
    assert_int_equal(job_threads_share(masks, 2, 1, 0), 4);
    assert_int_equal(job_threads_share(masks, 3, 2, 0), 2);
}

static void test_own_masks_are_not_divided(void **state)
{
    const job_cpus masks[] = {mask_of(0, 4), mask_of(4, 2)};

    assert_int_equal(job_threads_share(masks, 2, 0, 0), 4);
    assert_int_equal(job_threads_share(masks, 2, 1, 0), 2);
}

static void test_more_ranks_than_cpus(void **state)
{
    const job_cpus masks[] = {mask_of(0, 1), mask_of(0, 1), mask_of(0, 1)};
    assert_int_equal(job_threads_share(masks, 3, 0, 0), 1);
}

static void test_thirds_add_up(void **state)
{
    const job_cpus masks[] = {mask_of(0, 3), mask_of(0, 3), mask_of(0, 3)};
    assert_int_equal(job_threads_share(masks, 3, 0, 0), 1);
}

/* As on machines with more CPUs, or higher numbers of them, than cpu_set_t holds. */
static void test_large_machine(void **state)
{
    const job_cpus masks[] = {mask_of(0, 1920), mask_of(0, 1920), mask_of(1000, 48), mask_of(8184, 8)};

    assert_int_equal(job_threads_share(masks, 1, 0, 0), 1920);
    assert_int_equal(job_threads_share(masks, 2, 1, 0), 960);
    assert_int_equal(job_threads_share(masks + 2, 2, 0, 0), 48);
    assert_int_equal(job_threads_share(masks + 2, 2, 1, 0), 8);
}

static void test_quota_limits(void **state)
{
    const job_cpus masks[] = {mask_of(0, 64), mask_of(0, 64)};

    assert_int_equal(job_threads_share(masks, 1, 0, 6.5), 6);
    assert_int_equal(job_threads_share(masks, 2, 0, 6), 3);
    assert_int_equal(job_threads_share(masks, 2, 0, 0.5), 1);
}

static void test_cgroup_v2_smallest_of_all_levels(void **state)
{
    put("slurm/job/cpu.max", "max 100000\n");
    put("slurm/cpu.max", "350000 100000\n");
    put("slurm/job/memory.max", "max\n");
    put("slurm/memory.max", "2000000000\n");
    check_near(job_cgroup_cpus("0::/slurm/job\n", root), 3.5, 1e-12);
    assert_int_equal(job_cgroup_memory("0::/slurm/job\n", root), 2000000000);
    assert_true(job_cgroup_cpus("0::/elsewhere\n", root) == 0);
}

static void test_cgroup_v1(void **state)
{
    put("cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "150000\n");
    put("cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    put("cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
    put("memory/docker/abc/memory.limit_in_bytes", "9223372036854771712\n");
    check_near(job_cgroup_cpus("5:cpuset:/x\n4:cpu,cpuacct:/docker/abc\n0::/\n", root), 1.5, 1e-12);
    assert_int_equal(job_cgroup_memory("3:memory:/docker/abc\n", root), 0); /* v1 writes "no limit" as a huge number */
}

static void test_cgroup_nonsense(void **state)
{
    put("bad/cpu.max", "nonsense\n");
    assert_true(job_cgroup_cpus("0::/bad\n", root) == 0);
    assert_true(job_cgroup_cpus("no colons here\n", root) == 0);
    assert_true(job_cgroup_cpus("", root) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_mask_is_divided),
        cmocka_unit_test(test_own_masks_are_not_divided),
        cmocka_unit_test(test_more_ranks_than_cpus),
        cmocka_unit_test(test_thirds_add_up),
        cmocka_unit_test(test_large_machine),
        cmocka_unit_test(test_quota_limits),
        cmocka_unit_test(test_cgroup_v2_smallest_of_all_levels),
        cmocka_unit_test(test_cgroup_v1),
        cmocka_unit_test(test_cgroup_nonsense),
    };
    return cmocka_run_group_tests(tests, make_root, NULL);
}
