/* The activations of one pass: named slots in one block, planned once. A slot lives from its first to its last phase, and slots that
 * never live together share bytes. Within a forward pass the phases come in the order of model_phase (blocks repeat theirs); what a
 * backward pass needs is kept by giving its slot a longer life. */
#ifndef MODEL_WORKSPACE_H
#define MODEL_WORKSPACE_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"
#include "model/backend.h"
#include "model/config.h"

typedef enum model_phase {
    MODEL_PHASE_PATCH,     /* image to tokens */
    MODEL_PHASE_ATTENTION, /* first half of a block */
    MODEL_PHASE_MLP,       /* second half */
    MODEL_PHASE_NECK,
    MODEL_PHASE_DECODER, /* two-way transformer */
    MODEL_PHASE_UPSCALE, /* to the logits */
    MODEL_PHASE_LABELS
} model_phase;

/* b is the number of slices in a pass, type that of the activations that feed the encoder's products. */
typedef enum model_slot {
    MODEL_SLOT_IMAGES,      /* [b,S,S] f32 */
    MODEL_SLOT_PATCHES,     /* [b*N,P*P] type */
    MODEL_SLOT_STREAM,      /* [b*N,C] f32: the residual stream */
    MODEL_SLOT_NORMED,      /* [b*N,C] type */
    MODEL_SLOT_QKV,         /* [b*N,3C] type */
    MODEL_SLOT_ATTENDED,    /* [b*N,C] type */
    MODEL_SLOT_HIDDEN,      /* [b*N,F] type */
    MODEL_SLOT_NECK,        /* [b*N,R] f32: after the 1x1, then after the 3x3 convolution */
    MODEL_SLOT_NECK_NORMED, /* [b*N,R] type */
    MODEL_SLOT_EMBEDDING,   /* [b*N,R] f32 */
    MODEL_SLOT_KEYS,        /* [b*N,R] f32: image tokens in the decoder */
    MODEL_SLOT_KEYS_POS,    /* [b*N,R] f32: with position added */
    MODEL_SLOT_IMAGE_A,     /* [b*N,I] f32: image side of a cross attention: k, or q */
    MODEL_SLOT_IMAGE_B,     /* [b*N,I] f32: v, or what was attended */
    MODEL_SLOT_TOKENS,      /* [b*T,R] f32 */
    MODEL_SLOT_TOKENS_POS,  /* [b*T,R] f32 */
    MODEL_SLOT_TOKEN_Q,     /* [b*T,R] f32; I columns in cross attentions */
    MODEL_SLOT_TOKEN_K,
    MODEL_SLOT_TOKEN_V,
    MODEL_SLOT_TOKEN_OUT,
    MODEL_SLOT_TOKEN_HIDDEN, /* [b*T,J] f32 */
    MODEL_SLOT_UP0_TAPS,     /* [b*N,4*R/4] f32 */
    MODEL_SLOT_UP0,          /* [b*4N,R/4] f32 */
    MODEL_SLOT_UP3_TAPS,     /* [b*4N,4*R/8] f32 */
    MODEL_SLOT_UP3,          /* [b*16N,R/8] f32 */
    MODEL_SLOT_MLP_A,        /* [b,R] f32: inside a hypernetwork or the IoU head */
    MODEL_SLOT_MLP_B,
    MODEL_SLOT_HYPER,  /* [b*K,R/8] f32 */
    MODEL_SLOT_IOU,    /* [b,K] f32 */
    MODEL_SLOT_LOGITS, /* [b,K,L,L] f32 */
    MODEL_SLOT_LABELS, /* [b,S,S] uint16, in f32 words */
    MODEL_N_SLOTS
} model_slot;

typedef struct model_slot_place {
    int64_t n_rows, stride; /* elements */
    model_type type;
    int first, last; /* phases */
    size_t offset, n_bytes;
} model_slot_place;

typedef struct model_workspace {
    model_slot_place slots[MODEL_N_SLOTS];
    size_t n_bytes;
    void *memory; /* device; NULL while only planned */
} model_workspace;

/* Lays the slots out for passes of b slices; allocates nothing. row_pad as in model_ops. */
io_status model_workspace_plan(const model_config *config, model_type type, int row_pad, int b, model_workspace *out);

/* Allocates what was planned, filled with NaN, so that reading what was never written shows. */
io_status model_workspace_create(model_workspace *workspace, const model_ops *ops, model_backend *backend);
void model_workspace_free(model_workspace *workspace, const model_ops *ops, model_backend *backend);

/* Borrowed, until the workspace is freed. */
model_rows model_workspace_rows(const model_workspace *workspace, model_slot slot);
void *model_workspace_data(const model_workspace *workspace, model_slot slot);

#endif
