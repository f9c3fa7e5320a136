/* What a message of another rank costs rank 0: mpirun -n 2 (or more) bench_post. The others send as fast as they can, in the sizes of a
 * run; rank 0 does nothing but take them. */
#include <stdio.h>
#include <stdlib.h>

#include "jobs/post.h"
#include "jobs/progress.h"

enum { N_MESSAGES = 200000 };

static void on_progress(void *context, int64_t n)
{
    *(int64_t *)context += n;
}

static void on_ended(void *context, const job_outcome *outcome)
{
    *(int64_t *)context += outcome->n_slices;
}

static void send_all(job_post *post)
{
    const job_outcome outcome = {.n_slices = 1};

    for (int i = 0; i < N_MESSAGES; i++) {
        if (i % 3 == 0)
            job_post_outcome(post, &outcome);
        else
            job_post_progress(post, 1);
    }
    job_post_leave(post);
}

int main(void)
{
    job_comm world;
    job_post *post = NULL;
    job_queue *queue = NULL;
    int64_t n_taken = 0;
    const job_post_events events = {.progressed = on_progress, .ended = on_ended, .context = &n_taken};
    double start, took;

    if (job_comm_init(&world) != IO_OK || job_queue_create(NULL, 0, &queue) != IO_OK) return 1;
    if (job_post_create(&world, queue, &events, &post) != IO_OK) return 1;
    job_comm_barrier(&world);
    start = job_time_now();
    if (world.rank == 0)
        job_post_leave(post);
    else
        send_all(post);
    while (world.rank == 0 && !job_post_all_left(post)) job_post_serve(post);
    took = job_time_now() - start;
    if (world.rank == 0) printf("%.2f microseconds a message (%lld of them)\n", 1e6 * took / (double)n_taken, (long long)n_taken);
    job_post_free(&post);
    job_queue_free(&queue);
    job_comm_finalize();
    return world.rank == 0 && n_taken != (int64_t)N_MESSAGES * (world.size - 1);
}
