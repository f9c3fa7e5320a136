/* Low-rank updates added into the weights they belong to (spec 2.1: no scaling, no bias). Host arrays, f32. */
#ifndef MODEL_LORA_H
#define MODEL_LORA_H

/* weight [n_out,n_in] += b [n_out,r] . a [r,n_in], summed in double. */
void model_lora_merge(float *weight, const float *b, const float *a, int n_out, int n_in, int r);

#endif
