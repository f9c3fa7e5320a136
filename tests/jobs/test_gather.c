/* The parts of a case at its home (jobs/segment_gather.c), in whatever order they come. One rank plays all: what it sends home goes through
 * MPI to itself, so that arriving is another matter than being sent. The writer and rank 0's report are the test's. */
#include "tests/check.h"

#include "io/memory.h"
#include "jobs/segment.h"
#include "tests/pipeline/volumes.h"

enum { N_CASES = 3, N_PARTS = 3, ROWS = 4, COLS = 3, SLICE = ROWS * COLS, N_POLLS = 8 };

static const int64_t n_slices[N_CASES] = {7, 5, 6};
static const char own_file[] = "a", other_file[] = "b"; /* in place of SHA-256 */

/* What became of each case. */
static struct {
    int n_written[N_CASES], n_outcomes[N_CASES];
    job_outcome outcomes[N_CASES]; /* of those that were not written */
    int64_t n_progress;            /* slices that rank 0 believes to be done */
    bool writer_is_busy;
} seen;

static io_case given[N_CASES] = {{.id = "c0", .path = "c0.nii"}, {.id = "c1", .path = "c1.nii"}, {.id = "c2", .path = "c2.nii"}};
static io_manifest manifest = {.cases = given, .n_cases = N_CASES};
static segment_run run;

/* The label of all pixels of a slice. */
static uint8_t label_of(int64_t case_index, int64_t slice)
{
    return (uint8_t)(1 + 20 * case_index + slice);
}

/* ---- the neighbours ---- */

bool job_segment_writer_has_room(segment_writer *writer)
{
    return !seen.writer_is_busy;
}

void job_segment_writer_add(segment_writer *writer, segment_work *work)
{
    const int64_t c = work->part.case_index;
    const void *labels;

    check_ok(pipe_labelmap_finish(work->map, &labels)); /* every slice came, once */
    for (int64_t i = 0; i < n_slices[c] * SLICE; i++) assert_int_equal(((const uint8_t *)labels)[i], label_of(c, i / SLICE));
    seen.n_written[c]++;
    job_segment_work_free(&work);
}

static void on_progress(void *context, int64_t n)
{
    seen.n_progress += n;
}

static void on_ended(void *context, const job_outcome *outcome)
{
    seen.n_outcomes[outcome->case_index]++;
    seen.outcomes[outcome->case_index] = *outcome;
}

/* ---- parts ---- */

static int64_t place_of(int64_t case_index, int64_t number)
{
    for (int64_t place = 0; job_queue_at(run.queue, place); place++) {
        const job_part *part = job_queue_at(run.queue, place);
        if (part->case_index == case_index && part->number == number) return place;
    }
    fail();
    return -1;
}

static segment_work *make_work(int64_t case_index, int64_t number, const char *file)
{
    pipe_options options;
    segment_work *work = NULL;
    pipe_case *body = NULL;

    check_ok(io_alloc(1, sizeof *work, (void **)&work));
    check_ok(io_alloc(1, sizeof *body, (void **)&body));
    check_ok(io_alloc(1, sizeof *body->volume, (void **)&body->volume));
    volume_build(body->volume, IO_INT16, COLS, ROWS, n_slices[case_index], 1, 1, 1);
    snprintf(body->volume->sha256, sizeof body->volume->sha256, "%s", file);
    pipe_options_default(&options);
    check_ok(pipe_slices_create(body->volume, &options, &body->slices));
    work->place = place_of(case_index, number);
    work->part = *job_queue_at(run.queue, work->place);
    work->body = body;
    work->stage = "segment";
    work->slice_bytes = SLICE;
    return work;
}

static void fail_work(segment_work *work, io_status status, const char *stage)
{
    work->status = status;
    work->stage = stage;
    snprintf(work->text, sizeof work->text, "part %d", (int)work->part.number);
}

/* What the loop does: tells rank 0 of the slices that it made, the whole part or, before a failure, one of them. */
static void tell_progress(segment_work *work)
{
    work->n_reported = work->status == IO_OK ? work->part.n : work->map || work->share ? 1 : 0;
    job_post_progress(run.post, work->n_reported);
}

static segment_work *begin_home(int64_t case_index)
{
    segment_work *work = make_work(case_index, 0, own_file);

    job_segment_gather_begin(run.gather, work);
    return work;
}

