/* A memory checker for emulated kernels. They are compiled with -fsanitize=thread, which makes the compiler call __tsan_* before every
 * load and store; libtsan is not linked, check_hooks.cpp has those functions.
 *
 * Of each byte of device and shared memory it keeps the last write and a read since, with the thread and how many barriers it had met.
 * It finds races inside a block and between blocks, accesses out of bounds, after the free, to memory that is not the device's,
 * misaligned ones, reads of what was never written, and device memory that is never freed. One reader is kept for each byte, so that a
 * race may be missed in one byte, hardly in an array. */
#include "tests/cudahost/check.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <link.h>
#include <map>
#include <set>
#include <sys/mman.h>
#include <unistd.h>

namespace cudahost
{
/* A thread is block * threads per block + thread + 1; the top bit: it was atomic. The clocks are those of thread_state. */
struct cell {
    uint32_t writer;
    uint16_t write_barriers, write_syncs;
    uint32_t reader;
    uint16_t read_barriers, read_syncs;
};
enum byte_state : uint8_t { outside, allocated, written, freed };
static const uint32_t atomic_bit = 0x80000000u;
static const int most_reports = 20;

static cell *device_cells, *shared_cells;
static byte_state *device_states, *shared_states;
static const char *first_argument, *last_argument;
static const char *first_image, *last_image; /* this plug-in or program: constants, launch arguments' code */
static std::string image_path;
static size_t shared_used; /* bytes of shared_states that are not outside */
static int n_errors, n_allocations;

/* ---- where things are */
static int find_image(struct dl_phdr_info *info, size_t, void *)
{
    const char *base = reinterpret_cast<const char *>(info->dlpi_addr), *end = base;
    const char *own = reinterpret_cast<const char *>(&device_cells);

    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_LOAD) end = std::max(end, base + info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz);
    if (own < base || own >= end) return 0;
    first_image = base;
    last_image = end;
    image_path = info->dlpi_name[0] ? info->dlpi_name : "/proc/" + std::to_string(getpid()) + "/exe";
    return 1;
}

std::string find_source(const void *site)
{
    static std::map<const void *, std::string> known;
    const auto found = known.find(site);
    char line[1024] = "?";

    if (found != known.end()) return found->second;
    snprintf(line, sizeof line, "addr2line -s -e %s 0x%lx", image_path.c_str(), (unsigned long)((const char *)site - first_image - 1));
    FILE *pipe = popen(line, "r");
    if (pipe && !fgets(line, sizeof line, pipe)) snprintf(line, sizeof line, "?");
    if (pipe) pclose(pipe);
    line[strcspn(line, "\n ")] = '\0';
    return known[site] = line;
}

static std::string name_thread(uint32_t id)
{
    const uint32_t n = (uint32_t)running.n_threads, flat = (id & ~atomic_bit) - 1, block = flat / n, thread = flat % n;
    const dim3 &g = running.grid, &b = running.block;
    char text[120];

    snprintf(text, sizeof text, "%sblock (%u,%u,%u) thread (%u,%u,%u)", id & atomic_bit ? "an atomic of " : "", block % g.x,
             block / g.x % g.y, block / (g.x * g.y), thread % b.x, thread / b.x % b.y, thread / (b.x * b.y));
    return text;
}

/* Each kind of error once for each place in the source. */
static void report(const char *what, const touch &t, uint32_t other)
{
    static std::set<std::pair<const void *, std::string>> known;

    if (!known.insert({t.site, what}).second || ++n_errors > most_reports) return;
    fprintf(stderr, "CHECK: %s: %s of %u bytes by %s\n  at %s, kernel %s\n", what, t.is_write ? "write" : "read", t.bytes,
            describe(*current).c_str(), find_source(t.site).c_str(), running.kernel);
    if (other) fprintf(stderr, "  against %s\n", name_thread(other).c_str());
}

/* ---- one access */
static uint32_t own_id(bool is_atomic)
{
    return (uint32_t)(running.block_index * running.n_threads + current->flat + 1) | (is_atomic ? atomic_bit : 0);
}

/* Whether a barrier lies between the earlier access and now: of the block, or of the warp for its own lanes. */
static bool is_before(uint32_t earlier, unsigned barriers, unsigned syncs)
{
    const uint32_t n = (uint32_t)running.n_threads, then = (earlier & ~atomic_bit) - 1, now = (own_id(false)) - 1;

    if (then == now) return true;
    if (then / n != now / n) return false;
    if (barriers < (current->barriers & 0xffff)) return true;
    return then % n / 32 == now % n / 32 && syncs < (current->warp_syncs & 0xffff);
}

static void check_write(const touch &t, cell &c)
{
    if (c.reader && !(t.is_atomic && c.reader & atomic_bit) && !is_before(c.reader, c.read_barriers, c.read_syncs))
        report("race, written after another thread read it", t, c.reader);
    c.writer = own_id(t.is_atomic);
    c.write_barriers = (uint16_t)current->barriers;
    c.write_syncs = (uint16_t)current->warp_syncs;
}

static void check_read(const touch &t, cell &c)
{
    if (c.reader && !is_before(c.reader, c.read_barriers, c.read_syncs)) return; /* the one that is kept may still meet a write */
    c.reader = own_id(t.is_atomic);
    c.read_barriers = (uint16_t)current->barriers;
    c.read_syncs = (uint16_t)current->warp_syncs;
}

