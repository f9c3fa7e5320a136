/* The one list of all tensors of SAM, SAMed and SAMed_s: name, shape, role. Config inference checks files against it, loading, merging
 * and adapter writing walk it. Row order, restricted to what an adapter holds, is the order of the reference's adapter files
 * (hitachinsk/SAMed, sam_lora_image_encoder.py and sam_lora_image_encoder_mask_decoder.py, save_lora_parameters).
 *
 * Shapes are written in letters (model/shapes.h and below), a product or quotient with a number where needed ("3C", "R/4"):
 *   E  tokens per side of the file's pos_embed (64)     Q  rows of a block's rel_pos tables in the file
 *   I  inner width of the decoder's cross attentions    J  hidden width of the decoder's MLP (2048) */
#ifndef MODEL_PARAMS_H
#define MODEL_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "io/tensors.h"
#include "model/config.h"

/* Who owns a tensor and whether training moves it (spec 2.1, 2.3). */
typedef enum model_role {
    MODEL_ROLE_ENCODER_LORA,     /* adapter; trained */
    MODEL_ROLE_MORE_LORA,        /* adapter; trained: LoRA on k and the output projection, which SAMed's own files never have */
    MODEL_ROLE_TRANSFORMER_LORA, /* SAMed_s adapter; trained */
    MODEL_ROLE_ENCODER,          /* SAM file; frozen */
    MODEL_ROLE_PROMPT,           /* adapter where there is one; trained, but only no_mask_embed gets a gradient */
    MODEL_ROLE_PROMPT_BUFFER,    /* adapter where there is one; never trained */
    MODEL_ROLE_TRANSFORMER,      /* SAMed: adapter, trained; SAMed_s and SAM: SAM file, frozen */
    MODEL_ROLE_HEADS,            /* tokens, upscaling, hypernetworks, IoU head: adapter where there is one; trained */
    MODEL_N_ROLES
} model_role;

/* Neighbouring rows of one group are repeated together, with the repetition's number in their names. */
typedef enum model_group {
    MODEL_GROUP_LORA_A, /* 2 * depth: block i's q is 2i, its v 2i + 1 */
    MODEL_GROUP_LORA_B,
    MODEL_GROUP_MORE_A, /* 2 * depth: block i's k is 2i, its output projection 2i + 1 */
    MODEL_GROUP_MORE_B,
    MODEL_GROUP_SELF_A, /* the decoder's two layers: q is 2 * layer, v 2 * layer + 1 */
    MODEL_GROUP_SELF_B,
    MODEL_GROUP_T2I_A,
    MODEL_GROUP_T2I_B,
    MODEL_GROUP_I2T_A,
    MODEL_GROUP_I2T_B,
    MODEL_GROUP_ENCODER,  /* once */
    MODEL_GROUP_BLOCKS,   /* depth */
    MODEL_GROUP_NECK,     /* once */
    MODEL_GROUP_PE,       /* once */
    MODEL_GROUP_POINTS,   /* 4 kinds of points */
    MODEL_GROUP_PROMPT,   /* once */
    MODEL_GROUP_LAYERS,   /* MODEL_DECODER_DEPTH */
    MODEL_GROUP_FINAL,    /* once */
    MODEL_GROUP_CHANNELS, /* K */
    MODEL_GROUP_IOU,      /* once */
    MODEL_GROUP_FINAL_LORA,
    MODEL_N_GROUPS
} model_group;

