/* The peak loop, included once per instruction set with PEAK_KERNEL as its name. */
#include "model/cpu/peak.h"
#include "model/cpu/simd.h"

#if defined(__AVX512F__)
#define PEAK_REGISTER(x) "+v"(x)
#elif defined(__x86_64__)
#define PEAK_REGISTER(x) "+x"(x)
#else
#define PEAK_REGISTER(x) "+w"(x) /* Arm */
#endif

enum { CHAINS = 12 }; /* more than latency x units of any current core, and few enough for 16 registers */

SIMD_INLINE void run_chains(int is_bf16, long n)
{
    const simd x = simd_set(0), y = simd_set(0);
    simd sums[CHAINS];

#pragma GCC unroll 12
    for (int j = 0; j < CHAINS; j++) sums[j] = simd_set((float)j);
    for (long i = 0; i < n; i++)
#pragma GCC unroll 12
        for (int j = 0; j < CHAINS; j++) {
            sums[j] = simd_mac(is_bf16, x, y, sums[j]);
            __asm__ volatile("" : PEAK_REGISTER(sums[j])); /* the value must exist: nothing is folded or dropped */
        }
}

double PEAK_KERNEL(int is_bf16, long n)
{
    if (is_bf16)
        run_chains(1, n);
    else
        run_chains(0, n);
    return (is_bf16 ? 4.0 : 2.0) * LANES * CHAINS * (double)n;
}
