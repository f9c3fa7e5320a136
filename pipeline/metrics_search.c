/* See metrics_search.h.
 *
 * Predictions lie near their references, so most elements meet the other surface within a few voxels. A word of 64 query bits walks
 * outwards over the near steps: the target's word at that step, shifted into place, answers for all bits at once, and a bit leaves the
 * word at its first hit, which is its distance because steps are sorted. What is left after the last step goes to metrics_far.c. */
#include "pipeline/metrics_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/memory.h"
#include "pipeline/metrics_far.h"

/* A step as the words see it: bits of the words at + word and at + word + 1, from bit shift on. */
typedef struct word_step {
    int64_t word;
    int shift, rank; /* rank: place in pipe_near */
} word_step;

struct pipe_search {
    int n_steps;
    word_step steps[PIPE_NEAR_MAX];
    int64_t counts[PIPE_NEAR_MAX][PIPE_SURFEL_CODES]; /* elements by step and area class; only [n_classes] of a row are used */
    pipe_far *far;
};

io_status pipe_search_create(pipe_search **out)
{
    pipe_search *search = NULL;
    io_status status = IO_OK;

    IO_TRY(io_alloc(1, sizeof *search, (void **)&search));
    IO_TRY_GOTO(status, done, pipe_far_create(&search->far));
    *out = search;
    search = NULL;
done:
    pipe_search_free(&search);
    return status;
}

void pipe_search_free(pipe_search **search)
{
    if (*search) pipe_far_free(&(*search)->far);
    io_free(search);
}

/* Steps longer than the box cannot hit; the pads may not reach that far. */
static void plan_steps(pipe_search *search, const pipe_search_task *task)
{
    const pipe_bits *shape = task->shape;

    search->n_steps = 0;
    for (int s = 0; s < task->near->n; s++) {
        const pipe_near_step *step = &task->near->steps[s];
        const int64_t row = step->k * shape->slice_words + step->j * shape->row_words;
        if (labs(step->i) >= shape->dims[0] || labs(step->j) >= shape->dims[1] || labs(step->k) >= shape->dims[2]) continue;
        search->steps[search->n_steps++] = (word_step){step->i < 0 ? row - 1 : row, step->i & 63, s};
    }
}

static inline uint64_t read_step(const uint64_t *target, const word_step *step)
{
    const uint64_t *words = target + step->word;

    return words[0] >> step->shift | words[1] << 1 << (63 - step->shift); /* two shifts: a shift by 64 is undefined */
}

/* Areas of the bits of one word: the neighbour codes, taken apart once for all steps. */
typedef struct word_codes {
    uint64_t neighbours[8];
    const uint8_t *classes;
} word_codes;

static int read_class(const word_codes *codes, int bit)
{
    unsigned code = 0;

    for (int n = 0; n < 8; n++) code = code << 1 | (codes->neighbours[n] >> bit & 1);
    return codes->classes[code];
}

static void count_classes(const word_codes *codes, uint64_t hits, int64_t *counts)
{
    for (; hits; hits &= hits - 1) counts[read_class(codes, __builtin_ctzll(hits))]++;
}

static uint64_t search_voxels(pipe_search *search, const uint64_t *target, uint64_t query)
{
    for (int s = 0; s < search->n_steps && query; s++) {
        const uint64_t hits = query & read_step(target, &search->steps[s]);
        if (!hits) continue;
        search->counts[search->steps[s].rank][0] += __builtin_popcountll(hits);
        query &= ~hits;
    }
    return query;
}

static uint64_t search_surfels(pipe_search *search, const uint64_t *target, uint64_t query, const word_codes *codes)
{
    for (int s = 0; s < search->n_steps && query; s++) {
        const uint64_t hits = query & read_step(target, &search->steps[s]);
        if (!hits) continue;
        count_classes(codes, hits, search->counts[search->steps[s].rank]);
        query &= ~hits;
    }
    return query;
}

/* Returns whether any element is left in rest. */
static bool search_row(pipe_search *search, const pipe_search_task *task, int64_t start)
{
    const int64_t end = start + pipe_bits_width(task->shape);
    word_codes codes = {.classes = task->surfels ? task->surfels->classes : NULL};
    bool is_left = false;

    for (int64_t at = start; at < end; at++) {
        if (!task->query[at]) continue;
        if (task->surfels) {
            pipe_bits_neighbours(task->shape, task->mask, at, codes.neighbours);
            task->rest[at] = search_surfels(search, task->target + at, task->query[at], &codes);
        } else {
            task->rest[at] = search_voxels(search, task->target + at, task->query[at]);
        }
        is_left |= task->rest[at] != 0;
    }
    return is_left;
}

static bool search_near(pipe_search *search, const pipe_search_task *task)
{
    bool is_left = false;

    for (int64_t k = 0; k < task->shape->dims[2]; k++) {
        for (int64_t j = 0; j < task->shape->dims[1]; j++) is_left |= search_row(search, task, pipe_bits_row(task->shape, j, k));
    }
    return is_left;
}

/* Steps of one length lie side by side: their counts are joined, so the tally comes out sorted. */
static io_status collect_counts(pipe_search *search, const pipe_search_task *task, pipe_tally *tally)
{
    const int n_classes = task->surfels ? task->surfels->n_classes : 1;
    int end;

    for (int s = 0; s < task->near->n; s = end) {
        int64_t *sums = search->counts[s];
        const double distance = sqrt(task->near->steps[s].squared);
        for (end = s + 1; end < task->near->n && sqrt(task->near->steps[end].squared) == distance; end++) {
            for (int c = 0; c < n_classes; c++) sums[c] += search->counts[end][c];
        }
        for (int c = 0; c < n_classes; c++) {
            if (sums[c]) IO_TRY(pipe_tally_add(tally, distance, task->surfels ? task->surfels->areas[c] : 1, sums[c]));
        }
    }
    return IO_OK;
}

io_status pipe_search_run(pipe_search *search, const pipe_search_task *task, pipe_tally *tally)
{
    const int n_classes = task->surfels ? task->surfels->n_classes : 1;
    bool is_left;

    pipe_tally_clear(tally);
    plan_steps(search, task);
    for (int s = 0; s < task->near->n; s++) memset(search->counts[s], 0, (size_t)n_classes * sizeof search->counts[s][0]);
    is_left = search_near(search, task);
    IO_TRY(collect_counts(search, task, tally));
    if (is_left) IO_TRY(pipe_far_run(search->far, task, tally));
    pipe_tally_sort(tally);
    return IO_OK;
}
