/* Products through cuBLASLt, which multiplies matrices stored by columns: the rows of this program are its columns, so that out [M,N] is
 * computed as out^T [N,M] = b . a^T.
 *
 * What is chosen for a shape is chosen once, by cuBLASLt's own prediction and never by timing, so that the same GPU model takes the same
 * algorithm in every run and on every rank. Splitting the inner dimension is forbidden: no sum depends on how many partial sums there
 * were. Each choice is logged at -v and stands in run.json, so that
 * two runs can be compared. */
#include <stdio.h>
#include <string.h>

#include "io/log.h"
#include "io/memory.h"
#include "model/cuda/backend_cuda.h"
#include "model/cuda/linear.h"

enum {
    MOST_ALIGNMENT = 256, /* bytes; cuBLASLt knows nothing beyond */
    CHOICE_BYTES = 160    /* of a choice in words */
};

/* All that a choice depends on; compared as bytes, hence without gaps. */
typedef struct product_key {
    int64_t M, N, K, out_stride, a_stride, b_stride;
    int64_t out_alignment, a_alignment, b_alignment, bias_alignment; /* bytes */
    int64_t in_type, out_type, epilogue, is_turned, is_sum;
} product_key;

struct cuda_product_plan {
    product_key key;
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t a, b, out;
    cublasLtMatmulAlgo_t algorithm;
};

static cudaDataType_t name_type(int64_t type)
{
    return type == MODEL_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* The largest power of two that divides the address. */
static int64_t measure_alignment(const void *address)
{
    int64_t bytes = MOST_ALIGNMENT;

    while (bytes > 1 && (uintptr_t)address % (uintptr_t)bytes != 0) bytes /= 2;
    return bytes;
}

static product_key describe_product(const cuda_product *p)
{
    return (product_key){.M = p->M,
                         .N = p->N,
                         .K = p->K,
                         .out_stride = p->out.stride,
                         .a_stride = p->a.stride,
                         .b_stride = p->b.stride,
                         .out_alignment = measure_alignment(p->out.data),
                         .a_alignment = measure_alignment(p->a.data),
                         .b_alignment = measure_alignment(p->b.data),
                         .bias_alignment = p->bias ? measure_alignment(p->bias) : 0,
                         .in_type = p->a.type,
                         .out_type = p->out.type,
                         .epilogue = p->epilogue,
                         .is_turned = p->is_turned,
                         .is_sum = p->is_sum};
}

static void free_plan(cuda_product_plan *plan)
{
    if (plan->operation) cublasLtMatmulDescDestroy(plan->operation);
    if (plan->a) cublasLtMatrixLayoutDestroy(plan->a);
    if (plan->b) cublasLtMatrixLayoutDestroy(plan->b);
    if (plan->out) cublasLtMatrixLayoutDestroy(plan->out);
}

void cuda_products_free(model_backend *backend)
{
    for (int i = 0; i < backend->n_plans; i++) free_plan(&backend->plans[i]);
    io_free(&backend->plans);
    backend->n_plans = backend->n_plans_room = 0;
}

static io_status set_operation(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t what, const void *value, size_t n_bytes)
{
    CUBLAS_TRY(cublasLtMatmulDescSetAttribute(operation, what, value, n_bytes));
    return IO_OK;
}

/* The bias lies elsewhere for each layer of a shape. */
static io_status set_bias(const cuda_product_plan *plan, const void *bias)
{
    return set_operation(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof(const void *));
}

static io_status describe_operation(const model_backend *backend, const cuda_product *product, cuda_product_plan *plan)
{
    static const cublasLtEpilogue_t epilogues[] = {[CUDA_PLAIN] = CUBLASLT_EPILOGUE_DEFAULT,
                                                   [CUDA_BIAS] = CUBLASLT_EPILOGUE_BIAS,
                                                   [CUDA_RELU] = CUBLASLT_EPILOGUE_RELU,
                                                   [CUDA_RELU_BIAS] = CUBLASLT_EPILOGUE_RELU_BIAS};
    const product_key *key = &plan->key;
    const bool is_tf32 = backend->is_tf32 && key->in_type == MODEL_F32;
    const cublasOperation_t op_b = key->is_turned ? CUBLAS_OP_N : CUBLAS_OP_T, op_a = key->is_turned ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cudaDataType_t bias_type = name_type(key->out_type);

    CUBLAS_TRY(cublasLtMatmulDescCreate(&plan->operation, is_tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
    IO_TRY(set_operation(plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &op_b, sizeof op_b));
    IO_TRY(set_operation(plan->operation, CUBLASLT_MATMUL_DESC_TRANSB, &op_a, sizeof op_a));
    IO_TRY(set_operation(plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogues[key->epilogue], sizeof epilogues[0]));
    if (!product->bias) return IO_OK;
    IO_TRY(set_operation(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias_type, sizeof bias_type));
    return set_bias(plan, product->bias);
}

static io_status describe_layouts(cuda_product_plan *plan)
{
    const product_key *key = &plan->key;
    const uint64_t M = (uint64_t)key->M, N = (uint64_t)key->N, K = (uint64_t)key->K;
    const cudaDataType_t in = name_type(key->in_type);

    CUBLAS_TRY(cublasLtMatrixLayoutCreate(&plan->b, in, key->is_turned ? N : K, key->is_turned ? K : N, key->b_stride));
    CUBLAS_TRY(cublasLtMatrixLayoutCreate(&plan->a, in, key->is_turned ? M : K, key->is_turned ? K : M, key->a_stride));
    CUBLAS_TRY(cublasLtMatrixLayoutCreate(&plan->out, name_type(key->out_type), N, M, key->out_stride));
    return IO_OK;
}

static io_status set_preferences(cublasLtMatmulPreference_t preference, const product_key *key)
{
    const uint64_t workspace = MODEL_CUDA_WORKSPACE_BYTES;
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE;
    const struct {
        cublasLtMatmulPreferenceAttributes_t what;
        uint32_t bytes;
    } alignments[] = {{CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, (uint32_t)key->b_alignment},
                      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, (uint32_t)key->a_alignment},
                      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, (uint32_t)key->out_alignment},
                      {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, (uint32_t)key->out_alignment}};

    CUBLAS_TRY(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace));
    CUBLAS_TRY(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes));
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++)
        CUBLAS_TRY(cublasLtMatmulPreferenceSetAttribute(preference, alignments[i].what, &alignments[i].bytes, sizeof alignments[i].bytes));
    return IO_OK;
}

