/* Stopping in good order. SIGTERM, SIGUSR1 and SIGINT set a flag that the main thread polls; the second signal kills as by default. */
#ifndef JOBS_STOP_H
#define JOBS_STOP_H

#include <stdbool.h>

void job_stop_install(void);
bool job_stop_asked(void);
/* As if a signal had come: another rank got one. */
void job_stop_ask(void);
/* Seconds since the flag was set; 0 when it is not. */
double job_stop_age(void);
/* "SIGTERM", or "another rank". */
const char *job_stop_name(void);

#endif
