/* See comm.h. */
#include "jobs/comm.h"

#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(OPEN_MPI)
#include <mpi-ext.h>
#endif

#include "io/log.h"
#include "io/memory.h"

enum {
    SPINS = 64,            /* tests before the first sleep: a message that is nearly here costs no sleep */
    SLEEP_NS = 500 * 1000, /* short against a slice, long against a system call */
    PIECE_BYTES = 1 << 30,
    TEXT_BYTES = 1024
};

static struct {
    bool is_running;
    int rank, size;
    void (*idle)(void *context);
    void *idle_context;
    void (*leave)(void *context);
    void *leave_context;
    atomic_flag is_leaving;
} state = {.size = 1, .is_leaving = ATOMIC_FLAG_INIT};

static int read_environment(const char *const *names, size_t n_names, int fallback)
{
    for (size_t i = 0; i < n_names; i++) {
        const char *text = getenv(names[i]);
        char *end;
        const long number = text ? strtol(text, &end, 10) : 0;
        if (text && end != text && number >= 0 && number <= INT_MAX) return (int)number;
    }
    return fallback;
}

int job_comm_claimed_rank(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK"};
    return read_environment(names, sizeof names / sizeof *names, 0);
}

int job_comm_claimed_size(void)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    return read_environment(names, sizeof names / sizeof *names, 1);
}

const char *job_comm_host(void)
{
    static char host[JOB_HOST_BYTES];

    if (*host) return host;
    if (gethostname(host, sizeof host - 1) != 0) snprintf(host, sizeof host, "unknown");
    host[strcspn(host, ".")] = '\0';
    return host;
}

io_status job_comm_init(job_comm *world)
{
    int provided;

    /* Without a launcher Open MPI 4 would start a daemon for one process; the isolated singleton starts faster and leaves nothing. */
    if (job_comm_claimed_size() == 1) setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided);
    state.is_running = true;
    world->handle = MPI_COMM_WORLD;
    MPI_Comm_rank(MPI_COMM_WORLD, &world->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &world->size);
    state.rank = world->rank;
    state.size = world->size;
    if (provided < MPI_THREAD_FUNNELED)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "this MPI gives thread level %d, samed needs MPI_THREAD_FUNNELED (%d); use an MPI with threads",
                       provided, MPI_THREAD_FUNNELED);
    return IO_OK;
}

void job_comm_finalize(void)
{
    if (state.is_running) MPI_Finalize();
    state.is_running = false;
}

static void fill(MPI_Comm handle, job_comm *out)
{
    out->handle = handle;
    MPI_Comm_rank(handle, &out->rank);
    MPI_Comm_size(handle, &out->size);
}

void job_comm_copy(const job_comm *comm, job_comm *out)
{
    MPI_Comm handle;
    MPI_Comm_dup(comm->handle, &handle);
    fill(handle, out);
}

void job_comm_split_node(const job_comm *comm, job_comm *out)
{
    MPI_Comm handle;
    MPI_Comm_split_type(comm->handle, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &handle);
    fill(handle, out);
}

void job_comm_free(job_comm *comm)
{
    if (comm->size > 0 && comm->handle != MPI_COMM_WORLD && comm->handle != MPI_COMM_NULL) MPI_Comm_free(&comm->handle);
    comm->size = 0;
}

void job_comm_set_idle(void (*idle)(void *context), void *context)
{
    state.idle = idle;
    state.idle_context = context;
}

static void run_idle(void)
{
    if (state.idle) state.idle(state.idle_context);
}

void job_comm_rest(void)
{
    const struct timespec pause = {0, SLEEP_NS};
    run_idle();
    nanosleep(&pause, NULL);
}

bool job_comm_test(job_request *request)
{
    int is_done = 1;

    if (request->is_open) MPI_Test(&request->handle, &is_done, MPI_STATUS_IGNORE);
    if (is_done) request->is_open = false;
    return is_done;
}

