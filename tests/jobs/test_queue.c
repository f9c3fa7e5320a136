/* The order of cases and how they are cut. */
#include <stdbool.h>

#include "tests/check.h"

#include "jobs/queue.h"

static void test_heaviest_first_and_finished_left_out(void **state)
{
    const int64_t weights[] = {5, 0, 9, 5, 1};
    job_queue *queue = NULL;

    check_ok(job_queue_create(weights, 5, &queue));
    assert_int_equal(job_queue_left(queue), 4);
    assert_int_equal(job_queue_at(queue, 0)->case_index, 2);
    assert_int_equal(job_queue_at(queue, 1)->case_index, 0); /* of equals, the first given */
    assert_int_equal(job_queue_at(queue, 2)->case_index, 3);
    assert_int_equal(job_queue_at(queue, 3)->case_index, 4);
    assert_null(job_queue_at(queue, 4));
    assert_null(job_queue_at(queue, JOB_QUEUE_EMPTY));
    for (int place = 0; place < 4; place++) assert_int_equal(job_queue_next(queue), place);
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

/* Slices of the parts, a word for each case in the order of the queue: "19+19+12 7"; they cover each case once, in order. */
static void expect_parts(const int64_t *slices, size_t n, const job_cutting *cutting, const char *expected)
{
    job_queue *queue = NULL;
    char text[512] = "";
    int64_t next = 0, number = 0;

    check_ok(job_queue_create_cut(slices, n, cutting, &queue));
    for (size_t place = 0; place < job_queue_size(queue); place++) {
        const job_part *part = job_queue_at(queue, (int64_t)place);
        const bool is_last = part->first + part->n == part->n_slices;
        assert_int_equal(part->n_slices, slices[part->case_index]);
        assert_int_equal(part->first, next);
        assert_int_equal(part->number, number);
        assert_true(part->n > 0 && part->first + part->n <= part->n_slices);
        assert_int_equal(is_last, part->number == part->n_parts - 1);
        next = is_last ? 0 : part->first + part->n;
        number = is_last ? 0 : number + 1;
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%lld", part->number ? "+" : place ? " " : "", (long long)part->n);
    }
    assert_int_equal(next, 0);
    assert_string_equal(text, expected);
    job_queue_free(&queue);
}

static void test_parts_even_out_the_end(void **state)
{
    const int64_t one[] = {150}, many[] = {100, 100, 100, 100, 100, 100, 100, 100}, giant[] = {10, 1000, 10, 10}, finished[] = {0, 0};
    const job_cutting four = {.n_ranks = 4, .grain = 1, .opening = 0.05, .opening_slice = 0.0012};
    const job_cutting alone = {.n_ranks = 1, .grain = 1};

    expect_parts(one, 1, &four, "38+38+38+36");                                               /* everybody works on it, once */
    expect_parts(many, 8, &four, "100 100 100 50+50 50+50 34+34+32 25+25+25+25 25+25+25+25"); /* whole while there is enough left */
    expect_parts(giant, 4, &four, "250+250+250+250 4+4+2 3+3+3+1 3+3+3+1");
    expect_parts(finished, 2, &four, "");
    expect_parts(many, 8, &alone, "100 100 100 100 100 100 100 100");
}

static void test_parts_are_worth_the_opening(void **state)
{
    const int64_t one[] = {150};
    const job_cutting few = {.n_ranks = 64, .grain = 1, .opening = 50, .opening_slice = 1}; /* a GPU: opening takes as long as 200 slices */
    const job_cutting more = {.n_ranks = 64, .grain = 1, .opening = 10, .opening_slice = 0.1};

    expect_parts(one, 1, &few, "150");
    expect_parts(one, 1, &more, "19+19+19+19+19+19+19+17");
}

static void test_parts_fill_a_device(void **state)
{
    const int64_t some[] = {150, 40};
    const job_cutting cutting = {.n_ranks = 4, .grain = 16};

    expect_parts(some, 2, &cutting, "48+48+48+6 16+16+8");
}

static void test_parts_as_asked(void **state)
{
    const int64_t some[] = {10, 2, 7};

    expect_parts(some, 3, &(job_cutting){.n_ranks = 8, .most_parts = 1, .grain = 1}, "10 7 2");
    expect_parts(some, 3, &(job_cutting){.n_ranks = 8, .most_parts = 3, .grain = 1}, "4+4+2 3+3+1 1+1");
}

static void test_when_all_is_done(void **state)
{
    const int64_t slices[] = {100, 60, 50, 40};
    const job_cutting cutting = {.n_ranks = 2, .most_parts = 1, .grain = 1, .opening = 4};
    job_queue *queue = NULL;
    double end = 0;

    check_ok(job_queue_create_cut(slices, 4, &cutting, &queue));
    check_ok(job_queue_simulate(queue, &cutting, &end));
    assert_float_equal(end, 144, 1e-9); /* opened, 100, 40: beside 60 and 50; later cases are opened behind the slices before */
    job_queue_free(&queue);
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
        cmocka_unit_test(test_parts_even_out_the_end),
        cmocka_unit_test(test_parts_are_worth_the_opening),
        cmocka_unit_test(test_parts_fill_a_device),
        cmocka_unit_test(test_parts_as_asked),
        cmocka_unit_test(test_when_all_is_done),
        cmocka_unit_test(test_dealing),
        cmocka_unit_test(test_when_to_ask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
