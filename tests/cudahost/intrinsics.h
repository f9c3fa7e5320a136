/* CUDA's built-in functions as C++: barriers, warp collectives, atomics, loads, bits, arithmetic. Included by cudahost.h only. */
#ifndef CUDAHOST_INTRINSICS_H
#define CUDAHOST_INTRINSICS_H

/* ---- barriers of the block */
static inline void __syncthreads(CUDAHOST_SITE)
{
    cudahost::meet_block(cudahost::barrier::plain, 0, file, line);
}
static inline int __syncthreads_and(int predicate, CUDAHOST_SITE)
{
    return cudahost::meet_block(cudahost::barrier::all, predicate, file, line);
}
static inline int __syncthreads_or(int predicate, CUDAHOST_SITE)
{
    return cudahost::meet_block(cudahost::barrier::any, predicate, file, line);
}
static inline int __syncthreads_count(int predicate, CUDAHOST_SITE)
{
    return cudahost::meet_block(cudahost::barrier::count, predicate, file, line);
}

/* ---- meetings of the warp */
static inline void __syncwarp(unsigned mask = ~0u, CUDAHOST_SITE)
{
    cudahost::meet(cudahost::meeting::syncwarp, mask, 0, file, line);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, CUDAHOST_SITE)
{
    return (unsigned)cudahost::meet(cudahost::meeting::ballot, mask, predicate != 0, file, line);
}
static inline int __any_sync(unsigned mask, int predicate, CUDAHOST_SITE)
{
    return (int)cudahost::meet(cudahost::meeting::any, mask, predicate != 0, file, line);
}
static inline int __all_sync(unsigned mask, int predicate, CUDAHOST_SITE)
{
    return (int)cudahost::meet(cudahost::meeting::all, mask, predicate != 0, file, line);
}
static inline unsigned __match_any_sync(unsigned mask, unsigned value, CUDAHOST_SITE)
{
    return (unsigned)cudahost::meet(cudahost::meeting::match, mask, value, file, line);
}
static inline unsigned __reduce_add_sync(unsigned mask, unsigned value, CUDAHOST_SITE)
{
    return (unsigned)cudahost::meet(cudahost::meeting::add, mask, value, file, line);
}
static inline unsigned __reduce_min_sync(unsigned mask, unsigned value, CUDAHOST_SITE)
{
    return (unsigned)cudahost::meet(cudahost::meeting::minimum, mask, value, file, line);
}
static inline unsigned __reduce_max_sync(unsigned mask, unsigned value, CUDAHOST_SITE)
{
    return (unsigned)cudahost::meet(cudahost::meeting::maximum, mask, value, file, line);
}
template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDAHOST_SITE)
{
    const int own = cudahost::lane();
    return cudahost::shuffle(mask, value, (own & ~(width - 1)) | (source & (width - 1)), file, line);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, CUDAHOST_SITE)
{
    const int own = cudahost::lane(), source = own ^ bits;
    return cudahost::shuffle(mask, value, (source & ~(width - 1)) > (own & ~(width - 1)) ? own : source, file, line);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, CUDAHOST_SITE)
{
    const int own = cudahost::lane(), source = own + (int)distance;
    return cudahost::shuffle(mask, value, (own & (width - 1)) + (int)distance < width ? source : own, file, line);
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, CUDAHOST_SITE)
{
    const int own = cudahost::lane(), source = own - (int)distance;
    return cudahost::shuffle(mask, value, (own & (width - 1)) >= (int)distance ? source : own, file, line);
}
static inline void __threadfence_block()
{
}
static inline void __threadfence()
{
}

/* ---- atomics, on integers only: sums of floats in an order that changes would make results depend on the run */
#define CUDAHOST_ATOMIC(name, T, result)                                                                                                   \
    static inline T name(T *address, T value)                                                                                              \
    {                                                                                                                                      \
        T old = __atomic_load_n(address, __ATOMIC_RELAXED), next;                                                                          \
        do {                                                                                                                               \
            next = (result);                                                                                                               \
        } while (!__atomic_compare_exchange_n(address, &old, next, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));                             \
        return old;                                                                                                                        \
    }
