/* The near steps of metrics_search.h. */
#include "pipeline/metrics_search.h"

#include <math.h>
#include <stdlib.h>

static int compare_steps(const void *left, const void *right)
{
    const pipe_near_step *a = left, *b = right;

    if (a->squared != b->squared) return a->squared < b->squared ? -1 : 1;
    if (a->k != b->k) return a->k - b->k; /* a fixed order: the same work on any machine */
    return a->j != b->j ? a->j - b->j : a->i - b->i;
}

/* Keeps the PIPE_NEAR_MAX shortest: a full list is sorted and its longer half dropped. */
typedef struct collector {
    int n;
    double limit; /* squared; steps from here on are not wanted */
    pipe_near_step steps[2 * PIPE_NEAR_MAX];
} collector;

static void keep_shortest(collector *c)
{
    qsort(c->steps, (size_t)c->n, sizeof *c->steps, compare_steps);
    if (c->n <= PIPE_NEAR_MAX) return;
    c->n = PIPE_NEAR_MAX;
    c->limit = c->steps[PIPE_NEAR_MAX - 1].squared;
}

static void add_step(collector *c, int i, int j, int k, const double spacing[3])
{
    const double x = i * spacing[0], y = j * spacing[1], z = k * spacing[2];
    const double squared = x * x + y * y + z * z;

    if (squared >= c->limit) return;
    c->steps[c->n++] = (pipe_near_step){(int8_t)i, (int8_t)j, (int8_t)k, squared};
    if (c->n == 2 * PIPE_NEAR_MAX) keep_shortest(c);
}

/* Every step shorter than the first one out of reach. */
static double find_limit(const double spacing[3])
{
    const double i = (PIPE_NEAR_REACH_I + 1) * spacing[0], j = (PIPE_NEAR_REACH + 1) * spacing[1], k = (PIPE_NEAR_REACH + 1) * spacing[2];
    const double shortest = fmin(i, fmin(j, k));

    return shortest * shortest;
}

void pipe_near_build(const double spacing[3], pipe_near *out)
{
    collector c = {.limit = find_limit(spacing)};

    for (int k = -PIPE_NEAR_REACH; k <= PIPE_NEAR_REACH; k++) {
        for (int j = -PIPE_NEAR_REACH; j <= PIPE_NEAR_REACH; j++) {
            for (int i = -PIPE_NEAR_REACH_I; i <= PIPE_NEAR_REACH_I; i++) add_step(&c, i, j, k, spacing);
        }
    }
    keep_shortest(&c);
    out->n = c.n;
    for (int s = 0; s < c.n; s++) out->steps[s] = c.steps[s];
    for (int a = 0; a < 3; a++) out->spacing[a] = spacing[a];
}
