/* How long idle OpenMP threads spin before they sleep. */
#ifndef JOBS_SPIN_H
#define JOBS_SPIN_H

/* libgomp lets a thread that waits spin for milliseconds, which on cores that are shared (another user, overlapping masks, more threads
 * than CPUs) takes the time of those it waits for: a run was seen seven times slower. It reads its settings when it is loaded, so this
 * starts the program once more with a short spin, before anything else has begun. Does nothing where the user has set OMP_WAIT_POLICY or
 * GOMP_SPINCOUNT, or where starting again is not possible. argv ends with NULL, as main's. */
void job_spin_limit(char **argv);

#endif
