/* See memory.h. */
#include "io/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ALIGNMENT = 64,        /* one cache line, one AVX-512 register */
    HUGE_PAGE = 2 << 20,   /* of x86-64 and of most arm64 kernels */
    HUGE_BLOCK = 16 << 20, /* from here on a block lies in huge pages: touching 80 MB first costs 2 ms instead of 30 */
};

static _Atomic uint64_t limit_bytes;

void io_memory_set_limit(uint64_t n_bytes)
{
    atomic_store(&limit_bytes, n_bytes);
}

uint64_t io_memory_limit(void)
{
    const uint64_t limit = atomic_load(&limit_bytes), machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    return limit > 0 && limit < machine ? limit : machine;
}

io_status io_size_mul(size_t a, size_t b, size_t *out)
{
    if (__builtin_mul_overflow(a, b, out)) return IO_FAIL(IO_ERR_RANGE, "a size of %zu x %zu bytes does not fit", a, b);
    return IO_OK;
}

io_status io_size_add(size_t a, size_t b, size_t *out)
{
    if (__builtin_add_overflow(a, b, out)) return IO_FAIL(IO_ERR_RANGE, "a size of %zu + %zu bytes does not fit", a, b);
    return IO_OK;
}

static io_status allocate(size_t n_bytes, void **out)
{
    const size_t alignment = n_bytes >= HUGE_BLOCK ? HUGE_PAGE : ALIGNMENT;
    size_t padded;

    IO_TRY(io_size_add(n_bytes ? n_bytes : 1, ALIGNMENT - 1, &padded));
    padded -= padded % ALIGNMENT;
    if (posix_memalign(out, alignment, padded) != 0) *out = NULL;
    if (!*out) return IO_FAIL(IO_ERR_MEMORY, "out of memory: %zu bytes were refused; give the process more memory", n_bytes);
    if (alignment == HUGE_PAGE) (void)madvise(*out, padded - padded % HUGE_PAGE, MADV_HUGEPAGE); /* a wish; small pages serve as well */
    return IO_OK;
}

io_status io_alloc(size_t n, size_t size, void **out)
{
    size_t n_bytes;

    IO_TRY(io_size_mul(n, size, &n_bytes));
    IO_TRY(allocate(n_bytes, out));
    memset(*out, 0, n_bytes);
    return IO_OK;
}

io_status io_grow(void **block, size_t used_bytes, size_t n, size_t size)
{
    size_t n_bytes;
    void *larger;

    IO_TRY(io_size_mul(n, size, &n_bytes));
    IO_TRY(allocate(n_bytes, &larger));
    if (*block) memcpy(larger, *block, used_bytes < n_bytes ? used_bytes : n_bytes);
    io_free_block(block);
    *block = larger;
    return IO_OK;
}

io_status io_string_copy(const char *text, char **out)
{
    const size_t n_bytes = strlen(text) + 1;
    void *copy;

    IO_TRY(allocate(n_bytes, &copy));
    *out = memcpy(copy, text, n_bytes);
    return IO_OK;
}

void io_free_block(void **block)
{
    if (!block) return;
    free(*block);
    *block = NULL;
}