static void open_home(segment_work *work)
{
    check_ok(pipe_labelmap_create(work->body->slices, 1, &work->map));
}

static void end_home(segment_work *work)
{
    uint8_t labels[SLICE];

    for (int64_t i = 0; i < work->part.n && work->status == IO_OK; i++) {
        memset(labels, label_of(work->part.case_index, work->part.first + i), SLICE);
        check_ok(pipe_labelmap_put(work->map, work->part.first + i, labels));
    }
    tell_progress(work);
    job_segment_gather_end(run.gather, work);
}

/* A part that is not the first ends on its rank, and goes home. */
static void end_away(int64_t case_index, int64_t number, io_status status, const char *file)
{
    segment_work *work = make_work(case_index, number, file);

    check_ok(io_alloc((size_t)work->part.n, SLICE, (void **)&work->share));
    for (int64_t i = 0; i < work->part.n; i++) memset(work->share + i * SLICE, label_of(case_index, work->part.first + i), SLICE);
    if (status != IO_OK) fail_work(work, status, status == IO_ERR_STOPPED ? "segment" : "read");
    tell_progress(work);
    job_segment_gather_end(run.gather, work);
}

/* Enough for all that is on its way: a head, then its labels, then what follows from them. */
static void poll(void)
{
    for (int i = 0; i < N_POLLS; i++) job_segment_gather_poll(run.gather);
}

static void expect_written(int64_t case_index, bool is_written)
{
    assert_int_equal(seen.n_written[case_index], is_written);
    assert_int_equal(seen.n_outcomes[case_index], 0);
}

static void expect_failed(int64_t case_index, io_status status, const char *stage, const char *text)
{
    assert_int_equal(seen.n_written[case_index], 0);
    assert_int_equal(seen.n_outcomes[case_index], 1);
    assert_int_equal(seen.outcomes[case_index].status, status);
    assert_string_equal(seen.outcomes[case_index].stage, stage);
    assert_non_null(strstr(seen.outcomes[case_index].text, text));
}

/* ---- tests ---- */

static int set_up(void **state)
{
    const job_cutting cutting = {.n_ranks = 8, .most_parts = N_PARTS, .grain = 1};
    const job_post_events events = {.progressed = on_progress, .ended = on_ended};

    memset(&seen, 0, sizeof seen);
    run.plan.manifest = &manifest;
    check_ok(job_queue_create_cut(n_slices, N_CASES, &cutting, &run.queue));
    assert_int_equal(job_queue_size(run.queue), N_CASES * N_PARTS);
    check_ok(job_post_create(&run.world, run.queue, &events, &run.post));
    check_ok(job_segment_gather_create(&run, &run.gather));
    return 0;
}

static int tear_down(void **state)
{
    job_segment_gather_free(&run.gather);
    job_post_free(&run.post);
    job_queue_free(&run.queue);
    return 0;
}

static void test_parts_before_the_label_map(void **state)
{
    segment_work *home;

    end_away(0, 2, IO_OK, own_file);
    poll(); /* it is here, and its case is not even begun */
    home = begin_home(0);
    end_away(0, 1, IO_OK, own_file);
    poll(); /* begun, not open */
    expect_written(0, false);
    open_home(home);
    poll();
    expect_written(0, false); /* its own part is missing */
    end_home(home);
    poll();
    expect_written(0, true);
    assert_int_equal(seen.n_progress, n_slices[0]);
    assert_true(job_segment_gather_is_done(run.gather));
}

static void test_waits_for_the_last_part_and_for_the_writer(void **state)
{
    segment_work *homes[2] = {begin_home(0), begin_home(1)};

    for (int c = 0; c < 2; c++) {
        open_home(homes[c]);
        assert_true(job_segment_gather_has_room(run.gather));
        end_home(homes[c]);
        end_away(c, 1, IO_OK, own_file);
        poll();
    }
    assert_false(job_segment_gather_has_room(run.gather)); /* two cases wait */
    seen.writer_is_busy = true;
    for (int c = 0; c < 2; c++) end_away(c, 2, IO_OK, own_file);
    poll();
    assert_false(job_segment_gather_has_room(run.gather));
    assert_false(job_segment_gather_is_done(run.gather));
    seen.writer_is_busy = false;
    poll();
    for (int c = 0; c < 2; c++) expect_written(c, true);
    assert_true(job_segment_gather_has_room(run.gather));
    assert_true(job_segment_gather_is_done(run.gather));
}