void job_comm_wait(job_request *request)
{
    for (int i = 0; i < SPINS; i++)
        if (job_comm_test(request)) return;
    while (!job_comm_test(request)) job_comm_rest();
}

job_request job_comm_send_begin(const job_comm *comm, const void *bytes, size_t n_bytes, int to, int tag)
{
    job_request request = {.is_open = true};
    MPI_Isend(bytes, (int)n_bytes, MPI_BYTE, to, tag, comm->handle, &request.handle);
    return request;
}

job_request job_comm_receive_begin(const job_comm *comm, void *bytes, size_t n_bytes, int from, int tag)
{
    job_request request = {.is_open = true};
    MPI_Irecv(bytes, (int)n_bytes, MPI_BYTE, from, tag, comm->handle, &request.handle);
    return request;
}

job_request job_comm_send_rows_begin(const job_comm *comm, const void *rows, size_t n_rows, size_t row_bytes, int to, int tag)
{
    job_request request = {.is_open = true};
    MPI_Datatype row;

    MPI_Type_contiguous((int)row_bytes, MPI_BYTE, &row);
    MPI_Type_commit(&row);
    MPI_Isend(rows, (int)n_rows, row, to, tag, comm->handle, &request.handle);
    MPI_Type_free(&row); /* once the message is through */
    return request;
}

job_request job_comm_receive_rows_begin(const job_comm *comm, void *rows, size_t n_rows, size_t row_bytes, int from, int tag)
{
    job_request request = {.is_open = true};
    MPI_Datatype row;

    MPI_Type_contiguous((int)row_bytes, MPI_BYTE, &row);
    MPI_Type_commit(&row);
    MPI_Irecv(rows, (int)n_rows, row, from, tag, comm->handle, &request.handle);
    MPI_Type_free(&row);
    return request;
}

/* MPI counts in int: the bytes of the piece that begins at. No bytes at all are one empty piece. */
static size_t cut_piece(size_t n_bytes, size_t at)
{
    return n_bytes - at < PIECE_BYTES ? n_bytes - at : PIECE_BYTES;
}

void job_comm_send(const job_comm *comm, const void *bytes, size_t n_bytes, int to, int tag)
{
    size_t at = 0;

    do {
        const size_t n = cut_piece(n_bytes, at);
        job_request request = job_comm_send_begin(comm, (const char *)bytes + at, n, to, tag);
        job_comm_wait(&request);
        at += n;
    } while (at < n_bytes);
}

void job_comm_receive(const job_comm *comm, void *bytes, size_t n_bytes, int from, int tag)
{
    size_t at = 0;

    do {
        const size_t n = cut_piece(n_bytes, at);
        job_request request = job_comm_receive_begin(comm, (char *)bytes + at, n, from, tag);
        job_comm_wait(&request);
        at += n;
    } while (at < n_bytes);
}

size_t job_comm_probe(const job_comm *comm, int from, int tag)
{
    MPI_Status found;
    int is_here = 0, n_bytes = 0;

    for (int i = 0; i < SPINS && !is_here; i++) MPI_Iprobe(from, tag, comm->handle, &is_here, &found);
    while (!is_here) {
        job_comm_rest();
        MPI_Iprobe(from, tag, comm->handle, &is_here, &found);
    }
    MPI_Get_count(&found, MPI_BYTE, &n_bytes);
    return (size_t)n_bytes;
}

bool job_comm_take(const job_comm *comm, void *bytes, size_t n_bytes, int tag, int *from)
{
    MPI_Status found;
    MPI_Message message;
    int is_here = 0;

    MPI_Improbe(MPI_ANY_SOURCE, tag, comm->handle, &is_here, &message, &found);
    if (!is_here) return false;
    MPI_Mrecv(bytes, (int)n_bytes, MPI_BYTE, &message, MPI_STATUS_IGNORE);
    *from = found.MPI_SOURCE;
    return true;
}

void job_comm_barrier(const job_comm *comm)
{
    job_request request = {.is_open = true};
    MPI_Ibarrier(comm->handle, &request.handle);
    job_comm_wait(&request);
}

