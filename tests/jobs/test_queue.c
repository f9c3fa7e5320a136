/* The order of cases and the choice of team sizes. */
#include "tests/check.h"

#include "jobs/queue.h"

static void test_heaviest_first_and_finished_left_out(void **state)
{
    const int64_t weights[] = {5, 0, 9, 5, 1};
    job_queue *queue = NULL;

    check_ok(job_queue_create(weights, 5, &queue));
    assert_int_equal(job_queue_left(queue), 4);
    assert_int_equal(job_queue_at(queue, 1), 0);
    assert_int_equal(job_queue_at(queue, 4), JOB_QUEUE_EMPTY);
    assert_int_equal(job_queue_next(queue), 2);
    assert_int_equal(job_queue_next(queue), 0); /* of equals, the first given */
    assert_int_equal(job_queue_next(queue), 3);
    assert_int_equal(job_queue_next(queue), 4);
    assert_int_equal(job_queue_next(queue), JOB_QUEUE_EMPTY);
    job_queue_free(&queue);
    assert_null(queue);
}

static void test_empty_queue(void **state)
{
    job_queue *queue = NULL;

    check_ok(job_queue_create(NULL, 0, &queue));
    assert_int_equal(job_queue_next(queue), JOB_QUEUE_EMPTY);
    job_queue_free(&queue);
}

static void test_team_size(void **state)
{
    const int64_t one[] = {150};
    const int64_t many[] = {100, 100, 100, 100, 100, 100, 100, 100};
    const int64_t five[] = {100, 100, 100, 100, 100};
    const int64_t giant[] = {1000, 10, 10, 10};
    const int64_t finished[] = {0, 0};

    assert_int_equal(job_team_size_choose(one, 1, 4), 4);   /* one volume: everybody works on it */
    assert_int_equal(job_team_size_choose(many, 8, 4), 1);  /* enough cases: no talk */
    assert_int_equal(job_team_size_choose(five, 5, 4), 4);  /* 200 slices' time alone, 150 in pairs, 125 together */
    assert_int_equal(job_team_size_choose(giant, 4, 4), 4); /* the giant decides */
    assert_int_equal(job_team_size_choose(finished, 2, 4), 1);
    assert_int_equal(job_team_size_choose(many, 8, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heaviest_first_and_finished_left_out),
        cmocka_unit_test(test_empty_queue),
        cmocka_unit_test(test_team_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
