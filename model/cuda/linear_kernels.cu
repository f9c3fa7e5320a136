/* What surrounds a product: packing weights, rounding a bias, summing columns. */
#include "model/cuda/cuk.h"
#include "model/cuda/vector.h"

enum { TILE = 32, TILE_ROWS = 8 /* rows of a tile that the threads of a block take at once */ };

/* ---- weights */

/* to [n_out, n_in] = weight [n_out, n_in]; one block for each tile of columns and rows. */
template <class T>
static __global__ void __launch_bounds__(TILE *TILE_ROWS) pack_kernel(T *to, int64_t stride, const float *weight, int n_out, int n_in)
{
    const int c = blockIdx.x * TILE + threadIdx.x % TILE, first = blockIdx.y * TILE + threadIdx.x / TILE;

    for (int o = first; o < n_out && o < (int)(blockIdx.y + 1) * TILE; o += TILE_ROWS)
        if (c < n_in) narrow(weight[(int64_t)o * n_in + c], to + o * stride + c);
}

/* to [n_out, n_in] = weight [n_in, n_out], turned tile by tile so that both sides are read and written along their rows. */
template <class T>
static __global__ void __launch_bounds__(TILE *TILE_ROWS) turn_kernel(T *to, int64_t stride, const float *weight, int n_out, int n_in)
{
    CUK_SHARED(float, tile, [TILE][TILE + 1]); /* one more, so that a column lies in 32 banks */
    const int x = threadIdx.x % TILE, y = threadIdx.x / TILE, first_in = blockIdx.x * TILE, first_out = blockIdx.y * TILE;

    for (int r = y; r < TILE; r += TILE_ROWS)
        if (first_in + r < n_in && first_out + x < n_out) tile[r][x] = weight[(int64_t)(first_in + r) * n_out + first_out + x];
    __syncthreads();
    for (int r = y; r < TILE; r += TILE_ROWS)
        if (first_out + r < n_out && first_in + x < n_in) narrow(tile[x][r], to + (first_out + r) * stride + first_in + x);
}

template <class T>
static void launch_pack(model_backend *backend, model_rows to, const float *weight, int n_out, int n_in, bool is_transposed)
{
    const dim3 grid(count_blocks(n_in, TILE), count_blocks(n_out, TILE));

    if (is_transposed)
        CUK_LAUNCH(turn_kernel<T>, grid, TILE * TILE_ROWS, 0, backend->stream, (T *)to.data, to.stride, weight, n_out, n_in);
    else
        CUK_LAUNCH(pack_kernel<T>, grid, TILE * TILE_ROWS, 0, backend->stream, (T *)to.data, to.stride, weight, n_out, n_in);
}

io_status matrix_pack_cuda(model_backend *backend, model_rows to, const float *weight, int n_out, int n_in, bool is_transposed)
{
    (to.type == MODEL_BF16 ? launch_pack<bf16> : launch_pack<float>)(backend, to, weight, n_out, n_in, is_transposed);
    return cuda_launch_check(backend, "packing a weight");
}

/* ---- biases */

static __global__ void __launch_bounds__(THREADS) round_kernel(bf16 *out, const float *bias, int n)
{
    const int i = blockIdx.x * THREADS + threadIdx.x;

    if (i < n) narrow(bias[i], out + i);
}

io_status bias_round_cuda(model_backend *backend, void *out, const float *bias, int n)
{
    CUK_LAUNCH(round_kernel, count_blocks(n, THREADS), THREADS, 0, backend->stream, (bf16 *)out, bias, n);
    return cuda_launch_check(backend, "rounding a bias");
}

/* ---- sums of columns: chunks of SUM_ROWS rows whatever the device, then the chunks in order */

enum { SUM_COLUMNS = 32, SUM_LANES = THREADS / SUM_COLUMNS, SUM_ROWS = 128 };

/* partial [chunks, C]; a block sums one chunk of 32 columns, each of its warps every eighth row. */
static __global__ void __launch_bounds__(THREADS) column_sums_kernel(float *partial, const float *rows, int64_t stride, int M, int C)
{
    CUK_SHARED(float, sums, [SUM_LANES][SUM_COLUMNS]);
    const int x = threadIdx.x % SUM_COLUMNS, y = threadIdx.x / SUM_COLUMNS, c = blockIdx.x * SUM_COLUMNS + x;
    const int first = blockIdx.y * SUM_ROWS, end = min(first + SUM_ROWS, M);
    float sum = 0;

    for (int m = first + y; c < C && m < end; m += SUM_LANES) sum += rows[m * stride + c];
    sums[y][x] = sum;
    __syncthreads();
    if (y == 0 && c < C) {
        sum = 0;
        for (int i = 0; i < SUM_LANES; i++) sum += sums[i][x];
        partial[(int64_t)blockIdx.y * C + c] = sum;
    }
}

static __global__ void __launch_bounds__(THREADS) column_sums_join_kernel(float *sums, const float *partial, int n_chunks, int C)
{
    const int c = blockIdx.x * THREADS + threadIdx.x;
    float sum = 0;

    if (c < C) {
        for (int i = 0; i < n_chunks; i++) sum += partial[(int64_t)i * C + c];
        sums[c] += sum;
    }
}

io_status column_sums_cuda(model_backend *backend, float *sums, model_rows rows, int M, int C)
{
    const unsigned n_chunks = count_blocks(M, SUM_ROWS);
    void *partial;

    if (M == 0) return IO_OK;
    IO_TRY(cuda_scratch_reserve(backend, (size_t)n_chunks * (size_t)C * sizeof(float), &partial));
    CUK_LAUNCH(column_sums_kernel, dim3(count_blocks(C, SUM_COLUMNS), n_chunks), THREADS, 0, backend->stream, (float *)partial,
               (const float *)rows.data, rows.stride, M, C);
    IO_TRY(cuda_launch_check(backend, "sums of columns, chunks"));
    CUK_LAUNCH(column_sums_join_kernel, count_blocks(C, THREADS), THREADS, 0, backend->stream, sums, (const float *)partial, (int)n_chunks,
               C);
    return cuda_launch_check(backend, "sums of columns");
}
