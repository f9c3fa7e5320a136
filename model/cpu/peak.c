/* The arithmetic rate of this CPU from registers alone: what a product could reach if memory cost nothing. */
#include "model/cpu/peak.h"

#include <time.h>

#include "model/cpu/backend_cpu.h"
#include "model/device.h"

enum { ATTEMPTS = 16 };
static const double attempt_seconds = 0.012; /* long enough for the clock to settle, 0.2 s in all */

static double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static peak_kernel *choose_kernel(cpu_level level)
{
#if defined(__x86_64__)
    if (level == CPU_AVX512_BF16) return peak_kernel_avx512bf16;
    if (level == CPU_AVX512) return peak_kernel_avx512;
    if (level == CPU_AVX2) return peak_kernel_avx2;
#endif
    return peak_kernel_generic;
}

/* This thread's best rate over the attempts, FLOP/s. */
static double measure_thread(peak_kernel *kernel, int is_bf16)
{
    long n = 1000;
    double best = 0;

    for (int i = 0; i < ATTEMPTS; i++) {
        const double from = now_seconds(), flop = kernel(is_bf16, n), rate = flop / (now_seconds() - from);

        if (rate > best) best = rate;
        n = (long)(rate * attempt_seconds / flop * (double)n) + 1;
    }
    return best;
}

double model_device_peak_gflops(const model_device *device)
{
    peak_kernel *kernel = choose_kernel(cpu_level_detect());
    const int is_bf16 = device->type == MODEL_BF16;
    double total = 0;

#pragma omp parallel num_threads(device->n_threads) reduction(+ : total)
    total += measure_thread(kernel, is_bf16);
    return total * 1e-9;
}
