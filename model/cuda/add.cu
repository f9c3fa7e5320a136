/* Sums of rows with a table that repeats: positions, tokens. */
#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

/* Thread i: vector i % n_vectors of row i / n_vectors. out may be a. */
template <int N, class T>
static __global__ void __launch_bounds__(THREADS) add_kernel(T *out, int64_t out_stride, const float *a, int64_t a_stride, const float *b,
                                                             int64_t b_stride, int64_t M, unsigned n_vectors, unsigned period)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x;
    const int64_t m = i / n_vectors;
    const int c = (int)(i % n_vectors) * N;

    if (m < M) {
        numbers<N> sum = load<N>(a + m * a_stride + c);
        const numbers<N> other = load<N>(b + (unsigned)m % period * b_stride + c);

#pragma unroll
        for (int j = 0; j < N; j++) sum.x[j] += other.x[j];
        store<N>(out + m * out_stride + c, sum);
    }
}

template <int N, class T> static void launch(model_backend *backend, model_rows out, model_rows a, model_rows b, int M, int C, int period)
{
    CUK_LAUNCH((add_kernel<N, T>), count_blocks((int64_t)M * (C / N), THREADS), THREADS, 0, backend->stream, (T *)out.data, out.stride,
               (const float *)a.data, a.stride, (const float *)b.data, b.stride, M, (unsigned)(C / N), (unsigned)period);
}

io_status add_forward_cuda(model_backend *backend, model_rows out, model_rows a, model_rows b, int M, int C, int period)
{
    const bool is_wide = cuda_rows_fit(out, C, 4) && cuda_rows_fit(a, C, 4) && cuda_rows_fit(b, C, 4);

    if (M == 0) return IO_OK;
    if (out.type == MODEL_BF16)
        (is_wide ? launch<4, bf16> : launch<1, bf16>)(backend, out, a, b, M, C, period);
    else
        (is_wide ? launch<4, float> : launch<1, float>)(backend, out, a, b, M, C, period);
    return cuda_launch_check(backend, "add");
}
