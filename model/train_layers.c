/* See train_layers.h. */
#include "model/train_layers.h"

static const model_rows nothing = {NULL, 0, MODEL_F32};

static io_status multiply(const model_run *run, model_rows out, model_rows in, const model_matrix *weight, const float *bias,
                          model_epilogue epilogue, int M)
{
    return run->ops->linear_forward(run->backend, out, in, weight, bias, epilogue, M);
}

io_status model_train_lora_pack(const model_run *run, const train_lora *lora)
{
    if (!lora->a) return IO_OK;
    IO_TRY(run->ops->matrix_update(run->backend, lora->down, lora->a, false));
    IO_TRY(run->ops->matrix_update(run->backend, lora->down_back, lora->a, true));
    IO_TRY(run->ops->matrix_update(run->backend, lora->up, lora->b, false));
    return run->ops->matrix_update(run->backend, lora->up_back, lora->b, true);
}

io_status model_train_linear_pack(const model_run *run, const train_linear *layer)
{
    IO_TRY(model_train_lora_pack(run, &layer->lora));
    if (!layer->values) return IO_OK;
    IO_TRY(run->ops->matrix_update(run->backend, layer->weight, layer->values, false));
    return run->ops->matrix_update(run->backend, layer->transposed, layer->values, true);
}

static io_status create_matrix(const model_run *run, int n_out, int n_in, const float *zeros, model_matrix **out)
{
    return run->ops->matrix_create(run->backend, n_out, n_in, zeros, MODEL_F32, out);
}

io_status model_train_lora_create(const model_run *run, train_lora *lora, const float *zeros)
{
    if (!lora->a) return IO_OK;
    IO_TRY(create_matrix(run, lora->r, lora->n_in, zeros, &lora->down));
    IO_TRY(create_matrix(run, lora->n_in, lora->r, zeros, &lora->down_back));
    IO_TRY(create_matrix(run, lora->n_out, lora->r, zeros, &lora->up));
    return create_matrix(run, lora->r, lora->n_out, zeros, &lora->up_back);
}

io_status model_train_linear_create(const model_run *run, train_linear *layer, const float *zeros)
{
    IO_TRY(model_train_lora_create(run, &layer->lora, zeros));
    if (!layer->values) return IO_OK;
    IO_TRY(create_matrix(run, layer->n_out, layer->n_in, zeros, &layer->weight));
    return create_matrix(run, layer->n_in, layer->n_out, zeros, &layer->transposed);
}

void model_train_lora_free(const model_run *run, train_lora *lora)
{
    run->ops->matrix_free(run->backend, &lora->down);
    run->ops->matrix_free(run->backend, &lora->down_back);
    run->ops->matrix_free(run->backend, &lora->up);
    run->ops->matrix_free(run->backend, &lora->up_back);
}

void model_train_linear_free(const model_run *run, train_linear *layer)
{
    model_train_lora_free(run, &layer->lora);
    if (!layer->values) return;
    run->ops->matrix_free(run->backend, &layer->weight);
    run->ops->matrix_free(run->backend, &layer->transposed);
}

io_status model_train_lora_forward(const model_run *run, const train_lora *lora, model_rows out, model_rows low, model_rows in, int M)
{
    if (!lora->a) return IO_OK;
    IO_TRY(multiply(run, low, in, lora->down, NULL, MODEL_STORE, M));
    return multiply(run, out, low, lora->up, NULL, MODEL_ADD, M);
}

io_status model_train_lora_backward(const model_run *run, const train_lora *lora, model_rows din, model_rows dout, model_rows low,
                                    model_rows in, model_rows scratch, int M)
{
    if (!lora->a) return IO_OK;
    IO_TRY(multiply(run, scratch, dout, lora->up_back, NULL, MODEL_STORE, M));
    IO_TRY(run->ops->linear_backward(run->backend, lora->db, NULL, dout, low, M, lora->n_out, lora->r));
    IO_TRY(run->ops->linear_backward(run->backend, lora->da, NULL, scratch, in, M, lora->r, lora->n_in));
    if (!din.data) return IO_OK;
    return multiply(run, din, scratch, lora->down_back, NULL, MODEL_ADD, M);
}

