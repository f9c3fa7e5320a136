/* Launches, streams and events. In late mode the work of a stream runs only when something waits for it that may: a host that reads too
 * early, or a stream that lacks an event, then finds old values. */
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tests/cudahost/runtime.h"

namespace cudahost
{
static std::vector<cudaStream_t> streams;

const std::vector<cudaStream_t> &all_streams()
{
    return streams;
}

void run_now(const work &item)
{
    unlock_device_memory(true);
    item();
    unlock_device_memory(false);
}

static bool run_next(cudaStream_t stream)
{
    if (stream->queue.empty()) return false;
    const work item = std::move(stream->queue.front());
    stream->queue.pop_front();
    run_now(item);
    return true;
}

static bool is_default(cudaStream_t stream)
{
    return stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
}

static void demand_stream(cudaStream_t stream)
{
    if (std::find(streams.begin(), streams.end(), stream) == streams.end())
        fatal("%p is no stream, or one that was destroyed", static_cast<void *>(stream));
}

void drain(cudaStream_t stream)
{
    if (is_default(stream)) return drain_all();
    demand_stream(stream);
    while (run_next(stream)) continue;
}

void drain_all()
{
    std::vector<cudaStream_t> turn = streams;

    if (options().how == order::reverse) std::reverse(turn.begin(), turn.end());
    if (options().how == order::random) std::shuffle(turn.begin(), turn.end(), random_numbers());
    for (cudaStream_t stream : turn)
        while (run_next(stream)) continue;
}

/* In random order a stream may run ahead of the others, as far as it can: work that waits for no event is not kept back by others. */
static void run_ahead()
{
    std::mt19937 &numbers = random_numbers();
    const cudaStream_t stream = streams[numbers() % streams.size()];

    if (numbers() % 4 != 0) return;
    for (unsigned n = 1 + numbers() % 8; n > 0 && run_next(stream); n--) continue;
}

/* The default stream waits for all others, and they for it. */
void enqueue(cudaStream_t stream, work item)
{
    if (is_default(stream)) {
        demand_no_capture("work in the default stream");
        drain_all();
        return run_now(item);
    }
    demand_stream(stream);
    if (is_capturing(stream)) return capture_item(stream, std::move(item));
    if (!options().is_late) return run_now(item);
    stream->queue.push_back(std::move(item));
    if (options().how == order::random) run_ahead();
}

static bool is_valid(const dim3 &grid, const dim3 &block)
{
    const uint64_t n_threads = (uint64_t)block.x * block.y * block.z;

    return n_threads > 0 && n_threads <= 1024 && block.z <= 64 && grid.x > 0 && grid.x <= 0x7fffffffu && grid.y > 0 && grid.y <= 65535 &&
           grid.z > 0 && grid.z <= 65535;
}

void launch_grid(const launch_record &record, cudaStream_t stream)
{
    const dim3 &grid = record.grid, &block = record.block;

    if (!is_valid(grid, block)) {
        fprintf(stderr, "cudahost: %s: no grid (%u,%u,%u) of blocks (%u,%u,%u) can be launched\n", record.name, grid.x, grid.y, grid.z,
                block.x, block.y, block.z);
        failed(cudaErrorInvalidConfiguration);
        return;
    }
    if (record.shared_bytes > shared_dynamic_limit(record.kernel)) {
        fprintf(stderr, "cudahost: %s: %zu bytes of dynamic shared memory, at most %zu without cudaFuncSetAttribute\n", record.name,
                record.shared_bytes, shared_dynamic_limit(record.kernel));
        failed(cudaErrorInvalidValue);
        return;
    }
    enqueue(stream, [record] { run_grid(record); });
}

static double now_in_milliseconds()
{
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/* Runs the event's stream until the event has been recorded for the given time. */
static void wait_for(cudaEvent_t event, uint64_t record)
{
    while (event->n_done < record && event->stream && run_next(event->stream)) continue;
}
} // namespace cudahost

using namespace cudahost;

extern "C" {
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    *out = new CUstream_st;
    streams.push_back(*out);
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    drain(stream);
    streams.erase(std::find(streams.begin(), streams.end(), stream));
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    demand_no_capture("cudaStreamSynchronize");
    drain(stream);
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    demand_no_capture("cudaDeviceSynchronize");
    drain_all();
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned)
{
    *out = new CUevent_st;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, 0);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    wait_for(event, event->n_recorded);
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (is_capturing(stream)) {
        capture_record(stream, event);
        return cudaSuccess;
    }
    const uint64_t record = ++event->n_recorded;
    event->stream = is_default(stream) ? nullptr : stream;
    event->graph = nullptr;
    enqueue(stream, [=] {
        event->n_done = record;
        event->milliseconds = now_in_milliseconds();
    });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    demand_no_capture("cudaEventSynchronize");
    wait_for(event, event->n_recorded);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    return event->n_done < event->n_recorded ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    if (cudaEventQuery(start) != cudaSuccess || cudaEventQuery(end) != cudaSuccess) return failed(cudaErrorNotReady);
    *milliseconds = (float)(end->milliseconds - start->milliseconds);
    return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned)
{
    const uint64_t record = event->n_recorded;

    if (event->graph || is_capturing(stream)) {
        capture_wait(stream, event);
        return cudaSuccess;
    }
    enqueue(stream, [=] { wait_for(event, record); });
    return cudaSuccess;
}
}
