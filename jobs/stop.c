/* See stop.h. The handler only stores: everything else happens in the main thread, never in the middle of a collective. */
#include "jobs/stop.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const int signals[] = {SIGTERM, SIGUSR1, SIGINT};
static const size_t n_signals = sizeof signals / sizeof *signals;

static volatile sig_atomic_t signal_number;
static atomic_bool is_asked;
static double first_seen; /* seconds, monotonic; main thread only */

/* The thread that hurries, where there is one. Signal handlers may post to a semaphore and little else. */
static struct {
    pthread_t thread;
    sem_t wake;
    atomic_bool is_open, is_ending;
    void (*hurry)(void *context);
    void *context;
} watch;

static const struct timespec moment = {0, 300 * 1000 * 1000}; /* of the second that mpirun leaves */

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
    if (atomic_load(&watch.is_open)) sem_post(&watch.wake);
}

static void change_mask(int how)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < n_signals; i++) sigaddset(&set, signals[i]);
    sigprocmask(how, &set, NULL);
}

void job_stop_hold(void)
{
    change_mask(SIG_BLOCK);
}

void job_stop_release(void)
{
    change_mask(SIG_UNBLOCK);
}

void job_stop_install(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof action);
    action.sa_handler = take_signal;
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND; /* once: the next one has its default meaning */
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < n_signals; i++) sigaction(signals[i], &action, NULL);
    job_stop_release();
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

/* Open MPI's mpirun tells each rank which it is on its node; srun does not. */
bool job_stop_is_hurried(void)
{
    return atomic_load(&is_asked) && (signal_number == SIGTERM || signal_number == SIGINT) && getenv("OMPI_COMM_WORLD_LOCAL_RANK") != NULL;
}

static void *wait_for_signal(void *argument)
{
    (void)argument;
    while (sem_wait(&watch.wake) != 0) continue; /* interrupted */
    if (atomic_load(&watch.is_ending) || !job_stop_is_hurried()) return NULL;
    nanosleep(&moment, NULL);
    if (!atomic_load(&watch.is_ending)) watch.hurry(watch.context);
    return NULL;
}

void job_stop_watch(void (*hurry)(void *context), void *context)
{
    watch.hurry = hurry;
    watch.context = context;
    atomic_store(&watch.is_ending, false);
    if (sem_init(&watch.wake, 0, 0) != 0) return;
    if (pthread_create(&watch.thread, NULL, wait_for_signal, NULL) != 0) {
        sem_destroy(&watch.wake);
        return;
    }
    atomic_store(&watch.is_open, true);
    if (atomic_load(&is_asked)) sem_post(&watch.wake); /* it came before */
}

void job_stop_unwatch(void)
{
    if (!atomic_load(&watch.is_open)) return;
    atomic_store(&watch.is_ending, true);
    atomic_store(&watch.is_open, false);
    sem_post(&watch.wake);
    pthread_join(watch.thread, NULL);
    sem_destroy(&watch.wake);
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
