/* Layers as training uses them: weights packed for both directions, gradients beside them, LoRA unmerged. */
#ifndef MODEL_TRAIN_LAYERS_H
#define MODEL_TRAIN_LAYERS_H

#include "model/backend.h"
#include "model/decoder.h"
#include "model/run.h"

/* y += b (a x). a [r,n_in], b [n_out,r] lie in the trainable block, da and db in that of the gradients. NULL: no LoRA. */
typedef struct train_lora {
    const float *a, *b;
    float *da, *db;
    int r, n_out, n_in;
    model_matrix *down, *down_back, *up, *up_back; /* a, its transpose, b, its transpose */
} train_lora;

/* y = w x + bias (+ LoRA). */
typedef struct train_linear {
    int n_out, n_in;
    model_matrix *weight, *transposed; /* owned where values is set, else borrowed from the frozen weights */
    const float *values;               /* [n_out,n_in] in the trainable block; NULL: frozen */
    float *dweight, *dbias;            /* NULL: frozen */
    const float *bias;                 /* [n_out] or NULL */
    train_lora lora;
} train_linear;

typedef struct train_norm {
    const float *gamma, *beta;
    float *dgamma, *dbeta; /* NULL: frozen */
} train_norm;

typedef struct train_attention {
    train_linear q, k, v, out;
} train_attention;

/* What one attention of the decoder saves. The inputs are borrowed; those of the image are set again before the backward pass. */
typedef struct attention_saved {
    model_rows q_in, k_in, v_in;
    model_rows q, k, v, attended;
    model_rows q_low, v_low; /* [n,r]: LoRA's middle */
} attention_saved;

/* Where the gradients of an attention's inputs go, and whether they add (MODEL_ADD) or overwrite (MODEL_STORE). */
typedef struct attention_gradients {
    model_rows q, k, v;
    model_epilogue q_epilogue, k_epilogue, v_epilogue;
} attention_gradients;

/* Room for what attentions and LoRA need in between; [n, up to decoder width] each. */
typedef struct train_scratch {
    model_rows q, k, v, attended, low;
} train_scratch;

/* Packs what the trainable block holds now; after every update. */
io_status model_train_lora_pack(const model_run *run, const train_lora *lora);
io_status model_train_linear_pack(const model_run *run, const train_linear *layer);

/* Makes the matrices; zeros [largest weight] host. Frees what a layer owns. */
io_status model_train_lora_create(const model_run *run, train_lora *lora, const float *zeros);
io_status model_train_linear_create(const model_run *run, train_linear *layer, const float *zeros);
void model_train_lora_free(const model_run *run, train_lora *lora);
void model_train_linear_free(const model_run *run, train_linear *layer);

/* out += b (a in); low [M,r] keeps a in. */
io_status model_train_lora_forward(const model_run *run, const train_lora *lora, model_rows out, model_rows low, model_rows in, int M);
/* da, db add; din += where din has data. scratch [M,r]. */
io_status model_train_lora_backward(const model_run *run, const train_lora *lora, model_rows din, model_rows dout, model_rows low,
                                    model_rows in, model_rows scratch, int M);

/* low and scratch are used by LoRA only. */
io_status model_train_linear_forward(const model_run *run, const train_linear *layer, model_rows out, model_rows low, model_rows in,
                                     model_epilogue epilogue, int M);
/* din without data: nobody asks for it. */
io_status model_train_linear_backward(const model_run *run, const train_linear *layer, model_rows din, model_rows dout, model_rows low,
                                      model_rows in, model_rows scratch, model_epilogue epilogue, int M);

/* One slice: out (+)= out_proj(attention), n_q queries and n_k keys. */
io_status model_train_attention_forward(const model_run *run, const train_attention *attention, const attention_saved *saved,
                                        model_rows out, model_epilogue epilogue, int n_q, int n_k);
/* dout is read before anything is added, so gradients that add may go into it. */
io_status model_train_attention_backward(const model_run *run, const train_attention *attention, const attention_saved *saved,
                                         model_rows dout, const attention_gradients *gradients, const train_scratch *scratch, int n_q,
                                         int n_k);

/* out [M,C] += in [M,C], f32. */
io_status model_train_add(const model_run *run, model_rows out, model_rows in, int M, int C);
/* din (+)= gradient of the norm at in. */
io_status model_train_norm_backward(const model_run *run, const train_norm *norm, model_rows din, model_rows dout, model_rows in, float eps,
                                    int M, int C, model_epilogue epilogue);

#endif