/* Weight and bias of one linear layer, norm or convolution. */
#define MODEL_PAIR(X, id, name, weight, bias, role, group)                                                                                 \
    X(id##_WEIGHT, name ".weight", weight, role, group)                                                                                    \
    X(id##_BIAS, name ".bias", bias, role, group)

#define MODEL_ATTENTION(X, id, name, inner, group)                                                                                         \
    MODEL_PAIR(X, id##_Q, name ".q_proj", inner ",R", inner, TRANSFORMER, group)                                                           \
    MODEL_PAIR(X, id##_K, name ".k_proj", inner ",R", inner, TRANSFORMER, group)                                                           \
    MODEL_PAIR(X, id##_V, name ".v_proj", inner ",R", inner, TRANSFORMER, group)                                                           \
    MODEL_PAIR(X, id##_OUT, name ".out_proj", "R," inner, "R", TRANSFORMER, group)

#define MODEL_BLOCK "image_encoder.blocks.%d."
#define MODEL_LAYER "mask_decoder.transformer.layers.%d."
#define MODEL_HYPER "mask_decoder.output_hypernetworks_mlps.%d."

/* X(id, name, shape, role, group) */
#define MODEL_PARAMS(X)                                                                                                                    \
    X(LORA_A, "w_a_%03d", "r,C", ENCODER_LORA, LORA_A)                                                                                     \
    X(LORA_B, "w_b_%03d", "C,r", ENCODER_LORA, LORA_B)                                                                                     \
    X(MORE_A, "w_a_ko_%03d", "r,C", MORE_LORA, MORE_A)                                                                                     \
    X(MORE_B, "w_b_ko_%03d", "C,r", MORE_LORA, MORE_B)                                                                                     \
    X(SELF_A, "sa_a_%03d", "r,R", TRANSFORMER_LORA, SELF_A)                                                                                \
    X(SELF_B, "sa_b_%03d", "R,r", TRANSFORMER_LORA, SELF_B)                                                                                \
    X(T2I_A, "cti_a_%03d", "r,R", TRANSFORMER_LORA, T2I_A)                                                                                 \
    X(T2I_B, "cti_b_%03d", "I,r", TRANSFORMER_LORA, T2I_B)                                                                                 \
    X(I2T_A, "cit_a_%03d", "r,R", TRANSFORMER_LORA, I2T_A)                                                                                 \
    X(I2T_B, "cit_b_%03d", "I,r", TRANSFORMER_LORA, I2T_B)                                                                                 \
    X(POS_EMBED, "image_encoder.pos_embed", "1,E,E,C", ENCODER, ENCODER)                                                                   \
    MODEL_PAIR(X, PATCH, "image_encoder.patch_embed.proj", "C,3,P,P", "C", ENCODER, ENCODER)                                               \
    MODEL_PAIR(X, NORM1, MODEL_BLOCK "norm1", "C", "C", ENCODER, BLOCKS)                                                                   \
    X(REL_H, MODEL_BLOCK "attn.rel_pos_h", "Q,D", ENCODER, BLOCKS)                                                                         \
    X(REL_W, MODEL_BLOCK "attn.rel_pos_w", "Q,D", ENCODER, BLOCKS)                                                                         \
    MODEL_PAIR(X, QKV, MODEL_BLOCK "attn.qkv", "3C,C", "3C", ENCODER, BLOCKS)                                                              \
    MODEL_PAIR(X, PROJ, MODEL_BLOCK "attn.proj", "C,C", "C", ENCODER, BLOCKS)                                                              \
    MODEL_PAIR(X, NORM2, MODEL_BLOCK "norm2", "C", "C", ENCODER, BLOCKS)                                                                   \
    MODEL_PAIR(X, LIN1, MODEL_BLOCK "mlp.lin1", "F,C", "F", ENCODER, BLOCKS)                                                               \
    MODEL_PAIR(X, LIN2, MODEL_BLOCK "mlp.lin2", "C,F", "C", ENCODER, BLOCKS)                                                               \
    X(NECK0_WEIGHT, "image_encoder.neck.0.weight", "R,C,1,1", ENCODER, NECK)                                                               \
    MODEL_PAIR(X, NECK1, "image_encoder.neck.1", "R", "R", ENCODER, NECK)                                                                  \
    X(NECK2_WEIGHT, "image_encoder.neck.2.weight", "R,R,3,3", ENCODER, NECK)                                                               \
    MODEL_PAIR(X, NECK3, "image_encoder.neck.3", "R", "R", ENCODER, NECK)                                                                  \
    X(GAUSSIAN, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "2,R/2", PROMPT_BUFFER, PE)                                 \
    X(POINT_WEIGHT, "prompt_encoder.point_embeddings.%d.weight", "1,R", PROMPT, POINTS)                                                    \
    X(NOT_A_POINT_WEIGHT, "prompt_encoder.not_a_point_embed.weight", "1,R", PROMPT, PROMPT)                                                \
    MODEL_PAIR(X, MASK_DOWN0, "prompt_encoder.mask_downscaling.0", "4,1,2,2", "4", PROMPT, PROMPT)                                         \
    MODEL_PAIR(X, MASK_DOWN1, "prompt_encoder.mask_downscaling.1", "4", "4", PROMPT, PROMPT)                                               \
    MODEL_PAIR(X, MASK_DOWN3, "prompt_encoder.mask_downscaling.3", "16,4,2,2", "16", PROMPT, PROMPT)                                       \
    MODEL_PAIR(X, MASK_DOWN4, "prompt_encoder.mask_downscaling.4", "16", "16", PROMPT, PROMPT)                                             \
    MODEL_PAIR(X, MASK_DOWN6, "prompt_encoder.mask_downscaling.6", "R,16,1,1", "R", PROMPT, PROMPT)                                        \
    X(NO_MASK_WEIGHT, "prompt_encoder.no_mask_embed.weight", "1,R", PROMPT, PROMPT)                                                        \
    MODEL_ATTENTION(X, SELF, MODEL_LAYER "self_attn", "R", LAYERS)                                                                         \
    MODEL_PAIR(X, LAYER_NORM1, MODEL_LAYER "norm1", "R", "R", TRANSFORMER, LAYERS)                                                         \
    MODEL_ATTENTION(X, T2I, MODEL_LAYER "cross_attn_token_to_image", "I", LAYERS)                                                          \
    MODEL_PAIR(X, LAYER_NORM2, MODEL_LAYER "norm2", "R", "R", TRANSFORMER, LAYERS)                                                         \
    MODEL_PAIR(X, LAYER_LIN1, MODEL_LAYER "mlp.lin1", "J,R", "J", TRANSFORMER, LAYERS)                                                     \
    MODEL_PAIR(X, LAYER_LIN2, MODEL_LAYER "mlp.lin2", "R,J", "R", TRANSFORMER, LAYERS)                                                     \
    MODEL_PAIR(X, LAYER_NORM3, MODEL_LAYER "norm3", "R", "R", TRANSFORMER, LAYERS)                                                         \
    MODEL_PAIR(X, LAYER_NORM4, MODEL_LAYER "norm4", "R", "R", TRANSFORMER, LAYERS)                                                         \
    MODEL_ATTENTION(X, I2T, MODEL_LAYER "cross_attn_image_to_token", "I", LAYERS)                                                          \
    MODEL_ATTENTION(X, FINAL, "mask_decoder.transformer.final_attn_token_to_image", "I", FINAL)                                            \
    MODEL_PAIR(X, FINAL_NORM, "mask_decoder.transformer.norm_final_attn", "R", "R", TRANSFORMER, FINAL)                                    \
    X(IOU_TOKEN, "mask_decoder.iou_token.weight", "1,R", HEADS, FINAL)                                                                     \
    X(MASK_TOKENS, "mask_decoder.mask_tokens.weight", "K,R", HEADS, FINAL)                                                                 \
    MODEL_PAIR(X, UP0, "mask_decoder.output_upscaling.0", "R,R/4,2,2", "R/4", HEADS, FINAL)                                                \
    MODEL_PAIR(X, UP1, "mask_decoder.output_upscaling.1", "R/4", "R/4", HEADS, FINAL)                                                      \
    MODEL_PAIR(X, UP3, "mask_decoder.output_upscaling.3", "R/4,R/8,2,2", "R/8", HEADS, FINAL)                                              \
    MODEL_PAIR(X, HYPER0, MODEL_HYPER "layers.0", "R,R", "R", HEADS, CHANNELS)                                                             \
    MODEL_PAIR(X, HYPER1, MODEL_HYPER "layers.1", "R,R", "R", HEADS, CHANNELS)                                                             \
    MODEL_PAIR(X, HYPER2, MODEL_HYPER "layers.2", "R/8,R", "R/8", HEADS, CHANNELS)                                                         \
    MODEL_PAIR(X, IOU0, "mask_decoder.iou_prediction_head.layers.0", "R,R", "R", HEADS, IOU)                                               \
    MODEL_PAIR(X, IOU1, "mask_decoder.iou_prediction_head.layers.1", "R,R", "R", HEADS, IOU)                                               \
    MODEL_PAIR(X, IOU2, "mask_decoder.iou_prediction_head.layers.2", "K,R", "K", HEADS, IOU)                                               \
    X(FINAL_QA, "fati_qa", "r,R", TRANSFORMER_LORA, FINAL_LORA)                                                                            \
    X(FINAL_QB, "fati_qb", "I,r", TRANSFORMER_LORA, FINAL_LORA)                                                                            \
    X(FINAL_VA, "fati_va", "r,R", TRANSFORMER_LORA, FINAL_LORA)                                                                            \
    X(FINAL_VB, "fati_vb", "I,r", TRANSFORMER_LORA, FINAL_LORA)

#define MODEL_PARAM_ID(id, name, shape, role, group) MODEL_##id,
typedef enum model_param_id { MODEL_PARAMS(MODEL_PARAM_ID) MODEL_N_PARAM_ROWS } model_param_id;
#undef MODEL_PARAM_ID

enum { MODEL_PARAM_NAME_BYTES = 80, MODEL_PARAM_MAX_DIMS = 4 };

/* One tensor of a network of a given config. */
typedef struct model_param {
    model_param_id id;
    int index; /* block, layer, channel ...; 0 where there is one */
    model_role role;
    char name[MODEL_PARAM_NAME_BYTES];
    int n_dims;
    int64_t shape[MODEL_PARAM_MAX_DIMS]; /* in the file: before any resizing */
    size_t n_elements;
    const io_tensors *file;  /* borrowed; set by model_params_bind */
    const io_tensor *source; /* borrowed; set by model_params_bind */
} model_param;

typedef struct model_params model_params;

/* The tensors that a network of this config has, in table order. Needs every size of the config. */
io_status model_params_create(const model_config *config, model_params **out);
void model_params_free(model_params **params);

size_t model_params_count(const model_params *params);
const model_param *model_params_at(const model_params *params, size_t i);
/* NULL when this layout has no such tensor. Borrowed. */
const model_param *model_params_get(const model_params *params, model_param_id id, int index);

/* Finds every tensor in the file that owns it and checks its shape; the failure names file, tensor, expected and found. */
io_status model_params_bind(model_params *params, const io_tensors *sam, const io_tensors *adapter);

/* Copies the values of a bound tensor to out [n_elements] and lets its mapped pages go. NaN and infinities are refused (IO_ERR_RANGE, naming
 * file and tensor): one of them would turn whole label maps to background without a word. */
io_status model_param_read(const model_param *param, float *out);

/* Whether tensors of this role come from the adapter. */
bool model_role_in_adapter(model_role role, model_layout layout);

/* Whether training a network of this layout gives the tensor a gradient. What an adapter holds besides (the IoU head, points, mask
 * downscaling: spec 3.3, 4.6) no loss reaches: the reference on one device leaves it alone (spec 5.7). */
bool model_param_is_trained(const model_param *param, model_layout layout);

/* Name of a tensor: name at least MODEL_PARAM_NAME_BYTES long. */
void model_param_name(model_param_id id, int index, char *name);

#endif
