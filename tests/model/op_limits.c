/* Cases at the edges of a backend: numbers that are not numbers, windows too large for a device, and what a recorded pass holds. */
#include "tests/model/op_cases.h"

#include <math.h>

static model_relpos *make_relpos(const model_device *device, int side, int heads, int D, io_status expected)
{
    const size_t n_table = (size_t)(2 * side - 1) * (size_t)D;
    float *rel_h = op_floats_random(device, n_table, 1, NULL), *rel_w = op_floats_random(device, n_table, 1, NULL);
    float *bias = op_floats_random(device, 3 * (size_t)heads * (size_t)D, 3, NULL);
    model_relpos *relpos = NULL;

    assert_int_equal(device->ops->relpos_create(device->backend, side, D, heads, rel_h, rel_w, bias, device->type, &relpos), expected);
    free(rel_h);
    free(rel_w);
    free(bias);
    return relpos;
}

/* A NaN in one token's value is in the output of every query of its window and head, and in no other's. All bits of it are set, since
 * rounding may carry out of them, or only the last one, since rounding may cut it off. */
static void check_nan(const model_device *device, const op_case *self, uint32_t bits)
{
    const int B = self->sizes[0], G = self->sizes[1], heads = self->sizes[3], D = self->sizes[4], M = B * G * G, token = 1;
    const uint16_t half = (uint16_t)(bits >> 16 | (bits & 1)); /* 0x7fff, 0x7f81 */
    op_rows qkv = op_rows_random(device, M, 3 * heads * D, device->type, 4), out = op_rows_random(device, M, heads * D, device->type, 1);
    const size_t element = device->type == MODEL_BF16 ? sizeof half : sizeof bits;
    const size_t place = (size_t)token * (size_t)qkv.rows.stride + 2 * (size_t)heads * (size_t)D;
    model_relpos *relpos = make_relpos(device, self->sizes[2], heads, D, IO_OK);

    check_ok(device->ops->upload(device->backend, (char *)qkv.rows.data + place * element,
                                 device->type == MODEL_BF16 ? (const void *)&half : &bits, element));
    check_ok(device->ops->attention_forward(device->backend, out.rows, NULL, qkv.rows, relpos, B, G));
    op_rows_fetch(device, &out);
    for (int i = 0; i < M * heads * D; i++)
        if (isnan(out.values[i]) != (i % (heads * D) == 0 && i / (heads * D) < G * G))
            fail_msg("output %d of token %d is %g", i % (heads * D), i / (heads * D), out.values[i]);
    device->ops->relpos_free(device->backend, &relpos);
    op_rows_free(device, &qkv);
    op_rows_free(device, &out);
}

void run_attention_nan(const model_device *device, const op_case *self)
{
    check_nan(device, self, 0x7fffffffu);
    check_nan(device, self, 0x7f800001u);
}

/* No GPU has the shared memory for these windows, which is said when the network is loaded and not by the first pass. */
void run_attention_refused(const model_device *device, const op_case *self)
{
    const bool is_refused = device->kind == MODEL_DEVICE_CUDA;
    model_relpos *relpos = make_relpos(device, self->sizes[0], self->sizes[1], self->sizes[2], is_refused ? IO_ERR_UNSUPPORTED : IO_OK);

    if (is_refused) assert_non_null(strstr(io_last_error_text(), "bytes of shared memory, this GPU has"));
    if (relpos) device->ops->relpos_free(device->backend, &relpos);
}

/* A recorded pass holds addresses of what the backend keeps for its products: a later matrix must not move it. */
void run_recorded(const model_device *device, const op_case *self)
{
    const model_ops *ops = device->ops;
    const int n_few = self->sizes[0], n_many = self->sizes[1];
    float *weight = op_floats_random(device, (size_t)n_few * (size_t)n_many, 1, NULL);
    op_rows a = op_rows_random(device, 2, 8, MODEL_F32, 1);
    model_matrix *wide = NULL, *tall = NULL;
    model_graph *graph = NULL;

    if (!ops->graph_begin || device->type != MODEL_BF16) goto done;                            /* biases are kept where they are rounded */
    check_ok(ops->matrix_create(device->backend, n_few, n_many, weight, device->type, &wide)); /* takes the scratch that tall needs */
    check_ok(ops->graph_begin(device->backend));
    check_ok(ops->add_forward(device->backend, a.rows, a.rows, a.rows, 2, 8, 2));
    check_ok(ops->graph_end(device->backend, &graph));
    assert_int_equal(ops->matrix_create(device->backend, n_many, n_few, weight, device->type, &tall), IO_ERR_DEVICE);
    assert_non_null(strstr(io_last_error_text(), "recorded pass holds the biases"));
    ops->graph_free(device->backend, &graph);
    check_ok(ops->matrix_create(device->backend, n_many, n_few, weight, device->type, &tall));
    ops->matrix_free(device->backend, &tall);
    ops->matrix_free(device->backend, &wide);
done:
    op_rows_free(device, &a);
    free(weight);
}
