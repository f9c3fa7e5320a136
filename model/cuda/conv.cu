/* The neighbours of a 3x3 convolution side by side, for the product that follows (linear.c).
 *
 * Writing them costs 9 times the input once out and once in, 9.4 MB per slice of ViT-B in bf16; a product that walks over shifted inputs
 * instead would read and write its f32 sums nine times, which is more. */
#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

struct neighbours_job {
    void *out; /* [n_rows, 9, n_in] */
    const void *in;
    int64_t in_stride;
    int G, n_in;
    unsigned n_rows, n_vectors; /* of one tap */
};

/* Thread i: vector i % n_vectors of tap i / n_vectors % 9 of row i / n_vectors / 9. */
template <int N, class T> static __global__ void __launch_bounds__(THREADS) neighbours_kernel(neighbours_job job)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x, c = i % job.n_vectors * N, tap = i / job.n_vectors % 9,
                   m = i / job.n_vectors / 9;
    const int G = job.G, dy = (int)(tap / 3) - 1, dx = (int)(tap % 3) - 1;
    const int y = (int)(m / (unsigned)G % (unsigned)G) + dy, x = (int)(m % (unsigned)G) + dx;
    numbers<N> value = {};

    if (m < job.n_rows) {
        if (y >= 0 && y < G && x >= 0 && x < G) value = load<N>((const T *)job.in + ((int64_t)m + dy * G + dx) * job.in_stride + c);
        store<N>((T *)job.out + ((int64_t)m * 9 + tap) * job.n_in + c, value);
    }
}

template <int N, class T> static void launch(model_backend *backend, neighbours_job job)
{
    job.n_vectors = (unsigned)(job.n_in / N);
    CUK_LAUNCH((neighbours_kernel<N, T>), count_blocks((int64_t)job.n_rows * 9 * job.n_vectors, THREADS), THREADS, 0, backend->stream, job);
}

io_status neighbours_gather_cuda(model_backend *backend, void *out, model_rows in, int B, int G, int n_in)
{
    const neighbours_job job = {out, in.data, in.stride, G, n_in, (unsigned)(B * G * G), 0};
    const bool is_wide = cuda_rows_fit(in, n_in, in.type == MODEL_BF16 ? 8 : 4);

    if (job.n_rows == 0) return IO_OK;
    if (in.type == MODEL_BF16)
        (is_wide ? launch<8, bf16> : launch<1, bf16>)(backend, job);
    else
        (is_wide ? launch<4, float> : launch<1, float>)(backend, job);
    return cuda_launch_check(backend, "conv3x3, neighbours");
}