/* A part that fails on one rank: its case waits for its others, is told of once, and nobody else's is touched. */
static void test_one_part_fails(void **state)
{
    segment_work *homes[2] = {begin_home(0), begin_home(1)};

    for (int c = 0; c < 2; c++) {
        open_home(homes[c]);
        end_home(homes[c]);
        end_away(c, 1, c == 0 ? IO_ERR_TRUNCATED : IO_OK, own_file);
    }
    poll();
    assert_int_equal(seen.n_outcomes[0], 0); /* one is still missing */
    for (int c = 0; c < 2; c++) end_away(c, 2, IO_OK, own_file);
    poll();
    expect_failed(0, IO_ERR_TRUNCATED, "read", "part 1");
    expect_written(1, true);
    assert_int_equal(seen.n_progress, n_slices[1]); /* what was made of the other is taken back */
    assert_true(job_segment_gather_is_done(run.gather));
}

/* The home's own failure is what is told, also when another part failed before; a failure is told rather than a stop. */
static void test_which_failure_is_told(void **state)
{
    segment_work *home = begin_home(0);

    open_home(home);
    end_away(0, 1, IO_ERR_TRUNCATED, own_file);
    end_away(0, 2, IO_ERR_STOPPED, own_file);
    poll();
    fail_work(home, IO_ERR_CHECKSUM, "segment");
    end_home(home);
    poll();
    expect_failed(0, IO_ERR_CHECKSUM, "segment", "part 0");
    home = begin_home(1);
    fail_work(home, IO_ERR_STOPPED, "segment");
    end_home(home);
    end_away(1, 1, IO_ERR_STOPPED, own_file);
    end_away(1, 2, IO_ERR_TRUNCATED, own_file);
    poll();
    expect_failed(1, IO_ERR_TRUNCATED, "read", "part 2");
    assert_int_equal(seen.n_progress, 0);
    assert_true(job_segment_gather_is_done(run.gather));
}

static void test_another_file_under_the_name(void **state)
{
    segment_work *home = begin_home(0);

    open_home(home);
    end_away(0, 1, IO_OK, own_file);
    end_away(0, 2, IO_OK, other_file);
    end_home(home);
    poll();
    expect_failed(0, IO_ERR_MISMATCH, "segment", "c0.nii: another rank read another file under this name");
    assert_int_equal(seen.n_progress, 0);
    assert_true(job_segment_gather_is_done(run.gather));
}

/* The queue gives each part away once. If it did not, the case must not be written as if it were whole. */
static void test_a_part_that_comes_twice(void **state)
{
    segment_work *home = begin_home(0);

    open_home(home);
    end_away(0, 1, IO_OK, own_file);
    end_away(0, 1, IO_OK, own_file);
    end_away(0, 2, IO_OK, own_file);
    poll(); /* as many slices as the case has, and the loop still works on its own part */
    assert_int_equal(seen.n_written[0] + seen.n_outcomes[0], 0);
    end_home(home);
    poll();
    assert_int_equal(seen.n_written[0], 0);
    assert_int_equal(seen.n_outcomes[0], 1);
    assert_int_equal(seen.outcomes[0].status, IO_ERR_MISMATCH);
    assert_true(job_segment_gather_is_done(run.gather));
}

/* After a signal: parts that were not handed out never come. */
static void test_parts_that_nobody_got(void **state)
{
    segment_work *home = begin_home(0);

    open_home(home);
    end_home(home);
    end_away(0, 1, IO_OK, own_file);
    poll();
    job_segment_gather_close(run.gather, place_of(0, 2)); /* all before this one were handed out */
    poll();
    expect_failed(0, IO_ERR_STOPPED, "segment", "parts of it were not begun");
    assert_int_equal(seen.n_progress, 0);
    assert_true(job_segment_gather_is_done(run.gather));
}

/* ---- any order ---- */

/* Each case goes through these in order; its other parts end at any time. */
typedef enum home_step { NOT_BEGUN, BEGUN, OPEN, ENDED } home_step;

