/* See metrics_far.h.
 *
 * Both surfaces are cut into bricks of 8x8x8 voxels, each with the tight box around its elements. For one brick of queries the bricks of
 * the target that can hold a nearest element are those no farther than the least of the largest distances; they are sorted by distance, and
 * every query scans them until none can be nearer. The element that answered the last query bounds the next one from the start.
 * Comparisons are exact: squares of whole steps times spacing only grow with the steps, also when rounded. */
#include "pipeline/metrics_far.h"

#include <math.h>
#include <stdlib.h>

#include "io/memory.h"

enum { BRICK = 8, FIRST_BRICKS = 1024 };

typedef struct brick {
    int32_t low[3], high[3]; /* voxels, both ends included */
} brick;

typedef struct candidate {
    double near_squared; /* no element of the brick is nearer to any of the queries */
    int32_t index;
} candidate;

struct pipe_far {
    brick *bricks;         /* [n] of the target */
    candidate *candidates; /* [n_candidates] */
    double *nearest;       /* [n] */
    size_t n, capacity, n_candidates;
};

io_status pipe_far_create(pipe_far **out)
{
    return io_alloc(1, sizeof **out, (void **)out);
}

void pipe_far_free(pipe_far **far)
{
    if (*far) {
        io_free(&(*far)->bricks);
        io_free(&(*far)->candidates);
        io_free(&(*far)->nearest);
    }
    io_free(far);
}

static io_status add_brick(pipe_far *far, const brick *b)
{
    if (far->n == far->capacity) {
        const size_t capacity = far->capacity ? 2 * far->capacity : FIRST_BRICKS;
        IO_TRY(io_grow((void **)&far->bricks, far->n * sizeof *far->bricks, capacity, sizeof *far->bricks));
        IO_TRY(io_grow((void **)&far->candidates, 0, capacity, sizeof *far->candidates));
        IO_TRY(io_grow((void **)&far->nearest, 0, capacity, sizeof *far->nearest));
        far->capacity = capacity;
    }
    far->bricks[far->n++] = *b;
    return IO_OK;
}

/* A column of 8 bricks' worth of bits: 8 rows in 8 slices, one word wide. */
typedef struct column {
    const pipe_bits *shape;
    const uint64_t *mask;
    int64_t word; /* of the row, from 0 */
    int64_t j, k; /* first row and slice */
    int64_t n_j, n_k;
} column;

static column take_column(const pipe_bits *shape, const uint64_t *mask, int64_t word, int64_t j, int64_t k)
{
    const int64_t left_j = shape->dims[1] - j, left_k = shape->dims[2] - k;

    return (column){shape, mask, word, j, k, left_j < BRICK ? left_j : BRICK, left_k < BRICK ? left_k : BRICK};
}

static uint64_t read_column(const column *c, int64_t j, int64_t k)
{
    return c->mask[pipe_bits_row(c->shape, c->j + j, c->k + k) + c->word];
}

static uint64_t join_column(const column *c)
{
    uint64_t any = 0;

    for (int64_t k = 0; k < c->n_k; k++) {
        for (int64_t j = 0; j < c->n_j; j++) any |= read_column(c, j, k);
    }
    return any;
}

/* The tight box around the bits of byte b of a column; any is that byte's bits of all rows joined. */
static brick measure_brick(const column *c, int b, uint64_t any)
{
    const uint64_t byte = (any >> (BRICK * b)) & 0xff;
    unsigned rows = 0, slices = 0;

    for (int64_t k = 0; k < c->n_k; k++) {
        for (int64_t j = 0; j < c->n_j; j++) {
            const unsigned is_set = ((read_column(c, j, k) >> (BRICK * b)) & 0xff) != 0;
            rows |= is_set << j;
            slices |= is_set << k;
        }
    }
    return (brick){.low = {(int32_t)(64 * c->word + BRICK * b + __builtin_ctzll(byte)), (int32_t)c->j + __builtin_ctz(rows),
                           (int32_t)c->k + __builtin_ctz(slices)},
                   .high = {(int32_t)(64 * c->word + BRICK * b + 63 - __builtin_clzll(byte)), (int32_t)c->j + 31 - __builtin_clz(rows),
                            (int32_t)c->k + 31 - __builtin_clz(slices)}};
}

typedef io_status brick_visitor(void *context, const brick *b);

static io_status visit_column(const column *c, brick_visitor *visit, void *context)
{
    const uint64_t any = join_column(c);

    for (int b = 0; b < 64 / BRICK; b++) {
        if (((any >> (BRICK * b)) & 0xff) == 0) continue;
        const brick found = measure_brick(c, b, any);
        IO_TRY(visit(context, &found));
    }
    return IO_OK;
}

static io_status visit_bricks(const pipe_bits *shape, const uint64_t *mask, brick_visitor *visit, void *context)
{
    for (int64_t k = 0; k < shape->dims[2]; k += BRICK) {
        for (int64_t j = 0; j < shape->dims[1]; j += BRICK) {
            for (int64_t word = 0; word < pipe_bits_width(shape); word++) {
                const column c = take_column(shape, mask, word, j, k);
                IO_TRY(visit_column(&c, visit, context));
            }
        }
    }
    return IO_OK;
}

static io_status keep_brick(void *context, const brick *b)
{
    return add_brick(context, b);
}

/* What one query brick after another works with. */
typedef struct finder {
    pipe_far *far;
    const pipe_search_task *task;
    pipe_tally *tally;
    int32_t last[3]; /* the element that answered the last query */
    bool has_last;
} finder;

static double square_steps(const int32_t steps[3], const double spacing[3])
{
    const double x = steps[0] * spacing[0], y = steps[1] * spacing[1], z = steps[2] * spacing[2];

    return x * x + y * y + z * z;
}