io_status model_train_linear_forward(const model_run *run, const train_linear *layer, model_rows out, model_rows low, model_rows in,
                                     model_epilogue epilogue, int M)
{
    IO_TRY(multiply(run, out, in, layer->weight, layer->bias, epilogue, M));
    return model_train_lora_forward(run, &layer->lora, out, low, in, M);
}

io_status model_train_linear_backward(const model_run *run, const train_linear *layer, model_rows din, model_rows dout, model_rows low,
                                      model_rows in, model_rows scratch, model_epilogue epilogue, int M)
{
    if (din.data) IO_TRY(multiply(run, din, dout, layer->transposed, NULL, epilogue, M));
    IO_TRY(run->ops->linear_backward(run->backend, layer->dweight, layer->dbias, dout, in, M, layer->n_out, layer->n_in));
    return model_train_lora_backward(run, &layer->lora, din, dout, low, in, scratch, M);
}

io_status model_train_attention_forward(const model_run *run, const train_attention *attention, const attention_saved *saved,
                                        model_rows out, model_epilogue epilogue, int n_q, int n_k)
{
    IO_TRY(model_train_linear_forward(run, &attention->q, saved->q, saved->q_low, saved->q_in, MODEL_STORE, n_q));
    IO_TRY(model_train_linear_forward(run, &attention->k, saved->k, nothing, saved->k_in, MODEL_STORE, n_k));
    IO_TRY(model_train_linear_forward(run, &attention->v, saved->v, saved->v_low, saved->v_in, MODEL_STORE, n_k));
    IO_TRY(run->ops->cross_attention_forward(run->backend, saved->attended, saved->q, saved->k, saved->v, 1, n_q, n_k, attention->q.n_out,
                                             MODEL_DECODER_HEADS));
    return model_train_linear_forward(run, &attention->out, out, nothing, saved->attended, epilogue, n_q);
}

io_status model_train_attention_backward(const model_run *run, const train_attention *attention, const attention_saved *saved,
                                         model_rows dout, const attention_gradients *gradients, const train_scratch *scratch, int n_q,
                                         int n_k)
{
    IO_TRY(model_train_linear_backward(run, &attention->out, scratch->attended, dout, nothing, saved->attended, nothing, MODEL_STORE, n_q));
    IO_TRY(run->ops->cross_attention_backward(run->backend, scratch->q, scratch->k, scratch->v, scratch->attended, saved->q, saved->k,
                                              saved->v, 1, n_q, n_k, attention->q.n_out, MODEL_DECODER_HEADS));
    IO_TRY(model_train_linear_backward(run, &attention->q, gradients->q, scratch->q, saved->q_low, saved->q_in, scratch->low,
                                       gradients->q_epilogue, n_q));
    IO_TRY(model_train_linear_backward(run, &attention->k, gradients->k, scratch->k, nothing, saved->k_in, nothing, gradients->k_epilogue,
                                       n_k));
    return model_train_linear_backward(run, &attention->v, gradients->v, scratch->v, saved->v_low, saved->v_in, scratch->low,
                                       gradients->v_epilogue, n_k);
}

io_status model_train_add(const model_run *run, model_rows out, model_rows in, int M, int C)
{
    return run->ops->add_forward(run->backend, out, out, in, M, C, M);
}

io_status model_train_norm_backward(const model_run *run, const train_norm *norm, model_rows din, model_rows dout, model_rows in, float eps,
                                    int M, int C, model_epilogue epilogue)
{
    return run->ops->layernorm_backward(run->backend, din, norm->dgamma, norm->dbeta, dout, in, norm->gamma, eps, M, C, epilogue);
}
