/* The device side of the emulator: what only nvcc knows, for a C++ compiler.
 *
 * Types and host functions come from NVIDIA's own headers, which are plain C++ without __CUDACC__. A thread of a block is a fiber
 * (fiber.h); barriers, shuffles, votes and matrix products are places where fibers meet (schedule.cpp, collective.cpp). Shared memory is
 * given by the emulator, so its size is exact, it is not initialised, and overruns show. */
#ifndef CUDAHOST_H
#define CUDAHOST_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <utility>

#include <cuda_runtime.h>
#include <cuda_bf16.h>

#undef __shared__
#define __shared__ cudahost_raw_shared_memory_is_not_tracked_use_CUK_SHARED
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

namespace cudahost
{
/* The built-in variables; rewritten at every switch. */
struct alignas(16) coordinates {
    uint3 thread, block;
    dim3 block_size, grid_size;
};
extern coordinates here;

/* Where a barrier or collective stands in the source: default arguments of every function that is one. */
#define CUDAHOST_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

enum class barrier { plain, all, any, count };
enum class meeting { syncwarp, shuffle, ballot, any, all, add, minimum, maximum, match, custom };

/* What one lane brings to a meeting of its warp. */
struct request {
    meeting kind;
    unsigned mask;
    uint64_t value;
    int source;        /* lane, for a shuffle */
    const void *in[2]; /* operands in the lane's own memory */
    void *out;
    const char *file;
    int line;
    void (*custom)(request **lanes);
};

int meet_block(barrier kind, int predicate, const char *file, int line);
uint64_t meet_warp(request &own);
int lane();
void *shared_array(const void *key, size_t bytes, size_t align, const char *name);
void *shared_dynamic();
void copy_async(void *to, const void *from, size_t bytes, const char *file, int line);
void copy_async_commit();
void copy_async_wait(int n_left);
/* For tensorcore.h: what all lanes' requests come to. */
void multiply_bf16(request **lanes);
void multiply_tf32(request **lanes);
void load_matrices(request **lanes);
void note_matrix_row(const void *row, const void *site);
[[noreturn]] void fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A launch as it waits in a stream: the arguments lie in arguments, which call hands to the kernel. */
struct launch_record {
    const char *name;
    const void *kernel;
    dim3 grid, block;
    size_t shared_bytes;
    std::shared_ptr<void> arguments;
    size_t argument_bytes;
    void (*call)(void *arguments);
};
void launch_grid(const launch_record &record, cudaStream_t stream);

/* Arguments are copied when the kernel is launched, as on the device. */
template <class... P, class... A>
void launch(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream, A &&...arguments)
{
    static_assert(sizeof...(P) == sizeof...(A), "a kernel was launched with a wrong number of arguments");
    struct bundle {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    };
    auto packed = std::make_shared<bundle>(bundle{kernel, std::tuple<P...>(static_cast<P>(arguments)...)});
    auto call = [](void *p) { std::apply(static_cast<bundle *>(p)->kernel, static_cast<bundle *>(p)->arguments); };
    launch_grid({name, reinterpret_cast<const void *>(kernel), grid, block, shared_bytes, packed, sizeof(bundle), call}, stream);
}

template <class T> uint64_t to_bits(T value)
{
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    return bits;
}
template <class T> T from_bits(uint64_t bits)
{
    T value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint64_t meet(meeting kind, unsigned mask, uint64_t value, const char *file, int line)
{
    request own{kind, mask, value, 0, {}, nullptr, file, line, nullptr};
    return meet_warp(own);
}
template <class T> T shuffle(unsigned mask, T value, int source, const char *file, int line)
{
    request own{meeting::shuffle, mask, to_bits(value), source, {}, nullptr, file, line, nullptr};
    return from_bits<T>(meet_warp(own));
}
} // namespace cudahost

#define threadIdx (::cudahost::here.thread)
#define blockIdx (::cudahost::here.block)
#define blockDim (::cudahost::here.block_size)
#define gridDim (::cudahost::here.grid_size)
static constexpr int warpSize = 32;

/* ---- model/cuda/cuk.h, emulated; the meaning of each is there */
#define CUK_LAUNCH(kernel, grid, block, smem, stream, ...)                                                                                 \
    ::cudahost::launch(#kernel, kernel, (grid), (block), (smem), (stream), ##__VA_ARGS__)
#define CUK_SHARED(type, name, ...)                                                                                                        \
    typedef type name##_cuk_type __VA_ARGS__;                                                                                              \
    static const char name##_cuk_key = 0;                                                                                                  \
    name##_cuk_type &name = *static_cast<name##_cuk_type *>(                                                                               \
        ::cudahost::shared_array(&name##_cuk_key, sizeof(name##_cuk_type), alignof(name##_cuk_type), #name))
#define CUK_DYN_SHARED(type, name) type *name = static_cast<type *>(::cudahost::shared_dynamic())

static inline void cuk_cp_async16(void *to_shared, const void *from_global, CUDAHOST_SITE)
{
    cudahost::copy_async(to_shared, from_global, 16, file, line);
}
static inline void cuk_cp_async_commit()
{
    cudahost::copy_async_commit();
}
template <int N> void cuk_cp_async_wait()
{
    cudahost::copy_async_wait(N);
}
#include "tests/cudahost/intrinsics.h"
#include "tests/cudahost/tensorcore.h"

#endif
