/* What the environment asks of the emulator, and how it stops. */
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/cudahost/runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace cudahost
{
static bool says(const char *name, const char *value)
{
    const char *text = getenv(name);

    return text && !strcmp(text, value);
}

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);

    return text ? (int)strtol(text, nullptr, 10) : otherwise;
}

static settings read_options()
{
    settings all;
    const char *how = getenv("CUDAHOST_ORDER");

    if (how && !strcmp(how, "rev")) all.how = order::reverse;
    if (how && !strncmp(how, "rand", 4)) all.how = order::random;
    if (how && strchr(how, ':')) all.seed = (unsigned)strtoul(strchr(how, ':') + 1, nullptr, 10);
    all.is_late = says("CUDAHOST_ASYNC", "late");
    all.is_guarded = number("CUDAHOST_GUARD", 0) != 0;
    all.is_verbose = number("CUDAHOST_VERBOSE", 0) != 0;
    all.has_driver = !says("CUDAHOST_DRIVER", "none");
    all.n_devices = number("CUDAHOST_DEVICES", all.n_devices);
    all.sm = number("CUDAHOST_SM", all.sm);
    all.memory_bytes = (size_t)number("CUDAHOST_MEMORY_MB", (int)(all.memory_bytes >> 20)) << 20;
    return all;
}

const settings &options()
{
    static const settings all = read_options();

    return all;
}

std::mt19937 &random_numbers()
{
    static std::mt19937 numbers(options().seed);

    return numbers;
}

size_t shared_limit()
{
    const int sm = options().sm;

    return size_t(sm == 80 ? 163 : sm >= 90 && sm < 120 ? 227 : 99) << 10;
}

void *map_memory(size_t bytes)
{
    void *p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) fatal("no address space for %zu MB", bytes >> 20);
    return p;
}

void fatal(const char *format, ...)
{
    va_list arguments;
    const running_grid &r = running;

    va_start(arguments, format);
    fprintf(stderr, "cudahost: error: ");
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    if (r.kernel)
        fprintf(stderr, "\n  in kernel %s, grid (%u,%u,%u), block (%u,%u,%u), %zu bytes of dynamic shared memory", r.kernel, r.grid.x,
                r.grid.y, r.grid.z, r.block.x, r.block.y, r.block.z, r.shared_bytes);
    if (r.kernel && current) fprintf(stderr, "\n  %s", describe(*current).c_str());
    fputc('\n', stderr);
    fflush(stderr);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_print_stack_trace();
#endif
    _exit(97);
}
} // namespace cudahost
