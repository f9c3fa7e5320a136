/* The part of the prompt encoder that SAMed uses: no points, no boxes, no mask (spec 3). Everything is constant. */
#ifndef MODEL_PROMPT_H
#define MODEL_PROMPT_H

/* The dense positional encoding, channels last: out [G*G,R] host; gaussian [2,R/2]: row 0 meets x, row 1 y (spec 3.2). */
void model_prompt_encode_grid(float *out, const float *gaussian, int G, int R);

#endif
