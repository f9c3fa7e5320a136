/* The constants of one block's attention on the device: both tables and the padded tokens' q, k and v as rows of one array, which the
 * kernels stage like keys. */
#include <math.h>
#include <string.h>

#include "io/memory.h"
#include "io/status.h"
#include "model/cuda/attention_job.h"

/* To nearest, ties to even; NaN stays NaN. */
static uint16_t round_to_bf16(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* n rows of head_size numbers to rows of head_pad ones; to holds zeros. */
static void pack_rows(const model_relpos *relpos, void *to, int64_t first, const float *from, int64_t n)
{
    for (int64_t i = 0; i < n * relpos->head_size; i++) {
        const int64_t at = (first + i / relpos->head_size) * relpos->head_pad + i % relpos->head_size;

        if (relpos->type == MODEL_BF16)
            ((uint16_t *)to)[at] = round_to_bf16(from[i]);
        else
            ((float *)to)[at] = from[i];
    }
}

static io_status copy_to_device(cudaStream_t stream, void **out, const void *from, size_t n_bytes)
{
    cudaError_t error = cudaMalloc(out, n_bytes);

    if (error != cudaSuccess) (void)cudaGetLastError(); /* is reported here and must not meet the next launch */
    if (error == cudaErrorMemoryAllocation)
        return IO_FAIL(IO_ERR_MEMORY, "the CUDA device has no %zu bytes left for an attention's constants", n_bytes);
    if (error == cudaSuccess) error = cudaMemcpyAsync(*out, from, n_bytes, cudaMemcpyHostToDevice, stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    if (error != cudaSuccess) return IO_FAIL(IO_ERR_DEVICE, "loading an attention's constants: %s", cudaGetErrorString(error));
    return IO_OK;
}

io_status relpos_create_cuda(cudaStream_t stream, bool is_tf32, int side, int head_size, int heads, const float *rel_h, const float *rel_w,
                             const float *bias, model_type type, model_relpos **out)
{
    io_status status = IO_OK;
    model_relpos *made = NULL;
    void *rows = NULL;
    const int64_t n_table = 2 * (int64_t)side - 1, n_rows = 2 * n_table + 3 * (int64_t)heads;
    const size_t element = type == MODEL_BF16 ? sizeof(uint16_t) : sizeof(float);

    if (head_size < 1 || head_size > ATTENTION_LARGEST_HEAD)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "attention: heads of %d numbers; on CUDA devices at most %d are supported, use --device cpu",
                       head_size, ATTENTION_LARGEST_HEAD);
    IO_TRY(attention_shared_check_cuda("attention", side,
                                       attention_forward_shared_cuda(side, head_size, attention_math_choose(type, is_tf32))));
    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    *made = (model_relpos){.side = side, .head_size = head_size, .heads = heads, .type = type, .head_pad = attention_head_pad(head_size)};
    IO_TRY_GOTO(status, done, io_alloc((size_t)n_rows * (size_t)made->head_pad, element, &rows));
    memset(rows, 0, (size_t)n_rows * (size_t)made->head_pad * element);
    pack_rows(made, rows, 0, rel_h, n_table);
    pack_rows(made, rows, n_table, rel_w, n_table);
    pack_rows(made, rows, 2 * n_table, bias, 3 * (int64_t)heads);
    IO_TRY_GOTO(status, done, copy_to_device(stream, &made->rows, rows, (size_t)n_rows * (size_t)made->head_pad * element));
    *out = made;
    made = NULL;
done:
    io_free(&rows);
    relpos_free_cuda(&made);
    return status;
}

void relpos_free_cuda(model_relpos **relpos)
{
    if (!relpos || !*relpos) return;
    cudaFree((*relpos)->rows);
    io_free(relpos);
}
