/* MPI, wrapped once: no other file calls it. Only the main thread calls anything here but job_abort. The fatal error handler of MPI stays:
 * a broken connection ends the run. Waiting is calm: a rank that waits sleeps instead of burning its core, and runs the idle hook
 * meanwhile, so that rank 0 hands out cases even while it waits. */
#ifndef JOBS_COMM_H
#define JOBS_COMM_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct job_comm {
    MPI_Comm handle;
    int rank, size;
} job_comm;

enum { JOB_HOST_BYTES = 64 };

/* Collective over all ranks. Starts MPI (main thread only makes calls) and fills in the communicator of all ranks. */
io_status job_comm_init(job_comm *world);
/* Collective over all ranks. */
void job_comm_finalize(void);
/* Collective: the same ranks, whose messages are never taken for those of the original. job_comm_free is collective too. */
void job_comm_copy(const job_comm *comm, job_comm *out);
/* Collective: the ranks that share this machine's memory. */
void job_comm_split_node(const job_comm *comm, job_comm *out);
void job_comm_free(job_comm *comm);

/* Before MPI runs: the rank and number of tasks that the launcher's environment claims (Open MPI, PMI); 0 and 1 without one.
 * A scheduler's own variables are not read: its scripts say how many ranks they start (--ranks). */
int job_comm_claimed_rank(void);
int job_comm_claimed_size(void);

/* The name of this machine, without its domain. Static text. */
const char *job_comm_host(void);

/* Called about every millisecond while the main thread waits for a message; NULL for none. It may receive and send, never wait. */
void job_comm_set_idle(void (*idle)(void *context), void *context);
/* A message under way; zero: none. The bytes are MPI's until job_comm_wait, or job_comm_test said true; both accept none. */
typedef struct job_request {
    MPI_Request handle;
    bool is_open;
} job_request;

/* Waits calmly until it is done. */
void job_comm_wait(job_request *request);
/* Lets it advance; true when it is done. */
bool job_comm_test(job_request *request);

/* Return at once; at most INT_MAX bytes. */
job_request job_comm_send_begin(const job_comm *comm, const void *bytes, size_t n_bytes, int to, int tag);
job_request job_comm_receive_begin(const job_comm *comm, void *bytes, size_t n_bytes, int from, int tag);
/* The same for n_rows of row_bytes (at most INT_MAX each) side by side. */
job_request job_comm_send_rows_begin(const job_comm *comm, const void *rows, size_t n_rows, size_t row_bytes, int to, int tag);
job_request job_comm_receive_rows_begin(const job_comm *comm, void *rows, size_t n_rows, size_t row_bytes, int from, int tag);
/* Wait calmly; any number of bytes, which both sides know. */
void job_comm_send(const job_comm *comm, const void *bytes, size_t n_bytes, int to, int tag);
void job_comm_receive(const job_comm *comm, void *bytes, size_t n_bytes, int from, int tag);
/* Waits calmly for a message, to be received next; its bytes. */
size_t job_comm_probe(const job_comm *comm, int from, int tag);
/* Takes the next message of this tag if one is here, at most n_bytes: true, and *from its sender. */
bool job_comm_take(const job_comm *comm, void *bytes, size_t n_bytes, int tag, int *from);
/* One round of such waiting, for loops of other kinds: runs the idle hook, then sleeps a moment. */
void job_comm_rest(void);

/* Collective. */
void job_comm_barrier(const job_comm *comm);
void job_comm_bcast(const job_comm *comm, void *bytes, size_t n_bytes, int root);
/* Collective: root's zero-terminated text arrives everywhere; on other ranks *text is replaced and the caller's to io_free. */
io_status job_comm_bcast_text(const job_comm *comm, char **text, int root);
void job_comm_sum(const job_comm *comm, int64_t *values, int n_values);
/* The same for ranks that arrive together, because they have just agreed: it waits inside MPI, which moves 38 MB in half the time. */
void job_comm_sum_together(const job_comm *comm, int64_t *values, int n_values);
/* May job_comm_sum be given memory of a CUDA device? */
bool job_comm_takes_device_memory(void);
/* Collective: all [size][n_bytes] receives every rank's bytes [n_bytes]. */
void job_comm_allgather(const job_comm *comm, const void *bytes, void *all, int n_bytes);

/* Collective. True when every rank came with IO_OK. Else false everywhere, *status is that of the lowest failing rank, its text is the
 * last error of every rank, and *culprit (may be NULL) that rank. To be called before any collective that follows work which may fail. */
bool job_all_ok(const job_comm *comm, io_status *status, int *culprit);

/* What job_abort does first on the rank that calls it, once: gives back what must not outlive the run. NULL for nothing. */
void job_comm_set_abort(void (*leave)(void *context), void *context);
/* Ends the whole run on all ranks with an exit code of exits.h: one message with rank, host and text, then MPI_Abort. */
void job_abort(int exit_code, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

#endif
