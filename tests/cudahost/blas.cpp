/* The cuBLAS and cublasLt calls that the backend uses, in plain loops (f32/bf16/f16 in, f32 sums). */
#include <cublas_v2.h>
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>
void cudahost_enqueue(cudaStream_t s, std::function<void()> w);
extern "C" {
__attribute__((weak)) void ch_on_host_write(void *, size_t);
__attribute__((weak)) void ch_on_host_read(const void *, size_t);
}
struct cublasContext {
    cudaStream_t s = nullptr;
    cublasPointerMode_t pm = CUBLAS_POINTER_MODE_HOST;
};
static size_t esz(cudaDataType t)
{
    switch (t) {
    case CUDA_R_32F: return 4;
    case CUDA_R_16BF:
    case CUDA_R_16F: return 2;
    default: fprintf(stderr, "cudahost: cublas data type %d not emulated\n", (int)t); abort();
    }
}
static float get(const void *p, size_t i, cudaDataType t)
{
    return t == CUDA_R_32F    ? ((const float *)p)[i]
           : t == CUDA_R_16BF ? __bfloat162float(((const __nv_bfloat16 *)p)[i])
                              : __half2float(((const __half *)p)[i]);
}
static void put(void *p, size_t i, cudaDataType t, float v)
{
    if (t == CUDA_R_32F)
        ((float *)p)[i] = v;
    else if (t == CUDA_R_16BF)
        ((__nv_bfloat16 *)p)[i] = __float2bfloat16(v);
    else
        ((__half *)p)[i] = __float2half(v);
}
typedef std::function<float(float, int, int)> Epi;
static void gemm(bool ta, bool tb, int m, int n, int k, float al, const void *A, cudaDataType at, int64_t lda, const void *B,
                 cudaDataType bt, int64_t ldb, float be, const void *C, void *D, cudaDataType dt, int64_t ldd, const Epi &epi)
{
    int ar = ta ? k : m, ac = ta ? m : k, br = tb ? n : k, bc = tb ? k : n;
    std::vector<float> a((size_t)ar * ac), b((size_t)br * bc), c((size_t)m * n, 0.f);
    for (int j = 0; j < ac; j++)
        for (int i = 0; i < ar; i++) a[(size_t)j * ar + i] = get(A, j * lda + i, at);
    for (int j = 0; j < bc; j++)
        for (int i = 0; i < br; i++) b[(size_t)j * br + i] = get(B, j * ldb + i, bt);
    for (int j = 0; j < n; j++)
        for (int l = 0; l < k; l++) {
            const float y = al * (tb ? b[(size_t)l * br + j] : b[(size_t)j * br + l]);
            for (int i = 0; i < m; i++) c[(size_t)j * m + i] += (ta ? a[(size_t)i * ar + l] : a[(size_t)l * ar + i]) * y;
        }
    for (int j = 0; j < n; j++)
        for (int i = 0; i < m; i++) {
            float v = c[(size_t)j * m + i] + (be != 0 ? be * get(C, j * ldd + i, dt) : 0);
            put(D, j * ldd + i, dt, epi ? epi(v, i, j) : v);
        }
    if (ch_on_host_write)
        for (int j = 0; j < n; j++) ch_on_host_write((char *)D + j * ldd * esz(dt), m * esz(dt));
}
extern "C" {
cublasStatus_t cublasCreate_v2(cublasHandle_t *h)
{
    *h = new cublasContext;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t h)
{
    delete h;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(cublasHandle_t h, cudaStream_t s)
{
    h->s = s;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t)
{
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t, void *, size_t)
{
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGemmStridedBatchedEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *al,
                                          const void *A, cudaDataType at, int lda, long long sa, const void *B, cudaDataType bt, int ldb,
                                          long long sb, const void *be, void *C, cudaDataType ct, int ldc, long long sc, int batch,
                                          cublasComputeType_t comp, cublasGemmAlgo_t)
{
    if (m < 0 || n < 0 || k < 0 || lda < (ta ? k : m) || ldb < (tb ? n : k) || ldc < m || batch < 0) return CUBLAS_STATUS_INVALID_VALUE;
    if (comp != CUBLAS_COMPUTE_32F && comp != CUBLAS_COMPUTE_32F_FAST_TF32) return CUBLAS_STATUS_NOT_SUPPORTED;
    float alpha = *(const float *)al, beta = *(const float *)be;
    cudahost_enqueue(h->s, [=] {
        for (int i = 0; i < batch; i++)
            gemm(ta, tb, m, n, k, alpha, (const char *)A + i * sa * esz(at), at, lda, (const char *)B + i * sb * esz(bt), bt, ldb, beta,
                 (char *)C + i * sc * esz(ct), (char *)C + i * sc * esz(ct), ct, ldc, nullptr);
    });
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasGemmEx(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const void *al,
                            const void *A, cudaDataType at, int lda, const void *B, cudaDataType bt, int ldb, const void *be, void *C,
                            cudaDataType ct, int ldc, cublasComputeType_t comp, cublasGemmAlgo_t algo)
{
    return cublasGemmStridedBatchedEx(h, ta, tb, m, n, k, al, A, at, lda, 0, B, bt, ldb, 0, be, C, ct, ldc, 0, 1, comp, algo);
}
cublasStatus_t cublasSgemm_v2(cublasHandle_t h, cublasOperation_t ta, cublasOperation_t tb, int m, int n, int k, const float *al,
                              const float *A, int lda, const float *B, int ldb, const float *be, float *C, int ldc)
{
    return cublasGemmEx(h, ta, tb, m, n, k, al, A, CUDA_R_32F, lda, B, CUDA_R_32F, ldb, be, C, CUDA_R_32F, ldc, CUBLAS_COMPUTE_32F,
                        CUBLAS_GEMM_DEFAULT);
}
/* ---- cublasLt: descriptors are opaque 64-byte blobs in the header; ours hold the few attributes used ---- */
struct LtD {
    cublasOperation_t ta, tb;
    cublasLtEpilogue_t epi;
    const void *bias;
    cudaDataType bias_t;
    void *aux;
    int64_t aux_ld;
};
struct LtL {
    cudaDataType t;
    uint64_t r, c;
    int64_t ld;
    int batch;
    int64_t stride;
};
cublasStatus_t cublasLtCreate(cublasLtHandle_t *h)
{
    *h = (cublasLtHandle_t) new int;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h)
{
    delete (int *)h;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t, cudaDataType_t)
{
    *d = (cublasLtMatmulDesc_t) new LtD{CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr, CUDA_R_32F, nullptr, 0};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d)
{
    delete (LtD *)d;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t dd, cublasLtMatmulDescAttributes_t a, const void *v, size_t)
{
    auto d = (LtD *)dd;
    switch (a) {
    case CUBLASLT_MATMUL_DESC_TRANSA: d->ta = *(cublasOperation_t *)v; break;
    case CUBLASLT_MATMUL_DESC_TRANSB: d->tb = *(cublasOperation_t *)v; break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: d->epi = *(cublasLtEpilogue_t *)v; break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: d->bias = *(void **)v; break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: d->bias_t = *(cudaDataType *)v; break;
    default: return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType t, uint64_t r, uint64_t c, int64_t ld)
{
    *l = (cublasLtMatrixLayout_t) new LtL{t, r, c, ld, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l)
{
    delete (LtL *)l;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t dd, const void *al, const void *A, cublasLtMatrixLayout_t la,
                              const void *B, cublasLtMatrixLayout_t lb, const void *be, const void *C, cublasLtMatrixLayout_t, void *D,
                              cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t s)
{
    LtD d = *(LtD *)dd;
    LtL a = *(LtL *)la, b = *(LtL *)lb, o = *(LtL *)ld;
    float alpha = *(const float *)al, beta = *(const float *)be;
    if ((uintptr_t)A % 16 || (uintptr_t)B % 16 || (uintptr_t)D % 16) return CUBLAS_STATUS_NOT_SUPPORTED;
    int k = (int)(d.ta ? a.r : a.c);
    if ((uint64_t)k != (d.tb ? b.c : b.r)) return CUBLAS_STATUS_INVALID_VALUE;
    bool gelu = d.epi == CUBLASLT_EPILOGUE_GELU_BIAS, bias = gelu || d.epi == CUBLASLT_EPILOGUE_BIAS;
    if (!bias && d.epi != CUBLASLT_EPILOGUE_DEFAULT) return CUBLAS_STATUS_NOT_SUPPORTED;
    Epi e = !bias ? Epi() : Epi([=](float v, int i, int) {
        v += get(d.bias, i, d.bias_t);
        return gelu ? 0.5f * v * (1 + tanhf(0.79788456f * (v + 0.044715f * v * v * v))) : v;
    });
    cudahost_enqueue(s, [=] { gemm(d.ta, d.tb, (int)o.r, (int)o.c, k, alpha, A, a.t, a.ld, B, b.t, b.ld, beta, C, D, o.t, o.ld, e); });
    return CUBLAS_STATUS_SUCCESS;
}
}
