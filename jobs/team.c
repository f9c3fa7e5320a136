/* See team.h. */
#include "jobs/team.h"

#include "io/memory.h"
#include "jobs/exits.h"

enum { TAG_NUMBERS = 11, TAG_LABELS = 12 };

void job_team_create(const job_comm *world, const job_teams *teams, job_team *out)
{
    out->n_teams = teams ? teams->n : world->size;
    out->index = teams ? job_teams_of(teams, world->rank) : world->rank;
    job_comm_split(world, out->index, world->rank, &out->comm);
    job_comm_split(world, out->index, world->rank, &out->steer);
}

void job_team_free(job_team *team)
{
    job_comm_free(&team->steer);
    job_comm_free(&team->comm);
}

static int64_t count_share(int64_t n_slices, int rank, int size)
{
    return n_slices > rank ? (n_slices - rank + size - 1) / size : 0;
}

int64_t job_team_share_count(const job_team *team, int64_t n_slices)
{
    return count_share(n_slices, team->comm.rank, team->comm.size);
}

int64_t job_team_share_at(const job_team *team, int64_t i)
{
    return team->comm.rank + i * team->comm.size;
}

/* Both messages of one rank. */
static io_status receive_share(const job_team *team, int from, size_t slice_bytes, job_team_take take, void *context)
{
    io_status status = IO_OK;
    int64_t *ks = NULL;
    uint8_t *labels = NULL;
    const size_t n = job_comm_probe(&team->comm, from, TAG_NUMBERS) / sizeof *ks; /* the length is the sender's to say */

    if (io_alloc(n, sizeof *ks, (void **)&ks) != IO_OK || io_alloc(n, slice_bytes, (void **)&labels) != IO_OK)
        job_abort(JOB_EXIT_RUN, "gathering labels: %s", io_last_error_text()); /* the sender waits: there is no way back */
    job_comm_receive(&team->comm, ks, n * sizeof *ks, from, TAG_NUMBERS);
    job_comm_receive(&team->comm, labels, n * slice_bytes, from, TAG_LABELS);
    for (size_t i = 0; i < n && status == IO_OK; i++) status = take(context, ks[i], labels + i * slice_bytes);
    io_free(&labels);
    io_free(&ks);
    return status;
}

io_status job_team_gather(const job_team *team, const int64_t *ks, const void *mine, int64_t n_mine, size_t slice_bytes, job_team_take take,
                          void *context)
{
    io_status status = IO_OK;

    if (team->comm.rank != 0) {
        job_comm_send(&team->comm, ks, (size_t)n_mine * sizeof *ks, 0, TAG_NUMBERS);
        job_comm_send(&team->comm, mine, (size_t)n_mine * slice_bytes, 0, TAG_LABELS);
    }
    for (int from = 1; team->comm.rank == 0 && from < team->comm.size; from++) { /* all of them, also after a failure: they wait */
        const io_status taken = receive_share(team, from, slice_bytes, take, context);
        if (status == IO_OK) status = taken;
    }
    return status;
}

void job_team_announce(const job_team *team, job_announcement *announcement, int64_t value)
{
    announcement->value = value;
    announcement->request = job_comm_bcast_begin(&team->steer, &announcement->value, sizeof announcement->value, 0);
}

bool job_team_announced(job_announcement *announcement)
{
    return job_comm_test(&announcement->request);
}
