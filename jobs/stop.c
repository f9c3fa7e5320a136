/* See stop.h. The handler only stores: everything else happens in the main thread, never in the middle of a collective. */
#include "jobs/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t signal_number;
static atomic_bool is_asked;
static double first_seen; /* seconds, monotonic; main thread only */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void take_signal(int number)
{
    signal_number = number;
    atomic_store(&is_asked, true);
}

void job_stop_install(void)
{
    static const int signals[] = {SIGTERM, SIGUSR1, SIGINT};
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = take_signal;
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND; /* once: the next one has its default meaning */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}

bool job_stop_asked(void)
{
    if (!atomic_load(&is_asked)) return false;
    if (first_seen == 0) first_seen = now();
    return true;
}

void job_stop_ask(void)
{
    atomic_store(&is_asked, true);
}

double job_stop_age(void)
{
    return job_stop_asked() ? now() - first_seen : 0;
}

const char *job_stop_name(void)
{
    switch (signal_number) {
    case SIGTERM: return "SIGTERM";
    case SIGUSR1: return "SIGUSR1";
    case SIGINT: return "SIGINT";
    default: return "another rank";
    }
}