/* False when the byte is not there, so that one access gives one report. */
static bool check_byte(const touch &t, cell &c, byte_state &s, bool is_shared)
{
    if (s == outside) {
        report(is_shared ? "out of bounds of shared memory" : "out of bounds of device memory", t, 0);
        return false;
    }
    if (s == freed) {
        report("device memory used after it was freed", t, 0);
        return false;
    }
    if (!t.is_write && s == allocated)
        report(is_shared ? "shared memory read that this block never wrote" : "device memory read that nothing ever wrote", t, 0);
    if (c.writer && !(t.is_atomic && c.writer & atomic_bit) && !is_before(c.writer, c.write_barriers, c.write_syncs))
        report(t.is_write ? "race, written by two threads" : "race, read after another thread wrote it", t, c.writer);
    if (t.is_write) {
        check_write(t, c);
        s = written;
    }
    if (!t.is_write || t.is_atomic) check_read(t, c);
    return true;
}

static bool is_inside(const char *p, const char *first, const char *last)
{
    return p >= first && p < last;
}

void check_access(const touch &t)
{
    const bool is_shared = is_inside(t.p, shared_memory, shared_memory + shared_memory_bytes);
    const bool is_device = is_inside(t.p, device_memory, device_memory + device_memory_bytes());

    if (!current || is_fiber_memory(t.p)) return;
    if (!is_shared && !is_device) {
        if (!is_inside(t.p, first_argument, last_argument) && !is_inside(t.p, first_image, last_image))
            report("memory that is not the device's", t, 0);
        return;
    }
    const size_t offset = (size_t)(t.p - (is_shared ? shared_memory : device_memory));
    cell *cells = (is_shared ? shared_cells : device_cells) + offset;
    byte_state *states = (is_shared ? shared_states : device_states) + offset;
    if ((uintptr_t)t.p & (t.bytes - 1) & 15) report("misaligned", t, 0);
    for (unsigned i = 0; i < t.bytes; i++) {
        const bool is_first = t.is_write ? !cells[i].writer : !cells[i].reader;
        if (!check_byte(t, cells[i], states[i], is_shared)) return;
        if (is_first && !is_shared && is_traffic_wanted()) traffic_count_unique({t.p + i, 1, t.is_write, t.is_atomic, t.site});
    }
    if (is_traffic_wanted()) traffic_count(t, is_shared);
}

/* ---- life */
static void finish()
{
    traffic_print();
    if (n_allocations) fprintf(stderr, "CHECK: %d device allocations were never freed\n", n_allocations);
    n_errors += n_allocations != 0;
    fprintf(stderr, "CHECK: %d distinct errors\n", n_errors);
    fflush(nullptr);
    if (n_errors) _exit(98);
}

static void start()
{
    if (device_cells) return;
    device_cells = static_cast<cell *>(map_memory(device_memory_bytes() * sizeof(cell)));
    device_states = static_cast<byte_state *>(map_memory(device_memory_bytes()));
    shared_cells = static_cast<cell *>(map_memory(shared_memory_bytes * sizeof(cell)));
    shared_states = static_cast<byte_state *>(map_memory(shared_memory_bytes));
    dl_iterate_phdr(find_image, nullptr);
    atexit(finish);
}

static void set_states(const void *p, size_t bytes, byte_state state)
{
    memset(device_states + (static_cast<const char *>(p) - device_memory), state, bytes);
}
} // namespace cudahost

using namespace cudahost;

extern "C" {
void check_on_allocate(void *p, size_t bytes)
{
    start();
    n_allocations++;
    set_states(p, bytes, allocated);
}

void check_on_free(void *p, size_t bytes)
{
    n_allocations--;
    set_states(p, bytes, freed);
}

void check_on_outside_write(void *p, size_t bytes)
{
    set_states(p, bytes, written);
}

void check_on_outside_read(const void *p, size_t bytes)
{
    const byte_state *states = device_states + (static_cast<const char *>(p) - device_memory);
    const byte_state *found = std::find(states, states + bytes, allocated);

    if (found == states + bytes || ++n_errors > most_reports) return;
    fprintf(stderr, "CHECK: a copy or product reads device memory that nothing ever wrote, byte %zu of %zu\n", (size_t)(found - states),
            bytes);
}

void check_on_shared(void *p, size_t bytes)
{
    const size_t offset = (size_t)(static_cast<char *>(p) - shared_memory);

    start();
    memset(shared_states + offset, allocated, bytes);
    memset(static_cast<void *>(shared_cells + offset), 0, bytes * sizeof(cell));
    shared_used = std::max(shared_used, offset + bytes);
}

void check_on_grid_begin(const void *arguments, size_t bytes)
{
    start();
    first_argument = static_cast<const char *>(arguments);
    last_argument = first_argument + bytes;
    madvise(device_cells, device_memory_bytes() * sizeof(cell), MADV_DONTNEED); /* a launch comes after all before it */
    traffic_begin_grid();
}

void check_on_grid_end()
{
    traffic_end_grid();
}

void check_on_block_begin()
{
    memset(shared_states, outside, shared_used);
    shared_used = 0;
}

void check_on_block_end()
{
    traffic_end_block();
}

void check_on_access(const void *p, unsigned bytes, bool is_write, const void *site)
{
    check_access({static_cast<char *>(const_cast<void *>(p)), bytes, is_write, false, site});
}

void check_on_unwritten(const void *p, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        byte_state &s = shared_states[static_cast<const char *>(p) - shared_memory + i];
        if (s == written) s = allocated;
    }
}
}
