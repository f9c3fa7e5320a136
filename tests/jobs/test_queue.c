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

static void expect_teams(const int64_t *slices, size_t n, int n_ranks, const char *expected)
{
    job_teams teams = {0};
    char text[256] = "";

    check_ok(job_teams_choose(slices, n, n_ranks, 0.004, &teams));
    for (int t = 0; t < teams.n; t++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", t ? " " : "", job_teams_size(&teams, t));
    assert_string_equal(text, expected);
    assert_int_equal(teams.leaders[0], 0);
    assert_int_equal(teams.leaders[teams.n], n_ranks);
    for (int rank = 0; rank < n_ranks; rank++) {
        const int t = job_teams_of(&teams, rank);
        assert_true(teams.leaders[t] <= rank && rank < teams.leaders[t + 1]);
    }
    job_teams_free(&teams);
}

static void test_teams(void **state)
{
    const int64_t one[] = {150};
    const int64_t many[] = {100, 100, 100, 100, 100, 100, 100, 100};
    const int64_t five[] = {100, 100, 100, 100, 100};
    const int64_t giant[] = {1000, 10, 10, 10};
    const int64_t mixed[] = {500, 300};
    const int64_t finished[] = {0, 0};

    expect_teams(one, 1, 4, "4");         /* one volume: everybody works on it */
    expect_teams(many, 8, 4, "1 1 1 1");  /* enough cases: no talk */
    expect_teams(five, 5, 4, "4");        /* 200 slices' time alone, 150 in pairs, 125 together */
    expect_teams(giant, 4, 4, "4");       /* the giant decides */
    expect_teams(mixed, 2, 8, "5 3"); /* as large as the cases */
    expect_teams(finished, 2, 4, "1 1 1 1");
    expect_teams(many, 8, 1, "1");
}

static void test_even_teams(void **state)
{
    job_teams teams = {0};

    check_ok(job_teams_even(11, 3, &teams));
    assert_int_equal(teams.n, 3);
    assert_int_equal(job_teams_size(&teams, 0), 4);
    assert_int_equal(job_teams_size(&teams, 1), 4);
    assert_int_equal(job_teams_size(&teams, 2), 3);
    assert_int_equal(job_teams_of(&teams, 7), 1);
    assert_int_equal(job_teams_of(&teams, 8), 2);
    job_teams_free(&teams);
    assert_null(teams.leaders);
}

static void test_dealing(void **state)
{
    const int64_t weights[] = {10, 90, 30, 0, 20, 31};
    job_queue *queue = NULL;
    int hand_of[6] = {-1, -1, -1, -1, -1, -1};

    check_ok(job_queue_create(weights, 6, &queue));
    check_ok(job_queue_deal(queue, 2, hand_of));
    assert_int_equal(hand_of[1], 0); /* 90 and nothing else */
    assert_int_equal(hand_of[5], 1); /* 31 + 30 + 20 */
    assert_int_equal(hand_of[2], 1);
    assert_int_equal(hand_of[4], 1);
    assert_int_equal(hand_of[0], 1); /* 81 < 90 */
    assert_int_equal(hand_of[3], -1);
    job_queue_free(&queue);
}

static void test_when_to_ask(void **state)
{
    assert_int_equal(job_queue_ask_before(0, 0), JOB_ASK_BEFORE);
    assert_int_equal(job_queue_ask_before(0.5, 1), JOB_ASK_BEFORE); /* a CPU's slices take long: there is time */
    assert_int_equal(job_queue_ask_before(0.6, 0.03), 32);          /* a GPU's do not */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heaviest_first_and_finished_left_out),
        cmocka_unit_test(test_empty_queue),
        cmocka_unit_test(test_teams),
        cmocka_unit_test(test_even_teams),
        cmocka_unit_test(test_dealing),
        cmocka_unit_test(test_when_to_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
