/* The CPU backend's state, shared by the files of this folder and by nobody else. */
#ifndef MODEL_CPU_BACKEND_CPU_H
#define MODEL_CPU_BACKEND_CPU_H

#include <stdbool.h>
#include <stddef.h>

#include "model/backend.h"
#include "model/cpu/dnnl.h"

/* The instruction sets that kernels are written for. Each includes the ones before it. */
typedef enum cpu_level { CPU_GENERIC, CPU_AVX2, CPU_AVX512, CPU_AVX512_BF16 } cpu_level;

struct model_backend {
    model_ops ops; /* the table that this backend hands out */
    model_type type;
    int n_threads;
    cpu_level level;
    size_t scratch_bytes; /* of one thread */
    char *scratch;        /* [n_threads, scratch_bytes], 64-byte aligned; NULL until something is reserved */
    size_t zeros_bytes;
    void *zeros;              /* as many zeros as the longest matrix column has bytes: the convolution's border */
    onednn_context *products; /* NULL where this folder's own kernels compute the products */
    size_t unrolled_bytes;
    size_t shared_bytes;
    void *shared;   /* what all threads of one operation read and write, 64-byte aligned */
    void *unrolled; /* the 3x3 neighbourhoods of all rows, which only oneDNN needs side by side */
};

/* The best level of this machine, capped by the environment variable SAMED_CPU (generic, avx2, avx512). */
cpu_level cpu_level_detect(void);

/* Makes sure that each thread has n_bytes of scratch. Not inside a parallel region; earlier contents are lost. Constants of attention
 * reserve when they are made, other operations at their first call; later calls of the same size find it there. */
io_status cpu_scratch_reserve(model_backend *backend, size_t n_bytes);

/* Makes backend->zeros at least n_bytes long. Not while an operation runs. */
io_status cpu_zeros_reserve(model_backend *backend, size_t n_bytes);

/* Makes backend->unrolled at least n_bytes long; earlier contents are lost. */
io_status cpu_unrolled_reserve(model_backend *backend, size_t n_bytes);

/* Makes backend->shared at least n_bytes long; earlier contents are lost. Not inside a parallel region. */
io_status cpu_shared_reserve(model_backend *backend, size_t n_bytes);

/* memory_create of the table: zeroed, 64-byte aligned, on huge pages where it is large. Freed with io_free. */
io_status cpu_memory_create(model_backend *backend, size_t n_bytes, void **out);

/* The scratch of one thread (omp_get_thread_num()), 64-byte aligned; borrowed until the next reserve. */
static inline void *cpu_scratch(const model_backend *backend, int thread)
{
    return backend->scratch + (size_t)thread * backend->scratch_bytes;
}

#endif
