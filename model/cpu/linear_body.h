/* The product kernel, included once per instruction set with LINEAR_KERNEL as its name. */
#include "model/cpu/gelu.h"
#include "model/cpu/linear.h"
#include "model/cpu/tile.h"

enum { MAX_TAPS = 9 };

/* Where a tile's inputs lie: rows[t][i] is the input of tile row i under tap t. A product has one tap. */
typedef struct tile_inputs {
    const float *rows[MAX_TAPS][TILE_ROWS];
    int n_taps;
} tile_inputs;

/* The input row of token m seen through a tap of the 3x3 convolution. */
static const void *find_neighbour(const linear_job *job, int m, int tap)
{
    const int G = job->G, y = m / G % G + tap / 3 - 1, x = m % G + tap % 3 - 1;

    if (y < 0 || y >= G || x < 0 || x >= G) return job->zeros;
    return rows_at(job->in, m + (tap / 3 - 1) * (int64_t)G + tap % 3 - 1, 0);
}

/* Rows past the last one repeat it, so that the tile is always full; they are not stored. */
static void find_inputs(const linear_job *job, int row, int last_row, tile_inputs *inputs)
{
    inputs->n_taps = job->G ? MAX_TAPS : 1;
    for (int i = 0; i < TILE_ROWS; i++) {
        const int m = row + i < last_row ? row + i : last_row - 1;

        if (!job->G) inputs->rows[0][i] = rows_at(job->in, m, 0);
        for (int t = 0; job->G && t < MAX_TAPS; t++) inputs->rows[t][i] = find_neighbour(job, m, t);
    }
}

/* One finished vector of outputs: columns c.. of row m, n of them inside the matrix. */
static void store_vector(const linear_job *job, simd y, int m, int c, int n)
{
    const model_epilogue epilogue = job->epilogue;
    void *to = rows_at(job->out, m, c);

    if (job->bias) y = simd_add(y, n == LANES ? simd_load(job->bias + c) : simd_load_first(job->bias + c, n));
    if (epilogue == MODEL_GELU) y = simd_gelu(y);
    if (epilogue == MODEL_RELU) y = simd_max(y, simd_set(0));
    if (epilogue == MODEL_ADD) y = simd_add(y, n == LANES ? simd_load(to) : simd_load_first(to, n));
    if (job->out.type == MODEL_BF16)
        simd_store_bf16(to, y, n);
    else if (n == LANES)
        simd_store(to, y);
    else
        simd_store_first(to, y, n);
}

static void store_row(const linear_job *job, int n_vectors, const float *sums, int m, int column)
{
    const int n_out = job->weight->n_out;

    for (int j = 0; j < n_vectors && column + j * LANES < n_out; j++) {
        const int c = column + j * LANES;

        store_vector(job, simd_load(sums + j * LANES), m, c, n_out - c < LANES ? n_out - c : LANES);
    }
}

/* Through memory, because accumulators that are indexed by a variable would not stay in registers. */
SIMD_INLINE void store_tile(const linear_job *job, int n_vectors, tile acc, int row, int last_row, int column)
{
    const int n_rows = last_row - row < TILE_ROWS ? last_row - row : TILE_ROWS;
    float sums[TILE_ROWS][TILE_VECTORS * LANES];

#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 3
        for (int j = 0; j < n_vectors; j++) simd_store(sums[i] + j * LANES, acc[i][j]);
    for (int i = 0; i < n_rows; i++) store_row(job, n_vectors, sums[i], row + i, column);
}

/* An odd last element of bf16 rows: its pair would reach past the row, where anything may lie (a NaN times zero is NaN). */
static void add_odd_element(const linear_job *job, int n_vectors, tile acc, const tile_inputs *inputs, const float *b)
{
    float last[TILE_ROWS];
    const float *rows[TILE_ROWS];

    for (int i = 0; i < TILE_ROWS; i++) {
        const bf16 *row = (const bf16 *)inputs->rows[0][i];
        const uint32_t pair = row[job->weight->n_in - 1];

        memcpy(&last[i], &pair, sizeof pair);
        rows[i] = &last[i];
    }
    multiply_tile(1, n_vectors, acc, rows, b, job->weight->panel, 1);
}

/* Brings the outputs' cache lines closer while the product runs, so that its end does not wait for them. */
SIMD_INLINE void prefetch_outputs(const linear_job *job, int n_vectors, int row, int last_row, int column)
{
    enum { LINE_BYTES = 64 };
    const int columns = job->weight->n_out - column < n_vectors * LANES ? job->weight->n_out - column : n_vectors * LANES;
    const int64_t n_bytes = columns * (int64_t)rows_element_bytes(job->out.type);

    for (int i = 0; i < TILE_ROWS && row + i < last_row; i++) {
        const char *at = rows_at(job->out, row + i, column);

        for (int64_t byte = 0; byte < n_bytes; byte += LINE_BYTES) __builtin_prefetch(at + byte, 1);
    }
}

SIMD_INLINE void compute_tile(const linear_job *job, int is_bf16, int n_vectors, const tile_inputs *inputs, const float *b, int row,
                              int last_row, int column)
{
    const int64_t n_whole = (is_bf16 ? job->weight->n_in / 2 : job->weight->n_in) / inputs->n_taps;
    tile acc;

    prefetch_outputs(job, n_vectors, row, last_row, column);
    clear_tile(acc);
    for (int t = 0; t < inputs->n_taps; t++)
        multiply_tile(is_bf16, n_vectors, acc, inputs->rows[t], b + t * n_whole * n_vectors * LANES, n_vectors * LANES, n_whole);
    if (is_bf16 && job->weight->n_in % 2) add_odd_element(job, n_vectors, acc, inputs, b + n_whole * n_vectors * LANES);
    store_tile(job, n_vectors, acc, row, last_row, column);
}

SIMD_INLINE void compute_panels(const linear_job *job, int is_bf16, int n_vectors, int first_row, int last_row, int first_panel,
                                int last_panel)
{
    const model_matrix *weight = job->weight;
    tile_inputs inputs;

    for (int p = first_panel; p < last_panel; p++)
        for (int row = first_row; row < last_row; row += TILE_ROWS) {
            find_inputs(job, row, last_row, &inputs);
            compute_tile(job, is_bf16, n_vectors, &inputs, weight->packed + p * weight->n_dwords * weight->panel, row, last_row,
                         p * weight->panel);
        }
}

#if defined(__AVX512BF16__)
enum { HAS_BF16 = 1 };
#else
enum { HAS_BF16 = 0 };
#endif

void LINEAR_KERNEL(const linear_job *job, int first_row, int last_row, int first_panel, int last_panel)
{
    const int is_bf16 = HAS_BF16 && job->weight->type == MODEL_BF16, key = is_bf16 * 4 + job->weight->vectors;

    if (key == 1) compute_panels(job, 0, 1, first_row, last_row, first_panel, last_panel);
    if (key == 2) compute_panels(job, 0, 2, first_row, last_row, first_panel, last_panel);
#if defined(__AVX512F__)
    if (key == 3) compute_panels(job, 0, 3, first_row, last_row, first_panel, last_panel);
#endif
#if defined(__AVX512BF16__)
    if (key == 5) compute_panels(job, 1, 1, first_row, last_row, first_panel, last_panel);
    if (key == 6) compute_panels(job, 1, 2, first_row, last_row, first_panel, last_panel);
    if (key == 7) compute_panels(job, 1, 3, first_row, last_row, first_panel, last_panel);
#endif
}
