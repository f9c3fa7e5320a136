/* emulation of <mma.h> (nvcuda::wmma), 16x16x16 bf16/half -> float. The real
 * element-to-lane mapping is unspecified; ours is scrambled on purpose. */
#pragma once
namespace nvcuda
{
namespace wmma
{
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };
template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static constexpr int num_elements = 8;
    T x[8];
};
inline void ch_rc(int lane, int i, int &r, int &c)
{
    int e = (lane * 8 + i) * 5 & 255;
    r = e >> 4;
    c = e & 15;
}
template <class F> inline float ch_f(F v)
{
    return (float)v;
}
template <class U, class T, class L>
void load_matrix_sync(fragment<U, 16, 16, 16, T, L> &f, const T *p, unsigned ld, const char *fi = __builtin_FILE(),
                      int li = __builtin_LINE())
{
    ch_warp(cudahost::SYNCWARP, ~0u, 0, fi, li);
    if ((uintptr_t)p & 31 || ld * sizeof(T) % 16)
        cudahost::fatal("wmma load: pointer must be 32-byte aligned and ld a multiple of 16 bytes (%s:%d)", fi, li);
    for (int i = 0; i < 8; i++) {
        int r, c;
        ch_rc(cudahost::lane(), i, r, c);
        f.x[i] = std::is_same<L, col_major>::value ? p[c * ld + r] : p[r * ld + c];
    }
}
template <class T> void fill_fragment(fragment<accumulator, 16, 16, 16, T> &f, T v)
{
    for (auto &x : f.x) x = v;
}
template <class T>
void store_matrix_sync(T *p, const fragment<accumulator, 16, 16, 16, T> &f, unsigned ld, layout_t lay, const char *fi = __builtin_FILE(),
                       int li = __builtin_LINE())
{
    ch_warp(cudahost::SYNCWARP, ~0u, 0, fi, li);
    for (int i = 0; i < 8; i++) {
        int r, c;
        ch_rc(cudahost::lane(), i, r, c);
        p[lay == mem_row_major ? r * ld + c : c * ld + r] = f.x[i];
    }
}
template <class T, class LA, class LB>
void mma_sync(fragment<accumulator, 16, 16, 16, float> &d, const fragment<matrix_a, 16, 16, 16, T, LA> &a,
              const fragment<matrix_b, 16, 16, 16, T, LB> &b, const fragment<accumulator, 16, 16, 16, float> &c,
              const char *fi = __builtin_FILE(), int li = __builtin_LINE())
{
    cudahost::WarpReq r{cudahost::CUSTOM, ~0u, 0, 0, {a.x, b.x, c.x}, d.x, fi, li, [](cudahost::WarpReq **L) {
                            float A[16][16], B[16][16], C[16][16];
                            int r, cc;
                            for (int l = 0; l < 32; l++)
                                for (int i = 0; i < 8; i++) {
                                    ch_rc(l, i, r, cc);
                                    A[r][cc] = (float)((const T *)L[l]->p[0])[i];
                                    B[r][cc] = (float)((const T *)L[l]->p[1])[i];
                                    C[r][cc] = ((const float *)L[l]->p[2])[i];
                                }
                            for (int l = 0; l < 32; l++)
                                for (int i = 0; i < 8; i++) {
                                    ch_rc(l, i, r, cc);
                                    float s = C[r][cc];
                                    for (int k = 0; k < 16; k++) s += A[r][k] * B[k][cc];
                                    ((float *)L[l]->q)[i] = s;
                                }
                        }};
    cudahost::warp_collective(r);
}
} // namespace wmma
} // namespace nvcuda
