/* cudahost.h - device side of a host emulator for CUDA kernels (C++17, g++/clang++).
 * Types and the runtime API come from NVIDIA's own headers (they are host-clean
 * without __CUDACC__); this file supplies what only nvcc knows. */
#ifndef CUDAHOST_H
#define CUDAHOST_H
#undef __shared__
#define __shared__ cudahost_use_CUK_SHARED_instead /* raw __shared__ would not be tracked */
#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif
#ifndef __managed__
#define __managed__
#endif

namespace cudahost
{
struct Thread;
struct alignas(16) Coords {
    uint3 tid, bid;
    dim3 bdim, gdim;
};
extern Coords here; /* rewritten at every fiber switch */
enum Op { SYNCWARP, SHFL, BALLOT, ANY, ALL, RADD, RMIN, RMAX, MATCH_ANY, MMA_BF16, LDMATRIX, CUSTOM };
enum BarOp { BAR, BAR_AND, BAR_OR, BAR_COUNT };
#define CH_SITE const char *f = __builtin_FILE(), int l = __builtin_LINE()
int block_barrier(BarOp op, int pred, const char *f, int l);
struct WarpReq {
    Op op;
    unsigned mask;
    uint64_t val;
    int src;
    const void *p[3];
    void *q;
    const char *f;
    int l;
    void (*fn)(WarpReq **lanes);
};
uint64_t warp_collective(WarpReq &r);
void *static_shared(const void *key, size_t bytes, size_t align, const char *name);
void *dyn_shared();
void fence(bool device);
void cp_async(void *dst, const void *src, size_t n, const char *f, int l);
void cp_async_commit();
void cp_async_wait(int n);
int lane();
void launch_grid(const char *name, const void *fn, dim3 g, dim3 b, size_t smem, cudaStream_t s, std::shared_ptr<void> pack,
                 size_t pack_bytes, void (*tramp)(void *));
[[noreturn]] void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void device_trap(const char *what, const char *f, int l);

template <class... P, class... A> void launch(const char *name, void (*k)(P...), dim3 g, dim3 b, size_t smem, cudaStream_t s, A &&...a)
{
    static_assert(sizeof...(P) == sizeof...(A), "wrong number of kernel arguments");
    struct Pack {
        void (*k)(P...);
        std::tuple<P...> args;
    }; /* arguments by value at launch time, as on the device */
    auto p = std::make_shared<Pack>(Pack{k, std::tuple<P...>(static_cast<P>(a)...)});
    launch_grid(name, (const void *)k, g, b, smem, s, p, sizeof(Pack), [](void *q) { std::apply(((Pack *)q)->k, ((Pack *)q)->args); });
}
template <class T> uint64_t to_bits(T v)
{
    static_assert(sizeof(T) <= 8);
    uint64_t u = 0;
    memcpy(&u, &v, sizeof v);
    return u;
}
template <class T> T from_bits(uint64_t u)
{
    T v;
    memcpy(&v, &u, sizeof v);
    return v;
}
template <class T> T shfl(unsigned mask, T v, int src, const char *f, int l)
{
    WarpReq r{SHFL, mask, to_bits(v), src, {}, nullptr, f, l, nullptr};
    return from_bits<T>(warp_collective(r));
}
} // namespace cudahost

