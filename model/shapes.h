/* The dimension letters, once for the whole room. Used in comments as [B,N,C] and as names in code.
 *
 *   B   slices in a call                    S   image side in pixels (512)
 *   P   patch side in pixels (16)           G   tokens per side, S / P (32)
 *   N   tokens of a slice, G * G (1024)     C   encoder width (768)
 *   H   encoder heads (12)                  D   head size, C / H (64)
 *   F   hidden width of the encoder's MLP   W   window side in tokens (14)
 *   R   decoder width (256)                 K   output channels = classes with the background (9)
 *   T   decoder tokens, K + 1 (10)          L   side of the low-resolution logits, 4 * G (128)
 *   r   LoRA rank (4)                       M   rows of a product, for example B * N */
#ifndef MODEL_SHAPES_H
#define MODEL_SHAPES_H

enum {
    MODEL_MAX_DEPTH = 64,        /* encoder blocks; ViT-H has 32 */
    MODEL_IMAGE_CHANNELS = 3,    /* SAM is an RGB network; a grey slice is repeated */
    MODEL_DECODER_DEPTH = 2,     /* two-way transformer layers (segment-anything, build_sam.py) */
    MODEL_DECODER_HEADS = 8,
    MODEL_UPSCALE = 4            /* logits per token along a side */
};

#endif
