/* What -fsanitize=thread makes the compiler call; see check.cpp. */
#include <cstring>

#include "tests/cudahost/check.h"

using namespace cudahost;

#define SITE __builtin_return_address(0)
static inline void plain(void *p, unsigned long bytes, bool is_write, const void *site)
{
    check_access({static_cast<char *>(p), (unsigned)bytes, is_write, false, site});
}
static inline void atomic(const volatile void *p, unsigned bytes, bool is_write, const void *site)
{
    check_access({static_cast<char *>(const_cast<void *>(p)), bytes, is_write, true, site});
}

extern "C" {
#define ACCESS(n)                                                                                                                          \
    void __tsan_read##n(void *p)                                                                                                           \
    {                                                                                                                                      \
        plain(p, n, false, SITE);                                                                                                          \
    }                                                                                                                                      \
    void __tsan_write##n(void *p)                                                                                                          \
    {                                                                                                                                      \
        plain(p, n, true, SITE);                                                                                                           \
    }                                                                                                                                      \
    void __tsan_unaligned_read##n(void *p)                                                                                                 \
    {                                                                                                                                      \
        plain(p, n, false, SITE);                                                                                                          \
    }                                                                                                                                      \
    void __tsan_unaligned_write##n(void *p)                                                                                                \
    {                                                                                                                                      \
        plain(p, n, true, SITE);                                                                                                           \
    }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(void *p, unsigned long bytes)
{
    plain(p, bytes, false, SITE);
}
void __tsan_write_range(void *p, unsigned long bytes)
{
    plain(p, bytes, true, SITE);
}
void *__tsan_memcpy(void *to, const void *from, unsigned long bytes)
{
    plain(const_cast<void *>(from), bytes, false, SITE);
    plain(to, bytes, true, SITE);
    return memcpy(to, from, bytes);
}
void *__tsan_memmove(void *to, const void *from, unsigned long bytes)
{
    plain(const_cast<void *>(from), bytes, false, SITE);
    plain(to, bytes, true, SITE);
    return memmove(to, from, bytes);
}
void *__tsan_memset(void *to, int value, unsigned long bytes)
{
    plain(to, bytes, true, SITE);
    return memset(to, value, bytes);
}
void __tsan_init()
{
}
void __tsan_func_entry(void *)
{
}
void __tsan_func_exit()
{
}
void __tsan_vptr_update(void **, void *)
{
}
void __tsan_vptr_read(void **)
{
}
#define ATOMIC(bits, T)                                                                                                                    \
    T __tsan_atomic##bits##_load(const volatile T *p, int)                                                                                 \
    {                                                                                                                                      \
        atomic(p, bits / 8, false, SITE);                                                                                                  \
        return *p;                                                                                                                         \
    }                                                                                                                                      \
    void __tsan_atomic##bits##_store(volatile T *p, T value, int)                                                                          \
    {                                                                                                                                      \
        atomic(p, bits / 8, true, SITE);                                                                                                   \
        *p = value;                                                                                                                        \
    }                                                                                                                                      \
    static int exchange##bits(volatile T *p, T *expected, T value, const void *site)                                                       \
    {                                                                                                                                      \
        const T old = *p;                                                                                                                  \
        atomic(p, bits / 8, true, site);                                                                                                   \
        if (old == *expected) *p = value;                                                                                                  \
        const int is_done = old == *expected;                                                                                              \
        *expected = old;                                                                                                                   \
        return is_done;                                                                                                                    \
    }                                                                                                                                      \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile T *p, T *expected, T value, int, int)                                       \
    {                                                                                                                                      \
        return exchange##bits(p, expected, value, SITE);                                                                                   \
    }                                                                                                                                      \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile T *p, T *expected, T value, int, int)                                         \
    {                                                                                                                                      \
        return exchange##bits(p, expected, value, SITE);                                                                                   \
    }                                                                                                                                      \
    T __tsan_atomic##bits##_compare_exchange_val(volatile T *p, T expected, T value, int, int)                                             \
    {                                                                                                                                      \
        exchange##bits(p, &expected, value, SITE);                                                                                         \
        return expected;                                                                                                                   \
    }                                                                                                                                      \
    T __tsan_atomic##bits##_fetch_add(volatile T *p, T value, int)                                                                         \
    {                                                                                                                                      \
        const T old = *p;                                                                                                                  \
        atomic(p, bits / 8, true, SITE);                                                                                                   \
        *p = old + value;                                                                                                                  \
        return old;                                                                                                                        \
    }
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
}
