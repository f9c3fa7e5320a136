/* The sizes of one network, inferred from the weight files; nothing is asked from the user but the image size. */
#ifndef MODEL_CONFIG_H
#define MODEL_CONFIG_H

#include <stdbool.h>

#include "io/status.h"
#include "io/tensors.h"
#include "model/shapes.h"

/* Who owns the decoder's weights. Letters as in model/shapes.h. */
typedef enum model_layout {
    MODEL_LAYOUT_SAM,    /* no adapter: SAM's own decoder, its K mask tokens as channels */
    MODEL_LAYOUT_SAMED,  /* encoder LoRA, decoder in the adapter */
    MODEL_LAYOUT_SAMED_S /* encoder LoRA, decoder transformer from SAM with LoRA on q and v */
} model_layout;

typedef struct model_config {
    int image_size;                     /* S, pixels */
    int patch;                          /* P, pixels */
    int width, depth, heads, head_size; /* C, blocks, H, D */
    int mlp_width;                      /* F */
    int window;                         /* W, tokens */
    bool is_global[MODEL_MAX_DEPTH];    /* per block: attention over the whole slice */
    int decoder_width;                  /* R */
    int decoder_mlp_width;              /* 2048 */
    int decoder_inner;                  /* inner width of the cross attentions (R / 2) */
    int n_channels;                     /* K */
    int sam_channels;                   /* mask tokens in the SAM file */
    int file_grid;                      /* tokens per side of the pos_embed in the file (64) */
    model_layout layout;
    int lora_rank; /* r; 0 without LoRA */
    bool has_more_lora; /* the adapter has LoRA on k and the output projection too (w_a_ko_000) */
} model_config;

/* Infers everything from the tensors' names and shapes; adapter may be NULL. image_size must be a multiple of the patch;
 * 0 stands for the size the SAM file was made for.
 * A contradiction (adapter of another ViT, missing or misshapen tensor) names the file, the tensor, what was expected and found. */
io_status model_config_infer(const io_tensors *sam, const io_tensors *adapter, int image_size, model_config *out);

/* "ViT-B" for the three published sizes, else "ViT 384x8". */
void model_config_name(const model_config *config, char out[32]);

#endif
