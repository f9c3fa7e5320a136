/* The CPU's table of operations, its memory, and what this machine can do. */
#include "model/cpu/backend_cpu.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "io/log.h"
#include "io/memory.h"
#include "model/cpu/ops_cpu.h"
#include "model/device.h"

enum {
    HUGE_PAGE_BYTES = 2 << 20,
    ROW_PAD = 16 /* one cache line of f32: rows of 3072 floats would otherwise all fall into the same L1 set */
};

cpu_level cpu_level_detect(void)
{
    const char *cap = getenv("SAMED_CPU");
    cpu_level level = CPU_GENERIC;

#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) level = CPU_AVX2;
    if (level == CPU_AVX2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        level = CPU_AVX512;
    if (level == CPU_AVX512 && __builtin_cpu_supports("avx512bf16")) level = CPU_AVX512_BF16;
#endif
    if (cap && !strcmp(cap, "generic")) return CPU_GENERIC;
    if (cap && !strcmp(cap, "avx2") && level > CPU_AVX2) return CPU_AVX2;
    if (cap && !strcmp(cap, "avx512") && level > CPU_AVX512) return CPU_AVX512;
    return level;
}

static const char *name_level(cpu_level level)
{
    static const char *const names[] = {"plain C", "AVX2", "AVX-512", "AVX-512 bf16"};

    return names[level];
}

io_status cpu_scratch_reserve(model_backend *backend, size_t n_bytes)
{
    size_t rounded;

    IO_TRY(io_size_add(n_bytes, 4095, &rounded));
    rounded -= rounded % 4096; /* whole pages, so that threads never share one */
    if (rounded <= backend->scratch_bytes) return IO_OK;
    io_free(&backend->scratch);
    backend->scratch_bytes = 0;
    IO_TRY(io_alloc((size_t)backend->n_threads, rounded, (void **)&backend->scratch));
    backend->scratch_bytes = rounded;
    return IO_OK;
}

io_status cpu_zeros_reserve(model_backend *backend, size_t n_bytes)
{
    if (n_bytes <= backend->zeros_bytes) return IO_OK;
    io_free(&backend->zeros);
    backend->zeros_bytes = 0;
    IO_TRY(io_alloc(n_bytes, 1, &backend->zeros));
    backend->zeros_bytes = n_bytes;
    return IO_OK;
}

io_status cpu_unrolled_reserve(model_backend *backend, size_t n_bytes)
{
    if (n_bytes <= backend->unrolled_bytes) return IO_OK;
    io_free(&backend->unrolled);
    backend->unrolled_bytes = 0;
    IO_TRY(cpu_memory_create(backend, n_bytes, &backend->unrolled));
    backend->unrolled_bytes = n_bytes;
    return IO_OK;
}

io_status cpu_shared_reserve(model_backend *backend, size_t n_bytes)
{
    if (n_bytes <= backend->shared_bytes) return IO_OK;
    io_free(&backend->shared);
    backend->shared_bytes = 0;
    IO_TRY(io_alloc(n_bytes, 1, &backend->shared));
    backend->shared_bytes = n_bytes;
    return IO_OK;
}

/* Large blocks lie on huge pages: weights and activations walk through many megabytes, which 4 KiB pages would slow down. */
io_status cpu_memory_create(model_backend *backend, size_t n_bytes, void **out)
{
    size_t padded;
    void *block;

    if (n_bytes < HUGE_PAGE_BYTES) return io_alloc(n_bytes, 1, out);
    IO_TRY(io_size_add(n_bytes, HUGE_PAGE_BYTES - 1, &padded));
    padded -= padded % HUGE_PAGE_BYTES;
    block = aligned_alloc(HUGE_PAGE_BYTES, padded);
    if (!block) return IO_FAIL(IO_ERR_MEMORY, "out of memory: %zu bytes were refused; give the process more memory", n_bytes);
    /* Advice: without it the program is right and a little slower. The tail stays on small pages: for the hundred packed matrices of a
     * network in training, huge ones would waste 90 MB. */
    madvise(block, n_bytes - n_bytes % HUGE_PAGE_BYTES, MADV_HUGEPAGE);
    if (n_bytes % HUGE_PAGE_BYTES)
        madvise((char *)block + (n_bytes - n_bytes % HUGE_PAGE_BYTES), padded - (n_bytes - n_bytes % HUGE_PAGE_BYTES), MADV_NOHUGEPAGE);
    memset(block, 0, n_bytes);
    *out = block;
    return IO_OK;
}

static void free_memory(model_backend *backend, void **memory)
{
    io_free_block(memory);
}

static io_status upload_memory(model_backend *backend, void *to, const void *host_from, size_t n_bytes)
{
    memcpy(to, host_from, n_bytes);
    return IO_OK;
}

static io_status download_memory(model_backend *backend, void *host_to, const void *from, size_t n_bytes)
{
    memcpy(host_to, from, n_bytes);
    return IO_OK;
}

static io_status zero_memory(model_backend *backend, void *memory, size_t n_bytes)
{
    memset(memory, 0, n_bytes);
    return IO_OK;
}

static io_status sync_nothing(model_backend *backend)
{
    return IO_OK;
}

static void free_backend(model_backend **backend)
{
    if (!backend || !*backend) return;
    io_free(&(*backend)->scratch);
    io_free(&(*backend)->zeros);
    io_free(&(*backend)->unrolled);
    io_free(&(*backend)->shared);
    onednn_context_free(&(*backend)->products);
    io_free(backend);
}

static const model_ops cpu_ops = {
    .name = "cpu",
    .slices_per_pass = 1,
    .row_pad = ROW_PAD,
    .memory_create = cpu_memory_create,
    .memory_free = free_memory,
    .upload = upload_memory,
    .download = download_memory,
    .memory_zero = zero_memory,
    .sync = sync_nothing,
    .backend_free = free_backend,
    .matrix_create = matrix_create_cpu,
    .matrix_free = matrix_free_cpu,
    .relpos_create = relpos_create_cpu,
    .relpos_free = relpos_free_cpu,
    .patches_forward = patches_forward_cpu,
    .linear_forward = linear_forward_cpu,
    .layernorm_forward = layernorm_forward_cpu,
    .attention_forward = attention_forward_cpu,
    .conv3x3_forward = conv3x3_forward_cpu,
    .cross_attention_forward = cross_attention_forward_cpu,
    .add_forward = add_forward_cpu,
    .unfold_forward = unfold_forward_cpu,
    .masks_forward = masks_forward_cpu,
    .labels_forward = labels_forward_cpu,
    .matrix_update = matrix_update_cpu,
    .linear_backward = linear_backward_cpu,
    .activation_forward = activation_forward_cpu,
    .activation_backward = activation_backward_cpu,
    .layernorm_backward = layernorm_backward_cpu,
    .attention_backward = attention_backward_cpu,
    .cross_attention_backward = cross_attention_backward_cpu,
    .unfold_backward = unfold_backward_cpu,
    .masks_backward = masks_backward_cpu,
    .loss_forward = loss_forward_cpu,
    .loss_backward = loss_backward_cpu,
    .adamw_update = adamw_update_cpu,
    .sgd_update = sgd_update_cpu,
};

/* "CPU AVX-512 bf16, 2 threads", with oneDNN's version where it computes the products. */
static void describe_backend(const model_backend *backend, char *description)
{
    char library[40] = "";

    if (backend->products) {
        memcpy(library, ", ", 2);
        onednn_version(library + 2);
    }
    snprintf(description, 160, "CPU %s, %d thread%s%s", name_level(backend->level), backend->n_threads, backend->n_threads == 1 ? "" : "s",
             library);
}

io_status model_backend_cpu_create(model_type type, int n_threads, const model_ops **ops, model_backend **backend, char *description)
{
    io_status status = IO_OK;
    const cpu_level level = cpu_level_detect();
    model_backend *created = NULL;

    if (n_threads < 1) return IO_FAIL(IO_ERR_ARGUMENT, "%d threads were asked for; at least 1 is needed", n_threads);
    if (type == MODEL_BF16 && level < CPU_AVX512_BF16)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "this CPU has no bf16 products (it offers %s, AVX-512 bf16 is needed); use f32",
                       name_level(level));
    IO_TRY(io_alloc(1, sizeof *created, (void **)&created));
    created->ops = cpu_ops;
    created->type = type;
    created->n_threads = n_threads;
    created->level = level;
    if (onednn_is_wanted()) {
        IO_TRY_GOTO(status, done, onednn_context_create(n_threads, &created->products));
        created->ops.row_pad = 0; /* oneDNN's fast products take rows without gaps only */
    }
    describe_backend(created, description);
    *ops = &created->ops;
    *backend = created;
    created = NULL;
done:
    free_backend(&created);
    return status;
}
