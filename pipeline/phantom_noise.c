/* See phantom_noise.h. A sample is the sum of four random bytes (near enough to normal once nine are mixed), in whole numbers. */
#include "pipeline/phantom_noise.h"

#include <Random123/philox.h>

static const uint64_t ANATOMY = 1ull << 63; /* counters of the anatomy; those of the noise are lower */

/* Standard deviation of a filtered sample: four bytes have 147.8 (sqrt(4 (256^2 - 1) / 12)), (1 4 1) twice multiplies it by 18. */
static const double FILTERED_SD = 2660.4;
enum { FILTERED_MEAN = 510 * 36 };

static philox4x32_ctr_t draw_block(const dice *d, uint64_t index)
{
    const philox4x32_ctr_t counter = {{(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)d->case_index, (uint32_t)(d->case_index >> 32)}};
    const philox4x32_key_t key = {{(uint32_t)d->seed, (uint32_t)(d->seed >> 32)}};

    return philox4x32(counter, key);
}

double pipe_dice_between(dice *d, double low, double high)
{
    const uint32_t word = draw_block(d, ANATOMY | d->n_thrown++).v[0];

    return low + (high - low) * ((double)word / 4294967296.0);
}

static int32_t sum_bytes(uint32_t word)
{
    const uint32_t pairs = (word & 0x00ff00ffu) + (word >> 8 & 0x00ff00ffu);

    return (int32_t)((pairs & 0xffffu) + (pairs >> 16));
}

static int64_t count_blocks(int64_t n_cols)
{
    return (n_cols + 2 + 3) / 4; /* one sample more on either side */
}

int64_t pipe_noise_scratch(int64_t n_cols)
{
    return count_blocks(n_cols) * 4 + 3 * n_cols;
}

/* row [n_cols] = samples of one row filtered along it with (1 4 1). */
static void fill_row(const dice *d, int64_t row_index, int64_t n_cols, int32_t *samples, int32_t *row)
{
    const int64_t n_blocks = count_blocks(n_cols);

    for (int64_t b = 0; b < n_blocks; b++) {
        const philox4x32_ctr_t words = draw_block(d, (uint64_t)(row_index * n_blocks + b));
        for (int i = 0; i < 4; i++) samples[4 * b + i] = sum_bytes(words.v[i]);
    }
    for (int64_t c = 0; c < n_cols; c++) row[c] = samples[c] + 4 * samples[c + 1] + samples[c + 2];
}

void pipe_noise_add(const dice *d, int64_t k, int64_t n_rows, int64_t n_cols, double sd, float *hu, int32_t *rows)
{
    const float scale = (float)(sd / FILTERED_SD);
    int32_t *samples = rows + 3 * n_cols;

    for (int64_t r = 0; r < n_rows + 2; r++) {
        const int32_t *above = rows + (r + 1) % 3 * n_cols, *middle = rows + (r + 2) % 3 * n_cols;
        int32_t *below = rows + r % 3 * n_cols;
        fill_row(d, k * (n_rows + 2) + r, n_cols, samples, below);
        if (r < 2) continue;
        for (int64_t c = 0; c < n_cols; c++)
            hu[(r - 2) * n_cols + c] += scale * (float)(above[c] + 4 * middle[c] + below[c] - FILTERED_MEAN);
    }
}
