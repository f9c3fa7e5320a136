/* Gradients into sums that do not depend on their order: the bits of model/exact.c. */
#include <limits.h>
#include <math.h>

#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"
#include "model/exact.h"

/* sums [n] += values [n] in units of 1 / per_unit; first: the lowest index whose value is not below limit, if there is one. */
static __global__ void __launch_bounds__(THREADS)
    exact_add_kernel(int64_t *sums, unsigned *first, const float *values, unsigned n, float limit, double per_unit)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x;

    if (i < n) {
        const float value = values[i];
        if (fabsf(value) < limit)
            sums[i] += llrint((double)value * per_unit);
        else
            atomicMin(first, i);
    }
}

/* Says which value is too large; i < n. */
static io_status refuse_value(model_backend *backend, const float *values, unsigned i, int64_t n_terms, float limit)
{
    float value;

    IO_TRY(backend->ops.download(backend, &value, values + i, sizeof value));
    return IO_FAIL(IO_ERR_DIVERGED,
                   "gradient %u is %g: %lld of its kind can be added below %g; the training has diverged, lower the learning rate", i,
                   (double)value, (long long)n_terms, (double)limit);
}

io_status exact_add_cuda(model_backend *backend, int64_t *sums, const float *values, size_t n, int64_t n_terms)
{
    const float limit = (float)(ldexp(1, 62 - MODEL_EXACT_BITS) / (double)(n_terms > 0 ? n_terms : 1));
    unsigned first = UINT_MAX, *there;

    if (n == 0) return IO_OK;
    if (n >= UINT_MAX) return IO_FAIL(IO_ERR_UNSUPPORTED, "%zu gradients; at most %u are handled", n, UINT_MAX - 1);
    IO_TRY(cuda_scratch_reserve(backend, sizeof *there, (void **)&there));
    CUDA_TRY(cudaMemsetAsync(there, 0xff, sizeof *there, backend->stream)); /* UINT_MAX */
    CUK_LAUNCH(exact_add_kernel, count_blocks((int64_t)n, THREADS), THREADS, 0, backend->stream, sums, there, values, (unsigned)n, limit,
               (double)(1ull << MODEL_EXACT_BITS));
    IO_TRY(cuda_launch_check(backend, "exact sums"));
    IO_TRY(backend->ops.download(backend, &first, there, sizeof first));
    return first == UINT_MAX ? IO_OK : refuse_value(backend, values, first, n_terms, limit);
}
