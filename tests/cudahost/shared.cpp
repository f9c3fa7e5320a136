/* Shared memory of the running block: exact sizes, gaps between arrays, filled with NaN. */
#include <cstdlib>
#include <map>

#include "tests/cudahost/runtime.h"

namespace cudahost
{
char *shared_memory;
const size_t shared_memory_bytes = 512 << 10;

static const size_t static_limit = 48 << 10;
static const size_t gap = 256; /* bytes between two arrays, which belong to none */

struct array {
    const void *key; /* NULL: the dynamic one */
    char *memory;
    size_t bytes;
};
static std::vector<array> arrays;
static size_t used; /* bytes of shared_memory */

static std::map<const void *, size_t> &dynamic_limits()
{
    static std::map<const void *, size_t> limits;

    return limits;
}

void shared_set_limit(const void *kernel, size_t bytes)
{
    dynamic_limits()[kernel] = bytes;
}

size_t shared_dynamic_limit(const void *kernel)
{
    const auto found = dynamic_limits().find(kernel);

    return found == dynamic_limits().end() ? static_limit : found->second;
}

/* Under AddressSanitizer each array is a block of its own, so that red zones lie right behind it. */
static char *take(size_t bytes)
{
    char *memory;
#if defined(__SANITIZE_ADDRESS__)
    void *block;
    if (posix_memalign(&block, 128, bytes)) fatal("no memory for %zu bytes of shared memory", bytes);
    memory = static_cast<char *>(block);
#else
    if (!shared_memory) shared_memory = static_cast<char *>(map_memory(shared_memory_bytes));
    memory = shared_memory + used;
    used += (bytes + 127) / 128 * 128 + gap;
#endif
    memset(memory, 0xff, bytes);
    if (check_on_shared) check_on_shared(memory, bytes);
    return memory;
}

void shared_begin_block()
{
#if defined(__SANITIZE_ADDRESS__)
    for (array &a : arrays) free(a.memory);
#endif
    arrays.clear();
    used = 0;
}

void *shared_array(const void *key, size_t bytes, size_t, const char *name)
{
    size_t sum = bytes;

    for (const array &a : arrays) {
        if (a.key == key) return a.memory;
        if (a.key) sum += a.bytes;
    }
    if (sum > static_limit) fatal("with %s, static shared memory takes %zu bytes of at most %zu", name, sum, static_limit);
    if (sum + running.shared_bytes > shared_limit())
        fatal("static and dynamic shared memory take %zu bytes, sm_%d has %zu", sum + running.shared_bytes, options().sm, shared_limit());
    arrays.push_back({key, take(bytes), bytes});
    return arrays.back().memory;
}

void *shared_dynamic()
{
    if (!running.shared_bytes) fatal("the kernel uses dynamic shared memory, but was launched with none");
    for (const array &a : arrays)
        if (!a.key) return a.memory;
    arrays.push_back({nullptr, take(running.shared_bytes), running.shared_bytes});
    return arrays.back().memory;
}
} // namespace cudahost