typedef struct any_case {
    home_step step;
    segment_work *work;
    io_status status[N_PARTS]; /* how the parts will end */
    bool is_other[N_PARTS], has_ended[N_PARTS];
} any_case;

static uint32_t draw(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525 + 1013904223; /* Numerical Recipes' generator; the high bits are the good ones */
    return (*seed >> 16) % n;
}

static void go_on_at_home(any_case *c, int index)
{
    const bool can_open = c->status[0] != IO_ERR_TRUNCATED;

    if (c->step == NOT_BEGUN) {
        c->work = begin_home(index);
        c->step = BEGUN;
    } else if (c->step == BEGUN && can_open) {
        open_home(c->work);
        c->step = OPEN;
    } else {
        if (c->status[0] != IO_OK) fail_work(c->work, c->status[0], can_open ? "segment" : "read");
        end_home(c->work);
        c->step = ENDED;
    }
}

static void play(any_case *cases, uint32_t *seed)
{
    for (int n_left = N_CASES * (3 + N_PARTS - 1); n_left > 0;) {
        const int index = (int)draw(seed, N_CASES), number = (int)draw(seed, N_PARTS);
        any_case *c = &cases[index];
        if (draw(seed, 3) == 0) job_segment_gather_poll(run.gather);
        if (number == 0 ? c->step == ENDED : c->has_ended[number]) continue;
        if (number == 0 && c->step == BEGUN && c->status[0] == IO_ERR_TRUNCATED) n_left--; /* it is never open */
        if (number == 0)
            go_on_at_home(c, index);
        else
            end_away(index, number, c->status[number], c->is_other[number] ? other_file : own_file);
        c->has_ended[number] = true;
        n_left--;
    }
    poll();
}

/* What must have become of a case. */
static void expect_right_end(const any_case *c, int index)
{
    const bool is_open = c->status[0] != IO_ERR_TRUNCATED;
    bool has_failed = false, is_stopped = false;

    for (int i = 0; i < N_PARTS; i++) {
        has_failed |= c->status[i] == IO_ERR_TRUNCATED || (is_open && i > 0 && c->status[i] == IO_OK && c->is_other[i]);
        is_stopped |= c->status[i] == IO_ERR_STOPPED;
    }
    assert_int_equal(seen.n_written[index], !has_failed && !is_stopped);
    assert_int_equal(seen.n_written[index] + seen.n_outcomes[index], 1);
    if (seen.n_written[index]) return;
    assert_int_equal(seen.outcomes[index].status == IO_ERR_STOPPED, !has_failed);
    if (!is_open) assert_string_equal(seen.outcomes[index].text, "part 0");
}

static void test_any_order(void **state)
{
    static const io_status ends[] = {IO_OK, IO_OK, IO_OK, IO_OK, IO_OK, IO_OK, IO_OK, IO_ERR_TRUNCATED, IO_ERR_STOPPED};
    int n_written = 0, n_rounds = 300;

    for (uint32_t round = 0; round < (uint32_t)n_rounds; round++) {
        uint32_t seed = round;
        int64_t n_progress = 0;
        any_case cases[N_CASES] = {0};
        memset(&seen, 0, sizeof seen);
        for (int i = 0; i < N_CASES * N_PARTS; i++) {
            cases[i / N_PARTS].status[i % N_PARTS] = ends[draw(&seed, sizeof ends / sizeof *ends)];
            cases[i / N_PARTS].is_other[i % N_PARTS] = draw(&seed, 10) == 0;
        }
        play(cases, &seed);
        assert_true(job_segment_gather_is_done(run.gather));
        for (int i = 0; i < N_CASES; i++) {
            expect_right_end(&cases[i], i);
            n_progress += seen.n_written[i] ? n_slices[i] : 0;
            n_written += seen.n_written[i];
        }
        assert_int_equal(seen.n_progress, n_progress);
    }
    assert_in_range(n_written, n_rounds, 2 * n_rounds); /* both ends are frequent */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_parts_before_the_label_map, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_waits_for_the_last_part_and_for_the_writer, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_one_part_fails, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_which_failure_is_told, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_another_file_under_the_name, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_a_part_that_comes_twice, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_parts_that_nobody_got, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_any_order, set_up, tear_down)};
    int n_failed;

    if (job_comm_init(&run.world) != IO_OK) return 1;
    n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    job_comm_finalize();
    return n_failed;
}