#define threadIdx (::cudahost::here.tid)
#define blockIdx (::cudahost::here.bid)
#define blockDim (::cudahost::here.bdim)
#define gridDim (::cudahost::here.gdim)
static constexpr int warpSize = 32;
#define CUK_LAUNCH(kernel, grid, block, smem, stream, ...)                                                                                 \
    ::cudahost::launch(#kernel, kernel, (grid), (block), (smem), (stream), ##__VA_ARGS__)
#define CUK_SHARED(type, name, ...)                                                                                                        \
    typedef type name##_cuk_t __VA_ARGS__;                                                                                                 \
    static const char name##_cuk_key = 0;                                                                                                  \
    name##_cuk_t &name = *(name##_cuk_t *)::cudahost::static_shared(&name##_cuk_key, sizeof(name##_cuk_t), alignof(name##_cuk_t), #name)
#define CUK_DYN_SHARED(type, name) type *name = (type *)::cudahost::dyn_shared()

/* ---- synchronisation ---- */
#define CHI static inline
CHI void __syncthreads(CH_SITE)
{
    cudahost::block_barrier(cudahost::BAR, 0, f, l);
}
CHI int __syncthreads_and(int p, CH_SITE)
{
    return cudahost::block_barrier(cudahost::BAR_AND, p, f, l);
}
CHI int __syncthreads_or(int p, CH_SITE)
{
    return cudahost::block_barrier(cudahost::BAR_OR, p, f, l);
}
CHI int __syncthreads_count(int p, CH_SITE)
{
    return cudahost::block_barrier(cudahost::BAR_COUNT, p, f, l);
}
CHI uint64_t ch_warp(cudahost::Op op, unsigned mask, uint64_t v, const char *f, int l)
{
    cudahost::WarpReq r{op, mask, v, 0, {}, nullptr, f, l, nullptr};
    return cudahost::warp_collective(r);
}
CHI void __syncwarp(unsigned mask = 0xffffffffu, CH_SITE)
{
    ch_warp(cudahost::SYNCWARP, mask, 0, f, l);
}
CHI void __threadfence_block()
{
    cudahost::fence(false);
}
CHI void __threadfence()
{
    cudahost::fence(true);
}
CHI void __threadfence_system()
{
    cudahost::fence(true);
}
/* ---- warp collectives ---- */
template <class T> T __shfl_sync(unsigned m, T v, int src, int w = 32, CH_SITE)
{
    int n = cudahost::lane();
    return cudahost::shfl(m, v, (n & ~(w - 1)) | (src & (w - 1)), f, l);
}
template <class T> T __shfl_xor_sync(unsigned m, T v, int x, int w = 32, CH_SITE)
{
    int n = cudahost::lane(), s = n ^ x;
    return cudahost::shfl(m, v, (s & ~(w - 1)) > (n & ~(w - 1)) ? n : s, f, l);
}
template <class T> T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32, CH_SITE)
{
    int n = cudahost::lane();
    return cudahost::shfl(m, v, (int)((n & (w - 1)) + d) < w ? n + (int)d : n, f, l);
}
template <class T> T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32, CH_SITE)
{
    int n = cudahost::lane();
    return cudahost::shfl(m, v, (int)(n & (w - 1)) >= (int)d ? n - (int)d : n, f, l);
}
CHI unsigned __ballot_sync(unsigned m, int p, CH_SITE)
{
    return (unsigned)ch_warp(cudahost::BALLOT, m, p != 0, f, l);
}
CHI int __any_sync(unsigned m, int p, CH_SITE)
{
    return (int)ch_warp(cudahost::ANY, m, p != 0, f, l);
}
CHI int __all_sync(unsigned m, int p, CH_SITE)
{
    return (int)ch_warp(cudahost::ALL, m, p != 0, f, l);
}
CHI unsigned __match_any_sync(unsigned m, unsigned v, CH_SITE)
{
    return (unsigned)ch_warp(cudahost::MATCH_ANY, m, v, f, l);
}
CHI unsigned __reduce_add_sync(unsigned m, unsigned v, CH_SITE)
{
    return (unsigned)ch_warp(cudahost::RADD, m, v, f, l);
}
CHI unsigned __reduce_min_sync(unsigned m, unsigned v, CH_SITE)
{
    return (unsigned)ch_warp(cudahost::RMIN, m, v, f, l);
}
CHI unsigned __reduce_max_sync(unsigned m, unsigned v, CH_SITE)
{
    return (unsigned)ch_warp(cudahost::RMAX, m, v, f, l);
}
/* ---- atomics: relaxed, as on the device ---- */
template <class T> T ch_atomic_rmw(T *p, T v, T (*op)(T, T))
{
    T old, nv;
    __atomic_load(p, &old, __ATOMIC_RELAXED);
    do nv = op(old, v);
    while (!__atomic_compare_exchange(p, &old, &nv, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
#define CH_ATOMIC(name, T, expr)                                                                                                           \
    CHI T name(T *p, T v)                                                                                                                  \
    {                                                                                                                                      \
        return ch_atomic_rmw<T>(p, v, [](T a, T b) -> T {                                                                                  \
            (void)a;                                                                                                                       \
            return expr;                                                                                                                   \
        });                                                                                                                                \
    }
CH_ATOMIC(atomicAdd, int, a + b)
CH_ATOMIC(atomicAdd, unsigned, a + b) CH_ATOMIC(atomicAdd, unsigned long long, a + b) CH_ATOMIC(atomicAdd, float, a + b)
    CH_ATOMIC(atomicAdd, double, a + b) CH_ATOMIC(atomicMax, int, a > b ? a : b) CH_ATOMIC(atomicMin, int, a < b ? a : b)
        CH_ATOMIC(atomicMax, unsigned, a > b ? a : b) CH_ATOMIC(atomicMin, unsigned, a < b ? a : b) CH_ATOMIC(atomicOr, unsigned, a | b)
            CH_ATOMIC(atomicAnd, unsigned, a &b) CH_ATOMIC(atomicExch, int, b) CH_ATOMIC(atomicExch, unsigned, b)
                CH_ATOMIC(atomicExch, float, b) CH_ATOMIC(atomicInc, unsigned, a >= b ? 0u : a + 1u) template <class T>
                T ch_cas(T *p, T c, T v)
{
    __atomic_compare_exchange(p, &c, &v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return c;
}
CHI int atomicCAS(int *p, int c, int v)
{
    return ch_cas(p, c, v);
}
CHI unsigned atomicCAS(unsigned *p, unsigned c, unsigned v)
{
    return ch_cas(p, c, v);
}
/* ---- loads, maths, bits ---- */
template <class T> T __ldg(const T *p)
{
    return *p;
}
template <class T> T __ldcs(const T *p)
{
    return *p;
}
template <class T> T __ldcg(const T *p)
{
    return *p;
}
template <class T> void __stcs(T *p, T v)
{
    *p = v;
}
template <class T> void __stcg(T *p, T v)
{
    *p = v;
}
CHI float ch_expf(float x)
{
    return expf(x);
} /* glibc declares __expf & co. itself: hence macros */
CHI float ch_logf(float x)
{
    return logf(x);
}
#define __expf ch_expf
#define __logf ch_logf
CHI float __fdividef(float a, float b)
{
    return a / b;
}
CHI float __frcp_rn(float x)
{
    return 1.0f / x;
}
CHI float __frsqrt_rn(float x)
{
    return 1.0f / sqrtf(x);
}
CHI float ch_rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
#define rsqrtf ch_rsqrtf
CHI float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
CHI float __fadd_rn(float a, float b)
{
    return a + b;
}
CHI float __fmul_rn(float a, float b)
{
    return a * b;
}
CHI float __saturatef(float x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}
CHI int __float_as_int(float x)
{
    return cudahost::from_bits<int>(cudahost::to_bits(x));
}
CHI float __int_as_float(int x)
{
    return cudahost::from_bits<float>(cudahost::to_bits(x));
}
CHI unsigned __float_as_uint(float x)
{
    return (unsigned)__float_as_int(x);
}
CHI float __uint_as_float(unsigned x)
{
    return __int_as_float((int)x);
}
CHI int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
CHI int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
CHI int __ffs(int x)
{
    return __builtin_ffs(x);
}
CHI unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((uint64_t)a * b) >> 32);
}
#define CH_MM(T)                                                                                                                           \
    CHI T min(T a, T b)                                                                                                                    \
    {                                                                                                                                      \
        return b < a ? b : a;                                                                                                              \
    }                                                                                                                                      \
    CHI T max(T a, T b)                                                                                                                    \
    {                                                                                                                                      \
        return a < b ? b : a;                                                                                                              \
    }
CH_MM(int) CH_MM(unsigned) CH_MM(long) CH_MM(unsigned long) CH_MM(long long) CH_MM(unsigned long long) CHI float min(float a, float b)
{
    return fminf(a, b);
}
CHI float max(float a, float b)
{
    return fmaxf(a, b);
}
#undef assert
#define assert(c) ((c) ? (void)0 : ::cudahost::device_trap("assert(" #c ")", __FILE__, __LINE__))
#define __trap() ::cudahost::device_trap("__trap()", __FILE__, __LINE__)
/* ---- cp.async / mma / ldmatrix (the emulated half of cuk.h) ---- */
CHI void cuk_cp_async16(void *d, const void *s, CH_SITE)
{
    cudahost::cp_async(d, s, 16, f, l);
}
CHI void cuk_cp_async_commit()
{
    cudahost::cp_async_commit();
}
template <int N> void cuk_cp_async_wait()
{
    cudahost::cp_async_wait(N);
}
CHI void cuk_mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], CH_SITE)
{
    cudahost::WarpReq r{cudahost::MMA_BF16, 0xffffffffu, 0, 0, {a, b, nullptr}, d, f, l, nullptr};
    cudahost::warp_collective(r);
}
CHI void cuk_ldmatrix_x4(uint32_t (&o)[4], const void *row, CH_SITE)
{
    cudahost::WarpReq r{cudahost::LDMATRIX, 0xffffffffu, 4, 0, {row, nullptr, nullptr}, o, f, l, nullptr};
    cudahost::warp_collective(r);
}
CHI void cuk_ldmatrix_x2(uint32_t (&o)[2], const void *row, CH_SITE)
{
    cudahost::WarpReq r{cudahost::LDMATRIX, 0xffffffffu, 2, 0, {row, nullptr, nullptr}, o, f, l, nullptr};
    cudahost::warp_collective(r);
}

#include <wmma.h>
#endif
