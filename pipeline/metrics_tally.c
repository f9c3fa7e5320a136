/* See metrics_tally.h. */
#include "pipeline/metrics_tally.h"

#include <math.h>
#include <stdlib.h>

#include "io/memory.h"

enum { FIRST_CAPACITY = 4096, PAIRWISE_BLOCK = 128, PAIRWISE_LANES = 8 };

void pipe_tally_clear(pipe_tally *tally)
{
    tally->n = tally->n_sorted = 0;
}

void pipe_tally_free(pipe_tally *tally)
{
    io_free(&tally->entries);
    tally->n = tally->n_sorted = tally->capacity = 0;
}

static io_status make_room(pipe_tally *tally)
{
    size_t capacity;

    if (tally->n > FIRST_CAPACITY) pipe_tally_sort(tally); /* joining often makes room enough */
    if (tally->n < tally->capacity / 2) return IO_OK;
    capacity = tally->capacity ? 2 * tally->capacity : FIRST_CAPACITY;
    IO_TRY(io_grow((void **)&tally->entries, tally->n * sizeof *tally->entries, capacity, sizeof *tally->entries));
    tally->capacity = capacity;
    return IO_OK;
}

io_status pipe_tally_add(pipe_tally *tally, double distance, double area, int64_t count)
{
    pipe_tally_entry *last = tally->n ? &tally->entries[tally->n - 1] : NULL;

    if (last && tally->n > tally->n_sorted && last->distance == distance && last->area == area) {
        last->count += count;
        return IO_OK;
    }
    if (tally->n == tally->capacity) IO_TRY(make_room(tally));
    tally->entries[tally->n++] = (pipe_tally_entry){distance, area, count};
    return IO_OK;
}

static int compare_entries(const void *left, const void *right)
{
    const pipe_tally_entry *a = left, *b = right;

    if (a->distance != b->distance) return a->distance < b->distance ? -1 : 1;
    return (a->area > b->area) - (a->area < b->area);
}

static int is_ascending(const pipe_tally *tally)
{
    for (size_t e = 1; e < tally->n; e++) {
        if (compare_entries(&tally->entries[e - 1], &tally->entries[e]) >= 0) return 0;
    }
    return 1;
}

void pipe_tally_sort(pipe_tally *tally)
{
    size_t n = 0;

    if (!is_ascending(tally)) {
        qsort(tally->entries, tally->n, sizeof *tally->entries, compare_entries);
        for (size_t e = 0; e < tally->n; e++) {
            if (n > 0 && compare_entries(&tally->entries[n - 1], &tally->entries[e]) == 0) {
                tally->entries[n - 1].count += tally->entries[e].count;
            } else {
                tally->entries[n++] = tally->entries[e];
            }
        }
        tally->n = n;
    }
    tally->n_sorted = tally->n;
}

int64_t pipe_tally_count(const pipe_tally *tally)
{
    int64_t count = 0;

    for (size_t e = 0; e < tally->n; e++) count += tally->entries[e].count;
    return count;
}

double pipe_tally_largest(const pipe_tally *tally)
{
    return tally->entries[tally->n - 1].distance;
}

double pipe_tally_sum(const pipe_tally *tally)
{
    double sum = 0;

    for (size_t e = 0; e < tally->n; e++) sum += tally->entries[e].distance * (double)tally->entries[e].count;
    return sum;
}

int64_t pipe_tally_within(const pipe_tally *tally, double limit)
{
    int64_t count = 0;

    for (size_t e = 0; e < tally->n && tally->entries[e].distance <= limit; e++) count += tally->entries[e].count;
    return count;
}

int64_t pipe_tally_within_float(const pipe_tally *tally, double limit)
{
    int64_t count = 0;

    for (size_t e = 0; e < tally->n && (float)tally->entries[e].distance <= (float)limit; e++) count += tally->entries[e].count;
    return count;
}

/* The element at a rank (from 0) of both lists sorted together. */
static double pick_rank(const pipe_tally *a, const pipe_tally *b, int64_t rank)
{
    const size_t n_b = b ? b->n : 0;
    size_t at_a = 0, at_b = 0;
    double distance = NAN;

    while (rank >= 0 && (at_a < a->n || at_b < n_b)) {
        const int is_a = at_b == n_b || (at_a < a->n && a->entries[at_a].distance <= b->entries[at_b].distance);
        const pipe_tally_entry *entry = is_a ? &a->entries[at_a++] : &b->entries[at_b++];
        rank -= entry->count;
        distance = entry->distance;
    }
    return distance;
}

