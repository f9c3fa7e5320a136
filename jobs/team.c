/* See team.h. */
#include "jobs/team.h"

#include <limits.h>

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

static void send_share(const job_team *team, const int64_t *ks, const void *mine, int64_t n_mine, MPI_Datatype slice)
{
    MPI_Request request;

    MPI_Isend(ks, (int)n_mine, MPI_INT64_T, 0, TAG_NUMBERS, team->comm.handle, &request);
    job_comm_wait(&request);
    MPI_Isend(mine, (int)n_mine, slice, 0, TAG_LABELS, team->comm.handle, &request);
    job_comm_wait(&request);
}

/* Both messages of one rank. */
static io_status receive_share(const job_team *team, int from, size_t slice_bytes, MPI_Datatype slice, job_team_take take, void *context)
{
    io_status status = IO_OK;
    int64_t *ks = NULL;
    uint8_t *labels = NULL;
    MPI_Request request;
    MPI_Message message;
    MPI_Status found;
    int n = 0;

    job_comm_probe(&team->comm, from, TAG_NUMBERS, &message, &found);
    MPI_Get_count(&found, MPI_INT64_T, &n); /* the length is the sender's to say */
    if (io_alloc((size_t)n, sizeof *ks, (void **)&ks) != IO_OK || io_alloc((size_t)n, slice_bytes, (void **)&labels) != IO_OK)
        job_abort(JOB_EXIT_RUN, "gathering labels: %s", io_last_error_text()); /* the sender waits: there is no way back */
    MPI_Imrecv(ks, n, MPI_INT64_T, &message, &request);
    job_comm_wait(&request);
    MPI_Irecv(labels, n, slice, from, TAG_LABELS, team->comm.handle, &request);
    job_comm_wait(&request);
    for (int i = 0; i < n && status == IO_OK; i++) status = take(context, ks[i], labels + (size_t)i * slice_bytes);
    io_free(&labels);
    io_free(&ks);
    return status;
}

io_status job_team_gather(const job_team *team, const int64_t *ks, const void *mine, int64_t n_mine, size_t slice_bytes, job_team_take take,
                          void *context)
{
    io_status status = IO_OK;
    MPI_Datatype slice;

    if (team->comm.size == 1) return IO_OK;
    if (slice_bytes > INT_MAX || n_mine > INT_MAX)
        return IO_FAIL(IO_ERR_RANGE, "a slice of %zu bytes is too large to be sent", slice_bytes);
    MPI_Type_contiguous((int)slice_bytes, MPI_BYTE, &slice); /* counts in slices: bytes may pass 2^31 */
    MPI_Type_commit(&slice);
    if (team->comm.rank != 0) send_share(team, ks, mine, n_mine, slice);
    for (int from = 1; team->comm.rank == 0 && from < team->comm.size; from++) { /* all of them, also after a failure: they wait */
        const io_status taken = receive_share(team, from, slice_bytes, slice, take, context);
        if (status == IO_OK) status = taken;
    }
    MPI_Type_free(&slice);
    return status;
}

void job_team_announce(const job_team *team, job_announcement *announcement, int64_t value)
{
    announcement->value = value;
    announcement->is_open = true;
    MPI_Ibcast(&announcement->value, 1, MPI_INT64_T, 0, team->steer.handle, &announcement->request);
}

bool job_team_announced(job_announcement *announcement)
{
    int is_done = 1;

    if (announcement->is_open) MPI_Test(&announcement->request, &is_done, MPI_STATUS_IGNORE);
    if (is_done) announcement->is_open = false;
    return is_done;
}
