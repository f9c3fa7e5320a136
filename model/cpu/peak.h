/* The arithmetic loop behind model_device_peak_gflops, once per instruction set. */
#ifndef MODEL_CPU_PEAK_H
#define MODEL_CPU_PEAK_H

/* Runs n rounds of independent multiply-adds in registers and returns the floating-point operations done. */
typedef double peak_kernel(int is_bf16, long n);

peak_kernel peak_kernel_generic, peak_kernel_avx2, peak_kernel_avx512, peak_kernel_avx512bf16;

#endif
