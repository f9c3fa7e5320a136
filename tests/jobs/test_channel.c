/* The line between two threads: order, bound, closing. */
#include "tests/check.h"

#include <pthread.h>
#include <time.h>

#include "jobs/channel.h"

enum { N_ITEMS = 20000 };

static void *push_all(void *argument)
{
    job_channel *channel = argument;

    for (int i = 0; i < N_ITEMS; i++)
        if (!job_channel_push(channel, &i)) return NULL;
    job_channel_close(channel);
    return NULL;
}

static void test_order_and_bound(void **state)
{
    job_channel *channel = NULL;
    pthread_t thread;
    int item = -1, n = 0;

    check_ok(job_channel_create(3, sizeof(int), &channel));
    assert_int_equal(pthread_create(&thread, NULL, push_all, channel), 0);
    while (job_channel_pop(channel, &item, -1)) {
        assert_int_equal(item, n++);
        assert_true(job_channel_count(channel) <= 3);
    }
    assert_int_equal(n, N_ITEMS);
    pthread_join(thread, NULL);
    assert_false(job_channel_push(channel, &item)); /* closed */
    job_channel_free(&channel);
}

static void test_pop_gives_up_in_time(void **state)
{
    job_channel *channel = NULL;
    struct timespec start, end;
    int item;
    double waited;

    check_ok(job_channel_create(1, sizeof(int), &channel));
    clock_gettime(CLOCK_MONOTONIC, &start);
    assert_false(job_channel_pop(channel, &item, 30));
    clock_gettime(CLOCK_MONOTONIC, &end);
    waited = (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
    assert_true(waited >= 0.029 && waited < 10); /* a busy machine may be late, never early */
    job_channel_free(&channel);
}

static void *push_second(void *argument)
{
    int item = 2;
    return job_channel_push(argument, &item) ? argument : NULL;
}

static void test_close_wakes_a_waiting_push(void **state)
{
    job_channel *channel = NULL;
    pthread_t thread;
    const struct timespec pause = {0, 20 * 1000 * 1000};
    int item = 1;
    void *result = &item;

    check_ok(job_channel_create(1, sizeof(int), &channel));
    assert_true(job_channel_push(channel, &item));
    assert_int_equal(pthread_create(&thread, NULL, push_second, channel), 0);
    nanosleep(&pause, NULL); /* so that it probably waits already; either way the result is the same */
    job_channel_close(channel);
    pthread_join(thread, &result);
    assert_null(result);
    assert_true(job_channel_pop(channel, &item, 0)); /* what was in stays */
    assert_int_equal(item, 1);
    assert_false(job_channel_pop(channel, &item, -1));
    job_channel_free(&channel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_bound),
        cmocka_unit_test(test_pop_gives_up_in_time),
        cmocka_unit_test(test_close_wakes_a_waiting_push),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
