/* The inside of a trainer, shared by the files that train and by nobody else. Letters: model/shapes.h; T = K + 1 decoder tokens. */
#ifndef MODEL_TRAIN_STATE_H
#define MODEL_TRAIN_STATE_H

#include "model/load.h"
#include "model/params.h"
#include "model/train.h"
#include "model/train_layers.h"

enum { TRAIN_Q, TRAIN_V, TRAIN_K, TRAIN_O, TRAIN_N_LORA };

/* What is trained and what an adapter holds besides. entries [count] go with model_params_at. */
typedef struct train_entry {
    bool is_trained;
    size_t offset; /* in the trainable block, or in `kept` for what the adapter holds untrained */
} train_entry;

typedef struct train_params {
    model_params *params;
    train_entry *entries;
    size_t n_trained, n_kept; /* floats */
    float *kept;              /* host: adapter tensors that are not trained */
} train_params;

typedef struct train_layer {
    train_attention self, t2i, i2t;
    train_norm norm1, norm2, norm3, norm4;
    train_linear lin1, lin2;
} train_layer;

typedef struct train_decoder {
    train_layer layers[MODEL_DECODER_DEPTH];
    train_attention final;
    train_norm final_norm, up1;
    train_linear up0, up3; /* products; their bias is added after unfolding */
    const float *up0_bias, *up3_bias;
    float *dup0_bias, *dup3_bias;
    train_linear (*hyper)[3];      /* [K] */
    const float *tokens, *no_mask; /* [T,R] [R] */
    float *dtokens, *dno_mask;
    float *position; /* [N,R] device, owned */
} train_decoder;

/* What a block of the encoder saves. */
typedef struct block_saved {
    model_rows x;                  /* [N,C]: its input */
    model_rows qkv, attended, mid; /* [N,3C] [N,C] [N,C]: qkv in the device's type; mid is the stream between its halves */
    model_rows hidden;             /* [N,F] in the device's type: what GELU is applied to */
    model_rows low[TRAIN_N_LORA];  /* [N,r] */
    float *log_sum;                /* [N,H] */
} block_saved;

typedef struct layer_saved {
    attention_saved self, t2i, i2t;
    model_rows self_in, norm1_in, tokens1, query_in, norm2_in, tokens2, hidden, norm3_in, tokens3, key_in; /* [T,R], hidden [T,J] */
    model_rows norm4_in;                                                                                   /* [N,R] */
} layer_saved;

typedef struct train_saved {
    block_saved blocks[MODEL_MAX_DEPTH];
    model_rows last_x;                        /* [N,C]: after the last block */
    model_rows neck0_out, neck2_out;          /* [N,R]: what the neck's norms read */
    model_rows keys[MODEL_DECODER_DEPTH + 1]; /* [N,R] */
    layer_saved layers[MODEL_DECODER_DEPTH];
    attention_saved final;
    model_rows final_query, final_in, final_tokens; /* [T,R] */
    model_rows up0, up3, features;                  /* [4N,R/4] before the norm, [16N,R/8] before GELU, after it */
    model_rows hyper_a, hyper_b, hyper;             /* [K,R] [K,R] [K,R/8] */
    float *logits;                                  /* [K,L*L] */
    uint8_t *labels;                                /* [L*L] */
    void *memory;                                   /* device, owned */
    size_t n_bytes;
} train_saved;

