/* Cutting grey images into patches: the gather half of the 16x16 stride-16 convolution (spec 1.2). */
#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

struct patches_job {
    void *out;
    const float *images; /* [B,S,S] */
    int64_t stride;
    int S, P, G;
    unsigned n_rows, n_vectors; /* of a row */
};

/* Thread i: vector i % n_vectors of row i / n_vectors; a vector lies within one line of the patch. */
template <int N, class T> static __global__ void __launch_bounds__(THREADS) patches_kernel(patches_job job)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, m = i / job.n_vectors, c = i % job.n_vectors * N;
    const unsigned G = (unsigned)job.G, P = (unsigned)job.P, b = m / (G * G), gy = m / G % G, gx = m % G, y = c / P, x = c % P;

    if (m < job.n_rows)
        store<N>((T *)job.out + m * job.stride + c, load<N>(job.images + ((int64_t)b * job.S + gy * P + y) * job.S + gx * P + x));
}

template <int N, class T> static void launch(model_backend *backend, patches_job job)
{
    job.n_vectors = (unsigned)(job.P * job.P / N);
    CUK_LAUNCH((patches_kernel<N, T>), count_blocks((int64_t)job.n_rows * job.n_vectors, THREADS), THREADS, 0, backend->stream, job);
}

io_status patches_forward_cuda(model_backend *backend, model_rows out, const float *images, int B, int S, int P)
{
    const int G = S / P;
    const patches_job job = {out.data, images, out.stride, S, P, G, (unsigned)(B * G * G), 0};
    const bool is_wide = P % 4 == 0 && S % 4 == 0 && (uintptr_t)images % 16 == 0 && cuda_rows_fit(out, P * P, 4);

    if (job.n_rows == 0) return IO_OK;
    if (out.type == MODEL_BF16)
        (is_wide ? launch<4, bf16> : launch<1, bf16>)(backend, job);
    else
        (is_wide ? launch<4, float> : launch<1, float>)(backend, job);
    return cuda_launch_check(backend, "patches");
}
