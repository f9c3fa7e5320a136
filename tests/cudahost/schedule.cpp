/* Runs the grid of a launch: one block after another, the threads of a block as fibers that run until they meet. */
#include <algorithm>
#include <cstdio>

#include "tests/cudahost/runtime.h"

namespace cudahost
{
coordinates here;
thread_state *current;
running_grid running;
std::vector<thread_state> threads;

static std::vector<int> thread_order;
static const launch_record *launched;
static int n_at_barrier, n_done;

std::string describe(const thread_state &t)
{
    char text[160];

    snprintf(text, sizeof text, "block (%u,%u,%u) thread (%u,%u,%u), warp %d lane %d", here.block.x, here.block.y, here.block.z, t.index.x,
             t.index.y, t.index.z, t.warp, t.lane);
    return text;
}

int lane()
{
    return current->lane;
}

void yield_thread()
{
    thread_state *own = current;

    fiber_leave(own->own, own->now == state::done);
}

static void resume(thread_state &t)
{
    current = &t;
    here.thread = t.index;
    fiber_enter(t.own);
    current = nullptr;
}

static void run_thread()
{
    fiber_begin();
    launched->call(launched->arguments.get());
    for (const auto &group : current->copies)
        if (!group.empty()) fatal("the thread ends with asynchronous copies that it never waited for");
    current->now = state::done;
    yield_thread();
    __builtin_trap();
}

/* ---- barriers */
int meet_block(barrier kind, int predicate, const char *file, int line)
{
    thread_state &t = *current;

    t.file = file;
    t.line = line;
    t.kind = kind;
    t.predicate = predicate;
    t.now = state::at_barrier;
    n_at_barrier++;
    yield_thread();
    return t.barrier_result;
}

static void demand_same_barrier(thread_state &first, const thread_state &t)
{
    if (t.line == first.line && !strcmp(t.file, first.file) && t.kind == first.kind) return;
    current = &first;
    fatal("threads of one block meet at two barriers, %s:%d and %s:%d (%s)", first.file, first.line, t.file, t.line, describe(t).c_str());
}

static void release_barrier()
{
    thread_state *first = nullptr;
    int n_true = 0;

    for (thread_state &t : threads) {
        if (t.now != state::at_barrier) continue;
        if (!first) first = &t;
        demand_same_barrier(*first, t);
        n_true += t.predicate != 0;
    }
    if (n_done) {
        current = first;
        fatal("the barrier at %s:%d is reached by %d of %d threads, the others have ended", first->file, first->line, n_at_barrier,
              running.n_threads);
    }
    for (thread_state &t : threads) {
        t.barrier_result = t.kind == barrier::all ? n_true == n_at_barrier : t.kind == barrier::any ? n_true > 0 : n_true;
        t.now = state::ready;
        t.barriers++;
        t.warp_syncs++;
    }
    n_at_barrier = 0;
}

static void report_deadlock()
{
    std::string last;
    char place[300];

    fprintf(stderr, "cudahost: the threads wait for each other:\n");
    for (const thread_state &t : threads) {
        if (t.now == state::done)
            snprintf(place, sizeof place, "ended");
        else if (t.now == state::at_barrier)
            snprintf(place, sizeof place, "at the barrier %s:%d", t.file, t.line);
        else
            snprintf(place, sizeof place, "at the warp's meeting %s:%d, mask %08x", t.wish->file, t.wish->line, t.wish->mask);
        if (last != place) fprintf(stderr, "  from thread (%u,%u,%u): %s\n", t.index.x, t.index.y, t.index.z, place);
        last = place;
    }
    current = nullptr;
    fatal("a barrier or meeting that not all of its threads reach");
}

/* ---- blocks */
static void begin_block(uint64_t index)
{
    const dim3 &g = running.grid;

    running.block_index = index;
    here.block = {(unsigned)(index % g.x), (unsigned)(index / g.x % g.y), (unsigned)(index / ((uint64_t)g.x * g.y))};
    n_at_barrier = n_done = 0;
    shared_begin_block();
    for (thread_state &t : threads) {
        fiber_prepare(t.own, t.flat, run_thread);
        t.now = state::ready;
        t.wish = nullptr;
        t.barriers = t.warp_syncs = 0;
        t.copies.clear();
    }
    if (check_on_block_begin) check_on_block_begin();
}

/* One turn of all threads that can go on; false when there was none. */
static bool run_ready_threads()
{
    bool has_run = false;

    if (options().how == order::random) std::shuffle(thread_order.begin(), thread_order.end(), random_numbers());
    for (int index : thread_order) {
        thread_state &t = threads[index];
        if (t.now != state::ready) continue;
        has_run = true;
        resume(t);
        if (t.now == state::done) n_done++;
    }
    return has_run;
}

static void run_block(uint64_t index)
{
    begin_block(index);
    while (n_done < running.n_threads) {
        const bool has_run = run_ready_threads();
        if (n_at_barrier && n_at_barrier + n_done == running.n_threads)
            release_barrier();
        else if (!has_run)
            report_deadlock();
    }
    if (check_on_block_end) check_on_block_end();
}

static void prepare_threads(const dim3 &size)
{
    const int n = running.n_threads;

    fibers_reserve(n);
    threads.assign(n, thread_state{});
    thread_order.resize(n);
    for (int i = 0; i < n; i++) {
        thread_state &t = threads[i];
        t.flat = i;
        t.lane = i % 32;
        t.warp = i / 32;
        t.index = {(unsigned)i % size.x, (unsigned)i / size.x % size.y, (unsigned)i / (size.x * size.y)};
        thread_order[i] = options().how == order::reverse ? n - 1 - i : i;
    }
}

static std::vector<uint64_t> order_blocks()
{
    std::vector<uint64_t> blocks((uint64_t)running.grid.x * running.grid.y * running.grid.z);

    for (uint64_t i = 0; i < blocks.size(); i++) blocks[i] = i;
    if (options().how == order::reverse) std::reverse(blocks.begin(), blocks.end());
    if (options().how == order::random) std::shuffle(blocks.begin(), blocks.end(), random_numbers());
    return blocks;
}

void run_grid(const launch_record &record)
{
    launched = &record;
    running = {record.name, record.grid, record.block, record.shared_bytes, (int)(record.block.x * record.block.y * record.block.z), 0};
    here.block_size = record.block;
    here.grid_size = record.grid;
    if (options().is_verbose) fprintf(stderr, "cudahost: %s\n", record.name);
    prepare_threads(record.block);
    if (check_on_grid_begin) check_on_grid_begin(record.arguments.get(), record.argument_bytes);
    for (uint64_t block : order_blocks()) run_block(block);
    if (check_on_grid_end) check_on_grid_end();
    shared_begin_block();
    running.kernel = nullptr;
    launched = nullptr;
}
} // namespace cudahost
