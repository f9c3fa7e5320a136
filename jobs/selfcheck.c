/* See selfcheck.h. */
#include "jobs/selfcheck.h"

#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "io/memory.h"
#include "io/plural.h"

enum { MAX_LINES = 8, DEVICE_BYTES = 160 };

/* What a rank says about itself. */
typedef struct rank_card {
    char host[JOB_HOST_BYTES];
    char device[DEVICE_BYTES];
    int n_threads;
} rank_card;

static io_status refuse_other_size(int expected, const job_comm *world)
{
    return IO_FAIL(
        IO_ERR_ARGUMENT,
        "--ranks %d: the job started %d rank%s, but MPI sees %d (this is rank %d on %s). If each task sees only itself, launcher and MPI "
        "do "
        "not speak the same PMIx: srun --mpi=list shows what Slurm has, ompi_info what Open MPI was built with; or start with mpirun",
        expected, expected, io_plural(expected), world->size, world->rank, job_comm_host());
}

io_status job_selfcheck_launch(int expected, int claimed_size, const job_comm *world)
{
    if (expected > 0 && expected != world->size) return refuse_other_size(expected, world);
    if (world->size > 1 || claimed_size <= 1) return IO_OK;
    return IO_FAIL(
        IO_ERR_ARGUMENT,
        "the launcher started %d tasks, but MPI sees only this one: every task would do the whole study. Start samed with the mpirun "
        "of the MPI it was built with, or under Slurm with srun --mpi=pmix (srun --mpi=list shows what there is)",
        claimed_size);
}

static bool are_alike(const rank_card *a, const rank_card *b)
{
    return a->n_threads == b->n_threads && !strcmp(a->host, b->host) && !strcmp(a->device, b->device);
}

/* One line for ranks first..last, which are alike. */
static void log_line(const rank_card *card, int first, int last)
{
    char ranks[48];

    if (first == last)
        snprintf(ranks, sizeof ranks, "rank %d", first);
    else
        snprintf(ranks, sizeof ranks, "ranks %d-%d", first, last);
    io_log(IO_LOG_INFO, "  %s on %s: %s", ranks, card->host, card->device);
}

static int count_hosts(const rank_card *cards, int n)
{
    int n_hosts = 0;

    for (int i = 0; i < n; i++) {
        bool is_new = true;
        for (int j = i - 1; j >= 0 && is_new; j--) is_new = strcmp(cards[i].host, cards[j].host) != 0;
        n_hosts += is_new;
    }
    return n_hosts;
}

static void log_cards(const rank_card *cards, int n)
{
    int n_lines = 0;

    io_log(IO_LOG_INFO, "%d rank%s on %d host%s", n, io_plural(n), count_hosts(cards, n), io_plural(count_hosts(cards, n)));
    for (int first = 0, last; first < n; first = last + 1) {
        last = first;
        while (last + 1 < n && are_alike(&cards[first], &cards[last + 1])) last++;
        if (n_lines++ == MAX_LINES) {
            io_log(IO_LOG_INFO, "  ... and ranks %d-%d", first, n - 1);
            return;
        }
        log_line(&cards[first], first, last);
    }
}

static void warn_oversubscribed(const job_device_share *share)
{
    const long n_threads = (long)share->n_threads * share->local_size;

    if (share->quota_cpus > 0 && (double)n_threads > share->quota_cpus + 0.5)
        io_log(IO_LOG_WARN, "%ld threads on this node, but the cgroup allows %.1f CPUs; use fewer ranks or --threads", n_threads,
               share->quota_cpus);
    else if (n_threads > share->node_cpus)
        io_log(IO_LOG_WARN, "%ld threads of %d rank%s on the %d CPU%s they may use here; use fewer ranks or --threads", n_threads,
               share->local_size, io_plural(share->local_size), share->node_cpus, io_plural(share->node_cpus));
}

/* The kind of device is the description up to the first comma: "CPU AVX-512 bf16". */
static void warn_mixed_devices(const rank_card *cards, int n)
{
    const size_t length = strcspn(cards[0].device, ",");

    for (int i = 1; i < n; i++) {
        if (strcspn(cards[i].device, ",") == length && !strncmp(cards[i].device, cards[0].device, length)) continue;
        io_log(IO_LOG_WARN,
               "rank 0 has %.*s, rank %d on %s has %s: where two classes are nearly equal, a label may depend on which of them "
               "a slice meets",
               (int)length, cards[0].device, i, cards[i].host, cards[i].device);
        return;
    }
}

io_status job_selfcheck_report(const job_comm *world, const job_device_share *share, const char *device)
{
    io_status status;
    rank_card mine, *cards = NULL;

    memset(&mine, 0, sizeof mine);
    snprintf(mine.host, sizeof mine.host, "%s", job_comm_host());
    snprintf(mine.device, sizeof mine.device, "%s", device);
    mine.n_threads = share->n_threads;
    status = io_alloc((size_t)world->size, sizeof *cards, (void **)&cards);
    if (!job_all_ok(world, &status, NULL)) goto done;
    job_comm_allgather(world, &mine, cards, sizeof mine);
    if (world->rank == 0) {
        log_cards(cards, world->size);
        warn_oversubscribed(share);
        warn_mixed_devices(cards, world->size);
    }
done:
    io_free(&cards);
    return status;
}
