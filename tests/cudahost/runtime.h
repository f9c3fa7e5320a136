/* What the parts of the emulator share: options, the running block, device memory, streams, and the hooks of the checker. */
#ifndef CUDAHOST_RUNTIME_H
#define CUDAHOST_RUNTIME_H

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/cudahost/cudahost.h"
#include "tests/cudahost/fiber.h"

namespace cudahost
{
/* ---- options.cpp: what README.md says of the environment */
enum class order { forward, reverse, random };
struct settings {
    order how = order::forward;
    unsigned seed = 1;
    bool is_late = false, is_guarded = false, is_verbose = false;
    bool has_driver = true;
    int n_devices = 1;
    int sm = 90;
    size_t memory_bytes = size_t(4) << 30;
};
const settings &options();
std::mt19937 &random_numbers();
/* Bytes of shared memory that a block may have when it asks for more than 48 KB (CUDA C++ Programming Guide, compute capabilities). */
size_t shared_limit();
/* Memory that costs nothing until it is touched; ends the process when there is none. */
void *map_memory(size_t bytes);

/* ---- schedule.cpp: one block at a time */
enum class state { ready, at_barrier, at_meeting, done };
struct pending_copy {
    void *to;
    unsigned char data[16];
    size_t bytes;
    const void *site;
};
struct thread_state {
    fiber own;
    uint3 index;
    int flat, lane, warp;
    state now;
    const char *file; /* of the barrier it waits at */
    int line;
    barrier kind;
    int predicate, barrier_result;
    request *wish; /* of the meeting it waits at */
    uint64_t meeting_result;
    unsigned barriers, warp_syncs;                 /* met so far; the checker's clock */
    std::vector<std::vector<pending_copy>> copies; /* groups of cp.async, the last one open */
};
struct running_grid {
    const char *kernel;
    dim3 grid, block;
    size_t shared_bytes;
    int n_threads;
    uint64_t block_index;
};
extern thread_state *current; /* NULL while the host runs */
extern running_grid running;
extern std::vector<thread_state> threads;
void run_grid(const launch_record &record);
void yield_thread(); /* to the scheduler, until ready again */
std::string describe(const thread_state &thread);

/* ---- shared.cpp */
extern char *shared_memory; /* of the running block */
extern const size_t shared_memory_bytes;
void shared_begin_block();
void shared_set_limit(const void *kernel, size_t bytes);
size_t shared_dynamic_limit(const void *kernel);

/* ---- memory.cpp */
extern char *device_memory;
size_t device_memory_bytes();
void unlock_device_memory(bool is_open); /* guard mode: device memory is there only while the device runs */
/* Ends the process unless [p, p + bytes) lies inside one device allocation (is_device), or outside of all. */
void demand_side(const void *p, size_t bytes, bool is_device, const char *what);
bool is_pinned(const void *p);
/* The device's own reading and writing from outside kernels (products, copies). */
void note_device_read(const void *p, size_t bytes);
void note_device_write(void *p, size_t bytes);

/* ---- stream.cpp */
typedef std::function<void()> work;
/* What the device does in its turn, with device memory open. */
void enqueue(cudaStream_t stream, work item);
void run_now(const work &item);
void drain(cudaStream_t stream);
void drain_all();
const std::vector<cudaStream_t> &all_streams();

/* ---- graph.cpp: a stream that is being captured adds nodes to a graph instead of running them */
bool is_capturing(cudaStream_t stream);
void capture_item(cudaStream_t stream, work item);
void capture_record(cudaStream_t stream, cudaEvent_t event);
void capture_wait(cudaStream_t stream, cudaEvent_t event);
/* Ends the process when any stream is being captured: what is not allowed meanwhile. */
void demand_no_capture(const char *what);

/* device.cpp: remembers an error for cudaGetLastError, and returns it. */
cudaError_t failed(cudaError_t code);
} // namespace cudahost

struct CUgraph_st;

/* The runtime's own types, which NVIDIA's headers only name. */
struct CUstream_st {
    std::deque<cudahost::work> queue; /* waiting, in late mode */
    CUgraph_st *graph = nullptr;      /* being captured */
    std::vector<int> frontier;        /* nodes that the next one comes after */
};
struct CUevent_st {
    uint64_t n_recorded = 0, n_done = 0;
    cudaStream_t stream = nullptr;
    double milliseconds = 0;
    CUgraph_st *graph = nullptr; /* recorded in a capture */
    std::vector<int> frontier;
};

/* ---- The checker (check.cpp), which is linked only into its own build; NULL elsewhere. */
extern "C" {
#define CUDAHOST_WEAK __attribute__((weak, visibility("hidden")))
CUDAHOST_WEAK void check_on_allocate(void *p, size_t bytes);
CUDAHOST_WEAK void check_on_free(void *p, size_t bytes);
CUDAHOST_WEAK void check_on_outside_write(void *p, size_t bytes);
CUDAHOST_WEAK void check_on_outside_read(const void *p, size_t bytes);
CUDAHOST_WEAK void check_on_shared(void *p, size_t bytes);
CUDAHOST_WEAK void check_on_grid_begin(const void *arguments, size_t bytes);
CUDAHOST_WEAK void check_on_grid_end();
CUDAHOST_WEAK void check_on_block_begin();
CUDAHOST_WEAK void check_on_block_end();
CUDAHOST_WEAK void check_on_access(const void *p, unsigned bytes, bool is_write, const void *site);
CUDAHOST_WEAK void check_on_unwritten(const void *p, unsigned bytes);
#undef CUDAHOST_WEAK
}

#endif
