/* nvcuda::wmma, emulated for a warp at a time: bf16 16x16x16 and tf32 16x16x8 with f32 sums. Included by cudahost.h only.
 *
 * Which lane holds which element is unspecified on a device; here it is scrambled, so that a kernel which relies on an order fails.
 * Fragments have the sizes of the device's. */
#ifndef CUDAHOST_WMMA_H
#define CUDAHOST_WMMA_H

namespace nvcuda
{
namespace wmma
{
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
namespace precision
{
struct tf32;
}
enum layout_t { mem_row_major, mem_col_major };

/* What a fragment is made of: rows x columns elements, spread over the lanes. */
template <class Use, int M, int N, int K, class T> struct shape;
template <int M, int N, int K, class T> struct shape<matrix_a, M, N, K, T> {
    static constexpr int rows = M, columns = K;
};
template <int M, int N, int K, class T> struct shape<matrix_b, M, N, K, T> {
    static constexpr int rows = K, columns = N;
};
template <int M, int N, int K, class T> struct shape<accumulator, M, N, K, T> {
    static constexpr int rows = M, columns = N;
};
template <class T> struct storage {
    typedef T type;
};
template <> struct storage<precision::tf32> {
    typedef float type;
};

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == (std::is_same<T, precision::tf32>::value ? 8 : K) && (K == 16 || K == 8),
                  "the emulator has bf16 16x16x16 and tf32 16x16x8 only");
    typedef shape<Use, M, N, K, T> form;
    static constexpr int n_own = form::rows * form::columns / 32;
    static constexpr int num_elements = n_own;
    typename storage<T>::type x[num_elements];

    /* Element i of a lane: a permutation of the matrix, 5 being prime to its power-of-two size. */
    static void place(int lane, int i, int &row, int &column)
    {
        const int at = (lane * n_own + i) * 5 % (form::rows * form::columns);
        row = at / form::columns;
        column = at % form::columns;
    }
};

/* Rounds to nearest, ties away from zero, as the device's cvt.rna.tf32 does. */
static inline float __float_to_tf32(float x)
{
    return std::isfinite(x) ? __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u) : x;
}

/* What the tensor cores see of an operand: of an f32 number in a tf32 fragment, the upper 19 bits. */
static inline float operand(float x)
{
    return __uint_as_float(__float_as_uint(x) & 0xffffe000u);
}
static inline float operand(__nv_bfloat16 x)
{
    return __bfloat162float(x);
}

static inline void demand_aligned(const void *p, size_t leading_bytes, const char *file, int line)
{
    if ((uintptr_t)p % 32 || leading_bytes % 16)
        cudahost::fatal("wmma at %s:%d: the address must be a multiple of 32 bytes and the leading dimension of 16 bytes", file, line);
}

template <class Use, int M, int N, int K, class T, class Layout>
void load_matrix_sync(fragment<Use, M, N, K, T, Layout> &f, const typename storage<T>::type *from, unsigned leading, CUDAHOST_SITE)
{
    typedef fragment<Use, M, N, K, T, Layout> type;

    cudahost::meet(cudahost::meeting::converge, ~0u, 0, file, line);
    demand_aligned(from, leading * sizeof *from, file, line);
    for (int i = 0, row, column; i < type::n_own; i++) {
        type::place(cudahost::lane(), i, row, column);
        f.x[i] = from[std::is_same<Layout, col_major>::value ? column * leading + row : row * leading + column];
    }
}

template <int M, int N, int K>
void load_matrix_sync(fragment<accumulator, M, N, K, float> &f, const float *from, unsigned leading, layout_t layout, CUDAHOST_SITE)
{
    typedef fragment<accumulator, M, N, K, float> type;

    cudahost::meet(cudahost::meeting::converge, ~0u, 0, file, line);
    demand_aligned(from, leading * sizeof *from, file, line);
    for (int i = 0, row, column; i < type::n_own; i++) {
        type::place(cudahost::lane(), i, row, column);
        f.x[i] = from[layout == mem_col_major ? column * leading + row : row * leading + column];
    }
}

template <int M, int N, int K>
void store_matrix_sync(float *to, const fragment<accumulator, M, N, K, float> &f, unsigned leading, layout_t layout, CUDAHOST_SITE)
{
    typedef fragment<accumulator, M, N, K, float> type;

    cudahost::meet(cudahost::meeting::converge, ~0u, 0, file, line);
    demand_aligned(to, leading * sizeof *to, file, line);
    for (int i = 0, row, column; i < type::n_own; i++) {
        type::place(cudahost::lane(), i, row, column);
        to[layout == mem_col_major ? column * leading + row : row * leading + column] = f.x[i];
    }
}

template <class Use, int M, int N, int K, class T, class Layout, class V>
void fill_fragment(fragment<Use, M, N, K, T, Layout> &f, const V &value)
{
    for (auto &x : f.x) x = value;
}

/* The matrix that the lanes of a warp hold together. */
template <class F, class T> void gather(float *matrix, cudahost::request **lanes, int operand_index)
{
    for (int lane = 0; lane < 32; lane++) {
        const T *x = static_cast<const T *>(lanes[lane]->in[operand_index]);
        for (int i = 0, row, column; i < F::n_own; i++) {
            F::place(lane, i, row, column);
            matrix[row * F::form::columns + column] = operand(x[i]);
        }
    }
}

/* All lanes' elements of d = a . b + c. The sums are f32 and begin with c. */
template <class D, class A, class B, class T> void multiply(cudahost::request **lanes)
{
    constexpr int M = D::form::rows, N = D::form::columns, K = A::form::columns;
    float a[M * K], b[K * N], sums[32][D::n_own];

    gather<A, T>(a, lanes, 0);
    gather<B, T>(b, lanes, 1);
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0, row, column; i < D::n_own; i++) {
            D::place(lane, i, row, column);
            float sum = static_cast<const float *>(lanes[lane]->in[2])[i];
            for (int k = 0; k < K; k++) sum += a[row * K + k] * b[k * N + column];
            sums[lane][i] = sum;
        }
    for (int lane = 0; lane < 32; lane++) memcpy(lanes[lane]->out, sums[lane], sizeof sums[lane]);
}

template <int M, int N, int K, class T, class LA, class LB>
void mma_sync(fragment<accumulator, M, N, K, float> &d, const fragment<matrix_a, M, N, K, T, LA> &a,
              const fragment<matrix_b, M, N, K, T, LB> &b, const fragment<accumulator, M, N, K, float> &c, CUDAHOST_SITE)
{
    cudahost::request own{cudahost::meeting::custom, ~0u, 0, 0, {a.x, b.x, c.x}, d.x, file, line, nullptr};

    own.custom = multiply<fragment<accumulator, M, N, K, float>, fragment<matrix_a, M, N, K, T, LA>, fragment<matrix_b, M, N, K, T, LB>,
                          typename storage<T>::type>;
    cudahost::meet_warp(own);
}
} // namespace wmma
} // namespace nvcuda

#endif
