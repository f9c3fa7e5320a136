/* Device memory, pinned memory and the copies between them and the host.
 *
 * Device addresses are never given out twice, so that a use after the free stays visible. New memory is NaN. Under AddressSanitizer each
 * allocation is a block of its own with red zones. */
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sys/mman.h>

#include "tests/cudahost/runtime.h"

namespace cudahost
{
char *device_memory;
static const size_t address_bytes = size_t(16) << 30;
static const size_t align = 256;
static size_t bytes_taken;
static int n_unlocked;

typedef std::map<const char *, size_t> blocks;
static blocks device_blocks, pinned_blocks;

size_t device_memory_bytes()
{
    return address_bytes;
}

void unlock_device_memory(bool is_open)
{
    n_unlocked += is_open ? 1 : -1;
    if (!options().is_guarded || !device_memory || n_unlocked > 1 || (n_unlocked == 1 && !is_open)) return;
    mprotect(device_memory, address_bytes, is_open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

/* The block that holds the byte at p. */
static blocks::iterator find_block(blocks &all, const void *p)
{
    auto found = all.upper_bound(static_cast<const char *>(p));

    if (found == all.begin()) return all.end();
    --found;
    return static_cast<const char *>(p) < found->first + found->second ? found : all.end();
}

bool is_pinned(const void *p)
{
    return find_block(pinned_blocks, p) != pinned_blocks.end();
}

void demand_side(const void *p, size_t bytes, bool is_device, const char *what)
{
    const auto block = find_block(device_blocks, p);

    if (is_device && (block == device_blocks.end() || static_cast<const char *>(p) + bytes > block->first + block->second))
        fatal("%s: %zu bytes at %p do not lie inside one device allocation", what, bytes, p);
    if (!is_device && block != device_blocks.end()) fatal("%s: %p is device memory, the host's was expected", what, p);
}

void note_device_read(const void *p, size_t bytes)
{
    if (check_on_outside_read) check_on_outside_read(p, bytes);
}

void note_device_write(void *p, size_t bytes)
{
    if (check_on_outside_write) check_on_outside_write(p, bytes);
}

/* An address for bytes, or NULL. */
static char *take(size_t bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    void *block;
    return posix_memalign(&block, align, bytes) ? nullptr : static_cast<char *>(block);
#else
    if (!device_memory) {
        device_memory = static_cast<char *>(map_memory(address_bytes));
        if (options().is_guarded) mprotect(device_memory, address_bytes, PROT_NONE);
    }
    static size_t next_address; /* offset in device_memory */
    if (next_address + bytes + 2 * align > address_bytes) return nullptr;
    char *block = device_memory + next_address;
    next_address += (bytes + align - 1) / align * align + align; /* at least align bytes between two blocks belong to none */
    return block;
#endif
}

static void give_back(char *block, size_t bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    (void)bytes;
    free(block);
#else
    const uintptr_t page = 4096, first = (reinterpret_cast<uintptr_t>(block) + page - 1) / page * page,
                    last = (reinterpret_cast<uintptr_t>(block) + bytes) / page * page;
    if (last > first) madvise(reinterpret_cast<void *>(first), last - first, MADV_DONTNEED);
#endif
}

struct direction {
    bool to_device, from_device;
};

static direction find_direction(const void *to, const void *from, cudaMemcpyKind kind)
{
    if (kind == cudaMemcpyDefault)
        return {find_block(device_blocks, to) != device_blocks.end(), find_block(device_blocks, from) != device_blocks.end()};
    return {kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice,
            kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice};
}

static void copy_now(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    const direction way = find_direction(to, from, kind);

    demand_side(to, bytes, way.to_device, "the target of a copy");
    demand_side(from, bytes, way.from_device, "the source of a copy");
    if (way.from_device) note_device_read(from, bytes);
    memmove(to, from, bytes);
    if (way.to_device) note_device_write(to, bytes);
}

/* From memory that is not pinned the bytes are taken at the call, and into such memory the call waits for them. */
static void copy_in_turn(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    const direction way = find_direction(to, from, kind);
    const bool from_pageable = !way.from_device && !is_pinned(from), to_pageable = !way.to_device && !is_pinned(to);

    if (is_capturing(stream) && (from_pageable || to_pageable)) fatal("a captured copy from or into memory that is not pinned");
    if (from_pageable && options().is_late) {
        auto taken = std::make_shared<std::vector<char>>(static_cast<const char *>(from), static_cast<const char *>(from) + bytes);
        enqueue(stream, [=] { copy_now(to, taken->data(), bytes, kind); });
        return;
    }
    enqueue(stream, [=] { copy_now(to, from, bytes, kind); });
    if (to_pageable) drain(stream);
}
} // namespace cudahost

using namespace cudahost;

extern "C" {
cudaError_t cudaMalloc(void **out, size_t bytes)
{
    char *block;

    demand_no_capture("cudaMalloc");
    *out = nullptr;
    if (!bytes) return cudaSuccess;
    if (bytes > options().memory_bytes - bytes_taken || !(block = take(bytes))) return failed(cudaErrorMemoryAllocation);
    run_now([=] { memset(block, 0xff, bytes); });
    device_blocks[block] = bytes;
    bytes_taken += bytes;
    if (options().is_verbose) fprintf(stderr, "cudahost: cudaMalloc of %zu bytes\n", bytes);
    if (check_on_allocate) check_on_allocate(block, bytes);
    *out = block;
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    const auto block = device_blocks.find(static_cast<char *>(p));

    if (!p) return cudaSuccess;
    demand_no_capture("cudaFree");
    drain_all();
    if (block == device_blocks.end()) fatal("cudaFree of %p, which is no device allocation", p);
    if (check_on_free) check_on_free(p, block->second);
    give_back(static_cast<char *>(p), block->second);
    bytes_taken -= block->second;
    device_blocks.erase(block);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *all_bytes)
{
    *all_bytes = options().memory_bytes;
    *free_bytes = options().memory_bytes - bytes_taken;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    demand_no_capture("cudaHostAlloc");
    if (posix_memalign(out, 4096, bytes ? bytes : 1)) return failed(cudaErrorMemoryAllocation);
    memset(*out, 0xff, bytes);
    pinned_blocks[static_cast<char *>(*out)] = bytes;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    return cudaHostAlloc(out, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void *p)
{
    if (!p) return cudaSuccess;
    drain_all();
    if (!pinned_blocks.erase(static_cast<char *>(p))) fatal("cudaFreeHost of %p, which is no pinned allocation", p);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream)
{
    if (bytes) copy_in_turn(to, from, bytes, kind, stream);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    demand_no_capture("cudaMemcpy");
    drain_all();
    if (bytes) run_now([=] { copy_now(to, from, bytes, kind); });
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    if (!bytes) return cudaSuccess;
    enqueue(stream, [=] {
        demand_side(to, bytes, true, "the target of a memset");
        memset(to, value, bytes);
        note_device_write(to, bytes);
    });
    return cudaSuccess;
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    demand_no_capture("cudaMemset");
    return cudaMemsetAsync(to, value, bytes, nullptr);
}
}
