/* GELU and ReLU on their own, where training keeps what they are applied to, and their gradients; and the GELU that follows a product. */
#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

/* Thread i: vector i % n_vectors of row i / n_vectors. out may be in. */
template <int N>
static __global__ void __launch_bounds__(THREADS)
    activation_kernel(model_rows out, model_rows in, model_epilogue activation, int64_t M, unsigned n_vectors)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x;
    const int64_t m = i / n_vectors;
    const int c = (int)(i % n_vectors) * N;

    if (m < M) {
        numbers<N> y = load_any<N>(in, m, c);

#pragma unroll
        for (int j = 0; j < N; j++) {
            if (activation == MODEL_GELU) y.x[j] = gelu(y.x[j]);
            if (activation == MODEL_RELU) y.x[j] = fmaxf(y.x[j], 0);
        }
        store_any<N>(out, m, c, y);
    }
}

template <int N> static void launch_forward(model_backend *backend, model_rows out, model_rows in, model_epilogue activation, int M, int C)
{
    CUK_LAUNCH((activation_kernel<N>), count_blocks((int64_t)M * (C / N), THREADS), THREADS, 0, backend->stream, out, in, activation, M,
               (unsigned)(C / N));
}

io_status activation_forward_cuda(model_backend *backend, model_rows out, model_rows in, model_epilogue activation, int M, int C)
{
    const bool is_wide = cuda_rows_fit(out, C, 4) && cuda_rows_fit(in, C, 4);

    if (M == 0) return IO_OK;
    (is_wide ? launch_forward<4> : launch_forward<1>)(backend, out, in, activation, M, C);
    return cuda_launch_check(backend, "activation");
}

/* din may be dout. */
template <int N>
static __global__ void __launch_bounds__(THREADS)
    activation_backward_kernel(model_rows din, model_rows dout, model_rows in, model_epilogue activation, int64_t M, unsigned n_vectors)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x;
    const int64_t m = i / n_vectors;
    const int c = (int)(i % n_vectors) * N;

    if (m < M) {
        const numbers<N> x = load_any<N>(in, m, c);
        numbers<N> dy = load_any<N>(dout, m, c);

#pragma unroll
        for (int j = 0; j < N; j++) {
            if (activation == MODEL_GELU) dy.x[j] *= gelu_slope(x.x[j]);
            if (activation == MODEL_RELU) dy.x[j] = x.x[j] > 0 ? dy.x[j] : 0;
        }
        store_any<N>(din, m, c, dy);
    }
}

template <int N>
static void launch_backward(model_backend *backend, model_rows din, model_rows dout, model_rows in, model_epilogue activation, int M, int C)
{
    CUK_LAUNCH((activation_backward_kernel<N>), count_blocks((int64_t)M * (C / N), THREADS), THREADS, 0, backend->stream, din, dout, in,
               activation, M, (unsigned)(C / N));
}

io_status activation_backward_cuda(model_backend *backend, model_rows din, model_rows dout, model_rows in, model_epilogue activation, int M,
                                   int C)
{
    const bool is_wide = cuda_rows_fit(din, C, 4) && cuda_rows_fit(dout, C, 4) && cuda_rows_fit(in, C, 4);

    if (M == 0) return IO_OK;
    (is_wide ? launch_backward<4> : launch_backward<1>)(backend, din, dout, in, activation, M, C);
    return cuda_launch_check(backend, "activation backward");
}

/* rows = GELU(rows + bias), in place; bias may be NULL. */
template <int N, class T>
static __global__ void __launch_bounds__(THREADS)
    bias_gelu_kernel(T *rows, int64_t stride, const float *bias, int64_t M, unsigned n_vectors)
{
    const unsigned i = blockIdx.x * THREADS + threadIdx.x;
    const int64_t m = i / n_vectors;
    const int c = (int)(i % n_vectors) * N;

    if (m < M) {
        numbers<N> y = load<N>(rows + m * stride + c);

        if (bias) {
            const numbers<N> added = load<N>(bias + c);
#pragma unroll
            for (int j = 0; j < N; j++) y.x[j] += added.x[j];
        }
#pragma unroll
        for (int j = 0; j < N; j++) y.x[j] = gelu(y.x[j]);
        store<N>(rows + m * stride + c, y);
    }
}

template <int N, class T> static void launch_bias_gelu(model_backend *backend, model_rows rows, const float *bias, int M, int C)
{
    CUK_LAUNCH((bias_gelu_kernel<N, T>), count_blocks((int64_t)M * (C / N), THREADS), THREADS, 0, backend->stream, (T *)rows.data,
               rows.stride, bias, M, (unsigned)(C / N));
}

io_status bias_gelu_cuda(model_backend *backend, model_rows rows, const float *bias, int M, int C)
{
    const bool is_aligned = (uintptr_t)bias % 16 == 0;

    if (M == 0) return IO_OK;
    if (rows.type == MODEL_BF16)
        (is_aligned && cuda_rows_fit(rows, C, 8) ? launch_bias_gelu<8, bf16> : launch_bias_gelu<1, bf16>)(backend, rows, bias, M, C);
    else
        (is_aligned && cuda_rows_fit(rows, C, 4) ? launch_bias_gelu<4, float> : launch_bias_gelu<1, float>)(backend, rows, bias, M, C);
    return cuda_launch_check(backend, "bias and GELU");
}
