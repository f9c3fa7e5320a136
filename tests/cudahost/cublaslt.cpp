/* The calls of cublasLt that the backend uses. Descriptors are opaque blocks in NVIDIA's header; here they hold the few attributes that
 * are known, and an unknown one ends the process, so that nothing is left out silently.
 *
 * As strict as the library: an algorithm serves only the shapes and alignments that it was found for. */
#include <cublasLt.h>

#include <cstdio>

#include "tests/cudahost/product.h"
#include "tests/cudahost/runtime.h"

namespace cudahost
{
struct operation {
    cublasComputeType_t compute;
    cublasOperation_t turn_a = CUBLAS_OP_N, turn_b = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    cudaDataType bias_type = CUDA_R_32F;
    bool has_bias_type = false;
};
struct layout {
    cudaDataType type;
    uint64_t rows, columns;
    int64_t leading;
    cublasLtOrder_t order = CUBLASLT_ORDER_COL;
    int32_t n_batches = 1;
    int64_t batch_stride = 0; /* elements */
};
struct preference {
    uint64_t workspace = 0;
    uint32_t align[4] = {256, 256, 256, 256}; /* of a, b, c, d: bytes */
};
/* What an algorithm was found for. */
struct recipe {
    uint64_t rows[3], columns[3];
    int64_t leading[3];
    int32_t type[3], turn[2], compute;
    uint32_t align[3];
};
static std::vector<recipe> recipes; /* an algorithm holds an index */

template <class T> static T value_of(const void *value, size_t bytes, const char *what)
{
    T out;

    if (bytes != sizeof out) fatal("cublasLt: attribute %s has %zu bytes, not %zu", what, sizeof out, bytes);
    memcpy(&out, value, sizeof out);
    return out;
}

static recipe describe(const operation &how, const layout &a, const layout &b, const layout &d)
{
    const layout *all[3] = {&a, &b, &d};
    recipe out = {};

    for (int i = 0; i < 3; i++) {
        out.rows[i] = all[i]->rows;
        out.columns[i] = all[i]->columns;
        out.leading[i] = all[i]->leading;
        out.type[i] = all[i]->type;
    }
    out.turn[0] = how.turn_a;
    out.turn[1] = how.turn_b;
    out.compute = how.compute;
    return out;
}

static bool is_layout_possible(const layout &x)
{
    const uint64_t run = x.order == CUBLASLT_ORDER_ROW ? x.columns : x.rows;

    return (x.type == CUDA_R_32F || x.type == CUDA_R_16BF) && x.rows > 0 && x.columns > 0 && (uint64_t)x.leading >= run;
}

/* The library's tables of supported types (cublasLtMatmul), as far as they are used. */
static bool is_supported(const operation &how, const layout &a, const layout &b, const layout &c, const layout &d)
{
    const uint64_t k = how.turn_a ? a.rows : a.columns, m = how.turn_a ? a.columns : a.rows;
    const uint64_t k_b = how.turn_b ? b.columns : b.rows, n = how.turn_b ? b.rows : b.columns;

    if (!is_layout_possible(a) || !is_layout_possible(b) || !is_layout_possible(c) || !is_layout_possible(d)) return false;
    if (k != k_b || d.rows != m || d.columns != n || c.rows != m || c.columns != n) return false;
    if (a.type != b.type || c.type != d.type || (a.type == CUDA_R_32F && d.type == CUDA_R_16BF)) return false;
    if (how.compute == CUBLAS_COMPUTE_32F_FAST_TF32 && a.type != CUDA_R_32F) return false;
    if (how.epilogue != CUBLASLT_EPILOGUE_DEFAULT && d.order == CUBLASLT_ORDER_ROW) return false;
    return !how.bias || !how.has_bias_type || how.bias_type == d.type;
}

static void demand_recipe(const cublasLtMatmulAlgo_t *algorithm, recipe own, const void *const pointers[3])
{
    const recipe &found = recipes.at(algorithm->data[0]);

    for (int i = 0; i < 3; i++) {
        own.align[i] = found.align[i];
        if ((uintptr_t)pointers[i] % found.align[i])
            fatal("cublasLtMatmul: %p is not aligned to the %u bytes that its algorithm was found for", pointers[i], found.align[i]);
    }
    if (memcmp(&own, &found, sizeof own)) fatal("cublasLtMatmul: its algorithm was found for other shapes");
}

static matrix view(const layout &x, const void *data)
{
    return {data, x.type, (int64_t)x.rows, (int64_t)x.columns, x.leading, x.batch_stride, x.order == CUBLASLT_ORDER_ROW};
}

static bool has_bias(cublasLtEpilogue_t epilogue)
{
    return epilogue == CUBLASLT_EPILOGUE_BIAS || epilogue == CUBLASLT_EPILOGUE_RELU_BIAS || epilogue == CUBLASLT_EPILOGUE_GELU_BIAS;
}
} // namespace cudahost

using namespace cudahost;

