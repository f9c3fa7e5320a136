/* The optimizers (spec 5.7): torch.optim.AdamW and torch.optim.SGD on one block of weights. */
#include <math.h>

#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

struct adamw_job {
    float *weight, *m, *v;
    const float *gradient;
    int64_t n_vectors;
    float beta1, beta2, epsilon;
    float kept;             /* of the weight: 1 - rate * decay */
    float m_scale, v_scale; /* rate / (1 - beta1^step), 1 / sqrt(1 - beta2^step) */
};

/* N weights from i on. */
template <int N> static __device__ __forceinline__ void step_adamw(const adamw_job &job, int64_t i)
{
    const numbers<N> g = load<N>(job.gradient + i);
    numbers<N> w = load<N>(job.weight + i), m = load<N>(job.m + i), v = load<N>(job.v + i);

#pragma unroll
    for (int j = 0; j < N; j++) {
        m.x[j] = fmaf(1 - job.beta1, g.x[j], job.beta1 * m.x[j]);
        v.x[j] = fmaf((1 - job.beta2) * g.x[j], g.x[j], job.beta2 * v.x[j]);
        w.x[j] = job.kept * w.x[j] - job.m_scale * m.x[j] / fmaf(sqrtf(v.x[j]), job.v_scale, job.epsilon);
    }
    store<N>(job.m + i, m);
    store<N>(job.v + i, v);
    store<N>(job.weight + i, w);
}

template <int N> static __global__ void __launch_bounds__(THREADS) adamw_kernel(adamw_job job)
{
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < job.n_vectors) step_adamw<N>(job, i * N);
}

/* How many of n numbers go four at a time; the rest go alone. */
static size_t count_wide(size_t n, bool is_aligned)
{
    return is_aligned ? n / 4 * 4 : 0;
}

static bool is_aligned(const void *pointer)
{
    return (uintptr_t)pointer % 16 == 0;
}

io_status adamw_update_cuda(model_backend *backend, float *weight, float *m, float *v, const float *gradient, size_t n,
                            const model_adamw *settings, float rate, int64_t step)
{
    const size_t wide = count_wide(n, is_aligned(weight) && is_aligned(m) && is_aligned(v) && is_aligned(gradient));
    adamw_job job = {weight,
                     m,
                     v,
                     gradient,
                     (int64_t)wide / 4,
                     settings->beta1,
                     settings->beta2,
                     settings->epsilon,
                     1 - rate * settings->decay,
                     rate * (float)(1 / (1 - pow(settings->beta1, (double)step))),
                     (float)(1 / sqrt(1 - pow(settings->beta2, (double)step)))};

    if (wide > 0) CUK_LAUNCH(adamw_kernel<4>, count_blocks(job.n_vectors, THREADS), THREADS, 0, backend->stream, job);
    IO_TRY(cuda_launch_check(backend, "AdamW"));
    if (wide == n) return IO_OK;
    job.weight += wide;
    job.m += wide;
    job.v += wide;
    job.gradient += wide;
    job.n_vectors = (int64_t)(n - wide);
    CUK_LAUNCH(adamw_kernel<1>, count_blocks(job.n_vectors, THREADS), THREADS, 0, backend->stream, job);
    return cuda_launch_check(backend, "AdamW, the rest");
}

struct sgd_job {
    float *weight, *m;
    const float *gradient;
    int64_t n_vectors;
    float rate, momentum, decay;
};

template <int N> static __global__ void __launch_bounds__(THREADS) sgd_kernel(sgd_job job)
{
    const int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * N;

    if (i < job.n_vectors * N) {
        const numbers<N> g = load<N>(job.gradient + i);
        numbers<N> w = load<N>(job.weight + i), m = load<N>(job.m + i);

#pragma unroll
        for (int j = 0; j < N; j++) {
            m.x[j] = job.momentum * m.x[j] + (g.x[j] + job.decay * w.x[j]);
            w.x[j] -= job.rate * m.x[j];
        }
        store<N>(job.m + i, m);
        store<N>(job.weight + i, w);
    }
}

io_status sgd_update_cuda(model_backend *backend, float *weight, float *m, const float *gradient, size_t n, float rate, float momentum,
                          float decay)
{
    const size_t wide = count_wide(n, is_aligned(weight) && is_aligned(m) && is_aligned(gradient));
    const sgd_job job = {weight, m, gradient, (int64_t)wide / 4, rate, momentum, decay};
    const sgd_job rest = {weight + wide, m + wide, gradient + wide, (int64_t)(n - wide), rate, momentum, decay};

    if (wide > 0) CUK_LAUNCH(sgd_kernel<4>, count_blocks(job.n_vectors, THREADS), THREADS, 0, backend->stream, job);
    IO_TRY(cuda_launch_check(backend, "SGD"));
    if (rest.n_vectors > 0) CUK_LAUNCH(sgd_kernel<1>, count_blocks(rest.n_vectors, THREADS), THREADS, 0, backend->stream, rest);
    return cuda_launch_check(backend, "SGD, the rest");
}
