/* Stopping in good order. SIGTERM, SIGUSR1 and SIGINT set a flag that the main thread polls; the second signal kills as by default. */
#ifndef JOBS_STOP_H
#define JOBS_STOP_H

#include <stdbool.h>

/* The three signals wait from here on, also over exec, until one of the next two. */
void job_stop_hold(void);
/* They set the flag; one that waits does so now. */
void job_stop_install(void);
/* They kill, as by default. */
void job_stop_release(void);
bool job_stop_asked(void);
/* As if a signal had come: another rank got one. */
void job_stop_ask(void);
/* Seconds since the flag was set; 0 when it is not. */
double job_stop_age(void);
/* Will this process be killed in about a second? mpirun does that after a SIGTERM or SIGINT of its own; under srun and alone nobody does.
 */
bool job_stop_is_hurried(void);
/* Starts a thread that calls hurry once if the stop is a hurried one and the main thread has not come to its end a moment later: it may be
 * busy for longer than the second. Best effort: without the thread nothing is called. */
void job_stop_watch(void (*hurry)(void *context), void *context);
/* Ends the thread; hurry is not being called any more. */
void job_stop_unwatch(void);
/* "SIGTERM", or "another rank". */
const char *job_stop_name(void);

#endif