extern "C" {
cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    *out = reinterpret_cast<cublasLtHandle_t>(new int);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    delete reinterpret_cast<int *>(handle);
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    return status == CUBLAS_STATUS_SUCCESS ? "success" : "an error of the emulated cuBLASLt";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute, cudaDataType_t scale)
{
    if (scale != CUDA_R_32F || (compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *out = reinterpret_cast<cublasLtMatmulDesc_t>(new operation{compute});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t descriptor)
{
    delete reinterpret_cast<operation *>(descriptor);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t descriptor, cublasLtMatmulDescAttributes_t what, const void *value,
                                              size_t bytes)
{
    operation &how = *reinterpret_cast<operation *>(descriptor);

    switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA: how.turn_a = value_of<cublasOperation_t>(value, bytes, "TRANSA"); break;
    case CUBLASLT_MATMUL_DESC_TRANSB: how.turn_b = value_of<cublasOperation_t>(value, bytes, "TRANSB"); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: how.epilogue = value_of<cublasLtEpilogue_t>(value, bytes, "EPILOGUE"); break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: how.bias = value_of<const void *>(value, bytes, "BIAS_POINTER"); break;
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        how.bias_type = value_of<cudaDataType>(value, bytes, "BIAS_DATA_TYPE");
        how.has_bias_type = true;
        break;
    default: fatal("cublasLtMatmulDescSetAttribute: attribute %d is not emulated", (int)what);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type, uint64_t rows, uint64_t columns, int64_t leading)
{
    *out = reinterpret_cast<cublasLtMatrixLayout_t>(new layout{type, rows, columns, leading});
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t descriptor)
{
    delete reinterpret_cast<layout *>(descriptor);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t descriptor, cublasLtMatrixLayoutAttribute_t what, const void *value,
                                                size_t bytes)
{
    layout &x = *reinterpret_cast<layout *>(descriptor);

    switch (what) {
    case CUBLASLT_MATRIX_LAYOUT_ORDER: x.order = (cublasLtOrder_t)value_of<int32_t>(value, bytes, "ORDER"); break;
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: x.n_batches = value_of<int32_t>(value, bytes, "BATCH_COUNT"); break;
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: x.batch_stride = value_of<int64_t>(value, bytes, "STRIDED_BATCH_OFFSET"); break;
    default: fatal("cublasLtMatrixLayoutSetAttribute: attribute %d is not emulated", (int)what);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    *out = reinterpret_cast<cublasLtMatmulPreference_t>(new preference);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t descriptor)
{
    delete reinterpret_cast<preference *>(descriptor);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t descriptor, cublasLtMatmulPreferenceAttributes_t what,
                                                    const void *value, size_t bytes)
{
    preference &wanted = *reinterpret_cast<preference *>(descriptor);

    switch (what) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: wanted.workspace = value_of<uint64_t>(value, bytes, "MAX_WORKSPACE_BYTES"); break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: value_of<uint32_t>(value, bytes, "REDUCTION_SCHEME_MASK"); break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: wanted.align[0] = value_of<uint32_t>(value, bytes, "MIN_ALIGNMENT_A"); break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: wanted.align[1] = value_of<uint32_t>(value, bytes, "MIN_ALIGNMENT_B"); break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: wanted.align[2] = value_of<uint32_t>(value, bytes, "MIN_ALIGNMENT_C"); break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: wanted.align[3] = value_of<uint32_t>(value, bytes, "MIN_ALIGNMENT_D"); break;
    default: fatal("cublasLtMatmulPreferenceSetAttribute: attribute %d is not emulated", (int)what);
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t descriptor, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t wanted, int n_asked, cublasLtMatmulHeuristicResult_t *out,
                                              int *n_found)
{
    const operation &how = *reinterpret_cast<operation *>(descriptor);
    const preference &pref = *reinterpret_cast<preference *>(wanted);
    const layout &la = *reinterpret_cast<layout *>(a), &lb = *reinterpret_cast<layout *>(b), &ld = *reinterpret_cast<layout *>(d);
    recipe made = describe(how, la, lb, ld);

    *n_found = 0;
    if (n_asked < 1 || !is_supported(how, la, lb, *reinterpret_cast<layout *>(c), ld)) return CUBLAS_STATUS_NOT_SUPPORTED;
    made.align[0] = pref.align[0];
    made.align[1] = pref.align[1];
    made.align[2] = pref.align[3];
    memset(out, 0, sizeof *out);
    out->algo.data[0] = recipes.size();
    recipes.push_back(made);
    *n_found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *, cublasLtMatmulAlgoConfigAttributes_t, void *value,
                                                    size_t bytes, size_t *n_written)
{
    memset(value, 0, bytes);
    if (n_written) *n_written = bytes;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t descriptor, const void *alpha, const void *a,
                              cublasLtMatrixLayout_t la, const void *b, cublasLtMatrixLayout_t lb, const void *beta, const void *c,
                              cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld, const cublasLtMatmulAlgo_t *algorithm,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    const operation &how = *reinterpret_cast<operation *>(descriptor);
    const layout &of_a = *reinterpret_cast<layout *>(la), &of_b = *reinterpret_cast<layout *>(lb);
    const layout &of_c = *reinterpret_cast<layout *>(lc), &of_d = *reinterpret_cast<layout *>(ld);
    const void *const pointers[3] = {a, b, d};
    product p = {};

    if (!is_supported(how, of_a, of_b, of_c, of_d)) return CUBLAS_STATUS_INVALID_VALUE;
    if (has_bias(how.epilogue) != (how.bias != nullptr)) fatal("cublasLtMatmul: the epilogue and the bias do not agree");
    if (algorithm) demand_recipe(algorithm, describe(how, of_a, of_b, of_d), pointers);
    if (workspace_bytes) demand_side(workspace, workspace_bytes, true, "the workspace of cublasLtMatmul");
    p = {view(of_a, a),
         view(of_b, b),
         view(of_c, c),
         view(of_d, d),
         how.turn_a != CUBLAS_OP_N,
         how.turn_b != CUBLAS_OP_N,
         how.compute == CUBLAS_COMPUTE_32F_FAST_TF32,
         (int64_t)of_d.rows,
         (int64_t)of_d.columns,
         (int64_t)(how.turn_a ? of_a.rows : of_a.columns),
         of_d.n_batches,
         *static_cast<const float *>(alpha),
         *static_cast<const float *>(beta),
         how.epilogue,
         has_bias(how.epilogue) ? how.bias : nullptr};
    enqueue(stream, [p] { multiply(p); });
    return CUBLAS_STATUS_SUCCESS;
}
}
