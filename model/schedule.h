/* The learning rate of each optimizer step: warm-up, then polynomial decay. Sources: SAMed's trainer.py (spec 5.6) and the paper's eq. 5. */
#ifndef MODEL_SCHEDULE_H
#define MODEL_SCHEDULE_H

#include <stdint.h>

typedef enum model_schedule_kind {
    MODEL_SCHEDULE_SAMED, /* as the reference's code: the rate is set after a step for the next one, so it lags by one step */
    MODEL_SCHEDULE_PAPER  /* eq. 5: no lag */
} model_schedule_kind;

typedef struct model_schedule {
    model_schedule_kind kind;
    double base;          /* the highest rate; the reference's default is 0.005 */
    double power;         /* of the decay: SAMed 0.9, SAMed_h 7, the paper 1 */
    int64_t warmup_steps; /* 0 for none; the reference's 250 */
    int64_t max_steps;    /* > 0: max_epochs * steps per epoch, counted without the warm-up, also when training stops earlier */
} model_schedule;

/* The rate of step n, 0-based. Never below 0, also beyond max_steps. */
double model_schedule_rate(const model_schedule *schedule, int64_t n);

#endif
