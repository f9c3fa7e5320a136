/* See schedule.h. */
#include "model/schedule.h"

#include <math.h>

double model_schedule_rate(const model_schedule *schedule, int64_t n)
{
    const int64_t warmup = schedule->warmup_steps;
    /* Steps that the formula counts: the reference computes it from the step before and keeps its first rate twice. */
    const int64_t t = schedule->kind == MODEL_SCHEDULE_PAPER ? n + 1 : n > 0 ? n : 1;
    const int64_t lag = schedule->kind == MODEL_SCHEDULE_PAPER ? 0 : 1;
    double rest;

    if (t <= warmup) return schedule->base * ((double)t / (double)warmup);
    rest = 1.0 - (double)(t - lag - warmup) / (double)schedule->max_steps;
    return rest > 0 ? schedule->base * pow(rest, schedule->power) : 0;
}