/* What lives within one pass. */
typedef struct train_temporary {
    float *image;                                              /* [S,S] */
    model_rows patches, normed, hidden, low;                   /* [N,P*P] [N,C] [N,F] [N,r] */
    model_rows dx, dnormed, dattended, dqkv;                   /* [N,C] [N,C] [N,C] [N,3C] */
    model_rows qkv;                                            /* [N,3C] f32, of bf16 devices */
    model_rows dhidden_block;                                  /* [N,F] in the device's type */
    model_rows half;                                           /* [N,F] bf16: what enters a frozen product; no data in f32 */
    block_saved shared;                                        /* of blocks that save nothing */
    model_rows embedding, neck_normed, keys_pos, dkeys, dneck; /* [N,R] */
    model_rows dtokens, dtokens_pos, dhidden;                  /* [T,R] [T,R] [T,J] */
    train_scratch scratch;
    model_rows taps0, norm_up0, gelu_up0, dup0; /* [N,4*R/4] [4N,R/4] ... */
    model_rows taps3, dup3;                     /* [4N,4*R/8] [16N,R/8] */
    model_rows dhyper, dhyper_a, dhyper_b;      /* [K,R/8] [K,R] [K,R] */
    float *dlogits;                             /* [K,L*L] */
    void *memory;
    size_t n_bytes;
} train_temporary;

struct model_trainer {
    model_device *device; /* borrowed */
    model_config config;
    model_train_options options;
    model_run run; /* ops and backend; no workspace */
    model_weights frozen;
    train_params params;
    float *weights, *gradients, *moments; /* device, [n_trained] each; moments twice that with AdamW */
    train_lora lora[MODEL_MAX_DEPTH][TRAIN_N_LORA];
    int first_block; /* the first with LoRA: nothing is saved or derived below it; depth when there is none */
    train_decoder decoder;
    train_saved *saved; /* [n_kept] */
    train_temporary temporary;
};

/* train_params.c */
io_status model_train_params_create(const model_config *config, const model_train_options *options, train_params *out);
/* Fills weights [n_trained] host and params->kept. */
io_status model_train_params_start(train_params *params, const model_config *config, const io_tensors *sam, const io_tensors *adapter,
                                   model_fresh fresh, void *context, float *weights);
void model_train_params_free(train_params *params);
/* Where a tensor lies in a trainable block; NULL when it is not trained. */
float *model_train_params_at(const train_params *params, float *block, model_param_id id, int index);
bool model_train_params_is_trained(const train_params *params, model_param_id id, int index);
/* Tensors in the files' names and shapes from a host block; with_kept: all of an adapter's. */
io_status model_train_params_write(const train_params *params, model_layout layout, const float *block, bool with_kept, io_tensors **out);

/* train_bind.c: layers of the decoder and LoRA of the encoder from the block and the frozen weights; packing. */
void model_train_find_first_block(model_trainer *trainer);
io_status model_train_bind(model_trainer *trainer);
io_status model_train_pack(model_trainer *trainer);
void model_train_unbind(model_trainer *trainer);

/* train_plan.c: activations. */
io_status model_train_plan(model_trainer *trainer);
/* Bytes that it will take: of one pass, and of the n_kept slices that are kept. */
void model_train_plan_measure(const model_trainer *trainer, size_t *pass, size_t *kept);
void model_train_plan_free(model_trainer *trainer);

/* encoder_backward.c: image -> temporary.embedding, and back from temporary.dkeys. */
io_status model_train_encoder_forward(model_trainer *trainer, train_saved *saved);
io_status model_train_encoder_backward(model_trainer *trainer, train_saved *saved);

/* decoder_backward.c: temporary.embedding -> logits, and from temporary.dlogits to temporary.dkeys. */
io_status model_train_decoder_forward(model_trainer *trainer, train_saved *saved);
io_status model_train_decoder_backward(model_trainer *trainer, train_saved *saved);

static inline int train_count_pixels(const model_trainer *trainer) /* N */
{
    const int G = trainer->config.image_size / trainer->config.patch;

    return G * G;
}

/* Has block i LoRA on q, v or k? */
static inline bool train_has_inner_lora(const model_trainer *trainer, int i)
{
    return trainer->lora[i][TRAIN_Q].a || trainer->lora[i][TRAIN_V].a || trainer->lora[i][TRAIN_K].a;
}

static inline int train_count_tokens(const model_trainer *trainer) /* T */
{
    return trainer->config.n_channels + 1;
}

/* Rows without gaps. */
static inline model_rows train_rows(const float *data, int64_t stride)
{
    return (model_rows){(void *)data, stride, MODEL_F32};
}

#endif
