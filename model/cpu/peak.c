/* The arithmetic rate of this CPU from registers alone: what a product could reach if memory cost nothing. */
#include <omp.h>
#include <time.h>

#include "model/cpu/backend_cpu.h"
#include "model/device.h"

enum { CHAINS = 12, ROUNDS = 20000 }; /* more independent chains than latency x throughput of any current core */
typedef float lanes __attribute__((vector_size(16)));

double model_device_peak_gflops(const model_device *device)
{
    lanes sums[CHAINS] = {{0}};
    struct timespec from, to;

    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int r = 0; r < ROUNDS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * 1.0001f + 0.5f;
        __asm__ volatile("" : "+m"(sums));
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    return 2.0 * CHAINS * 4 * ROUNDS * device->n_threads / ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec));
}