CUDAHOST_ATOMIC(atomicAdd, int, old + value)
CUDAHOST_ATOMIC(atomicAdd, unsigned, old + value)
CUDAHOST_ATOMIC(atomicAdd, unsigned long long, old + value)
CUDAHOST_ATOMIC(atomicMin, int, old < value ? old : value)
CUDAHOST_ATOMIC(atomicMin, unsigned, old < value ? old : value)
CUDAHOST_ATOMIC(atomicMax, int, old > value ? old : value)
CUDAHOST_ATOMIC(atomicMax, unsigned, old > value ? old : value)
CUDAHOST_ATOMIC(atomicOr, unsigned, old | value)
CUDAHOST_ATOMIC(atomicAnd, unsigned, old &value)
CUDAHOST_ATOMIC(atomicExch, int, value)
CUDAHOST_ATOMIC(atomicExch, unsigned, value)
#undef CUDAHOST_ATOMIC
static inline unsigned atomicCAS(unsigned *address, unsigned expected, unsigned value)
{
    __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}

/* ---- loads and stores with a hint */
template <class T> T __ldg(const T *address)
{
    return *address;
}
template <class T> T __ldcs(const T *address)
{
    return *address;
}
template <class T> T __ldcg(const T *address)
{
    return *address;
}
template <class T> void __stcs(T *address, T value)
{
    *address = value;
}
template <class T> void __stcg(T *address, T value)
{
    *address = value;
}

/* ---- bits */
static inline int __float_as_int(float x)
{
    return cudahost::from_bits<int>(cudahost::to_bits(x));
}
static inline float __int_as_float(int x)
{
    return cudahost::from_bits<float>(cudahost::to_bits(x));
}
static inline unsigned __float_as_uint(float x)
{
    return cudahost::from_bits<unsigned>(cudahost::to_bits(x));
}
static inline float __uint_as_float(unsigned x)
{
    return cudahost::from_bits<float>(cudahost::to_bits(x));
}
static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((uint64_t)a * b) >> 32);
}

/* ---- arithmetic; glibc has names such as __expf itself, so those are macros */
static inline float cudahost_expf(float x)
{
    return expf(x);
}
static inline float cudahost_logf(float x)
{
    return logf(x);
}
static inline float cudahost_rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}
#define __expf cudahost_expf
#define __logf cudahost_logf
#define __exp10f(x) powf(10.0f, x)
#define __log2f(x) log2f(x)
#define rsqrtf cudahost_rsqrtf
static inline float __fdividef(float a, float b)
{
    return a / b;
}
static inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
static inline float __frcp_rn(float x)
{
    return 1.0f / x;
}
static inline float __fsqrt_rn(float x)
{
    return sqrtf(x);
}
static inline float __frsqrt_rn(float x)
{
    return 1.0f / sqrtf(x);
}
static inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float __fsub_rn(float a, float b)
{
    return a - b;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline double __dadd_rn(double a, double b)
{
    return a + b;
}
static inline double __dsub_rn(double a, double b)
{
    return a - b;
}
static inline double __dmul_rn(double a, double b)
{
    return a * b;
}
static inline double __ddiv_rn(double a, double b)
{
    return a / b;
}
static inline double __fma_rn(double a, double b, double c)
{
    return fma(a, b, c);
}
static inline int __float2int_rn(float x)
{
    return (int)rintf(x);
}
static inline int __float2int_rd(float x)
{
    return (int)floorf(x);
}
static inline int __double2int_rn(double x)
{
    return (int)rint(x);
}
static inline int __double2int_rd(double x)
{
    return (int)floor(x);
}
static inline float __double2float_rn(double x)
{
    return (float)x;
}
static inline float __int2float_rn(int x)
{
    return (float)x;
}
static inline double __int2double_rn(int x)
{
    return (double)x;
}
static inline float __saturatef(float x)
{
    return x < 0 ? 0 : x > 1 ? 1 : x;
}
#define CUDAHOST_MINMAX(T)                                                                                                                 \
    static inline T min(T a, T b)                                                                                                          \
    {                                                                                                                                      \
        return b < a ? b : a;                                                                                                              \
    }                                                                                                                                      \
    static inline T max(T a, T b)                                                                                                          \
    {                                                                                                                                      \
        return a < b ? b : a;                                                                                                              \
    }
CUDAHOST_MINMAX(int)
CUDAHOST_MINMAX(unsigned)
CUDAHOST_MINMAX(long)
CUDAHOST_MINMAX(unsigned long)
CUDAHOST_MINMAX(long long)
CUDAHOST_MINMAX(unsigned long long)
#undef CUDAHOST_MINMAX
static inline float min(float a, float b)
{
    return fminf(a, b);
}
static inline float max(float a, float b)
{
    return fmaxf(a, b);
}
#define __trap() ::cudahost::fatal("__trap() at %s:%d", __FILE__, __LINE__)

#endif
