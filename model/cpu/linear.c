/* Products with constant weights, and the 3x3 convolution, which is a product whose inner dimension walks over nine neighbours. */
#include "io/memory.h"
#include "model/cpu/linear.h"
#include "model/cpu/ops_cpu.h"
#include "model/cpu/rows.h"

enum {
    BLOCK_ROWS = 96, /* rows per task: their inputs stay in L2 while a few panels pass (96 is a multiple of 8, 6 and 4) */
    BLOCK_PANELS = 4,
    TYPICAL_ROWS = 1024 /* tokens of a slice at 512 pixels */
};

/* Lanes of one vector and the most vectors of one panel (tile.h) at a level. */
static int lanes_of(cpu_level level)
{
    return level >= CPU_AVX512 ? 16 : level == CPU_AVX2 ? 8 : 4;
}

/* The panel width that wastes the fewest columns; the wider of equals. */
static int choose_vectors(cpu_level level, int n_out)
{
    const int lanes = lanes_of(level);
    int best = 1, best_columns = (n_out + lanes - 1) / lanes * lanes;

    for (int vectors = 2; vectors <= (level >= CPU_AVX512 ? 3 : 2); vectors++) {
        const int panel = vectors * lanes, columns = (n_out + panel - 1) / panel * panel;

        if (columns > best_columns) continue;
        best = vectors;
        best_columns = columns;
    }
    return best;
}

/* Dword k of output column c. */
static float pack_dword(const model_matrix *matrix, const float *weight, int64_t k, int c)
{
    const float *row = weight + (int64_t)c * matrix->n_in;
    uint32_t pair;
    float dword;

    if (c >= matrix->n_out) return 0;
    if (matrix->type == MODEL_F32) return row[k];
    pair = bf16_from_f32(row[2 * k]);
    if (2 * k + 1 < matrix->n_in) pair |= (uint32_t)bf16_from_f32(row[2 * k + 1]) << 16;
    memcpy(&dword, &pair, sizeof dword);
    return dword;
}

static void pack_panel(const model_matrix *matrix, const float *weight, int p)
{
    float *to = matrix->packed + p * matrix->n_dwords * matrix->panel;

    for (int j = 0; j < matrix->panel; j++)
        for (int64_t k = 0; k < matrix->n_dwords; k++) to[k * matrix->panel + j] = pack_dword(matrix, weight, k, p * matrix->panel + j);
}

/* Packs the weight for this folder's own kernels. */
static io_status pack_matrix(model_backend *backend, const float *weight, model_matrix *matrix)
{
    size_t n_bytes;

    matrix->vectors = choose_vectors(backend->level, matrix->n_out);
    matrix->panel = matrix->vectors * lanes_of(backend->level);
    matrix->n_panels = (matrix->n_out + matrix->panel - 1) / matrix->panel;
    matrix->n_dwords = matrix->type == MODEL_BF16 ? (matrix->n_in + 1) / 2 : matrix->n_in;
    IO_TRY(io_size_mul((size_t)matrix->n_panels * (size_t)matrix->panel, (size_t)matrix->n_dwords * sizeof(float), &n_bytes));
    IO_TRY(cpu_memory_create(backend, n_bytes, (void **)&matrix->packed));
    IO_TRY(cpu_zeros_reserve(backend, (size_t)matrix->n_in * sizeof(float)));
#pragma omp parallel for num_threads(backend->n_threads)
    for (int p = 0; p < matrix->n_panels; p++) pack_panel(matrix, weight, p);
    return IO_OK;
}

io_status matrix_create_cpu(model_backend *backend, int n_out, int n_in, const float *weight, model_type type, model_matrix **out)
{
    io_status status = IO_OK;
    model_matrix *made = NULL;

    if (type == MODEL_BF16 && backend->level < CPU_AVX512_BF16)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "this CPU has no bf16 products; open the device in f32");
    IO_TRY(io_alloc(1, sizeof *made, (void **)&made));
    *made = (model_matrix){.n_out = n_out, .n_in = n_in, .type = type};
    if (backend->products)
        status = onednn_weight_create(backend->products, n_out, n_in, weight, type, TYPICAL_ROWS, &made->library);
    else
        status = pack_matrix(backend, weight, made);
    if (status != IO_OK) {
        matrix_free_cpu(backend, &made);
        return status;
    }
    *out = made;
    return IO_OK;
}

void matrix_free_cpu(model_backend *backend, model_matrix **matrix)
{
    if (!matrix || !*matrix) return;
    onednn_weight_free(&(*matrix)->library);
    io_free(&(*matrix)->packed);
    io_free(matrix);
}

/* Rows of the packed panel p from weight [n_out,n_in], or [n_in,n_out] turned. */
static void update_panel(const model_matrix *matrix, const float *weight, bool is_transposed, int p)
{
    const int first = p * matrix->panel, n = matrix->n_out - first < matrix->panel ? matrix->n_out - first : matrix->panel;
    float *to = matrix->packed + p * matrix->n_dwords * matrix->panel;

    for (int64_t k = 0; is_transposed && k < matrix->n_in; k++)
        memcpy(to + k * matrix->panel, weight + k * matrix->n_out + first, (size_t)n * sizeof *to);
    for (int j = 0; !is_transposed && j < n; j++)
        for (int64_t k = 0; k < matrix->n_in; k++) to[k * matrix->panel + j] = weight[(int64_t)(first + j) * matrix->n_in + k];
}

