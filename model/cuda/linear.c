/* Products with constant weights (product.c, linear_kernels.cu) and the 3x3 convolution: its neighbours side by side, then a product.
 *
 * Where the bias goes: an f32 output takes it, and ReLU and the residual sum, in the product's own epilogue, and so does a bf16 output,
 * whose bias cuBLASLt wants rounded to bf16 as well (2^-9, as the output itself; the padded tokens of attention have it so, too). GELU is
 * another matter: cuBLASLt's epilogue is the tanh approximation, which is off by up to 5e-4, so the product leaves its sums and one kernel
 * adds the bias in f32 and applies the erf GELU in place. That kernel reads and writes the hidden rows once more: 12 KB per token of
 * ViT-B, 0.05 ms per slice at 512 pixels and 3.35 TB/s. A product of our own with the erf inside would save that and lose more: without
 * the newest tensor-core instructions it reaches about half of cuBLASLt's rate, and lin1 is a third of all the arithmetic. */
#include "model/cuda/linear.h"

#include "io/memory.h"
#include "model/cuda/ops_cuda.h"

enum { ROW_BYTES = 16 };

static io_status reserve_half_bias(model_backend *backend, size_t n)
{
    if (n <= backend->n_half_bias) return IO_OK;
    if (backend->n_graphs > 0)
        return IO_FAIL(IO_ERR_DEVICE, "a product of %zu outputs is added while a recorded pass holds the biases of %zu; please report this",
                       n, backend->n_half_bias);
    cuda_memory_free(backend, &backend->half_bias);
    backend->n_half_bias = 0;
    IO_TRY(cuda_memory_create(backend, 2 * n, &backend->half_bias));
    backend->n_half_bias = n;
    return IO_OK;
}

static io_status fill_matrix(model_backend *backend, const float *weight, model_matrix *matrix)
{
    const size_t per_row = ROW_BYTES / cuda_element_bytes(matrix->type);
    size_t n_weight, n_bytes;
    void *scratch;

    matrix->stride = (int64_t)(((size_t)matrix->n_in + per_row - 1) / per_row * per_row);
    IO_TRY(io_size_mul((size_t)matrix->n_out, (size_t)matrix->stride * cuda_element_bytes(matrix->type), &n_bytes));
    IO_TRY(io_size_mul((size_t)matrix->n_out, (size_t)matrix->n_in * sizeof *weight, &n_weight));
    IO_TRY(cuda_memory_create(backend, n_bytes, &matrix->data));
    if (matrix->type == MODEL_BF16) IO_TRY(reserve_half_bias(backend, (size_t)matrix->n_out));
    IO_TRY(cuda_scratch_reserve(backend, n_weight, &scratch));
    IO_TRY(cuda_memory_upload(backend, scratch, weight, n_weight));
    return matrix_update_cuda(backend, matrix, scratch, false);
}

io_status matrix_create_cuda(model_backend *backend, int n_out, int n_in, const float *weight, model_type type, model_matrix **out)
{
    io_status status = IO_OK;
    model_matrix *made = NULL;

    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    *made = (model_matrix){.n_out = n_out, .n_in = n_in, .type = type};
    IO_TRY_GOTO(status, done, fill_matrix(backend, weight, made));
    *out = made;
    made = NULL;
done:
    matrix_free_cuda(backend, &made);
    return status;
}

void matrix_free_cuda(model_backend *backend, model_matrix **matrix)
{
    if (!matrix || !*matrix) return;
    cuda_memory_free(backend, &(*matrix)->data);
    io_free(matrix);
}

io_status matrix_update_cuda(model_backend *backend, model_matrix *matrix, const float *weight, bool is_transposed)
{
    const model_rows to = {matrix->data, matrix->stride, matrix->type};

    return matrix_pack_cuda(backend, to, weight, matrix->n_out, matrix->n_in, is_transposed);
}

/* The bias as the product's epilogue wants it: of the output's type. */
static io_status convert_bias(model_backend *backend, const float *bias, model_type type, int n, const void **out)
{
    *out = bias;
    if (!bias || type == MODEL_F32) return IO_OK;
    *out = backend->half_bias;
    return bias_round_cuda(backend, backend->half_bias, bias, n);
}

static io_status check_rows(const char *operation, model_rows out, model_rows in, const model_matrix *weight, model_epilogue epilogue)
{
    if (in.type != weight->type)
        return IO_FAIL(IO_ERR_MISMATCH, "%s: the input rows are not of the type that the weight was packed for", operation);
    if (in.type == MODEL_F32 && out.type == MODEL_BF16)
        return IO_FAIL(IO_ERR_MISMATCH, "%s: a product of f32 rows gives f32 rows; bf16 ones were asked for", operation);
    if (epilogue == MODEL_ADD && out.type != MODEL_F32) return IO_FAIL(IO_ERR_MISMATCH, "%s: sums are kept in f32 rows only", operation);
    return IO_OK;
}

io_status linear_forward_cuda(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, const float *bias,
                              model_epilogue epilogue, int M)
{
    const bool is_relu = epilogue == MODEL_RELU, is_gelu = epilogue == MODEL_GELU;
    cuda_product product = {.out = out,
                            .a = in,
                            .b = {weight->data, weight->stride, weight->type},
                            .is_sum = epilogue == MODEL_ADD,
                            .M = M,
                            .N = weight->n_out,
                            .K = weight->n_in};

    IO_TRY(check_rows("linear", out, in, weight, epilogue));
    if (!is_gelu) IO_TRY(convert_bias(backend, bias, out.type, weight->n_out, &product.bias));
    product.epilogue = product.bias ? (is_relu ? CUDA_RELU_BIAS : CUDA_BIAS) : (is_relu ? CUDA_RELU : CUDA_PLAIN);
    IO_TRY(cuda_product_run(backend, &product));
    return is_gelu ? bias_gelu_cuda(backend, out, bias, M, weight->n_out) : IO_OK;
}

io_status conv3x3_forward_cuda(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, int B, int G, int n_in)
{
    const size_t M = (size_t)B * (size_t)G * (size_t)G;
    model_rows neighbours = {.stride = 9 * (int64_t)n_in, .type = in.type};
    size_t n_bytes;

    if (weight->n_in != 9 * n_in)
        return IO_FAIL(IO_ERR_MISMATCH, "conv3x3: the weight has %d inputs, 9 x %d are needed", weight->n_in, n_in);
    IO_TRY(io_size_mul(M, 9 * (size_t)n_in * cuda_element_bytes(in.type), &n_bytes));
    IO_TRY(cuda_scratch_reserve(backend, n_bytes, &neighbours.data));
    IO_TRY(neighbours_gather_cuda(backend, neighbours.data, in, B, G, n_in));
    return linear_forward_cuda(backend, out, neighbours, weight, NULL, MODEL_STORE, (int)M);
}

io_status linear_backward_cuda(model_backend *backend, float *dweight, float *dbias, model_rows dout, model_rows in, int M, int n_out,
                               int n_in)
{
    const cuda_product product = {
        .out = {dweight, n_in, MODEL_F32}, .a = dout, .b = in, .is_sum = true, .is_turned = true, .M = n_out, .N = n_in, .K = M};

    if (dout.type != MODEL_F32 || (dweight && in.type != MODEL_F32))
        return IO_FAIL(IO_ERR_MISMATCH, "linear backward: gradients of weights are computed from f32 rows only");
    if (dweight) IO_TRY(cuda_product_run(backend, &product));
    return dbias ? column_sums_cuda(backend, dbias, dout, M, n_out) : IO_OK;
}