double pipe_tally_percentile(const pipe_tally *a, const pipe_tally *b, double q)
{
    const int64_t last = pipe_tally_count(a) + (b ? pipe_tally_count(b) : 0) - 1;
    const double at = q / 100.0 * (double)last, below = floor(at), weight = at - below;
    const double low = pick_rank(a, b, (int64_t)below), high = pick_rank(a, b, below < (double)last ? (int64_t)below + 1 : last);

    return weight >= 0.5 ? high - (high - low) * (1 - weight) : low + (high - low) * weight; /* as numpy's _lerp rounds */
}

double pipe_tally_percentile_float(const pipe_tally *tally, double q)
{
    const float at = (float)(q / 100.0) * (float)(pipe_tally_count(tally) - 1); /* a float32 rank: coarse above 2^24 elements */
    const float weight = at - floorf(at);
    const float low = (float)pick_rank(tally, NULL, (int64_t)floorf(at)), high = (float)pick_rank(tally, NULL, (int64_t)ceilf(at));

    return weight < 0.5F ? low + weight * (high - low) : high - (high - low) * (1 - weight);
}

/* The area of element at of the sorted list, for readers that walk upwards: entry and seen are where the last one was found. */
typedef struct walker {
    const pipe_tally *tally;
    size_t entry;
    int64_t seen; /* elements before entry */
} walker;

static double read_area(walker *w, int64_t at)
{
    while (at >= w->seen + w->tally->entries[w->entry].count) w->seen += w->tally->entries[w->entry++].count;
    return w->tally->entries[w->entry].area;
}

/* numpy.add.reduce over elements first .. first + n - 1, n <= PAIRWISE_BLOCK. */
static double sum_block(walker *w, int64_t first, int64_t n)
{
    double lanes[PAIRWISE_LANES], sum = 0;
    int64_t at = PAIRWISE_LANES;

    if (n < PAIRWISE_LANES) {
        for (at = 0; at < n; at++) sum += read_area(w, first + at);
        return sum;
    }
    for (int lane = 0; lane < PAIRWISE_LANES; lane++) lanes[lane] = read_area(w, first + lane);
    for (; at < n - n % PAIRWISE_LANES; at++) lanes[at % PAIRWISE_LANES] += read_area(w, first + at);
    sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
    for (; at < n; at++) sum += read_area(w, first + at);
    return sum;
}

/* numpy's pairwise summation: halves that are multiples of 8 until a block is left. Depth: log2(n). */
static double sum_pairwise(walker *w, int64_t first, int64_t n)
{
    const int64_t half = n / 2 - n / 2 % PAIRWISE_LANES;
    double left;

    if (n <= PAIRWISE_BLOCK) return sum_block(w, first, n);
    left = sum_pairwise(w, first, half);
    return left + sum_pairwise(w, first + half, n - half);
}

double pipe_tally_area(const pipe_tally *tally)
{
    walker w = {.tally = tally};

    return sum_pairwise(&w, 0, pipe_tally_count(tally));
}

double pipe_tally_area_sum(const pipe_tally *tally)
{
    double sum = 0;

    for (size_t e = 0; e < tally->n; e++) sum += tally->entries[e].distance * tally->entries[e].area * (double)tally->entries[e].count;
    return sum;
}

double pipe_tally_area_within(const pipe_tally *tally, double limit)
{
    walker w = {.tally = tally};

    return sum_pairwise(&w, 0, pipe_tally_within(tally, limit)); /* the order of pipe_tally_area: all within gives exactly all */
}

double pipe_tally_area_percentile(const pipe_tally *tally, double q)
{
    const double total = pipe_tally_area(tally), fraction = q / 100.0;
    double sum = 0;

    for (size_t e = 0; e < tally->n; e++) {
        for (int64_t element = 0; element < tally->entries[e].count; element++) {
            sum += tally->entries[e].area;
            if (sum / total >= fraction) return tally->entries[e].distance;
        }
    }
    return pipe_tally_largest(tally);
}