io_status matrix_update_cpu(model_backend *backend, model_matrix *matrix, const float *weight, bool is_transposed)
{
    if (matrix->type != MODEL_F32 || matrix->library)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "matrix_update: weights that are trained are f32 and packed by the CPU's own products; unset "
                                           "SAMED_PRODUCTS to train");
#pragma omp parallel for num_threads(backend->n_threads)
    for (int p = 0; p < matrix->n_panels; p++) update_panel(matrix, weight, is_transposed, p);
    return IO_OK;
}

static linear_kernel *choose_kernel(cpu_level level)
{
#if defined(__x86_64__)
    if (level == CPU_AVX512_BF16) return linear_kernel_avx512bf16;
    if (level == CPU_AVX512) return linear_kernel_avx512;
    if (level == CPU_AVX2) return linear_kernel_avx2;
#endif
    return linear_kernel_generic;
}

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

static void run_job(model_backend *backend, const linear_job *job)
{
    linear_kernel *kernel = choose_kernel(backend->level);
    const int n_row_blocks = (job->M + BLOCK_ROWS - 1) / BLOCK_ROWS;
    /* few rows: one panel at a time, so that every thread has some */
    const int panels = n_row_blocks > 1 ? BLOCK_PANELS : 1, n_panel_blocks = (job->weight->n_panels + panels - 1) / panels;

#pragma omp parallel for num_threads(backend->n_threads) schedule(dynamic, 1)
    for (int t = 0; t < n_row_blocks * n_panel_blocks; t++) {
        const int row = t % n_row_blocks * BLOCK_ROWS, panel = t / n_row_blocks * panels;

        kernel(job, row, min_int(row + BLOCK_ROWS, job->M), panel, min_int(panel + panels, job->weight->n_panels));
    }
}

/* What every kernel counts on. */
static io_status check_rows(const char *operation, model_rows out, model_rows in, const model_matrix *weight, model_epilogue epilogue)
{
    if (in.type != weight->type)
        return IO_FAIL(IO_ERR_MISMATCH, "%s: the input rows are not of the type that the weight was packed for", operation);
    if (epilogue == MODEL_ADD && out.type != MODEL_F32) return IO_FAIL(IO_ERR_MISMATCH, "%s: sums are kept in f32 rows only", operation);
    return IO_OK;
}

io_status linear_forward_cpu(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, const float *bias,
                             model_epilogue epilogue, int M)
{
    const linear_job job = {.weight = weight, .out = out, .in = in, .bias = bias, .epilogue = epilogue, .M = M};

    IO_TRY(check_rows("linear", out, in, weight, epilogue));
    if (weight->library) return onednn_product(weight->library, out, in, bias, epilogue, M);
    run_job(backend, &job);
    return IO_OK;
}

/* Writes the nine neighbours of every row side by side into backend->unrolled. */
static io_status unroll_neighbours(model_backend *backend, model_rows in, int B, int G, int n_in, model_rows *unrolled)
{
    const size_t tap_bytes = (size_t)n_in * rows_element_bytes(in.type);

    IO_TRY(cpu_unrolled_reserve(backend, (size_t)(B * G * G) * 9 * tap_bytes));
    *unrolled = (model_rows){backend->unrolled, 9 * (int64_t)n_in, in.type};
#pragma omp parallel for num_threads(backend->n_threads)
    for (int m = 0; m < B * G * G; m++)
        for (int tap = 0; tap < 9; tap++) {
            const int y = m / G % G + tap / 3 - 1, x = m % G + tap % 3 - 1;
            void *to = rows_at(*unrolled, m, (int64_t)tap * n_in);

            if (y < 0 || y >= G || x < 0 || x >= G)
                memset(to, 0, tap_bytes);
            else
                memcpy(to, rows_at(in, m + (tap / 3 - 1) * (int64_t)G + tap % 3 - 1, 0), tap_bytes);
        }
    return IO_OK;
}

io_status conv3x3_forward_cpu(model_backend *backend, model_rows out, model_rows in, const model_matrix *weight, int B, int G, int n_in)
{
    const linear_job job = {
        .weight = weight, .out = out, .in = in, .epilogue = MODEL_STORE, .M = B * G * G, .G = G, .zeros = backend->zeros};

    IO_TRY(check_rows("conv3x3", out, in, weight, MODEL_STORE));
    if (weight->n_in != 9 * n_in)
        return IO_FAIL(IO_ERR_MISMATCH, "conv3x3: the weight has %d inputs, 9 x %d are needed", weight->n_in, n_in);
    if (in.type == MODEL_BF16 && n_in % 2)
        return IO_FAIL(IO_ERR_UNSUPPORTED, "conv3x3: %d channels in bf16; an even number is needed", n_in);
    if (weight->library) {
        model_rows unrolled;

        IO_TRY(unroll_neighbours(backend, in, B, G, n_in, &unrolled));
        return onednn_product(weight->library, out, unrolled, NULL, MODEL_STORE, B * G * G);
    }
    run_job(backend, &job);
    return IO_OK;
}
