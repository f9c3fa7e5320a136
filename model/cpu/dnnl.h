/* Products through oneDNN: the one file that knows its C API, and the difference between versions 2 and 3 of it.
 *
 * Asked for with SAMED_PRODUCTS=onednn: worth trying on CPUs with AMX, whose tiles this folder's own kernels do not use. Not the
 * default, because it was seen to split the inner dimension by the number of threads where rows are few (f32: 1 x 2048 on 2 threads,
 * bf16: 1 row against 20), so that label maps would depend on threads and batches.
 */
#ifndef MODEL_CPU_DNNL_H
#define MODEL_CPU_DNNL_H

#include <stdbool.h>

#include "model/backend.h"

typedef struct onednn_context onednn_context; /* an engine and a stream for so many threads */
typedef struct onednn_weight onednn_weight;   /* a packed weight and the primitives made for it so far */

/* Whether the user asked for oneDNN's products. */
bool onednn_is_wanted(void);

/* "oneDNN 2.6.3"; out holds at least 32 bytes. */
void onednn_version(char *out);

io_status onednn_context_create(int n_threads, onednn_context **out);
void onednn_context_free(onednn_context **context);

/* weight [n_out,n_in] host, f32; packed in the layout that oneDNN picks for typical_rows rows. The context must outlive *out. */
io_status onednn_weight_create(onednn_context *context, int n_out, int n_in, const float *weight, model_type type, int typical_rows,
                               onednn_weight **out);
void onednn_weight_free(onednn_weight **weight);

/* As linear_forward of model/backend.h. The first call for a shape makes its primitive, later ones find it. */
io_status onednn_product(onednn_weight *weight, model_rows out, model_rows in, const float *bias, model_epilogue epilogue, int M);

#endif