static double square_between(const int32_t a[3], const int32_t b[3], const double spacing[3])
{
    const int32_t steps[3] = {a[0] - b[0], a[1] - b[1], a[2] - b[2]};

    return square_steps(steps, spacing);
}

static inline int32_t larger(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static double square_nearest(const brick *a, const brick *b, const double spacing[3])
{
    int32_t gap[3];

    for (int x = 0; x < 3; x++) gap[x] = larger(0, larger(a->low[x] - b->high[x], b->low[x] - a->high[x]));
    return square_steps(gap, spacing);
}

static double square_farthest(const brick *a, const brick *b, const double spacing[3])
{
    int32_t span[3];

    for (int x = 0; x < 3; x++) span[x] = larger(a->high[x] - b->low[x], b->high[x] - a->low[x]);
    return square_steps(span, spacing);
}

static int compare_candidates(const void *left, const void *right)
{
    const candidate *a = left, *b = right;

    if (a->near_squared != b->near_squared) return a->near_squared < b->near_squared ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static void choose_candidates(finder *f, const brick *query)
{
    pipe_far *far = f->far;
    const double *spacing = f->task->near->spacing;
    double bound = INFINITY;

    for (size_t n = 0; n < far->n; n++) {
        far->nearest[n] = square_nearest(&far->bricks[n], query, spacing);
        if (far->nearest[n] >= bound) continue;
        const double farthest = square_farthest(&far->bricks[n], query, spacing);
        bound = farthest < bound ? farthest : bound;
    }
    far->n_candidates = 0;
    for (size_t n = 0; n < far->n; n++) {
        if (far->nearest[n] <= bound) far->candidates[far->n_candidates++] = (candidate){far->nearest[n], (int32_t)n};
    }
    qsort(far->candidates, far->n_candidates, sizeof *far->candidates, compare_candidates);
}

/* Nearest element of one row of a brick. */
static double scan_row(finder *f, const brick *b, const int32_t point[3], int32_t j, int32_t k, double best)
{
    const uint64_t *row = f->task->target + pipe_bits_row(f->task->shape, j, k);
    const int32_t base = b->low[0] & ~(BRICK - 1);
    uint64_t byte = (row[base >> 6] >> (base & 63)) & 0xff;

    for (; byte; byte &= byte - 1) {
        const int32_t element[3] = {base + __builtin_ctzll(byte), j, k};
        const double squared = square_between(element, point, f->task->near->spacing);
        if (squared >= best) continue;
        best = squared;
        for (int a = 0; a < 3; a++) f->last[a] = element[a];
    }
    return best;
}

static double scan_brick(finder *f, const brick *b, const int32_t point[3], double best)
{
    for (int32_t k = b->low[2]; k <= b->high[2]; k++) {
        for (int32_t j = b->low[1]; j <= b->high[1]; j++) {
            const int32_t steps[3] = {0, j - point[1], k - point[2]};
            if (square_steps(steps, f->task->near->spacing) < best) best = scan_row(f, b, point, j, k, best);
        }
    }
    return best;
}

static double find_nearest(finder *f, const int32_t point[3])
{
    const double *spacing = f->task->near->spacing;
    const brick here = {{point[0], point[1], point[2]}, {point[0], point[1], point[2]}};
    double best = f->has_last ? square_between(f->last, point, spacing) : INFINITY;

    for (size_t n = 0; n < f->far->n_candidates && f->far->candidates[n].near_squared < best; n++) {
        const brick *b = &f->far->bricks[f->far->candidates[n].index];
        if (square_nearest(b, &here, spacing) < best) best = scan_brick(f, b, point, best);
    }
    f->has_last = true;
    return best;
}

static double read_area(const pipe_search_task *task, int64_t at, int bit)
{
    uint64_t neighbours[8];
    unsigned code = 0;

    if (!task->surfels) return 1;
    pipe_bits_neighbours(task->shape, task->mask, at, neighbours);
    for (int n = 0; n < 8; n++) code = code << 1 | (neighbours[n] >> bit & 1);
    return task->surfels->areas[task->surfels->classes[code]];
}

/* The queries of one row of a brick; they leave rest. */
static io_status answer_row(finder *f, const brick *query, int32_t j, int32_t k)
{
    const int32_t base = query->low[0] & ~(BRICK - 1);
    const int64_t at = pipe_bits_row(f->task->shape, j, k) + (base >> 6);
    uint64_t bits = f->task->rest[at] & (uint64_t)0xff << (base & 63);

    f->task->rest[at] &= ~bits;
    for (; bits; bits &= bits - 1) {
        const int bit = __builtin_ctzll(bits);
        const int32_t point[3] = {(base & ~63) + bit, j, k};
        IO_TRY(pipe_tally_add(f->tally, sqrt(find_nearest(f, point)), read_area(f->task, at, bit), 1));
    }
    return IO_OK;
}

static io_status answer_brick(void *context, const brick *query)
{
    finder *f = context;

    choose_candidates(f, query);
    for (int32_t k = query->low[2]; k <= query->high[2]; k++) {
        for (int32_t j = query->low[1]; j <= query->high[1]; j++) IO_TRY(answer_row(f, query, j, k));
    }
    return IO_OK;
}

io_status pipe_far_run(pipe_far *far, const pipe_search_task *task, pipe_tally *tally)
{
    finder f = {.far = far, .task = task, .tally = tally};

    far->n = 0;
    IO_TRY(visit_bricks(task->shape, task->target, keep_brick, far));
    return visit_bricks(task->shape, task->rest, answer_brick, &f);
}