static void describe_choice(const cuda_product_plan *plan, char text[CHOICE_BYTES])
{
    const product_key *key = &plan->key;
    int id = -1;
    uint32_t tile = 0, stages = 0;
    size_t n;

    /* for the reader only: what cannot be told stays at its default */
    cublasLtMatmulAlgoConfigGetAttribute(&plan->algorithm, CUBLASLT_ALGO_CONFIG_ID, &id, sizeof id, &n);
    cublasLtMatmulAlgoConfigGetAttribute(&plan->algorithm, CUBLASLT_ALGO_CONFIG_TILE_ID, &tile, sizeof tile, &n);
    cublasLtMatmulAlgoConfigGetAttribute(&plan->algorithm, CUBLASLT_ALGO_CONFIG_STAGES_ID, &stages, sizeof stages, &n);
    snprintf(text, CHOICE_BYTES, "product %d x %d x %d%s, %s to %s%s: algorithm %d, tile %u, stages %u", (int)key->M, (int)key->N,
             (int)key->K, key->is_turned ? " of columns" : "", key->in_type == MODEL_BF16 ? "bf16" : "f32",
             key->out_type == MODEL_BF16 ? "bf16" : "f32", key->is_sum ? ", added" : "", id, (unsigned)tile, (unsigned)stages);
}

io_status cuda_products_list(model_backend *backend, char **out)
{
    size_t used = 0;

    IO_TRY(io_alloc((size_t)backend->n_plans * CHOICE_BYTES + 1, 1, (void **)out));
    for (int i = 0; i < backend->n_plans; i++) {
        describe_choice(&backend->plans[i], *out + used);
        used += strlen(*out + used);
        (*out)[used++] = '\n';
    }
    return IO_OK;
}

static io_status choose_algorithm(model_backend *backend, cuda_product_plan *plan)
{
    io_status status = IO_OK;
    const product_key *key = &plan->key;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    char text[CHOICE_BYTES];
    int n = 0;

    CUBLAS_TRY(cublasLtMatmulPreferenceCreate(&preference));
    IO_TRY_GOTO(status, done, set_preferences(preference, key));
    if (cublasLtMatmulAlgoGetHeuristic(backend->products, plan->operation, plan->b, plan->a, plan->out, plan->out, preference, 1, &found,
                                       &n) != CUBLAS_STATUS_SUCCESS ||
        n < 1) {
        status =
            IO_FAIL(IO_ERR_DEVICE,
                    "cuBLASLt offers no product of %d x %d x %d from rows of %d and %d to rows of %d elements on this GPU; update CUDA",
                    (int)key->M, (int)key->N, (int)key->K, (int)key->a_stride, (int)key->b_stride, (int)key->out_stride);
        goto done;
    }
    plan->algorithm = found.algo;
    describe_choice(plan, text);
    io_log(IO_LOG_DEBUG, "%s", text);
done:
    cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

static io_status add_plan(model_backend *backend, const cuda_product *product, const product_key *key, cuda_product_plan **out)
{
    io_status status = IO_OK;
    cuda_product_plan made = {.key = *key};

    if (backend->n_plans == backend->n_plans_room) {
        const int room = backend->n_plans_room ? 2 * backend->n_plans_room : 32;

        IO_TRY(io_grow((void **)&backend->plans, (size_t)backend->n_plans * sizeof made, (size_t)room, sizeof made));
        backend->n_plans_room = room;
    }
    IO_TRY_GOTO(status, done, describe_operation(backend, product, &made));
    IO_TRY_GOTO(status, done, describe_layouts(&made));
    IO_TRY_GOTO(status, done, choose_algorithm(backend, &made));
    backend->plans[backend->n_plans] = made;
    *out = &backend->plans[backend->n_plans++];
    memset(&made, 0, sizeof made); /* the list's now */
done:
    free_plan(&made);
    return status;
}

static io_status find_plan(model_backend *backend, const cuda_product *product, cuda_product_plan **out)
{
    const product_key key = describe_product(product);

    for (int i = 0; i < backend->n_plans; i++)
        if (!memcmp(&backend->plans[i].key, &key, sizeof key)) {
            *out = &backend->plans[i];
            return product->bias ? set_bias(*out, product->bias) : IO_OK;
        }
    return add_plan(backend, product, &key, out);
}

io_status cuda_product_run(model_backend *backend, const cuda_product *product)
{
    const float one = 1, kept = product->is_sum ? 1 : 0;
    cuda_product_plan *plan;

    if (product->M == 0 || product->N == 0) return IO_OK;
    IO_TRY(find_plan(backend, product, &plan));
    CUBLAS_TRY(cublasLtMatmul(backend->products, plan->operation, &one, product->b.data, plan->b, product->a.data, plan->a, &kept,
                              product->out.data, plan->out, product->out.data, plan->out, &plan->algorithm, backend->workspace,
                              MODEL_CUDA_WORKSPACE_BYTES, backend->stream));
    return cuda_launch_check(backend, "product");
}