void job_comm_bcast(const job_comm *comm, void *bytes, size_t n_bytes, int root)
{
    job_request request = {.is_open = true};
    MPI_Ibcast(bytes, (int)n_bytes, MPI_BYTE, root, comm->handle, &request.handle);
    job_comm_wait(&request);
}

io_status job_comm_bcast_text(const job_comm *comm, char **text, int root)
{
    int64_t n_bytes = comm->rank == root ? (int64_t)strlen(*text) + 1 : 0;
    io_status status = IO_OK;
    char *copy = NULL;

    job_comm_bcast(comm, &n_bytes, sizeof n_bytes, root);
    if (n_bytes > INT32_MAX) return IO_FAIL(IO_ERR_RANGE, "a text of %lld bytes is too long to send to all ranks", (long long)n_bytes);
    if (comm->rank != root) status = io_alloc((size_t)n_bytes, 1, (void **)&copy);
    if (!job_all_ok(comm, &status, NULL)) {
        io_free(&copy);
        return status;
    }
    job_comm_bcast(comm, comm->rank == root ? *text : copy, (size_t)n_bytes, root);
    if (comm->rank != root) *text = copy;
    return IO_OK;
}

void job_comm_sum(const job_comm *comm, int64_t *values, int n_values)
{
    job_request request = {.is_open = true};
    MPI_Iallreduce(MPI_IN_PLACE, values, n_values, MPI_INT64_T, MPI_SUM, comm->handle, &request.handle);
    job_comm_wait(&request);
}

void job_comm_sum_together(const job_comm *comm, int64_t *values, int n_values)
{
    MPI_Allreduce(MPI_IN_PLACE, values, n_values, MPI_INT64_T, MPI_SUM, comm->handle);
}

bool job_comm_takes_device_memory(void)
{
#if defined(MPIX_CUDA_AWARE_SUPPORT)
    return MPIX_Query_cuda_support() == 1;
#else
    return false; /* another MPI, which has no way of telling */
#endif
}

void job_comm_allgather(const job_comm *comm, const void *bytes, void *all, int n_bytes)
{
    job_request request = {.is_open = true};
    MPI_Iallgather(bytes, n_bytes, MPI_BYTE, all, n_bytes, MPI_BYTE, comm->handle, &request.handle);
    job_comm_wait(&request);
}

bool job_all_ok(const job_comm *comm, io_status *status, int *culprit)
{
    struct {
        io_status status;
        char text[TEXT_BYTES];
    } verdict = {.status = *status};
    int first_bad = *status == IO_OK ? comm->size : comm->rank;
    job_request request = {.is_open = comm->size > 1};

    if (*status != IO_OK) snprintf(verdict.text, sizeof verdict.text, "%s", io_last_error_text()); /* the idle hook may fail too */
    if (comm->size > 1) MPI_Iallreduce(MPI_IN_PLACE, &first_bad, 1, MPI_INT, MPI_MIN, comm->handle, &request.handle);
    job_comm_wait(&request);
    if (culprit) *culprit = first_bad;
    if (first_bad == comm->size) return true;
    if (comm->size == 1) return false;
    job_comm_bcast(comm, &verdict, sizeof verdict, first_bad);
    *status = verdict.status;
    (void)IO_FAIL(verdict.status, "%s", verdict.text);
    return false;
}

void job_comm_set_abort(void (*leave)(void *context), void *context)
{
    state.leave = leave;
    state.leave_context = context;
}

void job_abort(int exit_code, const char *format, ...)
{
    char text[2048];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (atomic_flag_test_and_set(&state.is_leaving)) pause(); /* another thread found a fault first: its end is ours */
    io_log(IO_LOG_ERROR, "rank %d on %s: %s", state.rank, job_comm_host(), text);
    if (state.leave) state.leave(state.leave_context);
    fflush(NULL);
    if (state.is_running && state.size > 1) MPI_Abort(MPI_COMM_WORLD, exit_code);
    _exit(exit_code);
}
