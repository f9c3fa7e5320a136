/* The rows of a transposed 2x2 convolution put in place: a product makes them, this moves them. */
#include <string.h>

#include "model/cpu/backend_cpu.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

io_status unfold_forward_cpu(model_backend *backend, model_rows out, model_rows in, int B, int G, int C)
{
    const size_t n_bytes = (size_t)C * rows_element_bytes(in.type);

    if (in.type != out.type) return IO_FAIL(IO_ERR_ARGUMENT, "unfold: moves numbers as they are, but the two sides differ in type");
#pragma omp parallel for num_threads(backend->n_threads)
    for (int line = 0; line < B * 2 * G; line++) { /* of the output; the taps of one input row are two above two */
        const int64_t from = (int64_t)(line / 2) * G, to = (int64_t)line * 2 * G;
        for (int x = 0; x < 2 * G; x++)
            memcpy(rows_at(out, to + x, 0), rows_at(in, from + x / 2, (int64_t)(line % 2 * 2 + x % 2) * C), n_bytes);
    }
    return IO_OK;
}
